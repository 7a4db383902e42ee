"""The case of a multicast network in which the original is, and packets that it does not know."""

from dataclasses import dataclass

from cluster import COMPLETED, OWN_KINDS, PORT, STOPPED, Client, Mouth
from member import Member, Notified, over_multicast, over_nats
from nats_cases import expect, everywhere
from nats_server import Server
from sync_cases import TRAVEL_SECONDS, torrent
from tracker import Tracker

# The original knows type 0 alone.
NEW_KINDS = range(OWN_KINDS, OWN_KINDS + 16)


class Original(Tracker):
    """The original; its live sync is on the address of its host, as that of the others."""

    def __init__(self, stage, host, binary, address, addresses):
        self.name = host.name
        believed = [word for other in addresses if other != address for word in ("-A", other)]
        # The address before it is the one that live sync takes.
        options = ["-i", address, "-s", PORT, *believed]
        super().__init__(stage, host, binary, stage.folder / host.name, options=options)

    def counts(self, info_hashes):
        return [self.scrape("udp", "ipv4", info_hash) for info_hash in info_hashes]


@dataclass(frozen=True)
class Mixed:
    """The original and this program tell each other, and packets of new types change nothing in the original.

    One of the others is a bridge, which says each second that it is there; one joins later, and asks for a snapshot.
    """

    name: str
    build: str = "ipv4"
    beside = ("original",)

    def play(self, stage, binaries, options):
        hosts = [stage.network.host(name, ("ipv4",)) for name in ("original", "both-ways", "b", "joiner", "member")]
        client_host = stage.network.host("client", ("ipv4",))
        server = Server(stage, stage.network.host("nats", ("ipv4",)))
        addresses = [host.addresses["ipv4"] for host in hosts]
        ways = [over_multicast(address, addresses) for address in addresses]
        original = Original(stage, hosts[0], binaries["original"], addresses[0], addresses)
        binary = binaries[self.build]
        bridge = Member(stage, hosts[1], binary, ways[1] + over_nats(server))
        other = Member(stage, hosts[2], binary, ways[2])
        members = [original, bridge, other]
        server.until_subscribed(1)
        clients = [Client(client_host, member) for member in members]
        info_hash = torrent(self.name)

        def all_count(what, *expected):
            everywhere(stage, what, members, info_hash, expected, TRAVEL_SECONDS)

        for number, client in enumerate(clients):
            client.announce(info_hash, 1001 + number)
        all_count("peers of all three", 0, 3, 0)
        clients[0].announce(info_hash, 1001, left=0, event=COMPLETED)
        clients[1].announce(info_hash, 1002, left=0, event=COMPLETED)
        clients[2].announce(info_hash, 1003, event=STOPPED)
        all_count("completions, and a stop", 2, 0, 2)

        mouth = Mouth(hosts[4])
        packets = [mouth.id + kind.to_bytes(4, "big") + bytes(size) for kind in NEW_KINDS for size in range(0, 120, 4)]
        packets += [mouth.id + kind.to_bytes(4, "big") + bytes(1472) for kind in NEW_KINDS]
        for packet in packets:
            mouth.send(packet)
        notified = Notified(stage.folder / "notify")
        joiner = Member(stage, hosts[3], binary, ways[3] + "sync.snapshot_wait = 300\n", notified.before())
        stage.until("it is ready", notified.is_ready, [joiner.process], 60)
        expect("what it knows when it is ready", joiner.counts([info_hash]), [(2, 0, 2)])
        members.append(joiner)
        stage.notes.append(f"{len(packets)} packets of types that the original does not know, and a tracker that joins")

        clients.append(Client(client_host, joiner))
        for number, client in enumerate(clients):
            client.announce(info_hash, 1101 + number)
        all_count("peers of all four", 2, 4, 2)
        for number, client in enumerate(clients):
            client.announce(info_hash, 1101 + number, event=STOPPED)
        clients[1].announce(info_hash, 1001, left=0, event=STOPPED)
        clients[0].announce(info_hash, 1002, left=0, event=STOPPED)
        all_count("everybody leaves", 0, 0, 2)
        stage.stop([member.process for member in members[1:]])


@dataclass(frozen=True)
class AmongOriginals:
    """A tracker that joins a network of originals alone is ready although none of them answers."""

    name: str
    build: str = "ipv4"
    beside = ("original",)

    def play(self, stage, binaries, options):
        hosts = [stage.network.host(name, ("ipv4",)) for name in ("original", "joiner")]
        addresses = [host.addresses["ipv4"] for host in hosts]
        original = Original(stage, hosts[0], binaries["original"], addresses[0], addresses)
        client = Client(hosts[0], original)
        notified = Notified(stage.folder / "notify")
        way = over_multicast(addresses[1], addresses) + "sync.snapshot_wait = 10\n"
        joiner = Member(stage, hosts[1], binaries[self.build], way, notified.before())
        stage.until("it is ready", notified.is_ready, [joiner.process])
        info_hash = torrent(self.name)
        client.announce(info_hash, 1, left=0, event=COMPLETED)
        everywhere(stage, "what the original tells", [original, joiner], info_hash, (1, 0, 1), TRAVEL_SECONDS)
        Client(hosts[1], joiner).announce(info_hash, 2)
        everywhere(stage, "what it is told", [original, joiner], info_hash, (1, 1, 1), TRAVEL_SECONDS)
        stage.stop([joiner.process])


CASES = [Mixed("with-the-original@ipv4"), AmongOriginals("among-originals@ipv4")]
