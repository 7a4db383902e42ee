"""UDP with a loader that sends and receives in batches: responses for each second of the server's processor time."""

from . import loader
from .sides import running

SIDES = ["ours", "original", "aquatic", "uring", "floor", "single"]
TORRENTS = 10_000
# So that swarms are as large on every side, however fast it is: some 20 announces for the least popular torrent.
WARM_UP = 1_000_000


def measure(sides, options, results, say):
    hashes = loader.hashes(TORRENTS)
    command = f"udp_load mix --to {{address}} --seconds {options.seconds:g} --torrents {TORRENTS}"
    results.command("UDP", command + " --spins" * options.spins)
    for number in range(options.rounds):
        for key in results.present(SIDES, sides):
            with running(sides[key], hashes) as server:
                if key not in ("floor", "single"):
                    loader.load("mix", server, 120, count=WARM_UP // (10 if options.quick else 1), torrents=TORRENTS)
                meter = server.meter()
                load = loader.mix(server, options.seconds, torrents=TORRENTS, seed=2 + number, spins=options.spins)
                cpu = meter.stop()
            answered = load["responses"]
            results.add("udp", key, answered / cpu.total)
            results.add("udp_user", key, cpu.user / answered * 1e6)
            results.add("udp_system", key, cpu.system / cpu.total * 100)
            results.add("udp_second", key, load["per_second"])
            results.add("udp_peers", key, load["peers_per_announce"])
            results.add("udp_lost", key, (load["lost"] + load["errors"]) / max(answered, 1) * 100)
            say(f"   {sides[key].name:<28}{answered / cpu.total:>9.0f}/CPU s {load['per_second']:>9.0f}/s "
                f"{cpu.user / answered * 1e6:6.2f} us user {load['peers_per_announce']:6.1f} peers, "
                f"{load['responses_per_batch']:.0f} a batch, {load['resent']} resent, {load['errors']} errors")
