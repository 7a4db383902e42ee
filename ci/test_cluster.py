"""Tests of the examples of ci/cluster for nats-server, with the real one: it takes them, and they permit what they say.

    python3 -B -m unittest discover -s ci

They need nats-server and openssl: without, they are not run. ci/test installs both, and says if it could not.
"""

import contextlib
import json
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from test_combinations import ROOT

EXAMPLES = ROOT / "ci/cluster/nats"
SERVERS = ("two-sites.conf", "three-clouds.conf")
# What a server is configured with, and the password that it is made of.
HASH = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
SECRET = "secret"
WAIT = 20

MISSING = [program for program in ("nats-server", "openssl") if not shutil.which(program)]


def free_ports(number):
    """Ports of the loopback address that nobody uses, below those that the system gives to whoever connects somewhere:
    until a server binds one, nobody takes it by chance."""
    with contextlib.ExitStack() as stack:
        ports = []
        for port in random.sample(range(10_000, 32_768), 22_768):
            if len(ports) == number:
                break
            each = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


class Client:
    """A client of NATS, as far as permissions are concerned."""

    def __init__(self, port, authority, user=None, password=SECRET):
        self.lines = b""
        plain = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        info = plain.recv(65536)
        context = ssl.create_default_context(cafile=authority)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.urls = json.loads(info.split(b" ", 1)[1].split(b"\r\n")[0]).get("connect_urls", [])
        options = {"verbose": False, "pedantic": False, "tls_required": True, "lang": "python", "version": "1"}
        if user:
            options.update(user=user, **{"pass": password})
        self.send(f"CONNECT {json.dumps(options)}")

    def send(self, *lines):
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def until(self, pattern):
        """Reads until something comes that looks like this."""
        while not (found := re.search(pattern, self.lines)):
            more = self.socket.recv(65536)
            assert more, f"closed after {self.lines!r}"
            self.lines += more
        said, self.lines = self.lines[: found.end()], self.lines[found.end() :]
        return said

    def flush(self):
        """All that came before the server's answer to all that was sent before."""
        self.send("PING")
        return self.until(rb"PONG\r\n")

    def close(self):
        self.socket.close()


