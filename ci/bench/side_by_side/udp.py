"""UDP with a loader that sends and receives in batches: responses for each second of the server's processor time.

All sides run at the same time and are loaded in turn, a moment each: others on the machine, who share its memory, then
slow all of them down alike. The loader never sleeps: waking it up would be counted as the server's time, up to 50 us in a
virtual machine, and how often it had to be done would be chance.
"""

import contextlib
import random

from . import loader
from .processes import Cpu
from .sides import running

SIDES = ["ours", "original", "aquatic", "uring", "floor", "single"]
ECHOES = ["floor", "single"]
TORRENTS = 10_000
# So that swarms are as large on every side, however fast it is: some 20 announces for the least popular torrent.
WARM_UP = 1_000_000
# Seconds of load at a time.
MOMENT = 0.5


def measure(sides, options, results, say):
    moments = max(1, round(options.seconds / MOMENT))
    seconds = options.seconds / moments
    command = f"udp_load mix --to {{address}} --seconds {seconds:g} --torrents {TORRENTS} --spins"
    results.command("UDP", f"{command}, {moments} times in a round")
    # The same order in each run.
    shuffle = random.Random(1).shuffle
    for number in range(options.rounds):
        present = results.present(SIDES, sides)
        with contextlib.ExitStack() as stack:
            servers = {key: stack.enter_context(running(sides[key], loader.hashes(TORRENTS))) for key in present}
            for key in present:
                if key not in ECHOES:
                    count = WARM_UP // (10 if options.quick else 1)
                    loader.load("mix", servers[key], 120, count=count, torrents=TORRENTS)
            sums = {key: Sum() for key in present}
            for moment in range(moments):
                turns = list(present)
                shuffle(turns)
                for key in turns:
                    seed = 2 + number * moments + moment
                    sums[key].add(servers[key], loader.mix, seconds, torrents=TORRENTS, seed=seed, spins=True)
        for key in present:
            add(results, say, key, sides[key].name, sums[key])


class Sum:
    """What a server has done in several moments, and the processor time that it took."""

    def __init__(self):
        self.cpu, self.load = Cpu(0, 0), {}

    def add(self, server, load, seconds, **options):
        meter = server.meter()
        done = load(server, seconds, **options)
        cpu = meter.stop()
        self.cpu = Cpu(self.cpu.user + cpu.user, self.cpu.system + cpu.system)
        # What is said for each announce or batch counts as often as there were some.
        for name, times in (("peers_per_announce", "announces"), ("responses_per_batch", "responses")):
            done[name] *= done[times]
        for name, value in done.items():
            self.load[name] = self.load.get(name, 0) + value

    def mean(self, name, times):
        return self.load[name] / max(self.load[times], 1)


def add(results, say, key, name, sum):
    cpu, load, answered = sum.cpu, sum.load, sum.load["responses"]
    peers = sum.mean("peers_per_announce", "announces")
    results.add("udp", key, answered / cpu.total)
    results.add("udp_user", key, cpu.user / answered * 1e6)
    results.add("udp_system", key, cpu.system / cpu.total * 100)
    results.add("udp_second", key, answered / load["seconds"])
    results.add("udp_peers", key, peers)
    results.add("udp_lost", key, (load["lost"] + load["errors"]) / max(answered, 1) * 100)
    say(f"   {name:<28}{answered / cpu.total:>9.0f}/CPU s {answered / load['seconds']:>9.0f}/s "
        f"{cpu.user / answered * 1e6:6.2f} us user {peers:6.1f} peers, "
        f"{sum.mean('responses_per_batch', 'responses'):.0f} a batch, {load['resent']:.0f} resent, "
        f"{load['errors']:.0f} errors")
