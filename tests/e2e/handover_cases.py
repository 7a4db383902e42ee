"""The cases of the handover: under load, between builds, and with processes that die or cannot start."""

import signal
from dataclasses import dataclass
from functools import partial

from asker import torrent
from cluster import Client
from stage import StepFailed
from succession import Asker, Between, Crowd, Moment, Tracker, Waiting

UDP_RATE = 1000
UDP_TORRENTS, HTTP_TORRENTS = 3000, 200
SERVED = {"v6": ("ipv6",), "dual-stack": ("ipv4", "ipv6"), "white-dual": ("ipv4", "ipv6")}
LOST = torrent("lost", 0)
LOST_PEERS = 4
# How long clients ask between two handovers.
REST_SECONDS = 0.3


@dataclass(frozen=True)
class Options:
    full: bool


class Load:
    """Two clients that ask without pause, over UDP and HTTP, and check every reply."""

    def __init__(self, stage, host, address, rate=UDP_RATE):
        self.askers = [
            Asker(stage, host, "udp", address, "--rate", rate, "--torrents", UDP_TORRENTS),
            Asker(stage, host, "http", address, "--torrents", HTTP_TORRENTS),
        ]
        self.answered = 0

    def mark(self):
        """What both have seen since the last time: all of it was as it had to be."""
        return self._ask("mark")

    def end(self):
        """Every torrent is scraped, too."""
        self._ask("end")
        return f"{self.answered:,} replies, all of them right"

    def _ask(self, word):
        seen = {asker.protocol: asker.ask(word) for asker in self.askers}
        self.answered += sum(seen["answered"] for seen in seen.values())
        return seen


def hashes():
    """A list with all that is asked for in a case."""
    names = [torrent("udp", number) for number in range(UDP_TORRENTS)]
    names += [torrent("http", number) for number in range(HTTP_TORRENTS)]
    return names


def hand_over(stage, load, old, start):
    """Has the tracker that `start` starts take over from `old` under load; returns it."""
    load.mark()
    with Waiting(old) as waiting:
        new = start()
        new.answers()
        old.ends(0)
        seen = load.mark()
    if waiting.dropped:
        raise StepFailed(f"{waiting.dropped} datagrams were dropped")
    size, took, paused = old.says(r"handed over (\d+) bytes in (\d+) ms; nobody was answered for (\d+) ms").groups()
    closed = seen["http"].get("closed_while_kept", 0)
    stage.notes.append(
        f"{new.process.name}: {int(size):,} bytes in {took} ms, nobody answered for {paused} ms; longest wait "
        f"{seen['udp']['longest_ms']} ms over UDP, {seen['http']['longest_ms']} ms over HTTP; at most "
        f"{seen['udp']['most_under_way']} datagrams unanswered, {waiting.most / 1024:.0f} KiB in the sockets"
        + (f"; {closed} kept connections closed" if closed else "")
    )
    stage.pause(REST_SECONDS)
    return new


@dataclass(frozen=True)
class Chain:
    """One build after the other takes over, under load in a family that all of them serve.

    What one of them does not serve, a family or a torrent, is gone after it, and its log says so.
    """

    name: str
    builds: tuple
    family: str = "ipv4"

    def play(self, stage, binaries, _):
        tracker, client = (stage.network.host(name, ("ipv4", "ipv6")) for name in ("tracker", "client"))
        white = "white" in self.builds
        other = "ipv4" if self.family == "ipv6" else "ipv6"

        def start(number):
            build = self.builds[number]
            lists = {}
            if white:
                names = hashes() + ([LOST] if number != 1 else [])
                lists = {
                    "files": {"list": "".join(name.hex() + "\n" for name in names)},
                    "configuration": f'access.whitelist = "{stage.folder}/{number}-{build}/list"\n',
                }
            families = SERVED.get(build, ("ipv4",))
            return Tracker(stage, tracker, binaries[build], f"{number}-{build}", families=families, **lists)

        now = start(0).answers()
        load = Load(stage, client, tracker.addresses[self.family])
        # Peers that do not get through.
        stranger = partial(Client, client, now, self.family if white else other)
        lost = 0
        for number in range(1, len(self.builds)):
            if not lost and (white or len(SERVED.get(self.builds[number - 1], ("ipv4",))) == 2):
                asking = stranger()
                for port in range(1, LOST_PEERS + 1):
                    asking.announce(LOST, port)
                expect("peers of the lost torrent", asking.scrape([LOST])[0], (0, 0, LOST_PEERS))
                lost = number
            now = hand_over(stage, load, now, partial(start, number))
            if lost == number:
                served_less = len(SERVED.get(self.builds[number], ("ipv4",))) == 1
                if white:
                    now.says(f"left out: {LOST_PEERS} of torrents that are not served here")
                elif served_less:
                    now.says(f"left out: {LOST_PEERS} of an address family that is not served here")
            elif "left out" in now.process.log():
                raise StepFailed(f"{now.process.name}: {now.says('left out.*')[0]}")
            elif lost and (white or other in SERVED.get(self.builds[number], ("ipv4",))):
                expect("what was left out", stranger().scrape([LOST])[0], (0, 0, 0))
        stage.notes.append(load.end())
        stage.stop([now.process])


