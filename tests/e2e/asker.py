#!/usr/bin/python3
"""A client that announces and scrapes without pause, and knows what each reply has to be.

    asker.py udp|http ADDRESS PORT [--rate N] [--torrents N] [--seed N]

All peers are of this client's address, and no other client has its torrents: so the counts and the peers of every reply
are known exactly. Lines on its standard input say what is wanted; each is answered by a line of JSON on the standard
output, the first of which says that the first reply has come:

    mark    what has been seen since the last line, once all that was asked until now is answered
    end     the same, after a scrape of every torrent; the client ends

Whatever is not as it has to be ends it with `{"error": ...}`.
"""

import argparse
import contextlib
import hashlib
import ipaddress
import json
import os
import random
import re
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes

# The source tree stays as it was.
sys.dont_write_bytecode = True

from torrent import bdecode

MAGIC = 0x417_2710_1980
CONNECT, ANNOUNCE, SCRAPE = range(3)
UPDATE, COMPLETED, _, STOPPED = range(4)
EVENTS = {UPDATE: "", COMPLETED: "completed", STOPPED: "stopped"}

# As many as a torrent has at most: every reply names all others.
MOST_PEERS = 12
WANTED = 50
# A datagram is lost if there is no reply by then.
LOST_SECONDS = 20
# Less than the tracker accepts it for, and more than ten handovers take.
RENEW_SECONDS = 60
# Torrents in one scrape over UDP (BEP 15).
SCRAPED = 70
SO_RCVBUFFORCE = 33
SLOW_SECONDS = 0.01


class Wrong(Exception):
    """A reply that is not as it has to be."""


def torrent(seed, number):
    """The info hash of the n-th torrent of the client with this seed."""
    return hashlib.sha1(f"{seed} {number}".encode()).digest()


@dataclass
class Swarm:
    """A torrent as the tracker has to know it."""

    info_hash: bytes
    # By port: (is a seeder, its completed download has been counted).
    peers: dict = field(default_factory=dict)
    downloaded: int = 0
    # A request about it is under way.
    asked: bool = False

    def counts(self):
        """(complete, incomplete, downloaded)"""
        complete = sum(seeder for seeder, _ in self.peers.values())
        return complete, len(self.peers) - complete, self.downloaded

    def announce(self, port, seeder, event):
        """What the announce changes; the ports that its reply has to name."""
        _, counted = self.peers.get(port, (False, False))
        if event == STOPPED:
            self.peers.pop(port, None)
            return set()
        if event == COMPLETED and not counted:
            self.downloaded += 1
            counted = True
        self.peers[port] = seeder, counted
        return self.peers.keys() - {port}

    def draw(self, rng):
        """(port, seeder, event) of the next announce, or None for a scrape."""
        drawn = rng.random()
        if not self.peers or (drawn < 0.35 and len(self.peers) < MOST_PEERS):
            return rng.randrange(1, 65536), drawn < 0.1, UPDATE
        if drawn < 0.45:
            return None
        port = rng.choice(list(self.peers))
        if drawn < 0.6:
            return port, True, COMPLETED
        if drawn < 0.75:
            return port, self.peers[port][0], STOPPED
        return port, self.peers[port][0], UPDATE


@dataclass
class Question:
    """What has been asked, and what the reply has to be."""

    swarm: Swarm
    sent: float
    scrape: bool
    counts: tuple = ()
    ports: frozenset = frozenset()

    @classmethod
    def of(cls, swarm, announce):
        if announce is None:
            return cls(swarm, time.monotonic(), True, swarm.counts())
        ports = frozenset(swarm.announce(*announce))
        return cls(swarm, time.monotonic(), False, swarm.counts(), ports)

    def check(self, counts, peers, address):
        """`counts` may lack the downloads, which not every reply tells."""
        if counts != self.counts[: len(counts)]:
            raise Wrong(f"{self.kind()} of {self.swarm.info_hash.hex()}: {counts}, expected {self.counts}")
        if set(peers) != {(address, port) for port in self.ports}:
            raise Wrong(f"{self.kind()} of {self.swarm.info_hash.hex()}: peers {sorted(peers)}, expected {self.ports}")

    def kind(self):
        return "scrape" if self.scrape else "announce"


class Seen:
    """What has been seen since the last mark."""

    def __init__(self):
        self.counts = Counter(answered=0, slow=0)
        self.most_under_way = 0
        self.longest = 0.0

    def answered(self, sent):
        took = time.monotonic() - sent
        self.counts["answered"] += 1
        self.counts["slow"] += took > SLOW_SECONDS
        self.longest = max(self.longest, took)

    def report(self):
        return {**self.counts, "most_under_way": self.most_under_way, "longest_ms": round(self.longest * 1e3, 1)}


