"""The cases of servers that do not let a tracker in, that it does not believe, and that lie; and of forged batches."""

import re
import struct
import time
from collections import Counter
from dataclasses import dataclass

from access import NAME, PASSWORD, TOKEN, Access
from cluster import COMPLETED, Client
from credentials import Credentials
from member import Member, over_nats, with_hosts
from nats_cases import CONVERGE_SECONDS, NODES, PATIENCE_SECONDS, everywhere, expect
from nats_server import SUBJECT, Authority, Liar, Listener, Server
from stage import StepFailed
from sync_cases import torrent

# Of a batch of IPv4, see src/switches/sync_nats/batch.rs: bytes of a record, and of the address and the port in it.
RECORD, ADDRESS_AND_PORT = 28, 6
# How long before the records the sender begins, and the numbers of batches behind it; and what is behind those.
SENDER, NUMBERS, BEHIND_NUMBERS = 38, 30, 6
# Bytes of an echo, see src/switches/sync_nats/ask.rs.
ECHO = 16
# Of each byte: its lowest and its highest, and one between.
BITS = (1, 16, 128)


@dataclass(frozen=True)
class Refusal:
    """A server that does not let the tracker in, or that the tracker does not believe: who runs it reads which and why.

    Clients are answered all the time, and once the server is as it should be the tracker is connected.
    """

    name: str
    # What is not as it should be: the login, the certificate's authority or name; or there is no TLS, or no server.
    wrong: str
    access: Access
    # What the log says, in a line with the server's name.
    says: str
    build: str = "ipv4"

    def play(self, stage, binaries, options):
        host, far = (stage.network.host(name, ("ipv4",)) for name in ("a", "nats"))
        right = self.access.server(stage)
        server = Server(stage, far, self._wrong(stage, right))
        if self.wrong == "server":
            server.kill()
        before = with_hosts(stage, {NAME: far.addresses["ipv4"]})
        member = Member(stage, host, binaries[self.build], self.access.member(stage, server), before)
        client = Client(host, member)
        called = NAME if self.access.tls else far.addresses["ipv4"]

        def complaints():
            return [line for line in member.process.log().splitlines() if " WARN " in line or " ERROR " in line]

        def says():
            return any(called in line and re.search(self.says, line, re.IGNORECASE) for line in complaints())

        stage.until(f"the log names {called} and says {self.says}", says, [member.process])
        client.announce(torrent(self.name), 1)
        stage.notes += [line.partition(" ")[2].strip() for line in complaints() if called in line]
        for text in self.access.secrets(stage):
            if text in member.process.log():
                raise StepFailed("a secret is in the log")
        # It tries again and again, and says it once.
        stage.pause(options.outage)
        client.announce(torrent(self.name), 2)
        server.kill()
        server.configure(right)
        server.start()
        server.until_subscribed(1)
        # What it says besides of a server that goes and comes is of other causes.
        if (more := Counter(line.partition(" ")[2] for line in complaints()).most_common(1)[0][1]) > 3:
            raise StepFailed(f"it says the same {more} times")
        stage.stop([member.process])

    def _wrong(self, stage, right):
        match self.wrong:
            case "authority":
                return Authority(stage.folder / "other").server(NAME)
            case "name":
                authority = Authority(stage.folder / "authority")
                return right.replace(authority.files(NAME), authority.server("example.net"))
            case "tls" | "server":
                return ""
            case "login" if self.access.login == "credentials":
                return Credentials(stage.folder / "another-nsc", SUBJECT).server
        return right.replace(PASSWORD, "another").replace(TOKEN, "another")


