"""What a torrent and a peer take: resident memory of the whole process, full, less the same process idle."""

import time
import urllib.request

from . import loader, processes
from .sides import running

SIDES = ["ours", "dual", "original", "aquatic", "uring"]
# Torrents, and peers of each.
SHAPES = {"memory_1": (1_000_000, 1), "memory_10": (100_000, 10), "memory_2000": (500, 2_000)}


def measure(sides, options, results, say):
    present = results.present(SIDES, sides)
    results.command("memory", "udp_load fill --to {address} --torrents {torrents} --peers {peers}")
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