class Client:
    """What both protocols share: torrents, and whoever says what is wanted."""

    def __init__(self, options):
        self.options = options
        self.rng = random.Random(options.seed)
        self.swarms = [Swarm(torrent(options.seed, number)) for number in range(options.torrents)]
        self.seen = Seen()
        self.selector = selectors.DefaultSelector()
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ)
        self._words = b""

    def free_swarm(self):
        """One that no request is under way about."""
        for _ in range(100):
            swarm = self.rng.choice(self.swarms)
            if not swarm.asked:
                return swarm
        raise Wrong("too much is under way: more --torrents")

    def word(self):
        """What is wanted, or None."""
        if b"\n" not in self._words:
            with contextlib.suppress(BlockingIOError):
                read = os.read(0, 4096)
                if not read:
                    sys.exit("whoever started this client is gone")
                self._words += read
        word, newline, rest = self._words.partition(b"\n")
        if not newline:
            return None
        self._words = rest
        return word.decode()

    def report(self):
        say(self.seen.report())
        self.seen = Seen()


class Udp(Client):
    """Asks at a fixed rate, whatever is not answered yet, over BEP 15."""

    def __init__(self, options):
        super().__init__(options)
        family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
        self.peer = struct.Struct(">4sH" if family == socket.AF_INET else ">16sH")
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.socket.connect((options.address, options.port))
        self.address = self.socket.getsockname()[0]
        self.socket.setblocking(False)
        self.selector.register(self.socket, selectors.EVENT_READ)
        self.number = 0
        # What is not answered yet, by transaction id: the oldest first.
        self.under_way = {}
        self.connection_id = None
        # The last request that a report is awaited of.
        self.marked = None

    def run(self):
        self.connect()
        self.settle(self.number)
        say({"ready": True})
        # Requests are due at a fixed rate from here on; what was due in a pause of this program's is asked after it.
        begun, asked = time.monotonic(), 0
        while True:
            now = time.monotonic()
            due = int((now - begun) * self.options.rate) - asked
            for _ in range(due):
                self.ask_next()
            asked += max(due, 0)
            self.seen.most_under_way = max(self.seen.most_under_way, len(self.under_way))
            if now - self.connected > RENEW_SECONDS:
                self.connect()
            self.take_replies(begun + (asked + 1) / self.options.rate - time.monotonic())
            match self.word():
                case "mark":
                    self.marked = self.number
                case "end":
                    self.settle(self.number)
                    self.scrape_all()
                    return self.report()

    def settle(self, last):
        """Waits until all that was asked up to a request is answered."""
        while self.under_way and next(iter(self.under_way)) <= last:
            self.take_replies(1)

    def send(self, connection_id, action, body, question):
        self.number += 1
        self.under_way[self.number] = action, question
        self.socket.send(struct.pack(">QII", connection_id, action, self.number) + body)

    def connect(self):
        self.connected = time.monotonic()
        self.send(MAGIC, CONNECT, b"", Question(None, self.connected, False))

    def ask_next(self):
        swarm = self.free_swarm()
        announce = swarm.draw(self.rng)
        question = Question.of(swarm, announce)
        swarm.asked = True
        if announce is None:
            return self.send(self.connection_id, SCRAPE, swarm.info_hash, question)
        port, seeder, event = announce
        body = struct.pack(
            ">20s20sQQQIIIiH",
            swarm.info_hash, b"-TEST00-abcdefghijkl", 0, 0 if seeder else 1, 0, event, 0, 0, WANTED, port,
        )
        self.send(self.connection_id, ANNOUNCE, body, question)

    def take_replies(self, seconds):
        for key, _ in self.selector.select(max(seconds, 0)):
            if key.fileobj is not self.socket:
                continue
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.take(self.socket.recv(4096))
        if self.under_way:
            oldest = next(iter(self.under_way))
            waited = time.monotonic() - self.under_way[oldest][1].sent
            if waited > LOST_SECONDS:
                raise Wrong(f"a datagram is lost: no reply to request {oldest} of {self.number} for {waited:.1f} s")
        if self.marked is not None and (not self.under_way or next(iter(self.under_way)) > self.marked):
            self.marked = None
            self.report()

    def take(self, reply):
        action, number = struct.unpack_from(">II", reply)
        asked, question = self.under_way.pop(number, (None, None))
        if question is None:
            raise Wrong(f"a reply to what is answered, or was never asked: {reply[:64]!r}")
        if action != asked:
            raise Wrong(f"request {number} of action {asked} is answered with {reply[:100]!r}")
        self.seen.answered(question.sent)
        if action == CONNECT:
            (self.connection_id,) = struct.unpack_from(">Q", reply, 8)
        elif question.swarm is None:
            self.check_scrape(question, reply)
        else:
            question.swarm.asked = False
            if action == SCRAPE:
                complete, downloaded, incomplete = struct.unpack_from(">III", reply, 8)
                question.check((complete, incomplete, downloaded), (), self.address)
            else:
                _, incomplete, complete = struct.unpack_from(">III", reply, 8)
                peers = self.peer.iter_unpack(reply[20:])
                peers = [(str(ipaddress.ip_address(address)), port) for address, port in peers]
                question.check((complete, incomplete), peers, self.address)

    def check_scrape(self, question, reply):
        counts = [(complete, left, done) for complete, done, left in struct.iter_unpack(">III", reply[8:])]
        if counts != question.counts:
            raise Wrong(f"scrape of {len(counts)} torrents: {counts}, expected {question.counts}")

    def scrape_all(self):
        for at in range(0, len(self.swarms), SCRAPED):
            swarms = self.swarms[at : at + SCRAPED]
            question = Question(None, time.monotonic(), True, [swarm.counts() for swarm in swarms])
            self.send(self.connection_id, SCRAPE, b"".join(swarm.info_hash for swarm in swarms), question)
            self.settle(self.number)


