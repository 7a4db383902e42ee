"""The cases of trackers that join a cluster and take over what it knows, and of several behind one address."""

import socket
import struct
import subprocess
import time
from dataclasses import dataclass

from cluster import PORT, Client
from load import Load
from member import Member, Notified, clock, over_multicast, over_nats, secret
from nats_cases import expect
from nats_server import Server
from stage import STEP_SECONDS, StepFailed
from sync_cases import torrent
from tracker import UDP_CONNECT, UDP_MAGIC, exchange

TORRENTS, PEERS = 400, 2000
# So many that they are several pieces of a snapshot.
MANY_TORRENTS, MANY_PEERS = 1000, 9_000
# Longer than a step may take: who is ready before has not waited.
LONG_WAIT = "sync.snapshot_wait = 300\n"
# Bytes a second, with which a snapshot of so many peers takes more than a minute, however slow the machine.
FAR_TOO_SLOW = 2_000
SHARED = "198.51.100.250"
UDP_ERROR = 3


@dataclass(frozen=True)
class Join:
    """A tracker that starts takes over all that the cluster knows, answers meanwhile, and says when it is ready.

    `way` is nats, or tcp: by multicast and TCP. If the one that gives it dies midway, another goes on.
    """

    name: str
    way: str
    dies: bool = False
    # It comes too slowly: after the wait the tracker is ready without it.
    late: bool = False
    build: str = "ipv4"

    def play(self, stage, binaries, options):
        hosts = [stage.network.host(name, ("ipv4",)) for name in ("a", "b", "joiner")]
        stranger = stage.network.host("stranger", ("ipv4",))
        client_host = stage.network.host("client", ("ipv4",))
        addresses = stage.network.segment(1, [*hosts, stranger])
        if self.way == "nats":
            server = Server(stage, stage.network.host("nats", ("ipv4",)))
            ways = [over_nats(server)] * 3
        else:
            ways = [over_multicast(address, addresses[:3]) for address in addresses[:3]]
        slow = f"sync.snapshot_rate = {FAR_TOO_SLOW}\n"
        # The one that dies is in the middle of its snapshot for more than a minute; the other is as fast as any.
        rates = (slow if self.late or self.dies else "", slow if self.late else "")
        members = []
        for host, way, rate in zip(hosts[:2], ways, rates, strict=False):
            members.append(Member(stage, host, binaries[self.build], way + rate + "sync.snapshot_wait = 3\n"))
            # The first is to be the longest-running one.
            stage.pause(3)
        if self.way == "nats":
            server.until_subscribed(2)
        torrents, peers = (MANY_TORRENTS, MANY_PEERS) if self.late or self.dies else (TORRENTS, PEERS)
        load = Load(stage, client_host, members[:1], rate=1000, peers=peers, torrents=torrents)
        stage.until("all peers are there", lambda: load.check() or load.alive() >= peers, seconds=60)
        load.pause()
        expected = load.expected()
        stage.until_equal("the second knows them", lambda: members[1].counts(load.hashes), expected)

        notified = Notified(stage.folder / "notify")
        wait = "sync.snapshot_wait = 3\n" if self.late else LONG_WAIT
        joiner = Member(stage, hosts[2], binaries[self.build], ways[2] + wait, notified.before())
        begin = time.monotonic()
        # From the beginning; of a torrent of its own.
        Client(client_host, joiner).announce(torrent(self.name), 1)
        if self.dies:
            self._kill_midway(stage, joiner, members[0], load, expected)
        stage.until("it is ready", notified.is_ready, [joiner.process], 60)
        stage.notes.append(f"{time.monotonic() - begin:4.1f} s  ready")
        counts = joiner.counts(load.hashes)
        if self.late:
            if counts == expected:
                raise StepFailed("it has everything already")
        else:
            expect("what it knows when it is ready", differences(counts, expected), [])
        expect("who came meanwhile", joiner.counts([torrent(self.name)]), [(0, 1, 0)])
        if self.way == "tcp":
            self._strangers_get_nothing(stranger, members[-1], addresses[1])
        running = [member for member in [*members, joiner] if not member.process.ended()]
        load.end()
        stage.notes += [line.partition(" ")[2] for line in joiner.process.log().splitlines() if "snapshot" in line]
        stage.stop([member.process for member in running])

    def _kill_midway(self, stage, joiner, giver, load, expected):
        def some():
            return sum(sum(counts[:2]) for counts in joiner.counts(load.hashes))

        stage.until("the first pieces are there", some, [joiner.process])
        giver.kill()
        if some() >= sum(sum(counts[:2]) for counts in expected):
            raise StepFailed("it has everything before the other dies")

    @staticmethod
    def _strangers_get_nothing(stranger, member, address):
        """Who is in no network that the tracker believes is given not a byte."""
        with stranger.inside():
            asking = socket.create_connection((address, PORT), STEP_SECONDS)
        with asking:
            asking.settimeout(STEP_SECONDS)
            try:
                asking.sendall(bytes(64))
                given = asking.recv(100)
            except ConnectionError:
                given = b""
        expect(f"given to a stranger by {member.name}", given, b"")


