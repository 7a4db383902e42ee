"""What a torrent and a peer take: resident memory of the whole process, full, less the same process idle. And what it
keeps of that when all have left."""

import time
import urllib.request

from . import loader, processes
from .sides import running

SIDES = ["ours", "dual", "original", "aquatic", "uring"]
# Torrents, and peers of each.
SHAPES = {"memory_1": (1_000_000, 1), "memory_10": (100_000, 10), "memory_2000": (500, 2_000)}
# What comes and leaves again, and seconds that a tracker has to return its memory: more than a sweep a minute takes.
GONE = (2_000_000, 1)
PATIENCE = 130


def measure(sides, options, results, say):
    present = results.present(SIDES, sides)
    results.command("memory", "udp_load fill --to {address} --torrents {torrents} --peers {peers}")
    results.command("memory kept", "udp_load fill, then udp_load leave, with the same options")
    for key in present:
        with running(sides[key]) as server:
            time.sleep(0.5)
            results.add("memory_idle", key, server.resident() / 1e6)
        if key == "uring":
            # The same store as with the other engine.
            continue
        for shape, (torrents, peers) in SHAPES.items():
            torrents //= 10 if options.quick else 1
            with running(sides[key], loader.hashes(torrents)) as server:
                idle = server.resident()
                loader.fill(server, torrents, peers)
                time.sleep(1)
                full = server.resident()
                verify(server, torrents, peers)
            each = (full - idle) / (torrents * peers)
            results.add(shape, key, each)
            say(f"   {sides[key].name:<28}{torrents:>9} x {peers:<5} {each:8.1f} bytes each")
        gone(sides[key], key, options, results, say)


def gone(side, key, options, results, say):
    """What the process keeps when everybody has left, as of the time when it keeps least."""
    torrents, peers = GONE
    torrents //= 10 if options.quick else 1
    with running(side, loader.hashes(torrents)) as server:
        idle = server.resident()
        loader.fill(server, torrents, peers)
        full = server.resident()
        loader.leave(server, torrents, peers)
        kept = server.resident()
        deadline = time.monotonic() + (2 if options.quick else PATIENCE)
        while time.monotonic() < deadline:
            time.sleep(1)
            kept = min(kept, server.resident())
    results.add("memory_come", key, (full - idle) / 1e6)
    results.add("memory_kept", key, (kept - idle) / 1e6)
    say(f"   {side.name:<28}{torrents:>9} came and left: {(kept - idle) / 1e6:.1f} of {(full - idle) / 1e6:.1f} MB kept")


def verify(server, torrents, peers):
    """That all are there, where the tracker says."""
    if "http" in server.side.protocols:
        with urllib.request.urlopen(f"http://{server.to}/stats?mode=torr", timeout=10) as page:
            held = int(page.read().split()[0])
        with urllib.request.urlopen(f"http://{server.to}/stats?mode=peer", timeout=10) as page:
            announced = int(page.read().split()[0])
        # One more: the white list's last, which was asked for.
        if held not in (torrents, torrents + 1) or announced != torrents * peers:
            raise processes.Failed(f"{server.side.name} holds {held} torrents and {announced} peers")
