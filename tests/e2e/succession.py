"""Trackers that take over from each other, clients that ask meanwhile, and who stands between two trackers."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from asker import torrent
from cluster import COMPLETED, UPDATE
from stage import STEP_SECONDS, StepFailed
from tracker import CONFIGURATION, HTTP_PORT, UDP_CONNECT, UDP_MAGIC, UDP_PORT, UDP_SCRAPE, exchange

ASKER = Path(__file__).with_name("asker.py")
SOCKET = "handover.sock"
UDP_ANNOUNCE = 1
SAMPLE_SECONDS = 0.002
# What messages between two trackers are, by their first byte: src/switches/handover/message.rs.
KINDS = (
    "Hello", "Identity", "Sockets", "OwnSocket", "AllSockets", "Refused", "Ready", "Swarms", "AllOnce", "Pause",
    "Taken", "Yours", "Keeps",
)
MOST_MESSAGE = 1 << 17
MOST_DESCRIPTORS = 64


class Tracker:
    """A process that takes over from the one that answers at a socket, if there is one."""

    http_port, udp_port = HTTP_PORT, UDP_PORT

    def __init__(self, stage, host, binary, name, *, families, configuration="", files=(), path=SOCKET, options=()):
        self.host = host
        self.stage = stage
        folder = stage.folder / name
        folder.mkdir()
        for file, text in dict(files).items():
            (folder / file).write_text(text)
        file = folder / "configuration"
        file.write_text(f'{CONFIGURATION}tracker.handover = "{stage.folder / path}"\n{configuration}')
        listen = [
            word
            for family in families
            for word in ("-i", host.addresses[family], "-p", HTTP_PORT, "-P", UDP_PORT)
        ]
        self.process = stage.start(host, [binary, "-f", file, *listen, "-d", folder, *options], folder)

    def answers(self):
        """Waits until it does: that is the last thing that it says."""
        self.stage.until(f"{self.process.name} answers", lambda: "features:" in self.process.log(), [self.process])
        return self

    def ends(self, *codes):
        self.stage.until(f"{self.process.name} ends", self.process.ended)
        if self.process.exit_code() not in codes:
            raise StepFailed(f"{self.process.name} ended with {self.process.exit_code()}, expected one of {codes}")

    def says(self, pattern):
        """What its log says."""
        if found := re.search(pattern, self.process.log()):
            return found
        raise StepFailed(f"{self.process.name} does not say {pattern!r}")


class Asker:
    """The client asker.py, on a host. It asks from the constructor on."""

    def __init__(self, stage, host, protocol, address, *options):
        self.protocol = protocol
        self.name = f"asker-{protocol}"
        port = UDP_PORT if protocol == "udp" else HTTP_PORT
        argv = [sys.executable, ASKER, protocol, address, port, "--seed", protocol, *options]
        self._process = subprocess.Popen(
            host.command(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        self._said = []
        stage.processes.append(self)
        self._answer()

    def ask(self, word):
        """What it has seen since it was asked before."""
        # One that has ended has said why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        if not select.select([self._process.stdout], [], [], STEP_SECONDS)[0]:
            raise StepFailed(f"{self.name} says nothing")
        self._said.append(self._process.stdout.readline() or '{"error": "it has ended"}\n')
        answer = json.loads(self._said[-1])
        if "error" in answer:
            raise StepFailed(f"{self.name}: {answer['error']}")
        return answer

    def kill(self):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def log_tail(self):
        return "".join(self._said[-5:])


class Waiting(threading.Thread):
    """What waits in the UDP sockets of a tracker's host while the `with` block lasts, and what is dropped there."""

    def __init__(self, tracker):
        super().__init__(daemon=True)
        # A process's view is that of its host.
        self._tables = [Path(f"/proc/{tracker.process.pid}/net/{name}") for name in ("udp", "udp6")]
        self.most, self.dropped = 0, 0
        self._ended = threading.Event()

    def __enter__(self):
        self._dropped_before = self._read()[1]
        # The process may end while its tables are read; those of its host are the same.
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()

    def _read(self):
        lines = [line.split() for table in self._tables for line in table.read_text().splitlines()[1:]]
        ours = [line for line in lines if line[1].endswith(f":{UDP_PORT:04X}")]
        return sum(int(line[4].partition(":")[2], 16) for line in ours), sum(int(line[-1]) for line in ours)

    def run(self):
        while not self._ended.wait(SAMPLE_SECONDS):
            try:
                waiting, dropped = self._read()
            except OSError:
                return
            self.most = max(self.most, waiting)
            self.dropped = max(self.dropped, dropped - self._dropped_before)


