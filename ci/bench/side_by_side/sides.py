"""The servers: how each is configured, started and recognised as ready."""

import contextlib
import os
import pathlib
import shutil
import socket
import struct
import tempfile
import time
from dataclasses import dataclass

from . import builds, processes

PATIENCE = 30
# Behind the hashes that are asked for: a tracker has read its list when this one is on it.
SENTINEL = bytes(20)

# The loaders announce all peers from a few addresses.
OURS_CONFIG = """\
[listen]
tcp = ["127.0.0.1:{port}"]
udp = ["127.0.0.1:{port}"]
tcp_workers = 1
udp_workers = 1
[limits]
peers_per_address = 0
"""
AQUATIC_UDP_CONFIG = """\
socket_workers = 1
[network]
address = "127.0.0.1:{port}"
"""
AQUATIC_HTTP_CONFIG = """\
socket_workers = 1
swarm_workers = 1
[network]
address = "127.0.0.1:{port}"
keep_alive = {keep_alive}
"""


@dataclass(frozen=True)
class Side:
    """A server that can be measured, or the reason why it cannot. {...} stand for what differs from run to run."""

    name: str
    protocols: frozenset
    command: tuple
    config: str = ""
    missing: str = ""

    @property
    def shown(self):
        """Its command as one would type it."""
        path = pathlib.Path(self.command[0])
        if path.is_relative_to(builds.ROOT):
            path = path.relative_to(builds.ROOT)
        return " ".join([str(path), *self.command[1:]])


def sides(built):
    """All, by the names that the parts use."""

    def side(key, name, program, protocols, *arguments, config=""):
        missing = "" if program in built.paths else built.missing.get(program, "is not there")
        command = (str(built.paths.get(program, program)), *arguments)
        return key, Side(name, frozenset(protocols.split()), command, config, missing)

    ours = ("-f", "{dir}/config", "-d", "{dir}")
    original = "-i 127.0.0.1 -p {port} -P {port} -A 127.0.0.1 -d {dir} -w whitelist.txt".split()
    aquatic = ("-c", "{dir}/config")
    return dict([
        side("ours", "opentracker", "opentracker-default", "udp http", *ours, config=OURS_CONFIG),
        side("dual", "opentracker, dual-stack", "opentracker-dual-stack", "udp http", *ours, config=OURS_CONFIG),
        side("gzip", "opentracker, gzip", "opentracker-gzip", "udp http", *ours, config=OURS_CONFIG),
        side("original", "the original", "debian opentracker", "udp http", *original),
        side("aquatic", "aquatic_udp", "aquatic_udp", "udp", *aquatic, config=AQUATIC_UDP_CONFIG),
        side("uring", "aquatic_udp, io_uring", "aquatic_udp, io_uring", "udp", *aquatic, config=AQUATIC_UDP_CONFIG),
        side("aquatic_http", "aquatic_http", "aquatic_http", "http", *aquatic, config=AQUATIC_HTTP_CONFIG),
        side("floor", "floor: recvmmsg, sendmmsg", "udp_floor", "udp", "batch", "127.0.0.1:{port}"),
        side("single", "floor: recvfrom, sendto", "udp_floor", "udp", "single", "127.0.0.1:{port}"),
        # Not servers, but what may be missing as well.
        side("wrk", "wrk", "debian wrk", ""),
        side("aquatic_load", "aquatic_udp_load_test", "aquatic_udp_load_test", ""),
    ])


class Running:
    """A server that runs, on a port of 127.0.0.1 that was free."""

    def __init__(self, side, directory, keep_alive):
        self.side, self.directory = side, directory
        self.address = ("127.0.0.1", free_port())
        self.to = "%s:%d" % self.address
        # As `fullscrape.py` wants it.
        self.tcp = self.address
        places = {"port": self.address[1], "dir": str(directory), "keep_alive": str(keep_alive).lower()}
        if side.config:
            (directory / "config").write_text(side.config.format(**places))
        self.log = directory / "log"
        command = [word.format(**places) for word in side.command]
        self.process = processes.start(command, self.log, cwd=directory)
        self.pid = self.process.pid

    def wait(self):
        deadline = time.monotonic() + PATIENCE
        if "whitelist.txt" in self.side.command:
            answers = self.has_read_its_list
        else:
            answers = self.answers_udp if "udp" in self.side.protocols else self.answers_tcp
        while not answers():
            if self.process.poll() is not None:
                raise processes.Failed(f"{self.side.name} does not start: {self.said()}")
            if time.monotonic() > deadline:
                raise processes.Failed(f"{self.side.name} does not answer after {PATIENCE} s: {self.said()}")
            time.sleep(0.02)

    def answers_udp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            client.connect(self.address)
            try:
                client.send(struct.pack(">QII", 0x41727101980, 0, 1))
                return len(client.recv(64)) == 16
            except OSError:
                return False

    def answers_tcp(self):
        with socket.socket() as client:
            client.settimeout(0.2)
            return client.connect_ex(self.address) == 0

    def has_read_its_list(self):
        """The original reads it while it answers already, and refuses with the first half of an announce's reply. The
        peer that asks leaves again."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            client.connect(self.address)
            try:
                client.send(struct.pack(">QII", 0x41727101980, 0, 1))
                connection_id = client.recv(64)[8:16]
                replies = []
                for event in (0, 3):
                    announce = struct.pack(">20s20sQQQIIIiH", SENTINEL, b"", 0, 1, 0, event, 0, 0, 1, 1)
                    client.send(connection_id + struct.pack(">II", 1, 2) + announce)
                    replies.append(client.recv(2048))
                return len(replies[0]) >= 20
            except OSError:
                return False

    def said(self):
        return self.log.read_text(errors="replace").strip()[-300:]

    def meter(self):
        return processes.Meter(self.pid)

    def resident(self):
        return processes.resident(self.pid)


@contextlib.contextmanager
def running(side, hashes=None, keep_alive=True):
    """Starts a server, waits until it answers, and ends it. `hashes` is the white list, for one that needs it."""
    if side.missing:
        raise processes.Failed(f"{side.name}: {side.missing}")
    # Some become nobody, in this directory as their root.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="opentracker-bench-"))
    server = None
    try:
        os.chmod(directory, 0o755)
        if "whitelist.txt" in side.command:
            if hashes:
                shutil.copy(hashes, directory / "whitelist.txt")
            else:
                (directory / "whitelist.txt").touch()
            with open(directory / "whitelist.txt", "a") as listed:
                listed.write(SENTINEL.hex() + "\n")
        server = Running(side, directory, keep_alive)
        server.wait()
        yield server
    finally:
        try:
            if server:
                processes.end(server.process)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def free_port():
    """A port that is free for TCP and UDP."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
                return tcp.getsockname()[1]
            except OSError:
                continue
    raise processes.Failed("no port is free")
