"""UDP with aquatic's own load tester."""

import re

from . import builds, loader, processes
from .sides import running

SIDES = ["ours", "original", "aquatic", "uring", "floor"]
# It sums up every five seconds.
STEP = 5
CONFIG = """\
server_address = "{address}"
duration = {seconds}
extra_statistics = false
[requests]
number_of_torrents = {torrents}
number_of_peers = {peers}
"""


def measure(sides, options, results, say):
    if not results.present(["aquatic_load"], sides):
        return
    tester = sides["aquatic_load"]
    # Its defaults, but for a quick run.
    torrents, peers = (10_000, 20_000) if options.quick else (1_000_000, 2_000_000)
    seconds = STEP if options.quick else 2 * STEP
    hashes = loader.hashes(torrents, aquatic=True)
    results.command("UDP with aquatic's loader", f"aquatic_udp_load_test -c {{config}} for {seconds} s, its defaults"
                    " (4 sockets, 1,000,000 torrents, 2,000,000 peers)")
    config = builds.OUT / "aquatic_udp_load_test.toml"
    for _ in range(options.rounds):
        for key in results.present(SIDES, sides):
            with running(sides[key], hashes) as server:
                config.write_text(CONFIG.format(address=server.to, seconds=seconds, torrents=torrents, peers=peers))
                meter = server.meter()
                out = processes.client([*tester.command, "-c", config], seconds + 120)
                cpu = meter.stop()
            summary = out.rpartition("# aquatic load test report")[2]
            number = lambda what: float(re.search(rf"{what}:\s+([\d.]+)", summary)[1])
            # Refused announces are not among them: half a reply is no reply.
            if number("Announce responses") < 0.3 * number("Connect responses"):
                raise processes.Failed(f"{sides[key].name} does not answer announces: {summary}")
            per_second = number("Average responses per second") - number("Error responses")
            results.add("aquatic_load", key, per_second)
            results.add("aquatic_load_cpu", key, per_second * seconds / cpu.total)
            say(f"   {sides[key].name:<28}{per_second:>9.0f}/s {per_second * seconds / cpu.total:>9.0f}/CPU s, "
                f"{number('Error responses'):.0f} errors/s")
