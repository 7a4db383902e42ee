"""HTTP announces for each second of the server's processor time: a connection each, and kept alive.

Asked by our own loader; `wrk` asks too, to see that what differs is not the loader.
"""

import json
import pathlib

from . import builds, loader, processes
from .sides import running

SIDES = ["ours", "original", "aquatic_http"]
TORRENTS = 1_000
CONNECTIONS = 32
MODES = {"close": "http", "keep-alive": "http_kept"}
SCRIPT = pathlib.Path(__file__).with_name("announce.lua")


def measure(sides, options, results, say):
    with_wrk = results.present(["wrk"], sides)
    hashes = loader.hashes(TORRENTS)
    results.command(
        "HTTP", f"http_load close|keep-alive --to {{address}} --seconds {options.seconds:g} --torrents {TORRENTS}",
    )
    if with_wrk:
        results.command("HTTP with wrk", f"wrk -t1 -c{CONNECTIONS} -d{whole(options.seconds)}s"
                        " -s ci/bench/side_by_side/announce.lua http://{address} -- {hashes} close|keep-alive {seed}")
    for number in range(options.rounds):
        for mode, row in MODES.items():
            for key in results.present(SIDES, sides):
                with running(sides[key], hashes, keep_alive=mode == "keep-alive") as server:
                    ask(server, mode, max(1, options.seconds / 2), seed=1)
                    loaders = {row: lambda: ask(server, mode, options.seconds, seed=2 + number)}
                    if with_wrk:
                        loaders[f"{row}_wrk"] = lambda: wrk(sides["wrk"], server, hashes, mode, options.seconds, number)
                    for name, load in loaders.items():
                        meter = server.meter()
                        load = load()
                        cpu = meter.stop()
                        check(server, mode, load)
                        results.add(name, key, load["responses"] / cpu.total)
                        results.add(f"{name}_user", key, cpu.user / load["responses"] * 1e6)
                        results.add(f"{name}_second", key, load["per_second"])
                        say(f"   {sides[key].name:<28}{name:<15}{load['responses'] / cpu.total:>9.0f}/CPU s "
                            f"{load['per_second']:>9.0f}/s, {load['errors']} errors")


def ask(server, mode, seconds, seed):
    command = [builds.BIN / "http_load", mode, "--to", server.to, "--seconds", seconds, "--torrents", TORRENTS]
    return json.loads(processes.client([*command, "--seed", seed], seconds + 60))


def wrk(side, server, hashes, mode, seconds, seed):
    command = [*side.command, "-t1", f"-c{CONNECTIONS}", f"-d{whole(seconds)}s", "-s", SCRIPT, f"http://{server.to}"]
    out = processes.client([*command, "--", hashes, mode, seed], seconds + 60)
    return json.loads(out.strip().splitlines()[-1])


def whole(seconds):
    """wrk knows whole seconds only."""
    return max(1, round(seconds))


def check(server, mode, load):
    if load["responses"] == 0 or load["errors"] > load["responses"] / 100:
        raise processes.Failed(f"{server.side.name}, {mode}: {load}")
