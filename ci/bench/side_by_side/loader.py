"""Our own UDP loader, ci/bench/load."""

import json

from . import builds, processes

LISTS = builds.OUT / "lists"


def hashes(torrents, aquatic=False):
    """A file with the info hashes that will be asked for: those of our loader, or of aquatic's."""
    path = LISTS / f"{'aquatic' if aquatic else 'ours'}-{torrents}.txt"
    if not path.exists():
        LISTS.mkdir(parents=True, exist_ok=True)
        command = [builds.BIN / "udp_load", "hashes", "--torrents", torrents, *(["--aquatic"] if aquatic else [])]
        path.write_text(processes.client(command, 60))
        path.chmod(0o644)
    return path


def mix(server, seconds, **options):
    return load("mix", server, seconds + 60, seconds=seconds, **options)


def fill(server, torrents, peers, **options):
    """Every peer announces once."""
    return everybody("fill", server, torrents, peers, **options)


def leave(server, torrents, peers, **options):
    """Every peer of such a fill stops."""
    return everybody("leave", server, torrents, peers, **options)


def everybody(task, server, torrents, peers, **options):
    result = load(task, server, 60 + torrents * peers / 10_000, torrents=torrents, peers=peers, wanted=1, **options)
    if result["announces"] < torrents * peers or result["errors"]:
        raise processes.Failed(f"{server.side.name} does not take all of a {task}: {result}")
    return result


def load(task, server, patience, **options):
    command = [builds.BIN / "udp_load", task, "--to", server.to]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", *([] if value is True else [value])] if value is not False else []
    return json.loads(processes.client(command, patience))
