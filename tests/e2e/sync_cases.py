"""The cases of live sync: what travels between nodes, on a bad network too, and what changes nothing."""

import hashlib
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cluster import (
    COMPLETED,
    FLAG_COMPLETED,
    FLAG_SEEDING,
    FLAG_STOPPED,
    GROUP,
    PACKET_MOST,
    STOPPED,
    Client,
    Ear,
    Mouth,
    Node,
    Record,
    pack,
    unpack,
)
from hosts import UNREACHABLE
from stage import StepFailed

NODES = ("a", "b", "c")
# Within this time everything has to have got everywhere.
TRAVEL_SECONDS = 30
# A packet that is not full waits for so long, and threads and the network take a little longer.
SETTLE_SECONDS = 22
# So many packets fit the smallest receive buffer that a kernel may have.
BURST = 50


def torrent(name):
    return hashlib.sha1(name.encode()).digest()


def start_nodes(stage, binaries, families):
    """Three nodes; each of `families` is the one of the node at the same place."""
    hosts = [stage.network.host(name, families) for name, families in zip(NODES, families, strict=True)]
    return [Node(stage, host, binary, hosts) for host, binary in zip(hosts, binaries, strict=True)]


def expect(what, seen, expected):
    if seen != expected:
        raise StepFailed(f"{what}: {seen}, expected {expected}")


@dataclass(frozen=True)
class Travel:
    """Peers, completions and stops get from each node to the others.

    In a cluster of both builds a node for IPv4 alone hears of IPv6 peers, and leaves them.
    """

    name: str
    builds: tuple
    family: str

    def play(self, stage, binaries):
        both = ("ipv4", "ipv6") if self.family == "ipv6" else ("ipv4",)
        families = [both if build == "dual-stack" else ("ipv4",) for build in self.builds]
        nodes = start_nodes(stage, [binaries[build] for build in self.builds], families)
        host = stage.network.host("client", both)
        ear = Ear(host)
        # The nodes that serve the family; the others are to hear of its peers and change nothing.
        serving = [node for node, families in zip(nodes, families, strict=True) if self.family in families]
        others = [node for node in nodes if node not in serving]
        clients = [Client(host, node, self.family) for node in serving]
        processes = [node.process for node in nodes]
        info_hash = torrent(self.name)

        def everywhere(what, complete, incomplete, downloaded):
            """Waits until all nodes count that; notes how long it takes."""
            begin = time.monotonic()
            seen = {}

            def check():
                seen.update((node.name, node.counts(info_hash)) for node in serving)
                return set(seen.values()) == {(complete, incomplete, downloaded)}

            try:
                stage.until(what, check, processes, TRAVEL_SECONDS)
            except StepFailed as failure:
                expected = (complete, incomplete, downloaded)
                raise StepFailed(f"{failure}; expected {expected}, seen {seen}") from None
            stage.notes.append(f"{time.monotonic() - begin:4.1f} s  {what}")

        first, last = clients[0], clients[-1]
        address = first.address
        first.announce(info_hash, 1001)
        everywhere("a first peer is known to all nodes", 0, 1, 0)
        for number, client in enumerate(clients[1:], 2002):
            handed_out = client.announce(info_hash, number)
            if not {(address, 1001)} <= handed_out <= {(address, 1001), (address, 2002)}:
                raise StepFailed(f"handed out: {handed_out}, expected the peer of the first node")
        first.announce(info_hash, 1002)
        askers = len(clients) - 1
        everywhere("the next ones too", 0, 2 + askers, 0)

        # It was announced to the first node, completes at the last, and says so again everywhere.
        last.announce(info_hash, 1001, left=0, event=COMPLETED)
        for client in clients:
            client.announce(info_hash, 1001, left=0, event=COMPLETED)
        first.announce(info_hash, 1002, event=STOPPED)
        everywhere("a completion and a stop", 1, askers, 1)

        for number in range(askers):
            last.announce(info_hash, 2002 + number, event=STOPPED)
        first.announce(info_hash, 1001, left=0, event=STOPPED)
        everywhere("everybody leaves", 0, 0, 1)

        for node in nodes:
            expect(f"completed at {node.name}", node.completed(), int(node in serving))
        for node in others:
            expect(f"counts at {node.name}, which does not serve them", node.counts(info_hash), (0, 0, 0))
        self._check_packets(ear.all(), nodes, serving)
        stage.stop(processes)

    def _check_packets(self, heard, nodes, serving):
        """They go no further than the link, and nobody tells what it was told."""
        addresses = {node.host.addresses["ipv4"]: node for node in nodes}
        ids = {}
        told = {}
        for packet, source, ttl in heard:
            tracker_id, records = unpack(packet)
            same = ids.setdefault(source, tracker_id) == tracker_id
            if ttl != 1 or len(packet) > PACKET_MOST or not same:
                raise StepFailed(f"packet of {source}: ttl {ttl}, {len(packet)} bytes, {same=}")
            if records is not None:
                told.setdefault(addresses[source], []).extend((record.port, record.flags) for record in records)
        seeder = FLAG_SEEDING
        expect("nodes that tell", set(told), set(serving))
        expect("different ids", len(set(ids.values())), len(serving))
        expected = {(1001, 0), (1002, 0), (1002, FLAG_STOPPED), (1001, seeder | FLAG_STOPPED)}
        # The first node hears of the completion 15 s later than from its client: it tells that too.
        completion = (1001, seeder | FLAG_COMPLETED)
        expect("told by the first node", set(told[serving[0]]) - {completion}, expected)
        expected = {(2000 + len(serving), 0), completion}
        expected |= {(2002 + number, FLAG_STOPPED) for number in range(len(serving) - 1)}
        expect("told by the last node", set(told[serving[-1]]), expected)
        for node, records in told.items():
            expect(f"told twice by {node.name}", len(records), len(set(records)))


