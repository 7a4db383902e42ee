"""The tracker under test, and what it says about a torrent."""

import http.client
import secrets
import socket
import struct
from functools import partial
from urllib.parse import quote_from_bytes

from torrent import bdecode

# Two numbers, so that a client which was given one protocol cannot have used the other.
HTTP_PORT = 6969
UDP_PORT = 6970

UDP_MAGIC = 0x417_2710_1980
UDP_CONNECT, UDP_SCRAPE = 0, 2
ASK_SECONDS = 15
START_SECONDS = 10

# Many peers of a case come from one address.
CONFIGURATION = "limits.peers_per_address = 0\n"


class Tracker:
    """Runs on its host from the constructor on. In the folder that is its root is its configuration alone.

    `before` is a command that becomes the tracker.
    """

    def __init__(self, stage, host, binary, folder, port_offset=0, options=(), configuration="", before=()):
        self.host = host
        self.http_port = HTTP_PORT + port_offset
        self.udp_port = UDP_PORT + port_offset
        self.folder = folder
        folder.mkdir()
        file = folder / "configuration"
        file.write_text(CONFIGURATION + configuration)
        listen = [
            word
            for address in host.addresses.values()
            for word in ("-i", address, "-p", self.http_port, "-P", self.udp_port)
        ]
        command = [*before, binary, "-f", file, *listen, "-d", folder, *options]
        self.process = stage.start(host, command, folder)
        for family in host.addresses:
            stage.until(
                f"the tracker accepts on {family}",
                partial(self._accepts, family),
                [self.process],
                START_SECONDS,
            )

    def announce_url(self, protocol, family):
        address = self.host.addresses[family]
        literal = f"[{address}]" if family == "ipv6" else address
        port = self.udp_port if protocol == "udp" else self.http_port
        return f"{protocol}://{literal}:{port}/announce"

    def scrape(self, protocol, family, info_hash):
        """(complete, incomplete, downloaded); a torrent that the tracker does not know has (0, 0, 0)."""
        ask = self._scrape_udp if protocol == "udp" else self._scrape_http
        return ask(self.host.addresses[family], info_hash)

    def _accepts(self, family):
        with self.host.inside():
            connection = socket.create_connection((self.host.addresses[family], self.http_port), ASK_SECONDS)
        connection.close()
        return True

    def _scrape_http(self, address, info_hash):
        connection = http.client.HTTPConnection(address, self.http_port, timeout=ASK_SECONDS)
        with self.host.inside():
            connection.connect()
        try:
            connection.request("GET", f"/scrape?info_hash={quote_from_bytes(info_hash, safe='')}")
            reply = connection.getresponse()
            body = reply.read()
        except http.client.HTTPException as error:
            raise OSError(f"HTTP scrape: {error!r}") from error
        finally:
            connection.close()
        if reply.status != 200:
            raise OSError(f"HTTP scrape: status {reply.status}: {body[:200]}")
        counts = bdecode(body)[b"files"].get(info_hash, {})
        return tuple(counts.get(key, 0) for key in (b"complete", b"incomplete", b"downloaded"))

    def _scrape_udp(self, address, info_hash):
        """BEP 15: connect, then scrape."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.host.inside():
            asker = socket.socket(family, socket.SOCK_DGRAM)
        with asker:
            asker.settimeout(ASK_SECONDS)
            asker.connect((address, self.udp_port))
            (connection_id,) = struct.unpack(">Q", exchange(asker, UDP_MAGIC, UDP_CONNECT, b""))
            complete, downloaded, incomplete = struct.unpack(
                ">III", exchange(asker, connection_id, UDP_SCRAPE, info_hash)
            )
        return complete, incomplete, downloaded


def exchange(asker, connection_id, action, body):
    transaction = secrets.randbits(32)
    asker.send(struct.pack(">QII", connection_id, action, transaction) + body)
    reply = asker.recv(2048)
    if reply[:8] != struct.pack(">II", action, transaction):
        raise OSError(f"UDP action {action} answered with {reply[:64]!r}")
    return reply[8:]
