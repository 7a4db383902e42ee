"""Live sync, simulated."""

import math

from .rules import BRIDGE_DELAY, PACKET_DELAY, PACKET_HEAD, PACKET_RECORDS, RECORD, UDP_HEAD, Change


class Radio:
    """Live sync: packets to a multicast group, of which each receiver loses some and nobody hears that."""

    def __init__(self, world, node):
        self.world, self.node, self.draft, self.sent, self.due = world, node, [], -math.inf, None

    def add(self, change):
        self.draft.append(change)
        if len(self.draft) == PACKET_RECORDS:
            return self.send()
        if self.due is None:
            self.due = max(self.world.now, self.sent + (BRIDGE_DELAY if self.node.is_bridge else PACKET_DELAY))
            self.world.at(self.due, self.flush, self.due)

    def flush(self, due):
        if self.due == due and self.node.up:
            self.send()

    def send(self):
        if not self.draft:
            return
        world, records = self.world, self.draft
        self.draft, self.sent, self.due = [], world.now, None
        traffic, size = world.radio, UDP_HEAD + PACKET_HEAD + RECORD * len(records)
        traffic.messages += 1
        traffic.records += len(records)
        traffic.bytes += size
        for other in world.nodes:
            if other is self.node or not other.up or other.site != self.node.site or other.radio is None:
                continue
            if world.is_lost(world.scenario.loss):
                traffic.lost += 1
                continue
            traffic.copies += 1
            traffic.copied_bytes += size
            other.held["radio"].forget(records)
            for change in records:
                # A packet carries no ages.
                arrived = Change(change.peer, world.minute(), change.completed, change.stopped)
                # What a bridge says it says over NATS too, unless it came from there.
                if other.take(arrived) and other.line is not None and not self.is_heard_over_nats():
                    world.forward(other, "line", arrived)

    def is_heard_over_nats(self):
        return self.node.line is not None and self.node.line.connected

    def clear(self):
        self.draft, self.due = [], None
