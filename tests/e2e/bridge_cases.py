"""The case of a cluster over both ways: two networks with multicast, bridges between them, and a tracker alone."""

import time
from dataclasses import dataclass

from load import Load
from member import Member, over_multicast, over_nats
from nats_cases import agree
from nats_server import Server

# Live sync waits for 15 s with what clients say, a bridge for half a second, NATS for 1 s; the rest is for threads and
# networks.
AGREE_SECONDS = 35
# What a tracker that is killed may not have told yet, and what it has told others who have not told it on: of one that
# tells by multicast alone, and of one that tells over NATS.
UNTOLD_SECONDS, UNTOLD_OVER_NATS_SECONDS = 20, 5
# A new bridge listens for 10 s before it forwards instead of another, and for 5 s if there is none.
LISTEN_SECONDS = 13


@dataclass(frozen=True)
class Bridges:
    """Five trackers count the same under load while every bridge in turn is killed and started again.

    Whoever has started, completed or left while its tracker was cut off says so again to one that was not, as clients
    do that have both in their list: then nothing is missing, and no download is counted twice. But a tracker that joins
    takes the larger of two numbers of downloads, that of the snapshot and its own: one that it hears of between its
    start and the snapshot, and that is not in the snapshot yet, may be missing in its number. Those are what was
    completed in these few seconds, or shortly before: as long before as a tracker waits until it tells.
    """

    name: str
    build: str = "ipv4"
    rate: int = 120

    def play(self, stage, binaries, options):
        binary = binaries[self.build]
        hosts = {name: stage.network.host(name, ("ipv4",)) for name in ("a1", "a2", "b1", "b2", "c")}
        server = Server(stage, stage.network.host("nats", ("ipv4",)))
        client_host = stage.network.host("client", ("ipv4",))
        nats = over_nats(server)
        members = {}
        for number, names in enumerate((("a1", "a2"), ("b1", "b2")), 1):
            addresses = stage.network.segment(number, [hosts[name] for name in names])
            for name, address in zip(names, addresses, strict=True):
                way = over_multicast(address, addresses) + ("" if name == "b2" else nats)
                members[name] = Member(stage, hosts[name], binary, way)
        members["c"] = Member(stage, hosts["c"], binary, nats)
        everybody = list(members.values())
        a1, a2, b1, b2, c = everybody
        server.until_subscribed(4)
        stage.pause(LISTEN_SECONDS)

        begin = time.monotonic()
        load = Load(stage, client_host, everybody, rate=self.rate, peers=600, torrents=40)
        stage.pause(10)
        load.pause()
        agree(stage, "all agree", everybody, load, AGREE_SECONDS)
        load.go_on()
        # Who has told what that does not get to whom.
        fewer = {
            a1: self._kill(stage, server, load, options, a1, [([a1], [c])], [a2, b1, c], [b2]),
            a2: self._kill(stage, server, load, options, a2, [([a2], [c])], [a1, b1, c], [b2]),
            b1: self._kill(
                stage, server, load, options, b1, [([b1, b2], [c]), ([a1, a2, b1, c], [b2])], [a1, a2, c], [b2]
            ),
        }
        # The snapshot of a2 is of a1, over TCP, and so lacks what that one has missed.
        fewer[a2] = [own + of_donor for own, of_donor in zip(fewer[a2], fewer[a1], strict=True)]
        if options.full:
            stage.until("ten minutes are over", lambda: load.check() or time.monotonic() > begin + 600, [], 600)
        load.pause()
        lasted = f"{time.monotonic() - begin:.0f} s"
        agree(stage, f"all agree after {lasted} of load", everybody, load, AGREE_SECONDS, fewer=fewer)
        stage.notes.append(f"{sum(downloads for *_, downloads in load.expected()):,} downloads, each counted once")
        load.go_on()
        load.leave_all()
        agree(stage, "everybody leaves", everybody, load, AGREE_SECONDS, fewer=fewer)
        load.end()
        stage.notes.append(load.in_words())
        stage.stop([member.process for member in everybody])

    def _kill(self, stage, server, load, options, member, again, over_nats, by_multicast):
        """Kills a bridge, starts it again, and has clients say again what was lost with it.

        Of the others, some tell over NATS and some by multicast alone. Returns how many downloads of each torrent it
        may have heard of before its snapshot, and not in that.
        """
        since = time.monotonic() - UNTOLD_SECONDS
        load.cut(True)
        load.leave(member)
        member.kill()
        stage.pause(40 if options.full else 8)
        begin = time.monotonic()
        member.start()
        member.until_it_says("it takes a snapshot", "INFO taken a snapshot")
        taken = time.monotonic()
        fewer = [
            sum(counts)
            for counts in zip(
                load.completed(begin - UNTOLD_OVER_NATS_SECONDS, taken, over_nats),
                load.completed(begin - UNTOLD_SECONDS, taken, by_multicast),
                strict=True,
            )
        ]
        server.until_subscribed(4)
        stage.pause(LISTEN_SECONDS)
        load.come_back(member)
        for told, to in again:
            load.tell_again(since, told, to)
        load.cut(False)
        stage.notes.append(f"{member.name} was killed and started again; {load.repeated:,} told again until now")
        return fewer


CASES = [Bridges("five-trackers-and-two-networks@ipv4")]
