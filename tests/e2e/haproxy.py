"""haproxy before a tracker: for the clients it is the tracker, and the tracker is to know who they are."""

import csv
import http.client
import ipaddress
import shutil
import signal
import socket
import struct
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote_from_bytes

from clients import PORT
from meeting import Meeting, torrent_for
from stage import StepFailed
from torrent import bdecode
from tracker import ASK_SECONDS, HTTP_PORT, Tracker

# How often haproxy looks whether the tracker is well.
CHECK_MILLISECONDS = 200
# How haproxy says who a client is: with a field of each request, for which it has to understand HTTP,
# or with a header of each connection, whatever is spoken on it.
BY_REQUEST, BY_CONNECTION = "X-Forwarded-For", "PROXY protocol"
# The health check begins with such a header too, which says that haproxy speaks for itself.
SEND_PROXY = "send-proxy-v2 check-send-proxy"
REQUESTS = 4
ASKER_PORT = 7000


class Haproxy:
    """Takes the tracker out of service when its health check fails, which says nothing of any client."""

    @staticmethod
    def missing():
        return None if shutil.which("haproxy") else "haproxy (Debian package haproxy)"

    def __init__(self, stage, host, tracker, says_who):
        folder = stage.folder / "haproxy"
        folder.mkdir()
        self._host = host
        self._socket = folder / "socket"
        server = f"{tracker.host.addresses['ipv4']}:{tracker.http_port}"
        by_request = says_who == BY_REQUEST
        file = folder / "haproxy.cfg"
        file.write_text(
            f"""
global
    stats socket {self._socket}

defaults
    mode {"http" if by_request else "tcp"}
    timeout connect {ASK_SECONDS}s
    timeout client {ASK_SECONDS}s
    timeout server {ASK_SECONDS}s

frontend clients
    bind :{HTTP_PORT}
    {"option forwardfor" if by_request else ""}
    default_backend trackers

backend trackers
    {"http-reuse always" if by_request else ""}
    option httpchk GET /stats
    http-check expect status 200
    server tracker {server} check inter {CHECK_MILLISECONDS}ms {"" if by_request else SEND_PROXY}
"""
        )
        command = ["haproxy", "-db", "-f", file]
        self.process = stage.start(host, command, folder, good_ends=(0, -signal.SIGTERM))

    def announce_url(self, protocol, family):
        if (protocol, family) != ("http", "ipv4"):
            raise ValueError(f"haproxy hands on no {protocol} over {family} here")
        return f"http://{self._host.addresses[family]}:{HTTP_PORT}/announce"

    def connect(self, client):
        """A connection of a host to haproxy, which stays open as long as haproxy likes."""
        connection = http.client.HTTPConnection(self._host.addresses["ipv4"], HTTP_PORT, timeout=ASK_SECONDS)
        with client.inside():
            connection.connect()
        # Another one would not be on that host.
        connection.auto_open = 0
        return connection

    def tracker(self):
        """What haproxy thinks of the tracker: a row of its statistics."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(ASK_SECONDS)
            asker.connect(str(self._socket))
            asker.sendall(b"show stat\n")
            text = b"".join(iter(partial(asker.recv, 65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return next(row for row in rows if row["svname"] == "tracker")


@dataclass(frozen=True)
class Proxied(Meeting):
    """A meeting through haproxy, which keeps the tracker in service and its connections in use."""

    says_who: str

    @property
    def programs(self):
        return {*super().programs, Haproxy}

    def play(self, stage, binary):
        hosts = {name: stage.network.host(name, ("ipv4",)) for name in ("tracker", "haproxy", "asker")}
        proxy = hosts["haproxy"].addresses["ipv4"]
        tracker = Tracker(
            stage,
            hosts["tracker"],
            binary,
            stage.folder / "tracker",
            configuration=f"""
[access]
proxy = ["{proxy}"]
# The health check asks for the statistics.
stats = ["{proxy}"]
{"proxy_protocol = true" if self.says_who == BY_CONNECTION else ""}
""",
        )
        haproxy = Haproxy(stage, hosts["haproxy"], tracker, self.says_who)
        running = [tracker.process, haproxy.process]
        health = partial(look, haproxy, "status", "check_status")
        stage.until_equal("the tracker is in service", health, ("UP", "L7OK"), running)
        torrent = torrent_for(self)
        among = partial(self._ask, torrent, haproxy, hosts["asker"])
        self.meet(stage, torrent, tracker, front=haproxy, among=among)
        in_service = look(haproxy, "status", "check_status", "chkfail", "chkdown")
        if in_service != ("UP", "L7OK", "0", "0"):
            raise StepFailed(f"haproxy says {in_service} of the tracker, and its health checks")
        stage.stop(running)

    def _ask(self, torrent, haproxy, host, clients):
        """One more client, over one connection of its own to haproxy, which it asks to keep open."""
        expected = {(client.host.addresses["ipv4"], PORT) for client in clients}
        (before,) = look(haproxy, "reuse")
        connection = haproxy.connect(host)
        for _ in range(REQUESTS):
            handed_out = announce(connection, torrent)
            if handed_out != expected:
                raise StepFailed(f"who comes through haproxy is handed out {handed_out}, not {expected}")
        announce(connection, torrent, "&event=stopped")
        # The address of haproxy itself is blessed, this one is not.
        status, _ = get(connection, "/stats")
        if status != 403:
            raise StepFailed(f"the statistics are for whoever comes through haproxy: status {status}")
        connection.close()
        (after,) = look(haproxy, "reuse")
        # With a header each connection to the tracker is that of one client. Without, they are there for all.
        if self.says_who == BY_REQUEST and (reused := int(after) - int(before)) < REQUESTS:
            raise StepFailed(f"of {REQUESTS + 2} requests, {reused} went over a connection that was there")


def look(haproxy, *fields):
    row = haproxy.tracker()
    # While the next check is under way, a star stands before how the last one ended.
    return tuple(row[field].removeprefix("* ") for field in fields)


def announce(connection, torrent, more=""):
    """The peers that a leecher is handed out: a set of (address, port)."""
    info_hash = quote_from_bytes(torrent.info_hash, safe="")
    status, body = get(connection, f"/announce?info_hash={info_hash}&port={ASKER_PORT}&left=1{more}")
    if status != 200:
        raise StepFailed(f"an announce through haproxy: status {status}: {body[:200]}")
    peers = struct.iter_unpack(">4sH", bdecode(body)[b"peers"])
    return {(str(ipaddress.ip_address(address)), port) for address, port in peers}


def get(connection, target):
    connection.request("GET", target, headers={"Connection": "keep-alive"})
    reply = connection.getresponse()
    return reply.status, reply.read()
