"""What size costs: announces for each second of processor time as a tracker fills, and as one swarm does.

All sizes of a side run at the same time, filled, and are measured in turn: what differs is the size alone.
"""

import contextlib

from . import loader
from .sides import running

SIDES = ["ours", "original", "aquatic"]
PEERS = 10
SIZES = [10**3, 10**4, 10**5, 10**6, 10**7]
# Sockets and requests in flight on each: an address has ports for 65,535 peers, and a swarm of a million needs 16.
WIDE = {"sockets": 16, "in_flight": 16}
SWARMS = {"swarm_small": (10_000, 100), "swarm_large": (1, 1_000_000)}
QUICK_SWARMS = {"swarm_small": (100, 100), "swarm_large": (1, 10_000)}


def measure(sides, options, results, say):
    sizes = SIZES[:3] if options.quick else SIZES
    totals = {f"growth_{size}": (size // PEERS, PEERS) for size in sizes}
    command = f"udp_load mix --to {{address}} --seconds {options.seconds:g} --connects 0 --scrapes 0 --skew 1 --spins"
    results.command("growth", f"{command} --torrents {{peers / 10}} --peers 10")
    results.command("swarms", f"{command} --torrents {{10000|1}} --peers {{100|1000000}} --sockets 16 --in-flight 16")
    swarms = QUICK_SWARMS if options.quick else SWARMS
    for name, (_, peers) in swarms.items():
        results.set(name, peers)
    for key in results.present(SIDES, sides):
        compare(sides[key], key, totals, {}, options, results, say)
        compare(sides[key], key, swarms, WIDE, options, results, say)


def compare(side, key, shapes, wide, options, results, say):
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, (torrents, peers) in shapes.items():
            servers[name] = stack.enter_context(running(side, loader.hashes(torrents)))
            loader.fill(servers[name], torrents, peers, **wide)
        for number in range(options.rounds):
            for name, (torrents, peers) in shapes.items():
                meter = servers[name].meter()
                load = loader.mix(
                    servers[name], options.seconds, torrents=torrents, peers=peers, connects=0, scrapes=0, skew=1,
                    seed=2 + number, spins=True, **wide,
                )
                cpu = meter.stop()
                results.add(name, key, load["announces"] / cpu.total)
                results.add(f"{name}_user", key, cpu.user / load["announces"] * 1e6)
                say(f"   {side.name:<28}{torrents:>9} x {peers:<8}{load['announces'] / cpu.total:>9.0f}/CPU s "
                    f"{cpu.user / load['announces'] * 1e6:6.2f} us user, {load['peers_per_announce']:.1f} peers")
