# What the scripts under ci/ share. Sourced, from the project's root.

# Colours only where somebody sees them.
if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi

# For tests, most of which wait, for a clock or for the other end of a connection: as many as there are CPUs leave the
# CPUs idle.
many_at_once=(--test-threads 16)

# step WHAT: begins a step of a script; step_times says afterwards what each took.
steps=() step_began=0
step() { end_step; this_step=$*; step_began=$SECONDS; printf '%s== %s%s\n' "$bold" "$*" "$plain"; }
end_step() { [ -z "${this_step-}" ] || steps+=("$(took $((SECONDS - step_began))) $this_step"); this_step=; }
step_times() { end_step; printf '%s\n' "${steps[@]}" "$(took "$SECONDS") in all"; }
took() { printf '%3d min %2d s ' $(($1 / 60)) $(($1 % 60)); }
die() { printf '%s%s%s\n' "$red" "$*" "$plain" >&2; exit 1; }

# Packages named in a file: one a line, `#` begins a comment.
packages_of() { sed 's/#.*//' "$1" | tr -s '[:space:]' '\n' | sed '/^$/d'; }

# Stops unless Rust is here, new enough, and with what checks format and style; says what brings what is missing.
need_rust() {
    local needed has where="README.md, \"Rust\", says what brings it"
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null && command -v rustc >/dev/null || die "there is no Rust here, $needed or newer: $where"
    has=$(rustc --version | cut -d ' ' -f 2)
    printf '%s\n' "$needed" "${has%%-*}" | sort -VC || die "Rust $has is too old, $needed or newer is needed: $where"
    cargo fmt --version >/dev/null 2>&1 \
        || die "cargo fmt is missing: it comes with the package rustfmt, or \"rustup component add rustfmt\" ($where)"
    cargo clippy --version >/dev/null 2>&1 \
        || die "cargo clippy is missing: it comes with the package rust-clippy, or \"rustup component add clippy\" ($where)"
}

missing_packages() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

# install_packages PACKAGE...: installs what is missing, if this is root on a Debian-like system. Prints what is
# missing afterwards, and says no with it.
install_packages() {
    command -v dpkg-query >/dev/null || { echo "this is not a Debian-like system"; return 1; }
    local missing
    missing=$(missing_packages "$@")
    if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        {
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -qq
            # Services that a package brings are not to be started by a test: 101 is "no" to the package's scripts.
            local policy=/usr/sbin/policy-rc.d made=
            [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=yes; }
            # shellcheck disable=SC2086 # one word a package
            apt-get install -y -qq --no-install-recommends $missing
            [ -z "$made" ] || rm -f "$policy"
        } >"${TMPDIR:-/tmp}/apt-$$.log" 2>&1 || tail -n 5 "${TMPDIR:-/tmp}/apt-$$.log" >&2
        rm -f "${TMPDIR:-/tmp}/apt-$$.log"
        missing=$(missing_packages "$@")
    fi
    [ -z "$missing" ] || { echo "missing Debian packages: $(echo $missing)"; return 1; }
}

# Debug builds link several times faster with mold. It is used through its wrapper, so that what was built without it
# need not be built again.
fast_linker() {
    command -v mold >/dev/null || install_packages mold >/dev/null || true
    if command -v mold >/dev/null; then cargo() { mold -run cargo "$@"; }; fi
}
