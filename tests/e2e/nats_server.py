"""A NATS server that the test starts, stops, freezes and kills; who signs its certificate; and a client of it."""

import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading

from stage import STEP_SECONDS, StepFailed

PORT = 4222
# The port of the server's own statistics is so much higher.
MONITOR = 1000
SUBJECT = "opentracker"
PROGRAM = "/usr/sbin/nats-server"


def missing():
    """What it needs and this machine has not, or None."""
    if not shutil.which("nats-server") and not os.access(PROGRAM, os.X_OK):
        return "nats-server (Debian package nats-server)"
    return None if shutil.which("openssl") else "openssl (Debian package openssl)"


class Server:
    """Runs on its host from the constructor on, and from `start` on after a `kill`."""

    def __init__(self, stage, host, configuration="", name="nats", port=PORT):
        self.stage = stage
        self.host = host
        self.name = name
        self.port = port
        self.url = f"nats://{host.addresses['ipv4']}:{port}"
        self._starts = 0
        self._configuration = stage.folder / f"{name}.conf"
        self.configure(configuration)
        self.start()

    def configure(self, configuration):
        """What holds from the next start on."""
        ports = f'listen: "0.0.0.0:{self.port}"\nhttp: "127.0.0.1:{self.port + MONITOR}"\n'
        self._configuration.write_text(ports + configuration)

    def start(self):
        self._starts += 1
        folder = self.stage.folder / f"{self.name}-{self._starts}"
        folder.mkdir()
        program = shutil.which("nats-server") or PROGRAM
        self.process = self.stage.start(self.host, [program, "-c", self._configuration], folder, good_ends=(0, 1))
        self.stage.until(f"{self.name} is ready", lambda: "Server is ready" in self.process.log(), [self.process])

    def kill(self):
        self.process.kill()

    def subscribed(self):
        """How many clients hear what the cluster says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + MONITOR, timeout=STEP_SECONDS)
        with self.host.inside():
            connection.connect()
        try:
            connection.request("GET", "/connz?subs=1")
            clients = json.loads(connection.getresponse().read())["connections"] or []
        finally:
            connection.close()
        return sum(any(name.startswith(SUBJECT) for name in client.get("subscriptions_list", ())) for client in clients)

    def until_subscribed(self, count):
        self.stage.until(f"{count} trackers hear what is said", lambda: self.subscribed() >= count, [self.process])

    def freeze(self):
        """It is there, and does nothing."""
        self.process.send(signal.SIGSTOP)

    def thaw(self):
        self.process.send(signal.SIGCONT)


class Authority:
    """Signs certificates. Its own is the file `ca.pem`. In a folder where one has been, it is that one."""

    def __init__(self, folder):
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        if folder.exists():
            return
        folder.mkdir()
        ends = ["-out", self.certificate, "-days", "2"]
        self._openssl("req", "-x509", "-subj", f"/CN={folder.name}", *new_key(self._key), *ends)
        # The tracker reads it as whoever it is.
        folder.chmod(0o755)
        self.certificate.chmod(0o644)

    def server(self, name):
        """What the configuration of a server says, whose certificate is for `name`: a name or an IPv4 address."""
        key, request, signed = (self._folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        kind = "IP" if name.replace(".", "").isdigit() else "DNS"
        self._openssl("req", "-subj", f"/CN={name}", *new_key(key), "-out", request)
        extensions = self._folder / f"{name}.extensions"
        extensions.write_text(f"subjectAltName={kind}:{name}\nextendedKeyUsage=serverAuth\n")
        by = ["-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions]
        self._openssl("x509", "-req", "-in", request, "-out", signed, "-days", "2", *by)
        return self.files(name)

    def files(self, name):
        """What the configuration of a server says that has this certificate."""
        return f'tls {{ cert_file: "{self._folder / name}.pem", key_file: "{self._folder / name}.key" }}\n'

    @staticmethod
    def _openssl(*words):
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StepFailed(f"openssl {words[0]}: {done.stderr.strip()}")


def new_key(path):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


class Listener:
    """A client of NATS that hears all that is said on subjects of the cluster, and says what it likes."""

    def __init__(self, host, server, subject=SUBJECT):
        with host.inside():
            address = server.host.addresses["ipv4"], server.port
            self._socket = socket.create_connection(address, STEP_SECONDS)
        self._read = b""
        self._line()
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {subject}.> 1\r\nPING\r\n".encode())
        if (said := self._line()) != b"PONG":
            raise StepFailed(f"the server says {said!r}")

    def publish(self, subject, payload):
        self._send(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))

    def heard(self):
        """(subject, payload) of every message that has come and not been asked for yet."""
        messages = []
        while self._read or select.select([self._socket], [], [], 0)[0]:
            words = self._line().split()
            if words[0] == b"MSG":
                size = int(words[-1])
                messages.append((words[1].decode(), self._take(size + 2)[:-2]))
            elif words[0] == b"PING":
                self._send(b"PONG\r\n")
        return messages

    def until_heard(self, stage, subject, part):
        """The first message on a subject that has this in it."""
        found = []

        def come():
            found.extend(payload for name, payload in self.heard() if name == subject and part in payload)
            return found

        stage.until(f"a message on {subject}", come)
        return found[0]

    def flush(self):
        """Waits until the server has had all; what is heard meanwhile is forgotten."""
        self.heard()
        self._send(b"PING\r\n")
        while (line := self._line()) != b"PONG":
            if line.startswith(b"MSG"):
                self._take(int(line.split()[-1]) + 2)

    def close(self):
        self._socket.close()

    def _send(self, data):
        self._socket.sendall(data)

    def _line(self):
        while b"\r\n" not in self._read:
            self._more()
        line, _, self._read = self._read.partition(b"\r\n")
        return line

    def _take(self, size):
        while len(self._read) < size:
            self._more()
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self):
        if not (read := self._socket.recv(65536)):
            raise StepFailed("the server has closed a connection of the test's own")
        self._read += read


class Liar:
    """Is where the server was, and says something else to each client that connects."""

    INFO = (
        b'INFO {"server_id":"x","version":"2.9.10","go":"x","host":"x","port":4222,"headers":true,'
        b'"max_payload":1048576}\r\n'
    )
    # What it says after its first line, or instead of it.
    SAYS = (
        b"",
        b"\0" * 100_000,
        b"INFO {\r\n",
        b"INFO " + b"[" * 100_000,
        INFO + b"MSG opentracker.changes 1 99999999999999999999\r\n",
        INFO + b"MSG opentracker.changes 1 2000000000\r\n" + b"x" * 100_000,
        INFO + b"MSG opentracker.changes 1 -5\r\nabc\r\n",
        INFO + b"-ERR 'Authorization Violation'\r\n",
        INFO + b"PONG\r\n" * 10_000,
        INFO.replace(b'"host":"x"', b'"tls_required":true,"host":"x"'),
        INFO.replace(b'"max_payload":1048576', b'"max_payload":1,"connect_urls":["192.0.2.250:1","x",":::"]'),
    )

    def __init__(self, server, batch):
        self.connections = 0
        # To a client that has said that it listens.
        self._messages = [
            b"MSG opentracker.changes %d %d\r\n%s\r\n" % (sid, len(said), said)
            for sid in (0, 1, 2, 3, 4, 2**63)
            for said in (batch, batch[:-1], batch[: len(batch) // 2], b"", bytes(65536))
        ]
        with server.host.inside():
            self._listening = socket.create_server(("0.0.0.0", server.port))
        self._clients = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Its thread waits in accept(), which only this ends.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(STEP_SECONDS)
        for open_socket in (self._listening, *self._clients):
            open_socket.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._clients.append(client)
            said = self.SAYS[self.connections % len(self.SAYS)]
            self.connections += 1
            client.settimeout(1)
            with contextlib.suppress(OSError):
                client.sendall(said)
                if said.startswith(self.INFO) or not said:
                    client.sendall(self.INFO + b"PONG\r\n" + b"".join(self._messages))
                else:
                    client.close()
