"""A cluster of trackers that sync live, clients that ask trackers, and whatever else speaks to a cluster."""

import ctypes
import http.client
import ipaddress
import secrets
import socket
import struct
import time
from dataclasses import dataclass

from tracker import ASK_SECONDS, UDP_CONNECT, UDP_MAGIC, UDP_SCRAPE, Tracker, exchange

GROUP = "224.0.23.5"
PORT = 9696
PACKET_MOST = 1480
# Types of packets from here on are not the original's.
OWN_KINDS = 16

UPDATE, COMPLETED, STARTED, STOPPED = range(4)
FLAG_SEEDING, FLAG_COMPLETED, FLAG_STOPPED = 0x80, 0x40, 0x20

UDP_ANNOUNCE = 1
# A connection id is used for so long. The tracker accepts it for 120 s at least.
RENEW_SECONDS = 60
IP_RECVTTL = 12


class Node(Tracker):
    """A tracker of a cluster, of which these hosts are. It knows what it is told, and takes no snapshot."""

    def __init__(self, stage, host, binary, members):
        self.name = host.name
        believed = [word for member in members for word in ("-A", member.addresses["ipv4"])]
        options = ["-i", host.addresses["ipv4"], "-s", PORT, *believed]
        alone = "sync.snapshot_wait = 0\n"
        super().__init__(stage, host, binary, stage.folder / host.name, options=options, configuration=alone)
        # It accepts over TCP before its other sockets are there. That is the last thing that it says at its start.
        stage.until(f"{self.name} answers", lambda: "features:" in self.process.log(), [self.process])

    def counts(self, info_hash):
        """(complete, incomplete, downloaded)"""
        return self.scrape("udp", "ipv4", info_hash)

    def completed(self):
        """The number that monitors read from /stats?mode=completed."""
        address = self.host.addresses["ipv4"]
        connection = http.client.HTTPConnection(address, self.http_port, timeout=ASK_SECONDS)
        with self.host.inside():
            connection.connect()
        try:
            connection.request("GET", "/stats?mode=completed")
            return int(connection.getresponse().read().split(b"\n")[0])
        finally:
            connection.close()


class Client:
    """Announces peers at one address, one for each port, to one tracker, over UDP."""

    def __init__(self, host, tracker, family="ipv4", source=None, seconds=ASK_SECONDS):
        self.address = source or host.addresses[family]
        kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        with host.inside():
            self._socket = socket.socket(kind, socket.SOCK_DGRAM)
        self._socket.settimeout(seconds)
        self._socket.bind((self.address, 0))
        self._socket.connect((tracker.host.addresses[family], tracker.udp_port))
        self._peer = struct.Struct(">4sH" if family == "ipv4" else ">16sH")
        self._connect()

    def _connect(self):
        self._connected = time.monotonic()
        (self._id,) = struct.unpack(">Q", exchange(self._socket, UDP_MAGIC, UDP_CONNECT, b""))

    def _ask(self, action, body):
        if time.monotonic() - self._connected > RENEW_SECONDS:
            self._connect()
        return exchange(self._socket, self._id, action, body)

    def close(self):
        self._socket.close()

    def announce(self, info_hash, port, *, left=1, event=UPDATE):
        """The peers that it is handed out: a set of (address, port)."""
        body = struct.pack(
            ">20s20sQQQIIIiH", info_hash, b"-TEST00-abcdefghijkl", 0, left, 0, event, 0, 0, -1, port
        )
        reply = self._ask(UDP_ANNOUNCE, body)
        peers = self._peer.iter_unpack(reply[12:])
        return {(str(ipaddress.ip_address(address)), port) for address, port in peers}

    def scrape(self, info_hashes):
        """(complete, downloaded, incomplete) for each of them that the reply has."""
        reply = self._ask(UDP_SCRAPE, b"".join(info_hashes))
        return list(struct.iter_unpack(">III", reply))


@dataclass(frozen=True)
class Record:
    """What a packet tells of one peer."""

    info_hash: bytes
    address: str
    port: int
    flags: int = 0

    def pack(self):
        address = ipaddress.ip_address(self.address).packed
        return self.info_hash + address + struct.pack(">HBB", self.port, self.flags, 0)


def pack(tracker_id, kind, *records):
    return struct.pack(">4sI", tracker_id, kind) + b"".join(record.pack() for record in records)


def unpack(packet):
    """(tracker id, records), or None for the records of a packet that only this program has"""
    tracker_id, kind = struct.unpack_from(">4sI", packet)
    if kind >= OWN_KINDS:
        return tracker_id, None
    record = struct.Struct(">20s4sHBB" if kind == 0 else ">20s16sHBB")
    records = [
        Record(info_hash, str(ipaddress.ip_address(address)), port, flags)
        for info_hash, address, port, flags, _ in record.iter_unpack(packet[8:])
    ]
    return tracker_id, records


class Mouth:
    """Sends anything to the group from a host."""

    def __init__(self, host):
        self.id = secrets.token_bytes(4)
        with host.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        interface = socket.inet_aton(host.addresses["ipv4"])
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)

    def tell(self, *records):
        kind = 1 if ":" in records[0].address else 0
        self.send(pack(self.id, kind, *records))

    def send(self, packet, address=GROUP):
        self._socket.sendto(packet, (address, PORT))


class Ear:
    """Hears on a host all that is sent to the group from now on."""

    def __init__(self, host):
        with host.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((GROUP, PORT))
        membership = socket.inet_aton(GROUP) + socket.inet_aton(host.addresses["ipv4"])
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self._socket.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        self._socket.setblocking(False)

    def next(self):
        """(packet, the address it came from, its TTL). Raises BlockingIOError when there is none."""
        packet, control, _, (address, _) = self._socket.recvmsg(2 * PACKET_MOST, 64)
        (ttl,) = (ctypes.c_int.from_buffer_copy(data).value for _, _, data in control)
        return packet, address, ttl

    def all(self):
        """Everything that has been heard and not been asked for yet."""
        heard = []
        while True:
            try:
                heard.append(self.next())
            except BlockingIOError:
                return heard
