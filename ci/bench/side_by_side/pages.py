"""A full scrape: the time until it is read to its end, the server's processor time, and its bytes."""

import time
import zlib
from http.client import HTTPException

import fullscrape

from . import loader
from .sides import running

SIDES = ["gzip", "original"]


def measure(sides, options, results, say):
    torrents = 100_000 if options.quick else 1_000_000
    results.set("pages_torrents", torrents)
    results.command("full scrape", "GET /scrape, read by ci/bench/fullscrape.py's client in Python")
    for key in results.present(SIDES, sides):
        # Each with a server of its own: the original does not always survive the first.
        for coding in ("identity", "gzip"):
            with running(sides[key], loader.hashes(torrents)) as server:
                loader.fill(server, torrents, 1)
                try:
                    for _ in range(options.rounds):
                        fetch(server, key, coding, results, say)
                except (SystemExit, OSError, HTTPException, zlib.error) as error:
                    # It cuts long pages short, and garbles the head of short compressed ones.
                    results.note(f"a full scrape of {torrents:,} torrents, {coding}, of {sides[key].name}: {error}")
                    say(f"   {sides[key].name:<28}{coding:<10}{error}")


def fetch(server, key, coding, results, say):
    meter, begun = server.meter(), time.monotonic()
    sent, page = fullscrape.fetch(server, coding)
    seconds, cpu = time.monotonic() - begun, meter.stop()
    results.add(f"pages_{coding}", key, seconds)
    results.add(f"pages_{coding}_cpu", key, cpu.total)
    results.add(f"pages_{coding}_bytes", key, sent / 1e6)
    say(f"   {server.side.name:<28}{coding:<10}{seconds:8.2f} s {cpu.total:8.2f} CPU s "
        f"{sent / 1e6:8.1f} MB of {page / 1e6:.1f}")
