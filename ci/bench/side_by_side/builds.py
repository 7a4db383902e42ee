"""What is measured: our builds, and the peers that can be installed. Nothing here fails because a peer is missing."""

import pathlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[3]
OUT = ROOT / "target/bench"
BIN = OUT / "bin"
PEERS = OUT / "peers"

OURS = {"default": [], "dual-stack": ["--features", "dual-stack"], "gzip": ["--features", "gzip"]}
LOADERS = ["udp_load", "udp_floor", "http_load"]
DEBIAN = ["opentracker", "wrk"]
AQUATIC = "0.9.0"
# Without its feature prometheus, which is on by default, but whose locked dependency current compilers refuse.
PLAIN = ["--no-default-features", "--features"]
CRATES = {
    "aquatic_udp": ("aquatic_udp", PLAIN + ["mimalloc"], "bin"),
    "aquatic_udp, io_uring": ("aquatic_udp", PLAIN + ["mimalloc,io-uring"], "io-uring/bin"),
    "aquatic_http": ("aquatic_http", PLAIN + ["mimalloc"], "bin"),
    "aquatic_udp_load_test": ("aquatic_udp_load_test", [], "bin"),
}


@dataclass
class Built:
    """Where the programs are; what is not there is missing."""

    paths: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    missing: dict = field(default_factory=dict)
    commands: list = field(default_factory=list)


def build(options):
    built = Built()
    for make in (ours, debian, crates):
        make(options, built)
    return built


def ours(options, built):
    BIN.mkdir(parents=True, exist_ok=True)
    target = OUT / "build"
    for flavour, features in OURS.items():
        command = ["cargo", "build", "--quiet", "--release", *features]
        built.commands.append(" ".join(command))
        built.paths[f"opentracker-{flavour}"] = BIN / f"opentracker-{flavour}"
        if not options.no_build:
            run([*command, "--target-dir", target])
            shutil.copy2(target / "release/opentracker", BIN / f"opentracker-{flavour}")
    command = ["cargo", "build", "--quiet", "--release", "-p", "opentracker-bench", "--bins"]
    if not options.no_build:
        run([*command, "--target-dir", target])
    for name in LOADERS:
        built.paths[name] = BIN / name
        if not options.no_build:
            shutil.copy2(target / "release" / name, BIN / name)
    for path in built.paths.values():
        if not path.exists():
            sys.exit(f"{path.relative_to(ROOT)} is not there: run without --no-build")
    # Of the sources that the binaries were made from, which may be older than those that are there now.
    version = BIN / "version"
    if not options.no_build:
        commit = output(["git", "-C", ROOT, "describe", "--always", "--dirty"])
        version.write_text(f"commit {commit}" if commit else "of no git checkout")
    built.versions["opentracker"] = version.read_text() if version.exists() else "of unknown sources"
    built.versions["rustc"] = output(["rustc", "--version"]).removeprefix("rustc ").split(" ")[0]


def debian(options, built):
    """With what the other scripts under ci/ use, which keeps services from being started."""
    script = f". ci/common.sh; install_packages {' '.join(DEBIAN)}"
    there = all(packaged(name) for name in DEBIAN)
    reason = "" if there or options.no_build else output(["bash", "-c", script])
    built.commands.append(f"apt-get install {' '.join(DEBIAN)}")
    for name in DEBIAN:
        path = packaged(name)
        if path:
            built.paths[f"debian {name}"] = path
            built.versions[f"Debian's {name}"] = output(["dpkg-query", "-W", "-f", "${Version}", name])
        else:
            built.missing[f"debian {name}"] = reason or "is not installed"


def packaged(name):
    path = pathlib.Path("/usr/bin", name)
    return path if path.exists() else None


def crates(options, built):
    for name, (crate, features, place) in CRATES.items():
        path = PEERS / place / crate
        root = path.parent.parent
        command = ["cargo", "install", "--locked", *features, f"{crate}@{AQUATIC}", "--root"]
        built.commands.append(" ".join([*command, str(root.relative_to(ROOT))]))
        if not path.exists() and not options.no_build:
            print(f"== installing {name}", file=sys.stderr, flush=True)
            installed = subprocess.run(
                [*command, root, "--target-dir", OUT / "build-peers"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            if installed.returncode != 0:
                errors = re.findall(r"^error.*", installed.stderr, re.MULTILINE)
                built.missing[name] = f"cannot be built: {errors[0] if errors else 'cargo install failed'}"
        if path.exists():
            built.paths[name] = path
            built.versions[crate] = AQUATIC
        else:
            built.missing.setdefault(name, "is not installed")


def run(command):
    if subprocess.run(list(map(str, command)), cwd=ROOT).returncode != 0:
        sys.exit(f"cannot build us: {' '.join(map(str, command))}")


def output(command):
    """What a command prints; nothing if there is no such command."""
    try:
        return subprocess.run(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ).stdout.strip()
    except OSError:
        return ""