def expect(what, seen, expected):
    if seen != expected:
        raise StepFailed(f"{what}: {seen}, expected {expected}")


@dataclass(frozen=True)
class KilledNew:
    """The new process is killed at every moment before it has said that it has everything: the old one goes on."""

    name: str
    builds: tuple = ("default",)

    MOMENTS = (
        Moment("Hello"), Moment("Identity"), Moment("Sockets"), Moment("OwnSocket"), Moment("AllSockets"),
        Moment("Ready"), Moment("Swarms"), Moment("Swarms", 2), Moment("AllOnce"), Moment("Pause"),
        Moment("Swarms", 1, "Pause"), Moment("Taken"),
    )

    def play(self, stage, binaries, options):
        tracker, client = (stage.network.host(name, ("ipv4",)) for name in ("tracker", "client"))
        start = partial(Tracker, stage, tracker, binaries["default"], families=("ipv4",))
        old = start("old").answers()
        crowd = Crowd(client, old, torrents(options))
        crowd.announce()
        load = Load(stage, client, tracker.addresses["ipv4"])
        for number, moment in enumerate(self.MOMENTS):
            load.mark()
            between = Between(stage, f"between-{number}", moment)
            new = start(f"new-{number}", path=f"between-{number}")
            between.begin(victim=new.process)
            between.end()
            new.ends(-9)
            # The old one finds out, and answers whatever has come meanwhile.
            stage.until(
                "the old process goes on", lambda: old.process.log().count("going on") == number + 1, [old.process]
            )
            seen = load.mark()
            stage.notes.append(f"{moment}: longest wait {seen['udp']['longest_ms']} ms over UDP")
        expect("peers", crowd.counts(), [Crowd.WHOLE] * len(crowd.hashes))
        new = hand_over(stage, load, old, partial(start, "last"))
        expect("peers", crowd.counts(), [Crowd.WHOLE] * len(crowd.hashes))
        stage.notes.append(load.end())
        stage.stop([new.process])


@dataclass(frozen=True)
class KilledOld:
    """The old process is killed at every moment: the new one answers, with what had come."""

    name: str
    builds: tuple = ("default",)

    # How much has come by then.
    MOMENTS = (
        (Moment("Hello"), "nothing"),
        (Moment("Identity"), "nothing"),
        (Moment("Sockets"), "nothing"),
        (Moment("OwnSocket"), "nothing"),
        (Moment("AllSockets"), "nothing"),
        (Moment("Ready"), "nothing"),
        (Moment("Swarms"), "nothing"),
        (Moment("Swarms", 2), "some"),
        (Moment("Swarms", 3), "some"),
        (Moment("AllOnce"), "everything"),
        (Moment("Pause"), "everything"),
        (Moment("Swarms", 1, "Pause"), "everything"),
        (Moment("Taken"), "everything"),
        (Moment("Yours"), "everything"),
    )

    def play(self, stage, binaries, options):
        tracker, client = (stage.network.host(name, ("ipv4",)) for name in ("tracker", "client"))
        start = partial(Tracker, stage, tracker, binaries["default"], families=("ipv4",))
        for number, (moment, expected) in enumerate(self.MOMENTS):
            old = start(f"old-{number}").answers()
            crowd = Crowd(client, old, torrents(options))
            whole = Crowd.PEERS * len(crowd.hashes)
            crowd.announce()
            expect("peers", crowd.counts(), [Crowd.WHOLE] * len(crowd.hashes))
            between = Between(stage, f"between-{number}", moment)
            between.begin(victim=old.process)
            new = start(f"new-{number}", path=f"between-{number}").answers()
            between.end()
            # Once it has said that, it may have ended before it is killed.
            old.ends(-9, *([0] if moment.kind == "Yours" else []))
            peers = crowd.how_many(f"killed at {moment}")
            bounds = {"nothing": (0, 0), "some": (1, whole - 1), "everything": (whole, whole)}
            least, most = bounds[expected]
            if not least <= peers <= most:
                raise StepFailed(f"killed at {moment}: {peers} peers of {whole}, expected {expected}")
            stage.notes.append(f"{moment}: {peers:,} peers of {whole:,}")
            crowd.announce()
            there = [counts[:2] for counts in crowd.counts()]
            expect("peers that have announced again", there, [Crowd.WHOLE[:2]] * len(there))
            stage.stop([new.process])


