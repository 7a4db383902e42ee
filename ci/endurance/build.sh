# Sourced by ci/hostile and ci/soak, from the project's root.

# build_endurance ARGUMENT...: builds the programs and the tracker in release; `binary` is the tracker then, or the one
# that --binary names, and `rest` are the other arguments.
build_endurance() {
    binary='' rest=()
    while [ $# -gt 0 ]; do
        case $1 in
            --binary) binary=${2-}; shift ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
    fast_linker
    cargo build --quiet --release -p opentracker-endurance
    if [ -z "$binary" ]; then
        # The named flavour with a list that can be read again, and full scrapes.
        cargo build --quiet --release --no-default-features --features "$(awk '$1 == "black" { print $2 }' ci/flavours)"
        mkdir -p target/flavours
        cp target/release/opentracker target/flavours/opentracker-endurance
        binary=target/flavours/opentracker-endurance
    fi
    binary=$(realpath "$binary")
}
