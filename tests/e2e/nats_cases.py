"""The cases of a cluster over NATS alone: what travels, with which logins and rights, and while the server is away."""

import time
from collections import Counter
from dataclasses import dataclass, field

from access import NAME, Access
from cluster import COMPLETED, STOPPED, Client
from load import Load
from member import AS_A_USER, NOBODY, Member, clock, copy_of, over_nats, with_hosts
from nats_server import Server
from stage import StepFailed
from sync_cases import torrent

NODES = ("a", "b", "c")
HOUR = 3600
# In so much time the others have to hand out who announces to one; and so long they are waited for on a busy machine.
TRAVEL_SECONDS, PATIENCE_SECONDS = 2, 20
# Of everything that has been said while the server was away.
CONVERGE_SECONDS = 60
# By then each has tried to connect again.
BACK_SECONDS = 40
# A batch that has not been sent is lost with what cuts the way.
BATCH_SECONDS = 2


@dataclass(frozen=True)
class Options:
    """What is played at full length, and what short."""

    full: bool = False

    @property
    def outage(self):
        return 60 if self.full else 8

    @property
    def travel(self):
        return TRAVEL_SECONDS if self.full else PATIENCE_SECONDS


def expect(what, seen, expected):
    if seen != expected:
        raise StepFailed(f"{what}: {seen}, expected {expected}")


def everywhere(stage, what, members, info_hash, expected, seconds):
    """Waits until all members count that; notes how long it takes."""
    begin = time.monotonic()
    seen = {}

    def check():
        seen.update((member.name, member.counts([info_hash])[0]) for member in members)
        return set(seen.values()) == {expected}

    try:
        stage.until(what, check, [member.process for member in members], seconds)
    except StepFailed as failure:
        raise StepFailed(f"{failure}; expected {expected}, seen {seen}") from None
    stage.notes.append(f"{time.monotonic() - begin:4.1f} s  {what}")


def agree(stage, what, members, load, seconds, more=None, fewer=None):
    """Waits until all members count what the model does; notes how long it takes.

    `more` says for each torrent how many peers there may be besides: those whose stops may have been lost. `fewer` says
    for some members how many downloads of each torrent they may have missed: those completed while they joined.
    """
    begin = time.monotonic()
    expected = load.expected()
    none = [0] * len(expected)
    most = more or none
    wrong = []
    # Of those peers who may be there, and of those downloads that may be missed, how many are, at each member.
    there, missed = Counter(), Counter()

    def check():
        load.check()
        wrong.clear()
        there.clear()
        missed.clear()
        for member in members:
            least = (fewer or {}).get(member, none)
            counts = zip(load.hashes, expected, member.counts(load.hashes), most, least, strict=True)
            for name, right, seen, most_more, most_missed in counts:
                complete, incomplete, downloaded = (count - known for count, known in zip(seen, right, strict=True))
                there[member.name] += complete + incomplete
                missed[member.name] -= downloaded
                all_there = complete >= 0 and incomplete >= 0 and complete + incomplete <= most_more
                if not all_there or not -most_missed <= downloaded <= 0:
                    text = f"{name.hex()[:8]} {seen}, expected {right} + {most_more} - {most_missed}"
                    wrong.append((member.name, text))
        return not wrong

    try:
        stage.until(what, check, [member.process for member in members], seconds)
    except StepFailed as failure:
        torrents = {name: [text for at, text in wrong if at == name] for name, _ in wrong}
        differ = "; ".join(f"{len(texts)} at {name}, such as {texts[0]}" for name, texts in torrents.items())
        raise StepFailed(f"{failure}; of {len(expected)} torrents differ {differ}") from None
    stage.notes.append(f"{time.monotonic() - begin:4.1f} s  {what}")
    if more:
        stage.notes.append(f"        of {sum(more)} stops so many were lost: {dict(there)}")
    for member, most_missed in (fewer or {}).items():
        stage.notes.append(
            f"        {member.name} missed {missed[member.name]} of {sum(most_missed)} downloads while it joined"
        )