@dataclass(frozen=True)
class Alone:
    """A tracker whose cluster does not answer is ready all the same, after the wait at the latest."""

    name: str
    way: str
    build: str = "ipv4"

    def play(self, stage, binaries, options):
        host = stage.network.host("a", ("ipv4",))
        (address,) = stage.network.segment(1, [host])
        notified = Notified(stage.folder / "notify")
        nobody = f"nats://{stage.network.host('nobody', ('ipv4',)).addresses['ipv4']}:4222"
        way = over_nats(nobody) if self.way == "nats" else over_multicast(address, [address, "198.51.100.66"])
        member = Member(stage, host, binaries[self.build], way + "sync.snapshot_wait = 5\n", notified.before())
        begin = time.monotonic()
        Client(host, member).announce(torrent(self.name), 1)
        stage.until("it is ready", notified.is_ready, [member.process])
        stage.notes.append(f"{time.monotonic() - begin:4.1f} s  ready")
        expect("who came meanwhile", member.counts([torrent(self.name)]), [(0, 1, 0)])
        stage.stop([member.process])


@dataclass(frozen=True)
class OneName:
    """Two trackers have one address, and each datagram of a client goes to another of them than the one before.

    With one file of keys each accepts the other's connection ids, if their clocks do not differ by much; without, none.
    """

    name: str
    shares: bool = True
    # By how many seconds the second's clock is ahead.
    ahead: int = 0
    build: str = "ipv4"

    def play(self, stage, binaries, options):
        binary = binaries[self.build]
        hosts = [stage.network.host(name, ("ipv4",)) for name in ("a", "b")]
        client_host = stage.network.host("client", ("ipv4",))
        stage.network.share(hosts, SHARED)
        keys = [stage.folder / f"key-{host.name}" for host in hosts]
        subprocess.run([binary, "--new-key", keys[0]], check=True, capture_output=True)
        keys[1].write_bytes(keys[0].read_bytes())
        keys[1].chmod(0o600)
        if not self.shares:
            keys[1] = secret(stage, "another", "an entirely different key of 32 bytes or more")
        members = []
        for host, key, ahead in zip(hosts, keys, (0, self.ahead), strict=True):
            member = Member(
                stage, host, binary, f'listen.udp_connection_id_key_file = "{key}"\n', clock(ahead) if ahead else [],
                ["-i", SHARED, "-P", "6970", "-p", "6969"],
            )
            members.append(member)
        with client_host.inside():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(STEP_SECONDS)
        stage.network.lead(client_host, SHARED, hosts[0])
        client.connect((SHARED, members[0].udp_port))
        accepted = 0
        for number in range(10):
            stage.network.lead(client_host, SHARED, hosts[number % 2])
            (connection_id,) = struct.unpack(">Q", exchange(client, UDP_MAGIC, UDP_CONNECT, b""))
            stage.network.lead(client_host, SHARED, hosts[(number + 1) % 2])
            accepted += self._announce(client, connection_id, number)
        expect("accepted of ten, each at the other tracker", accepted, 10 if self.accepts else 0)
        if not self.accepts and self.ahead:
            said = members[0].until_it_says("it says that clocks differ", r"(?m)WARN.*clock.*$")
            stage.notes.append(said[0])
        stage.stop([member.process for member in members])

    @property
    def accepts(self):
        return self.shares and self.ahead < 3600

    @staticmethod
    def _announce(client, connection_id, number):
        """Whether it is accepted."""
        body = struct.pack(
            ">20s20sQQQIIIiH", torrent("one name"), b"-TEST00-abcdefghijkl", 0, 1, 0, 0, 0, 0, -1, 1000 + number
        )
        client.send(struct.pack(">QII", connection_id, 1, number) + body)
        (action, transaction) = struct.unpack_from(">II", client.recv(2048))
        if transaction != number or action not in (1, UDP_ERROR):
            raise StepFailed(f"an announce is answered with action {action}")
        return action == 1


def differences(counts, expected):
    """The first few torrents of which something else is counted."""
    return [(number, *pair) for number, pair in enumerate(zip(counts, expected, strict=True)) if pair[0] != pair[1]][:5]


CASES = [
    Join("join-over-nats@ipv4", "nats"),
    Join("join-over-nats-giver-dies@ipv4", "nats", dies=True),
    Join("join-over-nats-too-slowly@ipv4", "nats", late=True),
    Join("join-over-tcp@ipv4", "tcp"),
    Join("join-over-tcp-giver-dies@ipv4", "tcp", dies=True),
    Join("join-over-tcp-too-slowly@ipv4", "tcp", late=True),
    Alone("join-nobody-over-nats@ipv4", "nats"),
    Alone("join-nobody-over-tcp@ipv4", "tcp"),
    OneName("one-address-one-key@ipv4"),
    OneName("one-address-one-key-clocks-a-minute-apart@ipv4", ahead=60),
    OneName("one-address-one-key-clocks-hours-apart@ipv4", ahead=5 * 3600),
    OneName("one-address-two-keys@ipv4", shares=False),
]