@dataclass(frozen=True)
class Moment:
    """When a process is killed: the n-th message of this kind, after one of another kind, is sent and not received."""

    kind: str
    number: int = 1
    after: str = ""

    def __str__(self):
        number = f" {self.number}" if self.number > 1 else ""
        return f"{self.kind}{number}" + (f" after {self.after}" if self.after else "")

    def has_come(self, kinds):
        """Whether these are the messages up to then."""
        begin = kinds.index(self.after) if self.after in kinds else 0
        there = not self.after or self.after in kinds
        return there and kinds[-1] == self.kind and kinds[begin:].count(self.kind) == self.number


class Between(threading.Thread):
    """Stands between two trackers at a socket of its own, passes on what they say, and kills or stops one of them."""

    def __init__(self, stage, path, moment):
        super().__init__(daemon=True)
        self._moment = moment
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(str(stage.folder / path))
        self._listening.listen()
        self._target = str(stage.folder / SOCKET)
        self._victim, self._kills = None, True
        # All that has been said.
        self._kinds = []

    def begin(self, victim, kills=True):
        """Passes on from now on: whoever has connected already waits."""
        self._victim, self._kills = victim, kills
        self.start()

    def end(self):
        self.join(STEP_SECONDS)
        if self._kills and not self._moment.has_come(self._kinds):
            raise StepFailed(f"{self._moment} has not come, but {', '.join(self._kinds)}")

    def run(self):
        with self._listening:
            new, _ = self._listening.accept()
        old = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with new, old:
            old.connect(self._target)
            while True:
                for source in select.select([new, old], [], [])[0]:
                    if not self._pass_on(source, old if source is new else new):
                        return

    def _pass_on(self, source, to):
        """Says no when there is nothing more to pass on."""
        body, descriptors, _, _ = socket.recv_fds(source, MOST_MESSAGE, MOST_DESCRIPTORS)
        try:
            if not body:
                return False
            self._kinds.append(KINDS[body[0]])
            if self._moment.has_come(self._kinds):
                if self._kills:
                    self._victim.kill()
                    return False
                self._victim.send(signal.SIGSTOP)
            socket.send_fds(to, [body], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True


class Crowd:
    """Torrents with five peers each: one is a seeder, whose download has been counted."""

    PEERS = 5
    WINDOW = 200
    SCRAPED = 70
    WHOLE = (1, PEERS - 1, 1)

    def __init__(self, host, tracker, torrents):
        self.hashes = [torrent("crowd", number) for number in range(torrents)]
        with host.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(STEP_SECONDS)
        self._socket.connect((tracker.host.addresses["ipv4"], UDP_PORT))

    def _connect(self):
        (connection_id,) = struct.unpack(">Q", exchange(self._socket, UDP_MAGIC, UDP_CONNECT, b""))
        return connection_id

    def announce(self):
        """Every peer announces, a few at a time."""
        connection_id = self._connect()
        head = struct.pack(">QII", connection_id, UDP_ANNOUNCE, 0)
        layout = struct.Struct(">20sQQQIIIiH")
        events = [COMPLETED] + [UPDATE] * (self.PEERS - 1)
        tails = [
            layout.pack(b"-TEST00-abcdefghijkl", 0, port > 1, 0, event, 0, 0, 0, port)
            for port, event in enumerate(events, 1)
        ]
        step = self.WINDOW // self.PEERS
        for at in range(0, len(self.hashes), step):
            sent = [self._socket.send(head + name + tail) for name in self.hashes[at : at + step] for tail in tails]
            for _ in sent:
                reply = self._socket.recv(2048)
                if reply[:4] != UDP_ANNOUNCE.to_bytes(4, "big"):
                    raise StepFailed(f"an announce is answered with {reply!r}")

    def counts(self):
        """(complete, incomplete, downloaded) of every torrent."""
        connection_id = self._connect()
        counts = []
        for at in range(0, len(self.hashes), self.SCRAPED):
            reply = exchange(self._socket, connection_id, UDP_SCRAPE, b"".join(self.hashes[at : at + self.SCRAPED]))
            counts += [(complete, left, done) for complete, done, left in struct.iter_unpack(">III", reply)]
        return counts

    def how_many(self, step):
        """How many of the peers are there. No torrent may have more of anything than it should."""
        counts = self.counts()
        if wrong := [count for count in counts if any(map(lambda seen, most: seen > most, count, self.WHOLE))]:
            raise StepFailed(f"{step}: {len(wrong)} torrents have too much, such as {wrong[0]}")
        return sum(complete + left for complete, left, _ in counts)
