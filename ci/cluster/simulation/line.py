"""A tracker's connection to NATS, simulated: numbered batches, and how what is missed is had again."""

import math

from .rules import (
    ASK, BATCH_DELAY, BATCH_HEAD, BATCH_LINE, BATCH_RECORDS, CUT, ECHO, FIRST_PAUSE, GONE_AFTER, JITTER, KEEP_ALIVE,
    LAST_PAUSE, RECORD, REPEAT_AFTER, STARTS, WALK_PAUSE, Change,
)


class Line:
    """Sends batches, keeps them for who has missed one, and asks for what it has missed itself."""

    def __init__(self, world, node):
        self.world, self.node = world, node
        self.clear()

    def clear(self):
        """A tracker that starts is another sender."""
        self.world.senders += 1
        self.sender, self.connected, self.connected_at = self.world.senders, True, self.world.now
        self.draft, self.sent, self.due = [], -math.inf, None
        # Its last number, what went out under each, when, and in which minute the first of its peers was seen.
        self.sequence, self.journal, self.sent_at = 0, {}, {}
        self.first_unsent = 1
        # Of each sender: the highest number, and lower ones that have not come, each with the minute before.
        self.highest, self.missing, self.heard_at = {}, {}, {}
        # When it has walked last, and whether it is to walk again, since which minute.
        self.walked, self.walk_since = -math.inf, None

    # The way out.

    def add(self, change):
        self.draft.append(change)
        if len(self.draft) == BATCH_RECORDS:
            return self.seal()
        if self.due is None:
            self.due = max(self.world.now, self.sent + BATCH_DELAY)
            self.world.at(self.due, self.flush, self.due)

    def flush(self, due):
        if self.due == due and self.node.up:
            self.seal()

    def seal(self):
        """Gives the draft its number. It goes out now, or when there is a connection."""
        self.due, self.sent = None, self.world.now
        self.sequence += 1
        self.journal[self.sequence], self.draft = self.draft, []
        if self.connected:
            self.send_unsent()
        # The oldest make room; of those that never went out, a walk tells.
        while len(self.journal) > self.world.scenario.journal:
            number = next(iter(self.journal))
            records = self.journal.pop(number)
            if number >= self.first_unsent:
                self.first_unsent = number + 1
                self.walk(min(change.seen for change in records))

    def send_unsent(self):
        for number in range(self.first_unsent, self.sequence + 1):
            if number in self.journal:
                self.transmit(number)
        self.first_unsent = self.sequence + 1

    def transmit(self, number):
        world, records = self.world, self.journal[number]
        self.sent_at[number] = world.now
        traffic, size = world.line, BATCH_LINE + BATCH_HEAD + RECORD * len(records)
        traffic.messages += 2
        traffic.records += len(records)
        traffic.bytes += size + ECHO
        # Its own batch comes back too, and the echo.
        traffic.copies += 2
        traffic.copied_bytes += size + ECHO
        for other in world.lines():
            if other is self:
                continue
            if world.is_lost(world.scenario.drops):
                traffic.lost += 1
                world.at(world.now + KEEP_ALIVE, other.notice, self, self.sender)
                continue
            traffic.copies += 1
            traffic.copied_bytes += size
            other.receive(self, number, records)

    # The way in.

    def receive(self, sender, number, records):
        missing = self.missing.setdefault(sender.sender, {})
        self.see(sender, number - 1)
        if number > self.highest[sender.sender]:
            self.highest[sender.sender] = number
        elif missing.pop(number, None) is None:
            return
        # What a bridge of the same network says it says there too, unless it came from there.
        is_near = self.node.is_bridge and sender.node.site == self.node.site
        if is_near:
            self.node.held["line"].forget(records)
        for change in records:
            if self.node.take(change) and self.node.is_bridge and not is_near:
                self.world.forward(self.node, "radio", change)

    def notice(self, sender, number):
        """Hears the sender say what its last number was, if it is the same sender still."""
        if self.connected and self.node.up and sender.connected and sender.node.up and sender.sender == number:
            self.see(sender, sender.first_unsent - 1)

    def see(self, sender, number):
        """The sender has sent everything up to this number. Whom a tracker hears first when it has only just started
        has been there before, and is heard from then on."""
        key, starts = sender.sender, self.world.now - self.node.since < STARTS
        highest, missing = self.highest.setdefault(key, number if starts else 0), self.missing.setdefault(key, {})
        before = int(self.heard_at.get(key, self.world.now) // 60)
        self.heard_at[key] = self.world.now
        if number > highest:
            self.world.line.gaps += 1
            self.highest[key] = number
            missing.update(dict.fromkeys(range(highest + 1, number + 1), before))
            self.ask_later(sender, key, JITTER * self.world.random.random(), FIRST_PAUSE)

    def ask_later(self, sender, key, pause, next_pause):
        self.world.at(self.world.now + pause, self.ask, self.sender, sender, key, next_pause)

    def ask(self, own, sender, key, pause):
        """Asks for what is still missing; of a sender that is gone, one of the others for a walk."""
        world, missing = self.world, self.missing.get(key)
        if own != self.sender or not missing or not self.node.up or not self.connected:
            return
        is_gone = sender.sender != key or not sender.node.up
        if is_gone and world.now - self.heard_at[key] < GONE_AFTER:
            return self.ask_later(sender, key, FIRST_PAUSE, pause)
        self.count_ask()
        if is_gone:
            asked = next((line for line in world.lines() if line is not self), None)
            if asked is not None:
                asked.walk(min(missing.values()) - 1)
                missing.clear()
                return
        elif sender.connected:
            sender.asked(missing)
        self.ask_later(sender, key, pause, min(2 * pause, LAST_PAUSE))

    def count_ask(self):
        traffic, all_of_them = self.world.line, len(self.world.lines())
        traffic.asks += 1
        traffic.messages += 1
        traffic.bytes += ASK
        traffic.copies += all_of_them
        traffic.copied_bytes += ASK * all_of_them

    def asked(self, missing):
        """Sends again what somebody has missed. What it has no more it makes up for by a walk."""
        for number, before in list(missing.items()):
            if number in self.journal:
                if self.world.now - self.sent_at.get(number, -math.inf) >= REPEAT_AFTER:
                    self.world.line.republished += len(self.journal[number])
                    self.transmit(number)
            else:
                missing.pop(number, None)
                self.walk(before - 1)

    def walk(self, since):
        """Publishes anew who has been seen since this minute: one walk at a time, for all who ask meanwhile."""
        if self.walk_since is None:
            self.world.at(max(self.world.now, self.walked + WALK_PAUSE), self.begin_walk, self.sender)
        self.walk_since = since if self.walk_since is None else min(since, self.walk_since)

    def begin_walk(self, own):
        if own != self.sender or self.walk_since is None or not self.node.up:
            return
        since, self.walk_since, self.walked = self.walk_since, None, self.world.now
        again = [(peer, seen) for peer, (seen, _) in self.node.view.items() if seen >= since]
        self.world.line.republished += len(again)
        for peer, seen in again:
            # A minute older, so that nobody grows younger by being told of again and again.
            self.add(Change(peer, seen - 1, peer in self.node.done))

    # Cuts.

    def cut(self):
        if self.connected and self.node.up:
            self.connected = False
            self.world.at(self.world.now + CUT, self.mend, self.sender, self.world.now)

    def hear_others(self):
        """Each says something every few seconds."""
        for other in self.world.lines():
            if other is not self:
                pause = KEEP_ALIVE * self.world.random.random()
                self.world.at(self.world.now + pause, self.notice, other, other.sender)

    def mend(self, own, cut_at):
        if own != self.sender or self.connected:
            return
        self.connected, self.connected_at = True, self.world.now
        self.send_unsent()
        self.hear_others()
        world = self.world
        world.at(world.now + GONE_AFTER, self.miss_gone, own, cut_at)
        for key, missing in self.missing.items():
            senders = [line for line in world.lines() if line.sender == key]
            if missing and senders:
                self.ask_later(senders[0], key, JITTER * world.random.random(), FIRST_PAUSE)

    def miss_gone(self, own, cut_at):
        """Asks another one for a walk if somebody has gone meanwhile, whose last batches it may have missed."""
        if own != self.sender or not self.connected or not self.node.up:
            return
        others = [line for line in self.world.lines() if line is not self]
        if others and any(gone >= cut_at for gone in self.world.gone_at):
            self.count_ask()
            others[0].walk(int(cut_at // 60) - 1)