@dataclass(frozen=True)
class StoppedNew:
    """The new process stops in the middle, for longer than the old one waits, and goes on when that answers again.

    What the old one tells it then may not get through: there is no room for it.
    """

    name: str
    builds: tuple = ("default",)

    # More than fits between the two.
    TORRENTS = 12_000
    # The old process waits for 10 s.
    SECONDS = 40
    SLOW_RATE = 200

    def play(self, stage, binaries, _):
        tracker, client = (stage.network.host(name, ("ipv4",)) for name in ("tracker", "client"))
        start = partial(Tracker, stage, tracker, binaries["default"], families=("ipv4",))
        old = start("old").answers()
        crowd = Crowd(client, old, self.TORRENTS)
        crowd.announce()
        load = Load(stage, client, tracker.addresses["ipv4"], self.SLOW_RATE)
        between = Between(stage, "between", Moment("Pause"))
        new = start("new", path="between")
        between.begin(victim=new.process, kills=False)
        goes_on = "it says nothing; going on"
        stage.until("the old process goes on", lambda: goes_on in old.process.log(), [old.process], self.SECONDS)
        load.mark()
        new.process.send(signal.SIGCONT)
        new.ends(1)
        between.end()
        # The second where there was no room for the first.
        said = new.says("the process that runs (goes on: it says nothing|closes the connection: see its log)")
        stage.notes.append(said[0])
        load.mark()
        expect("peers", crowd.counts(), [Crowd.WHOLE] * len(crowd.hashes))
        new = hand_over(stage, load, old, partial(start, "last"))
        stage.notes.append(load.end())
        stage.stop([new.process])


def torrents(options):
    return 20_000 if options.full else 2_000


@dataclass(frozen=True)
class FailedStart:
    """A new process that cannot start leaves the old one as it was."""

    name: str
    builds: tuple = ("default",)

    def play(self, stage, binaries, _):
        tracker, client = (stage.network.host(name, ("ipv4",)) for name in ("tracker", "client"))
        (stage.folder / "file").write_text("")
        (stage.folder / "folder").mkdir()
        start = partial(Tracker, stage, tracker, binaries["default"], families=("ipv4",))
        old = start("old").answers()
        load = Load(stage, client, tracker.addresses["ipv4"])
        for number, (what, reason, arguments) in enumerate((
            ("an unknown key", "tracker.nonsense", {"configuration": "tracker.nonsense = 1\n"}),
            ("an unknown user", "no-such-user", {"configuration": 'tracker.user = "no-such-user"\n'}),
            ("an address of another host", "203.0.113.77", {"options": ["-i", "203.0.113.77", "-p", 1, "-P", 1]}),
            ("a root that is not there", "not-there", {"options": ["-d", stage.folder / "not-there"]}),
            ("a path that is a file", "it is a file, and no socket", {"path": "file"}),
            ("a path that is a directory", "it is a directory, and no socket", {"path": "folder"}),
            ("a path at which nobody answers", "Address already in use", {"path": "nobody.sock"}),
        )):
            load.mark()
            new = start(f"new-{number}", **arguments)
            stage.until(f"{what}: it ends", new.process.ended)
            if new.process.exit_code() == 0:
                raise StepFailed(f"{what}: it ended with 0")
            new.says(reason)
            load.mark()
            stage.notes.append(f"{what}: {new.process.log().partition('opentracker: ')[2].strip()}")
        new = hand_over(stage, load, old, partial(start, "last"))
        stage.notes.append(load.end())
        stage.stop([new.process])


CASES = [
    Chain("ten-times@default", ("default",) * 11),
    Chain("flavours@ipv4", ("default", "dual-stack", "default", "dual-stack")),
    Chain("flavours@ipv6", ("v6", "dual-stack", "v6", "dual-stack"), "ipv6"),
    Chain("white-list@ipv4", ("white", "white-dual", "white")),
    KilledNew("killed-new@default"),
    KilledOld("killed-old@default"),
    StoppedNew("stopped-new@default"),
    FailedStart("failed-start@default"),
]