@unittest.skipIf(MISSING, f"not installed: {', '.join(MISSING)}")
class WhatTheServersPermit(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for file in EXAMPLES.iterdir():
            text = file.read_text().replace("/etc/nats/", f"{self.folder}/")
            (self.folder / file.name).write_text(text)
        self.secrets = self.folder / "passwords.conf"
        self.secrets.write_text(f'TRACKER_PASSWORD: "{HASH}"\nMONITOR_PASSWORD: "{HASH}"\n')
        self.authority = self.folder / "ca.pem"
        # As the chapter makes certificates.
        blocks = (ROOT / "ci/cluster/README.md").read_text().split("```")
        commands = next(block for block in blocks if "openssl req" in block).removeprefix("sh\n")
        commands = commands.replace("nats-a.example.org", "localhost")
        subprocess.run(["sh", "-e", "-c", commands], cwd=self.folder, check=True, capture_output=True)

    def check(self, name):
        command = ["nats-server", "-c", self.folder / name, "-t"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
        return done.returncode, done.stdout + done.stderr

    def start(self, name, edits, port):
        """A server with an example, after these edits of it."""
        text = (self.folder / name).read_text()
        for before, after in edits:
            self.assertIn(before, text)
            text = text.replace(before, after)
        file = self.folder / f"{port}-{name}"
        file.write_text(text)
        log = open(self.folder / f"{port}.log", "w+")
        self.addCleanup(log.close)
        server = subprocess.Popen(["nats-server", "-c", file], stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        end = time.monotonic() + WAIT
        while "Server is ready" not in (said := Path(log.name).read_text()):
            self.assertIsNone(server.poll(), said)
            self.assertLess(time.monotonic(), end, said)
            time.sleep(0.01)
        return server

    def client(self, port, *arguments, **options):
        client = Client(port, self.authority, *arguments, **options)
        self.addCleanup(client.close)
        return client

    def test_each_is_valid_and_none_starts_without_passwords(self):
        for name in SERVERS:
            with self.subTest(name):
                code, said = self.check(name)
                self.assertEqual((code, "is valid" in said), (0, True), said)
        for text in (None, (EXAMPLES / "passwords.conf.sample").read_text()):
            self.secrets.unlink(missing_ok=True)
            if text is not None:
                self.secrets.write_text(text)
            for name in SERVERS:
                code, said = self.check(name)
                self.assertEqual((code, "is valid" in said), (1, False), said)

    def sites(self):
        """Two sites, joined by a route. Their ports for clients, and for routes."""
        ports = free_ports(4)
        for own, other in ((0, 1), (1, 0)):
            edits = [
                ("NAME: nats-a", f"NAME: nats-{own}"),
                ("nats-route://nats-b.example.org:6222", f"nats-route://localhost:{ports[2 + other]}"),
                ("0.0.0.0:4222", f"127.0.0.1:{ports[own]}"),
                ("0.0.0.0:6222", f"127.0.0.1:{ports[2 + own]}"),
            ]
            self.start("two-sites.conf", edits, ports[own])
        return ports[:2], ports[2:]

    def clouds(self):
        """Three clouds with a server each, joined by gateways. Their ports for clients, and for routes and gateways."""
        ports = free_ports(9)
        names = ["cloud-a", "cloud-b", "cloud-c"]
        for own, name in enumerate(names):
            edits = [
                ("CLOUD: cloud-a", f"CLOUD: {name}"),
                ("NAME: nats-1.cloud-a", f"NAME: nats-1.{name}"),
                ('NEAR: ["nats-route://nats-2.cloud-a.example.org:6222"]', "NEAR: []"),
                (', "nats://nats-2.cloud-a.example.org:7222"', ""),
                ("0.0.0.0:4222", f"127.0.0.1:{ports[own]}"),
                ("0.0.0.0:6222", f"127.0.0.1:{ports[3 + own]}"),
                ("0.0.0.0:7222", f"127.0.0.1:{ports[6 + own]}"),
            ]
            for number, other in enumerate(names):
                edits.append((f"nats-1.{other}.example.org:7222", f"localhost:{ports[6 + number]}"))
            self.start("three-clouds.conf", edits, ports[own])
        return ports[:3], ports[3:]

    def test_a_tracker_may_speak_below_its_subject_alone(self):
        (here, _), _ = self.sites()
        tracker = self.client(here, "tracker")
        self.assertEqual(tracker.urls, [], "no server is announced")
        tracker.send("SUB opentracker.> 1", "PUB opentracker.changes 5", "hello")
        self.assertIn(b"MSG opentracker.changes 1 5\r\nhello", tracker.flush())
        tracker.send("PUB other.changes 5", "hello")
        self.assertIn(b"Permissions Violation for Publish to \"other.changes\"", tracker.flush())
        tracker.send("SUB > 2")
        self.assertIn(b"Permissions Violation for Subscription to \">\"", tracker.flush())

    def test_a_monitor_hears_and_says_nothing_and_others_are_kept_out(self):
        (here, _), _ = self.sites()
        monitor, tracker = self.client(here, "monitor"), self.client(here, "tracker")
        monitor.send("SUB opentracker.> 1")
        monitor.flush()
        tracker.send("PUB opentracker.changes 5", "hello")
        tracker.flush()
        monitor.until(rb"MSG opentracker.changes 1 5\r\nhello")
        # A subscription to more does not bring snapshots either.
        tracker.send("PUB opentracker.snapshot.joiner.1.1 5", "peers", "PUB opentracker.changes 5", "later")
        tracker.flush()
        self.assertNotIn(b"snapshot", monitor.until(rb"MSG opentracker.changes 1 5\r\nlater"))
        monitor.send("SUB opentracker.snapshot.joiner.1.1 2")
        self.assertIn(b"Permissions Violation for Subscription to \"opentracker.snapshot.joiner.1.1\"", monitor.flush())
        monitor.send("PUB opentracker.changes 5", "hello")
        self.assertIn(b"Permissions Violation for Publish to \"opentracker.changes\"", monitor.flush())
        for stranger in ({"user": None}, {"user": "tracker", "password": "wrong"}):
            self.client(here, **stranger).until(b"Authorization Violation")

    def test_who_has_no_certificate_is_no_server(self):
        for port in self.sites()[1] + self.clouds()[1]:
            self.assertIn(b"INFO", self.greeting(port, self.folder / "server.pem", self.folder / "server.key"))
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.greeting(port)

    def greeting(self, port, *certificate):
        """What a server says to another server."""
        context = ssl.create_default_context(cafile=self.authority)
        if certificate:
            context.load_cert_chain(*certificate)
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as server:
                return server.recv(65536)

    def test_what_is_said_at_one_place_is_heard_at_the_others(self):
        for places in (self.sites, self.clouds):
            with self.subTest(places.__name__):
                ports, _ = places()
                ears = [self.client(port, "tracker") for port in ports]
                for ear in ears:
                    ear.send("SUB opentracker.> 1")
                    ear.flush()
                mouth = self.client(ports[0], "tracker")
                heard = set()
                # Until the servers have found each other.
                for ear in ears:
                    ear.socket.settimeout(0.1)
                for _ in range(10 * WAIT):
                    mouth.send("PUB opentracker.changes 5", "hello")
                    mouth.flush()
                    for number, ear in enumerate(ears):
                        with contextlib.suppress(TimeoutError):
                            ear.until(rb"MSG opentracker.changes 1 5\r\nhello\r\n")
                            heard.add(number)
                    if len(heard) == len(ears):
                        break
                self.assertEqual(heard, set(range(len(ears))))


if __name__ == "__main__":
    unittest.main()