@dataclass(frozen=True)
class Loss:
    """30 % of the packets are lost, 20 % come twice, 25 % overtake others.

    No count is ever higher than the truth, and when clients repeat themselves, all become right.
    """

    name: str
    peers: int = 520
    seed: int = 1

    def play(self, stage, binaries):
        nodes = start_nodes(stage, [binaries["ipv4"]] * len(NODES), [("ipv4",)] * len(NODES))
        switch = self._start_switch(stage)
        running = [switch, *(node.process for node in nodes)]
        info_hash = torrent(self.name)
        # A client is on its node's own host, and has the same address on all of them.
        source = UNREACHABLE.partition("/")[0]
        clients = [Client(node.host, node, source=source) for node in nodes]
        count = len(nodes)
        ports = range(1, count * self.peers + 1)
        finishers = {port for port in ports if port // count % 2}

        def counts():
            return [node.counts(info_hash) for node in nodes]

        def settled(completed):
            """The counts when everything that is told has come or is lost; never may they be too high."""
            end = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < end:
                for complete, incomplete, downloaded in counts():
                    seeders, peers = complete <= completed, complete + incomplete <= len(ports)
                    if not (seeders and peers and downloaded <= completed):
                        raise StepFailed(f"{counts()}; {len(ports)} peers, {completed} complete")
                all_run(stage, running)
                stage.pause(0.3)
            return counts()

        for port in ports:
            clients[port % count].announce(info_hash, port)
        seen = settled(0)
        stage.notes.append(f"{len(ports)} peers, each announced once: {in_words(seen)}")
        if any(incomplete <= self.peers for _, incomplete, _ in seen):
            raise StepFailed(f"nothing got through: {seen}")

        # Each completes at its node, and says so again to the next one.
        for port in sorted(finishers):
            for further in (0, 1):
                client = clients[(port + further) % count]
                client.announce(info_hash, port, left=0, event=COMPLETED)
        seen = settled(len(finishers))
        stage.notes.append(f"{len(finishers)} of them completed, each told twice: {in_words(seen)}")
        downloaded = [counts[-1] for counts in seen]
        expect("completed", [node.completed() for node in nodes], downloaded)

        for client in clients:
            for port in ports:
                client.announce(info_hash, port, left=0 if port in finishers else 1)
        right = [(len(finishers), len(ports) - len(finishers), known) for known in downloaded]
        expect("everybody asked everywhere", counts(), right)
        expect("and all that is told has come", settled(len(finishers)), right)

        rounds = 0
        end = time.monotonic() + 2 * TRAVEL_SECONDS
        gone = [(0, 0, known) for known in downloaded]
        while counts() != gone:
            if time.monotonic() > end:
                raise StepFailed(f"after {rounds} rounds of stops: {counts()}, expected {gone}")
            rounds += 1
            for port in ports:
                clients[port % count].announce(info_hash, port, event=STOPPED)
            all_run(stage, running)
            stage.pause(0.2)
        stage.notes.append(f"all left, each told {rounds} times: {in_words(gone)}")
        stage.stop(running)
        stage.notes.append(f"the switch, seed {self.seed}: {switch.log_tail().splitlines()[-1]}")

    def _start_switch(self, stage):
        folder = stage.folder / "switch"
        folder.mkdir()
        program = Path(__file__).with_name("lossy_switch.py")
        ports = [f"port{number}" for number in range(1, len(NODES) + 1)]
        switch = stage.start(stage.network.unplug(), [sys.executable, program, self.seed, *ports], folder)
        stage.until("the switch is ready", lambda: "ready" in switch.log_tail(), [switch])
        return switch


def all_run(stage, processes):
    stage.until("all run", lambda: True, processes)


def in_words(counts):
    """(complete, incomplete, downloaded) at each node"""
    return ", ".join(f"{name} {count}" for name, count in zip(NODES, counts, strict=True))


@dataclass(frozen=True)
class Forged:
    """Packets that no member of the cluster sends change nothing."""

    name: str

    def play(self, stage, binaries):
        tracker, member, stranger = (
            stage.network.host(name, ("ipv4",)) for name in ("tracker", "member", "stranger")
        )
        node = Node(stage, tracker, binaries["ipv4"], [tracker, member])
        ear, mouth, foreign = Ear(member), Mouth(member), Mouth(stranger)
        Client(member, node).announce(torrent("its own"), 1)
        heard = []
        stage.until("the node tells", lambda: heard.append(ear.next()) or True, [node.process])
        own_id, _ = unpack(heard[0][0])
        forged = Record(torrent(self.name), "203.0.113.1", 6881, FLAG_SEEDING | FLAG_COMPLETED)
        whole = pack(mouth.id, 0, forged)

        def changes_nothing(what, packets, sender=mouth, address=GROUP):
            for begin in range(0, len(packets), BURST):
                for packet in packets[begin : begin + BURST]:
                    sender.send(packet, address)
                # When it has seen what is sent after all of them, it has seen them.
                marker = torrent(f"{what} {begin}")
                mouth.tell(Record(marker, "203.0.113.9", 1))
                stage.until_equal("a marker", lambda: node.counts(marker), (0, 1, 0), [node.process])
            expect(what, node.counts(forged.info_hash), (0, 0, 0))
            expect(f"{what}: completed", node.completed(), 0)
            stage.notes.append(f"{len(packets):5}  {what}")

        def packets(records, counts, kind=0):
            return [pack(mouth.id, kind, *[records] * count) for count in counts]

        full = pack(mouth.id, 0, *[forged] * 52)
        unknown = [*range(2, 300), 1 << 16, 1 << 24, 2**32 - 1]
        changes_nothing("from an address that is not named", [whole] * 3, foreign)
        changes_nothing("with the tracker's own id", [pack(own_id, 0, forged)] * 3)
        changes_nothing("cut at every length", [whole[:length] for length in range(len(whole))])
        cut = [full[:length] for length in range(len(full)) if length == 8 or length % 28 != 8]
        changes_nothing("a full one, cut within a record", cut)
        changes_nothing("with a byte too many", [whole + b"\0", full + b"\0"])
        changes_nothing("longer than any may be", packets(forged, (53, 100, 2000)))
        changes_nothing("of unknown types", [pack(mouth.id, kind, forged) for kind in unknown])
        changes_nothing("IPv4 peers told as IPv6 peers", packets(forged, range(1, 10), 1))
        unmeant = [pack(mouth.id, 0, replace(forged, flags=flags)) for flags in range(1, 32)]
        changes_nothing("with flags that mean nothing", unmeant)
        changes_nothing("with port 0", [pack(mouth.id, 0, replace(forged, port=0))])
        changes_nothing("not sent to the group", [whole] * 3, mouth, tracker.addresses["ipv4"])

        mouth.send(whole)
        stage.until_equal("itself", lambda: node.counts(forged.info_hash), (1, 0, 1), [node.process])
        stage.until_equal("completed", node.completed, 1, [node.process])
        stage.stop([node.process])


CASES = [
    Travel("travel-ipv4@ipv4", ("ipv4", "ipv4", "ipv4"), "ipv4"),
    Travel("travel-ipv4@dual-stack", ("dual-stack", "ipv4", "dual-stack"), "ipv4"),
    Travel("travel-ipv6@dual-stack", ("dual-stack", "dual-stack", "ipv4"), "ipv6"),
    Loss("loss@ipv4"),
    Forged("forged@ipv4"),
]


def builds(case):
    """The builds that a case needs."""
    return set(getattr(case, "builds", ("ipv4",)))


def families(case):
    """The address families that a case needs."""
    return {"ipv4", getattr(case, "family", "ipv4")}