class Http(Client):
    """Asks when the request before is answered, over a connection of its own or one that is kept alive."""

    def __init__(self, options):
        super().__init__(options)
        self.family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
        self.connection = None
        # Since the connection was opened.
        self.asked = 0

    def run(self):
        self.ask_next()
        say({"ready": True})
        while True:
            self.ask_next()
            match self.word():
                case "mark":
                    self.report()
                case "end":
                    for swarm in self.swarms:
                        self.ask(swarm, None, keep=True)
                    return self.report()

    def ask_next(self):
        swarm = self.free_swarm()
        # Half of the connections are kept for some requests.
        keep = self.connection is not None and self.asked < 20 or self.rng.random() < 0.1
        self.ask(swarm, swarm.draw(self.rng), keep)

    def ask(self, swarm, announce, keep):
        question = Question.of(swarm, announce)
        info_hash = quote_from_bytes(swarm.info_hash, safe="")
        if announce is None:
            target = f"/scrape?info_hash={info_hash}"
        else:
            port, seeder, event = announce
            target = (
                f"/announce?info_hash={info_hash}&peer_id=-TEST00-abcdefghijkl&port={port}&uploaded=0&downloaded=0"
                f"&left={0 if seeder else 1}&event={EVENTS[event]}&compact=1&numwant={WANTED}"
            )
        words = "keep-alive" if keep else "close"
        request = f"GET {target} HTTP/1.1\r\nHost: tracker\r\nConnection: {words}\r\n\r\n".encode()
        body = bdecode(self.exchange(request))
        self.seen.answered(question.sent)
        if not keep:
            self.close()
        if b"failure reason" in body:
            raise Wrong(f"{question.kind()}: {body[b'failure reason']}")
        if announce is None:
            # A torrent of which nothing is known need not be named.
            counts = body[b"files"].get(swarm.info_hash, {})
            question.check(tuple(counts.get(key, 0) for key in (b"complete", b"incomplete", b"downloaded")), (), "")
        else:
            self.check_announce(question, body)

    def check_announce(self, question, body):
        v6 = self.family == socket.AF_INET6
        peers = struct.Struct(">16sH" if v6 else ">4sH").iter_unpack(body.get(b"peers6" if v6 else b"peers", b""))
        peers = [(str(ipaddress.ip_address(address)), port) for address, port in peers]
        question.check((body[b"complete"], body[b"incomplete"]), peers, self.address)

    def exchange(self, request):
        """Sends a request, and returns the body of the reply."""
        is_new = self.connection is None
        if is_new:
            self.open()
        self.asked += 1
        try:
            self.connection.sendall(request)
            reply = self.receive()
        except (ConnectionResetError, BrokenPipeError) as error:
            if is_new:
                raise Wrong(f"a new connection is cut off: {error}") from None
            reply = b""
        if reply == b"" and not is_new:
            # A server may close a connection that nothing is under way on, and a client that has just asked asks again
            # (RFC 9112, section 9.3.1).
            self.seen.counts["closed_while_kept"] += 1
            self.close()
            return self.exchange(request)
        status, _, body = reply.partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 200"):
            raise Wrong(f"HTTP: {reply[:200]!r}, after {self.asked} requests")
        return body

    def open(self):
        self.connection = socket.socket(self.family, socket.SOCK_STREAM)
        self.connection.settimeout(LOST_SECONDS)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.connect((self.options.address, self.options.port))
        self.address = self.connection.getsockname()[0]
        self.asked = 0
        self.seen.counts["connections"] += 1

    def receive(self):
        """A whole reply, or nothing if there was not one byte of it."""
        reply = b""
        while True:
            read = self.connection.recv(65536)
            reply += read
            head, end, body = reply.partition(b"\r\n\r\n")
            if end and (length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)):
                if len(body) == int(length[1]):
                    return reply
            if not read:
                if reply:
                    raise Wrong(f"a reply is cut off: {reply[:200]!r}")
                return b""

    def close(self):
        self.connection.close()
        self.connection = None


def say(what):
    print(json.dumps(what), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["udp", "http"])
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=1000, help="requests a second over UDP (default: 1000)")
    parser.add_argument("--torrents", type=int, default=2000, help="no two requests are under way about the same")
    parser.add_argument("--seed", default="1", help="clients of different seeds have no torrent in common")
    options = parser.parse_args()
    try:
        (Udp if options.protocol == "udp" else Http)(options).run()
    except (Wrong, OSError) as error:
        say({"error": f"{options.protocol}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
