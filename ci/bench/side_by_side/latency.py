"""Latency at half load: requests that are due at fixed times, at half the rate that the slowest tracker can answer."""

from . import loader
from .sides import running

SIDES = ["ours", "original", "aquatic", "uring", "floor"]
TORRENTS = 10_000


def measure(sides, options, results, say):
    hashes = loader.hashes(TORRENTS)
    present = results.present(SIDES, sides)
    rates = []
    for key in present:
        with running(sides[key], hashes) as server:
            rates.append(loader.mix(server, min(options.seconds, 2), torrents=TORRENTS)["per_second"])
    rate = int(min(rates) / 2 // 1000 * 1000) or 1000
    results.set("latency_rate", rate)
    command = f"udp_load mix --to {{address}} --seconds {options.seconds:g} --torrents {TORRENTS} --rate {rate}"
    results.command("latency", command)
    say(f"   at {rate} requests a second")
    for number in range(options.rounds):
        for key in present:
            with running(sides[key], hashes) as server:
                loader.load("mix", server, 120, count=200_000, torrents=TORRENTS)
                load = loader.mix(server, options.seconds, torrents=TORRENTS, rate=rate, seed=2 + number)
            for name in ("p50", "p99", "p999"):
                results.add(f"latency_{name}", key, load[f"{name}_us"])
            results.add("latency_lost", key, load["lost"])
            say(f"   {sides[key].name:<28}{load['p50_us']:9.0f} {load['p99_us']:9.0f} {load['p999_us']:9.0f} us, "
                f"{load['lost']} lost")
