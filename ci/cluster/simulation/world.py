"""The members, their clients and what goes wrong, as events in the order of their times."""

import heapq
import math
import random

from .line import Line
from .outcome import Outcome
from .radio import Radio
from .rules import (
    AGE_GRACE, BRIDGE_SAYS, CALM, DOWN, GRACE, INTERVAL, LIFETIME, LONG_LISTENING, PER_TORRENT, POLITE, RELEASE_DELAY,
    ROAMS, SESSION, SILENCE, SNAPSHOT_PEER, SNAPSHOT_TORRENT, SPREAD, Change, Node, Traffic,
)


class World:
    """The members, their clients, what goes wrong, and a model that hears everything."""

    def __init__(self, scenario):
        self.scenario, self.now, self.count, self.events = scenario, 0.0, 0, []
        self.random, self.senders = random.Random(scenario.seed), 0
        self.radio, self.line, self.announces = Traffic(), Traffic(), 0
        sites = scenario.sites if scenario.transport == "sites" else 1
        self.nodes = [Node(n, n % sites, scenario.transport != "multicast") for n in range(scenario.nodes)]
        for node in self.nodes:
            bridges = scenario.transport == "sites" and node.number < 2 * scenario.sites
            if scenario.transport != "nats":
                node.radio = Radio(self, node)
            if scenario.transport == "nats" or bridges:
                node.line = Line(self, node)
        # Of each peer: when it first and last announced itself, when it said that it left, and whether it has left and
        # completed.
        self.first, self.last, self.left, self.gone, self.completed = {}, {}, {}, set(), set()
        self.ends = CALM + 3600 * scenario.hours
        # When members went away.
        self.gone_at = []
        self.samples = []

    def minute(self):
        return int(self.now // 60)

    def at(self, time, what, *arguments):
        self.count += 1
        heapq.heappush(self.events, (time, self.count, what, arguments))

    def is_lost(self, share):
        return share > 0 and CALM <= self.now < self.ends and self.random.random() < share

    def lines(self):
        return [node.line for node in self.nodes if node.line is not None and node.up and node.line.connected]

    # Bridges.

    def is_there(self, bridge):
        """Whether the others take this bridge for one that could forward. One that dies tells nobody."""
        return bridge.able is not None and (bridge.up or self.now - bridge.died < SILENCE)

    def is_able(self, bridge, others):
        listens = LONG_LISTENING if any(map(self.is_there, others)) else SILENCE
        is_connected = bridge.up and bridge.line.connected and self.now - bridge.line.connected_at >= SILENCE
        return is_connected and self.now - bridge.since >= listens

    def forwards(self, node):
        """Whether this bridge is the one of its site that forwards: the lowest of those that could."""
        bridges = [other for other in self.nodes if other.site == node.site and other.is_bridge]
        for bridge in bridges:
            others = [other for other in bridges if other is not bridge]
            if bridge.up and not (bridge.able is not None and bridge.line.connected):
                bridge.able = self.now if self.is_able(bridge, others) else None
        there = [bridge for bridge in bridges if self.is_there(bridge)]
        is_heard = node.able is not None and (len(there) < 2 or self.now - node.able >= BRIDGE_SAYS)
        if not (node.up and is_heard and there[0] is node):
            node.forwards = None
        elif node.forwards is None:
            node.forwards = self.now
        return node.forwards is not None

    def forward(self, bridge, way, change):
        """From the network into NATS, or back: by the elected one; the others keep what would be theirs to tell."""
        held = bridge.held[way]
        if self.forwards(bridge) and not held.changes:
            getattr(bridge, way).add(change)
            return
        if not held.changes:
            self.at(self.now + BRIDGE_SAYS, self.release, bridge, bridge.since)
        held.keep(change, self.now)

    def release(self, bridge, since):
        """What a bridge keeps leaves when it has forwarded for a while: until then others may still tell it."""
        if not bridge.up or bridge.since != since or not any(held.changes for held in bridge.held.values()):
            return
        if self.forwards(bridge) and self.now - bridge.forwards >= RELEASE_DELAY:
            for way, held in bridge.held.items():
                for change in held.take(self.now):
                    getattr(bridge, way).add(change)
        else:
            self.at(self.now + BRIDGE_SAYS, self.release, bridge, since)

    def die(self, node):
        node.up, node.died = False, self.now
        self.gone_at.append(self.now)

    # Clients.

    def arrive(self, peer, node):
        stays = self.random.expovariate(1 / SESSION)
        leaves = self.now + stays
        completes = self.now + self.random.random() * stays if self.random.random() < 0.5 else math.inf
        self.first[peer] = self.now
        self.visit(peer, node, leaves, completes)

    def visit(self, peer, node, leaves, completes):
        """An announce, and the next one."""
        is_last, has_completed = self.now >= leaves, self.now >= completes
        if self.random.randrange(ROAMS) == 0 or not node.up:
            node = self.random.choice([other for other in self.nodes if other.up])
        if is_last:
            self.gone.add(peer)
            if self.random.random() < POLITE:
                self.left[peer] = self.now
                self.announce(node, Change(peer, self.minute(), stopped=True))
            self.at(self.now, self.arrive, len(self.first), self.random.choice(self.nodes))
            return
        self.last[peer] = self.now
        if has_completed:
            self.completed.add(peer)
        self.announce(node, Change(peer, self.minute(), completed=has_completed))
        usual = self.now + INTERVAL * self.random.uniform(1 - SPREAD, 1 + SPREAD)
        soon = [time for time in (leaves, completes) if time > self.now]
        self.at(min(usual, *soon), self.visit, peer, node, leaves, math.inf if has_completed else completes)

    def announce(self, node, change):
        self.announces += 1
        if not node.announced(change):
            return
        for way in filter(None, (node.radio, node.line)):
            way.add(change)

    # What goes wrong.

    def plan(self, times, what):
        for _ in range(round(times * self.scenario.hours)):
            self.at(self.random.uniform(CALM, self.ends), what)

    def restart(self):
        node = self.random.choice(self.nodes)
        if node.up and sum(other.up for other in self.nodes) > 1:
            self.die(node)
            self.at(self.now + DOWN, self.come_back, node)

    def come_back(self, node):
        for way in filter(None, (node.radio, node.line)):
            way.clear()
        donors = [other for other in self.nodes if other.up]
        node.begin(self.now)
        if node.line is not None:
            node.line.hear_others()
        if not self.scenario.snapshots or not donors:
            return
        # It asks those that it can reach: of its network, or over NATS.
        near = [other for other in donors if other.site == node.site or (node.line and other.line)]
        donor = min(near or donors, key=lambda other: (other.since, other.number))
        donor.sweep(self.minute())
        node.view, node.done, node.stops = dict(donor.view), set(donor.done), dict(donor.stops)
        traffic = self.line if node.line is not None else self.radio
        traffic.snapshots += 1
        traffic.snapshot_bytes += round((SNAPSHOT_PEER + SNAPSHOT_TORRENT / PER_TORRENT) * len(donor.view))

    def cut(self):
        able = [node for node in self.nodes if node.line is not None]
        if able:
            self.random.choice(able).line.cut()

    # What comes of it.

    def look(self):
        """How many peers members do not know that they should, and know that they should not: shares of all."""
        now = self.now
        ages = 60 * LIFETIME
        must = {peer for peer, last in self.last.items() if last > now - ages + AGE_GRACE and peer not in self.gone}
        must = {peer for peer in must if self.first[peer] <= now - GRACE}
        may = {peer for peer, last in self.last.items() if last > now - ages - AGE_GRACE}
        may = {peer for peer in may if self.left.get(peer, now) > now - GRACE}
        missing, stale = [], []
        for node in self.nodes:
            node.sweep(self.minute())
            if node.up and (now - node.since > GRACE or node.since == 0):
                missing.append(len(must - node.view.keys()) / len(must))
                stale.append(len(node.view.keys() - may) / len(must))
        self.samples.append((now, sum(missing) / len(missing), max(missing), sum(stale) / len(stale), max(stale)))

    def run(self):
        for peer in range(self.scenario.peers):
            self.first[peer] = math.inf
            self.at(self.random.uniform(0, INTERVAL), self.arrive, peer, self.random.choice(self.nodes))
        self.plan(self.scenario.restarts, self.restart)
        self.plan(self.scenario.cuts, self.cut)
        self.at(CALM, self.sample)
        last = self.ends + 3600
        while self.events and self.events[0][0] <= last and not self.agreed():
            self.now, _, what, arguments = heapq.heappop(self.events)
            what(*arguments)
        return Outcome(self)

    def sample(self):
        is_after = self.now >= self.ends
        self.look()
        self.at(self.now + (5 if is_after else 60), self.sample)

    def agreed(self):
        """Whether all have known everybody for two minutes after the last that went wrong."""
        after = [sample for sample in self.samples[-25:] if sample[0] >= self.ends]
        return len(after) == 25 and all(sample[2] == 0 for sample in after)