@dataclass(frozen=True)
class Forged:
    """Whatever a stranger, or a server, says on the cluster's subjects: trackers go on, and count what is true."""

    name: str
    build: str = "ipv4"

    def play(self, stage, binaries, options):
        hosts = [stage.network.host(name, ("ipv4",)) for name in NODES[:2]]
        client_host = stage.network.host("client", ("ipv4",))
        server = Server(stage, stage.network.host("nats", ("ipv4",)))
        members = [Member(stage, host, binaries[self.build], over_nats(server)) for host in hosts]
        server.until_subscribed(2)
        listener = Listener(client_host, server)
        client = Client(client_host, members[0])
        info_hash = torrent(self.name)
        client.announce(info_hash, 1, left=0, event=COMPLETED)
        batch = listener.until_heard(stage, f"{SUBJECT}.changes", info_hash)
        stage.notes.append(f"a batch of one change: {len(batch)} bytes")
        others_hash = torrent(f"{self.name} at the other")
        Client(client_host, members[1]).announce(others_hash, 1)
        batches = [batch, listener.until_heard(stage, f"{SUBJECT}.changes", others_hash)]
        ends = [end for each in batches for end in subjects(sender_of(each))]
        everywhere(stage, "a peer is known to both", members, info_hash, (1, 0, 1), PATIENCE_SECONDS)

        def changes_nothing(what, payloads):
            for payload in payloads:
                for end in ("changes", "ask", "snapshot", "anything", *ends):
                    listener.publish(f"{SUBJECT}.{end}", payload)
            listener.flush()
            # What is said after all of them still arrives.
            client.announce(torrent(f"{self.name} {what}"), 2)
            everywhere(stage, what, members, torrent(f"{self.name} {what}"), (0, 1, 0), PATIENCE_SECONDS)
            for member in members:
                expect(f"{what}, at {member.name}", member.counts([info_hash]), [(1, 0, 1)])

        changes_nothing("the same batch again", [batch] * 5)
        changes_nothing("cut at every length", [batch[:length] for length in range(len(batch))])
        changes_nothing("with bytes too many", [batch + bytes(count) for count in (1, 2, 27, 29, 100, 500_000)])
        same = [bytes([value]) * length for value in (0, 255) for length in (1, ECHO, 40, 4000)]
        changes_nothing("nothing but one byte", same)
        # Whoever may publish is believed to be who he says: one who told the numbers of others as his own could make
        # them go unheard. All else of a batch that is known changes nothing.
        numbers = range(len(batch) - RECORD - NUMBERS, len(batch) - RECORD - BEHIND_NUMBERS)
        flips = [flipped(batch, at, bit) for at in range(len(batch)) if at not in numbers for bit in BITS]
        changes_nothing("with a bit changed", flips)
        self._tell_falsely(stage, listener, batch, members, info_hash)
        listener.close()

        server.kill()
        with Liar(server, batch) as liar:
            clients = [Client(client_host, member) for member in members]
            end = time.monotonic() + options.outage
            lies = len(Liar.SAYS) * (2 if options.full else 1)
            while time.monotonic() < end or liar.connections < lies:
                for asking in clients:
                    asking.announce(torrent("under lies"), 3)
                stage.until("all run", lambda: True, [member.process for member in members])
                stage.pause(0.05)
                if time.monotonic() > end + 2 * CONVERGE_SECONDS:
                    raise StepFailed(f"they have connected only {liar.connections} times")
            stage.notes.append(f"{liar.connections} connections to a server that lies")
        server.start()
        server.until_subscribed(2)
        client.announce(torrent("after lies"), 4)
        everywhere(stage, "and afterwards", members, torrent("after lies"), (0, 1, 0), PATIENCE_SECONDS)
        stage.stop([member.process for member in members])

    @staticmethod
    def _tell_falsely(stage, listener, batch, members, info_hash):
        """Each bit of a batch is changed, in one of a sender of its own, as a mad tracker would tell it."""
        sender = at_sender(batch)
        for number, (at, bit) in enumerate((at, bit) for at in range(len(batch)) for bit in BITS):
            own = batch[:sender] + struct.pack(">Q", number + 1) + batch[sender + 8 :]
            listener.publish(f"{SUBJECT}.changes", flipped(own, at, bit))
        listener.flush()
        # At another address or port somebody else has completed the torrent, but not at port 0. Who is another
        # torrent's is none of it; unknown flags are refused; and in the same minute nobody loses what he has.
        others = len(BITS) * ADDRESS_AND_PORT - 1
        told = (1 + others, 0, 1 + others)
        everywhere(stage, "whoever is told falsely is told", members, info_hash, told, PATIENCE_SECONDS)


def at_sender(batch):
    """Where in a batch of one change its sender stands."""
    return len(batch) - RECORD - SENDER


def sender_of(batch):
    """The number of the tracker whose batch this is, as it stands in subjects."""
    return batch[at_sender(batch) :][:8].hex()


def subjects(number):
    """The ends of those on which the tracker of this number alone listens: all the time, or while it is a joiner."""
    return f"echo.{number}", f"snapshot.donor.{number}", f"snapshot.joiner.{number}.1"


def flipped(data, at, bit):
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


CASES = [
    Refusal("wrong-password@ipv4", "login", Access("password"), "password|refuses who"),
    Refusal("wrong-token@ipv4", "login", Access("token"), "token|refuses who"),
    Refusal("wrong-credentials@ipv4", "login", Access("credentials"), "credentials|refuses who"),
    Refusal("untrusted-certificate@ipv4", "authority", Access(tls=True), "certificate is not trusted"),
    Refusal("another-name-in-the-certificate@ipv4", "name", Access(tls=True), "certificate is for another name"),
    Refusal("no-tls@ipv4", "tls", Access(tls=True), "tls|certificate"),
    Refusal("no-server@ipv4", "server", Access(), "refused|nobody listens"),
    Forged("forged@ipv4"),
]
