"""What trackers do, as the simulation has it: the numbers, and what one of them knows."""

import math
from dataclasses import dataclass

# Seconds between two announces, and by how much they differ.
INTERVAL, SPREAD = 1800, 0.1
# Minutes: when a peer that is silent is forgotten, and when one is told again that has neither completed nor left.
LIFETIME, TOLD_AGAIN = 45, 10
# A record of an IPv4 peer; the most of them in a packet of live sync, its header, and those of UDP and IP.
RECORD, PACKET_RECORDS, PACKET_HEAD, UDP_HEAD = 28, 52, 8, 28
# When a packet that is not full goes out after the one before, and of a bridge.
PACKET_DELAY, BRIDGE_DELAY = 15, 0.5
# A batch over NATS: its greatest length, its header with a cluster's name of 11 bytes, and with the longest one of 64,
# for which there is room in every batch; what NATS puts before it, and when one that is not full goes out after the one
# before.
BATCH_MAX, BATCH_HEAD, BATCH_ROOM, BATCH_LINE, BATCH_DELAY = 64_000, 54, 107, 40, 1
BATCH_RECORDS = (BATCH_MAX - BATCH_ROOM) // RECORD
# A tracker says this often what its last number was. These messages are not among the figures.
KEEP_ALIVE = 5
# Tiny messages: who asks for what was missed, and a node's echo of each of its batches to itself.
ASK, ECHO = 64, 48
# How long it takes at most to ask for what is missing; the pauses until it is asked for again, which double. A batch is
# not repeated sooner than this, and a walk not begun sooner after the last one. Another is asked for a walk when the
# sender has been silent for so long.
JITTER, FIRST_PAUSE, LAST_PAUSE, REPEAT_AFTER, WALK_PAUSE, GONE_AFTER = 1, 4, 60, 2, 10, 20
# For so long after its start a tracker takes others for those that have been there before.
STARTS = 15
# A bridge is taken for dead after this time. One that is new, or connected anew, listens for as long before it
# forwards, and a new one for longer if another forwards, which has so long to hear that it need not any more. One that
# does not forward keeps changes for so long, and at most so many; once it does, they leave after this.
SILENCE, LONG_LISTENING, BRIDGE_SAYS, HELD, MAX_HELD, RELEASE_DELAY = 5, 10, 1, 60, 32_768, 2
# A restart takes so long, and a cut.
DOWN, CUT = 5, 60
# The bytes of a peer in a snapshot, and of a torrent; and how many peers a torrent has in it, as in ci/cluster/sizing.
SNAPSHOT_PEER, SNAPSHOT_TORRENT, PER_TORRENT = 8, 29, 6.5
# How long a change may be under way before a member that does not know it is wrong; ages are in whole minutes.
GRACE, AGE_GRACE = 40, 120
# The seconds before anything goes wrong; how long the mean client stays; how many of them say that they leave.
CALM, SESSION, POLITE = 3600, 7200, 0.85
# One announce in so many goes to another member than the one before, as names with several addresses have it.
ROAMS = 5


@dataclass(frozen=True)
class Change:
    peer: int
    # The minute.
    seen: int
    completed: bool = False
    stopped: bool = False


@dataclass
class Traffic:
    """What a transport has carried. Bytes of a message are counted once; copies are what receivers got."""

    messages: int = 0
    records: int = 0
    bytes: int = 0
    copies: int = 0
    copied_bytes: int = 0
    lost: int = 0
    gaps: int = 0
    asks: int = 0
    republished: int = 0
    snapshots: int = 0
    snapshot_bytes: int = 0


@dataclass
class Scenario:
    transport: str = "multicast"
    nodes: int = 10
    peers: int = 1000
    sites: int = 3
    # Shares of the deliveries of packets, and of batches: not per cent.
    loss: float = 0.0
    drops: float = 0.0
    # In an hour, in the whole cluster.
    restarts: float = 0.0
    cuts: float = 0.0
    hours: float = 2.0
    snapshots: bool = True
    # Batches that a tracker keeps for others. With bytes there is room for 8 MiB.
    journal: int = 4096
    seed: int = 1


class Held:
    """What a bridge keeps that another one is to forward by this way."""

    def __init__(self):
        self.changes = []

    def keep(self, change, now):
        kept = [held for held in self.changes if now - held[0] < HELD][1 - MAX_HELD :]
        self.changes = [*kept, (now, change)]

    def forget(self, told):
        """Others have told these."""
        if self.changes:
            names = {named(change) for change in told}
            self.changes = [held for held in self.changes if named(held[1]) not in names]

    def take(self, now):
        taken, self.changes = [change for since, change in self.changes if now - since < HELD], []
        return taken


def named(change):
    return change.peer, change.completed, change.stopped


class Node:
    """A member: what it knows, and how it tells others."""

    def __init__(self, number, site, remembers):
        self.number, self.site, self.remembers = number, site, remembers
        self.radio, self.line = None, None
        self.died = -math.inf
        self.begin(0.0)

    def begin(self, now):
        """It starts with nothing. Of each peer it knows when it was seen and when the cluster was told: minutes."""
        self.up, self.since = True, now
        self.view, self.done, self.stops = {}, set(), {}
        # Of a bridge: since when it could forward, and does; and what it keeps while another one does.
        self.able, self.forwards = None, None
        self.held = {"line": Held(), "radio": Held()}

    @property
    def is_bridge(self):
        return self.radio is not None and self.line is not None

    def take(self, change):
        """Takes a change over. Returns whether it is to be told on."""
        seen, told = self.view.get(change.peer, (-LIFETIME, -LIFETIME))
        counts = change.completed and change.peer not in self.done
        if counts:
            self.done.add(change.peer)
        if change.stopped:
            if self.remembers:
                self.stops[change.peer] = max(change.seen, self.stops.get(change.peer, 0))
            return seen <= change.seen and self.view.pop(change.peer, None) is not None
        # A late copy does not revive who has stopped since; a download counts all the same.
        if change.seen <= self.stops.get(change.peer, -LIFETIME):
            return counts
        seen = max(seen, change.seen)
        is_due = counts or seen - told >= TOLD_AGAIN
        self.view[change.peer] = (seen, seen if is_due else told)
        return is_due

    def announced(self, change):
        """Takes an announce of a client. Returns whether the cluster is told."""
        self.stops.pop(change.peer, None)
        # The others may know it.
        return self.take(change) or change.stopped

    def sweep(self, minute):
        self.view = {peer: known for peer, known in self.view.items() if minute - known[0] < LIFETIME}
        self.stops = {peer: stop for peer, stop in self.stops.items() if minute - stop < LIFETIME}