@dataclass(frozen=True)
class Travel:
    """Peers, completions and stops get from each node to the others, and again when the server has been away.

    `clocks` says by how many seconds those of the nodes are ahead. As a user, or as root with a root directory of its
    own, a tracker connects again with what it has.
    """

    name: str
    build: str = "ipv4"
    family: str = "ipv4"
    access: Access = field(default_factory=Access)
    clocks: tuple = (0, 0, 0)
    as_user: bool = False

    def play(self, stage, binaries, options):
        families = ("ipv4", "ipv6") if self.family == "ipv6" else ("ipv4",)
        binary = binaries[self.build]
        hosts = [stage.network.host(name, families) for name in NODES]
        client_host = stage.network.host("client", families)
        server = Server(stage, stage.network.host("nats", ("ipv4",)), self.access.server(stage))
        before = with_hosts(stage, {NAME: server.host.addresses["ipv4"]})
        owner = 0
        if self.as_user:
            before, owner, binary = [*before, *AS_A_USER], NOBODY, copy_of(stage, binary)
        configuration = self.access.member(stage, server, owner)
        members = [
            Member(stage, host, binary, configuration, [*before, *(clock(ahead) if ahead else [])])
            for host, ahead in zip(hosts, self.clocks, strict=True)
        ]
        server.until_subscribed(len(NODES))
        self._check_rights(members[0])
        self._travel(stage, "", client_host, members, options)
        server.kill()
        server.start()
        server.until_subscribed(len(NODES))
        self._travel(stage, ", connected again", client_host, members, options)
        for member in members:
            for text in self.access.secrets(stage):
                if text in member.process.log():
                    raise StepFailed(f"{member.name} writes a secret to its log")
        stage.stop([member.process for member in members])

    def _check_rights(self, member):
        """It is nobody, and as root it has a root directory of its own."""
        status = dict(line.split(":\t", 1) for line in member.proc("status").read_text().splitlines() if ":\t" in line)
        expect("user", set(status["Uid"].split()), {str(NOBODY)})
        # Whoever cannot be asked about is not this process's own.
        root = member.proc("root").resolve()
        expect("root directory", root == member.tracker.folder.resolve(), not self.as_user)

    def _travel(self, stage, when, host, members, options):
        clients = [Client(host, member, self.family) for member in members]
        first, second, third = clients
        address = first.address
        info_hash = torrent(self.name + when)

        def all_count(what, *expected):
            everywhere(stage, what + when, members, info_hash, expected, options.travel)

        first.announce(info_hash, 1001)
        all_count("a first peer is known to all nodes", 0, 1, 0)
        for number, client in enumerate((second, third), 2002):
            handed_out = client.announce(info_hash, number)
            if not {(address, 1001)} <= handed_out <= {(address, 1001), (address, 2002)}:
                raise StepFailed(f"handed out: {handed_out}, expected the peer of the first node")
        first.announce(info_hash, 1002)
        all_count("the next ones too", 0, 4, 0)
        # It was announced to the first node, completes at the last, and says so again everywhere.
        third.announce(info_hash, 1001, left=0, event=COMPLETED)
        for client in clients:
            client.announce(info_hash, 1001, left=0, event=COMPLETED)
        first.announce(info_hash, 1002, event=STOPPED)
        all_count("a completion and a stop", 1, 2, 1)
        for number in (2002, 2003):
            third.announce(info_hash, number, event=STOPPED)
        first.announce(info_hash, 1001, left=0, event=STOPPED)
        all_count("everybody leaves", 0, 0, 1)
        for client in clients:
            client.close()


@dataclass(frozen=True)
class Outage:
    """The server is killed, or does nothing, under load, and comes back. No announce waits for it.

    All that clients have said meanwhile gets everywhere, but for stops; those that are said again do too.
    """

    name: str
    build: str = "ipv4"
    rate: int = 300
    kills: bool = True

    def play(self, stage, binaries, options):
        hosts = [stage.network.host(name, ("ipv4",)) for name in NODES]
        client_host = stage.network.host("client", ("ipv4",))
        server = Server(stage, stage.network.host("nats", ("ipv4",)))
        members = [Member(stage, host, binaries[self.build], over_nats(server)) for host in hosts]
        server.until_subscribed(len(NODES))
        load = Load(stage, client_host, members, rate=self.rate, peers=1500, torrents=50)
        stage.pause(5)
        load.pause()
        agree(stage, "all agree", members, load, CONVERGE_SECONDS)
        load.go_on()
        stage.pause(1)

        begin = time.monotonic()
        load.cut(True)
        stage.pause(BATCH_SECONDS)
        if self.kills:
            server.kill()
        else:
            server.freeze()
        before = load.answered
        stage.pause(options.outage)
        load.check()
        stage.notes.append(f"{load.answered - before:,} announces answered while the server was away")
        if self.kills:
            server.start()
        else:
            server.thaw()
        stage.until("all are connected", lambda: load.check() or server.subscribed() == len(NODES), [], BACK_SECONDS)
        stage.pause(BATCH_SECONDS)
        load.pause()
        lost = load.stopped(begin, time.monotonic())
        agree(stage, "all agree but for lost stops", members, load, CONVERGE_SECONDS, lost)
        if not sum(lost):
            raise StepFailed("nobody stopped meanwhile")

        load.cut(False)
        load.go_on()
        load.tell_again(begin, members, members)
        load.pause()
        agree(stage, "and when all have told it again, in all", members, load, CONVERGE_SECONDS)
        load.go_on()
        load.leave_all()
        agree(stage, "everybody leaves", members, load, CONVERGE_SECONDS)
        load.end()
        stage.notes.append(load.in_words())
        stage.stop([member.process for member in members])


CASES = [
    Travel("travel@ipv4"),
    Travel("travel-ipv6@dual-stack", "dual-stack", "ipv6"),
    Travel("travel-clocks-an-hour-apart@ipv4", clocks=(HOUR, 0, -HOUR)),
    Travel("travel-in-a-chroot-tls-and-password@ipv4", access=Access("password", tls=True)),
    Travel("travel-as-a-user-tls-and-password@ipv4", access=Access("password", tls=True), as_user=True),
    Travel("travel-token@ipv4", access=Access("token")),
    Travel("travel-credentials@ipv4", access=Access("credentials")),
    Outage("server-killed@ipv4"),
    Outage("server-frozen@ipv4", kills=False),
]
