"""A peer of the load, and the way to one tracker."""

import socket
import struct
from dataclasses import dataclass, field

from cluster import STOPPED
from tracker import UDP_CONNECT, UDP_MAGIC

UDP_ANNOUNCE = 1
BODY = struct.Struct(">20s20sQQQIIIiH")


@dataclass(eq=False)
class Peer:
    info_hash: bytes
    port: int
    # The link of the tracker that it announces to.
    home: object
    seeder: bool = False
    # When its download was counted.
    completed: float = None
    # When it last told a tracker that is not its home.
    told_elsewhere: float = float("-inf")
    gone: bool = False
    # An announce of it is under way.
    busy: bool = False


@dataclass(eq=False)
class Link:
    """A socket to one tracker, and what is under way there."""

    member: object
    socket: socket.socket
    id: int = None
    asked: float = 0
    away: bool = False
    # By transaction: (when, the peer or None for a connect).
    under_way: dict = field(default_factory=dict)

    def connect(self, transaction, now):
        self.asked = now
        self._send(UDP_MAGIC, UDP_CONNECT, transaction, b"", None, now)

    def announce(self, transaction, peer, event, now):
        left = 0 if peer.seeder else 1
        wanted = 0 if event == STOPPED else 5
        body = BODY.pack(
            peer.info_hash, b"-TEST00-abcdefghijkl", 0, left, 0, event, 0, 0, wanted, peer.port
        )
        self._send(self.id, UDP_ANNOUNCE, transaction, body, peer, now)

    def _send(self, connection_id, action, transaction, body, peer, now):
        self.under_way[transaction] = now, peer
        self.socket.send(struct.pack(">QII", connection_id, action, transaction) + body)
