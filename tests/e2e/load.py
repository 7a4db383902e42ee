"""Clients that announce to several trackers at a fixed rate, answered or not, and a model of the swarms.

Every reply is checked. An announce that is not answered in `LOST_SECONDS` is a failure.
"""

import random
import select
import socket
import struct
import threading
import time
from collections import Counter, deque

from asker import SO_RCVBUFFORCE, torrent
from cluster import COMPLETED, STARTED, STOPPED, UPDATE
from load_link import UDP_ANNOUNCE, Link, Peer
from stage import StepFailed
from tracker import UDP_CONNECT

LOST_SECONDS = 20
# Replies wait here while this program has no turn.
RECEIVE_BYTES = 4 << 20
# A connection id is used for so long. The tracker accepts it for longer.
RENEW_SECONDS = 60
# Announces in one go, at most, where the thread comes late.
BURST = 100
# A download and the end of its peer are so far apart that no cut can hide both, and so are what a peer tells a tracker
# that is not its own and that end: told to two trackers at once, they would reach the others in any order.
SETTLED_SECONDS = 30


class Load:
    """Asks from the constructor on. All its peers are of one address, and nobody else has its torrents.

    Each peer starts, completes or not, and stops, once; a number that has stopped never comes back.
    """

    def __init__(self, stage, host, members, *, rate, peers, torrents, seed=1):
        self._stage = stage
        self._host = host
        self._rate = rate
        self._most = peers
        self._rng = random.Random(seed)
        self.hashes = [torrent(f"load {seed}", number) for number in range(torrents)]
        self._made = Counter()
        self._alive = deque()
        # What has happened, for whoever has to be told again: (when, the member it was told, the peer).
        self._history = []
        self._repeats = deque()
        self._downloads = Counter()
        self._transactions = 0
        self._begin, self._sent = time.monotonic(), 0
        self._paused = False
        # Whether trackers do not hear each other, and since when that is so.
        self._cut, self._calm = False, 0
        self._error = None
        self._ended = False
        self._lock = threading.RLock()
        self.answered, self.repeated, self.longest = 0, 0, 0
        self._links = [self._link(member) for member in members]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        stage.processes.append(self)
        stage.until("the load is connected", self._all_connected)

    # What whoever directs it says.

    def leave(self, member):
        """Nobody announces to this member any more; returns when all are answered who have."""
        with self._lock:
            link = self._of(member)
            link.away = True
        self._stage.until(f"{member.name} has answered all", lambda: self.check() or not link.under_way)
        with self._lock:
            self._links.remove(link)

    def come_back(self, member):
        """Clients announce to this member from now on."""
        with self._lock:
            self._links.append(self._link(member))
        self._stage.until(f"the load is connected to {member.name}", self._all_connected)

    def cut(self, is_cut):
        """While trackers do not hear each other, and for a while afterwards, nobody leaves whose download they may not
        have heard of."""
        with self._lock:
            self._cut, self._calm = is_cut, time.monotonic()

    def tell_again(self, since, told, to):
        """Whoever has started, completed or stopped since then, and has told these members, tells others too.

        Returns when all have said it.
        """
        with self._lock:
            peers = {peer: None for when, member, peer in self._history if when >= since and member in told}
            self._repeats.extend((peer, member) for peer in peers for member in to)
        self._stage.until("all have told it again", lambda: self.check() or self._all_told(), seconds=300)

    def _all_told(self):
        with self._lock:
            return not self._repeats

    def leave_all(self):
        """Every peer stops; returns when all are answered."""
        with self._lock:
            self._most = 0
        self._stage.until("all have left", lambda: self.check() or not self.alive(), seconds=120)
        self.pause()

    def pause(self):
        """Nothing more is asked; returns when all is answered."""
        with self._lock:
            self._paused = True
        self._stage.until("all is answered", lambda: self.check() or not any(link.under_way for link in self._links))

    def alive(self):
        """How many peers there are."""
        with self._lock:
            return len(self._alive)

    def go_on(self):
        with self._lock:
            self._paused = False
            self._begin, self._sent = time.monotonic(), 0

    def end(self):
        self.pause()
        self.kill()

    def check(self):
        """Fails if anything was not as it has to be."""
        if self._error:
            raise StepFailed(f"the load: {self._error}")

    def expected(self):
        """(complete, incomplete, downloaded) of each torrent."""
        with self._lock:
            complete, incomplete = Counter(), Counter()
            for peer in self._alive:
                (complete if peer.seeder else incomplete)[peer.info_hash] += 1
            return [(complete[name], incomplete[name], self._downloads[name]) for name in self.hashes]

    def stopped(self, since, until):
        """How many peers of each torrent have stopped in that time."""
        with self._lock:
            gone = {peer: peer for when, _, peer in self._history if peer.gone and since <= when <= until}
            counts = Counter(peer.info_hash for peer in gone)
            return [counts[name] for name in self.hashes]

    def completed(self, since, until, told):
        """How many downloads of each torrent have been completed in that time, as these members were told at once."""
        with self._lock:
            counts = Counter(
                peer.info_hash
                for when, member, peer in self._history
                if peer.completed == when and since <= when <= until and member in told
            )
            return [counts[name] for name in self.hashes]

    def in_words(self):
        again = f", {self.repeated:,} told again" if self.repeated else ""
        return f"{self.answered:,} announces, all answered, after {self.longest * 1000:.0f} ms at most{again}"

    # As a process of the stage.

    name = "load"

    def kill(self):
        self._ended = True
        self._thread.join(LOST_SECONDS)

    def log_tail(self):
        return f"{self.in_words()}; {self._error or 'no fault'}"

    # The thread.

    def _run(self):
        try:
            while not self._ended and not self._error:
                with self._lock:
                    links = list(self._links)
                readable, _, _ = select.select([link.socket for link in links], [], [], 0.003)
                with self._lock:
                    now = time.monotonic()
                    for link in links:
                        if link.socket in readable:
                            self._receive(link, now)
                    self._send_what_is_due(now)
                    self._look_for_lost(now)
        except Exception as error:
            self._error = repr(error)

    def _of(self, member):
        return next(link for link in self._links if link.member is member)

    def _link(self, member):
        family = next(iter(member.host.addresses))
        kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        with self._host.inside():
            asker = socket.socket(kind, socket.SOCK_DGRAM)
        asker.connect((member.host.addresses[family], member.udp_port))
        asker.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        asker.setblocking(False)
        link = Link(member, asker)
        link.connect(self._transaction(), time.monotonic())
        return link

    def _all_connected(self):
        self.check()
        with self._lock:
            return all(link.id is not None for link in self._links)

    def _transaction(self):
        self._transactions += 1
        return self._transactions

    def _send_what_is_due(self, now):
        for link in self._links:
            if not link.away and now - link.asked > RENEW_SECONDS:
                link.connect(self._transaction(), now)
        if self._paused:
            return
        due = int((now - self._begin) * self._rate) - self._sent
        for _ in range(min(due, BURST)):
            self._sent += 1
            self._act(now)

    def _act(self, now):
        open_links = [link for link in self._links if not link.away and link.id is not None]
        if not open_links:
            return
        if self._repeats:
            peer, member = self._repeats.popleft()
            link = next((link for link in open_links if link.member is member), None)
            if peer.busy or link is None:
                self._repeats.append((peer, member))
                return
            self.repeated += 1
            peer.told_elsewhere = now
            event = STOPPED if peer.gone else COMPLETED if peer.completed else UPDATE
            self._announce(link, peer, event, now)
            return
        drawn = self._rng.random()
        # The swarms grow fast until they are what is wanted.
        if len(self._alive) < self._most and (drawn < 0.4 or len(self._alive) < self._most // 2):
            self._announce(*self._new_peer(self._rng.choice(open_links)), STARTED, now)
            return
        if not self._alive:
            return
        peer = self._alive.popleft()
        if peer.busy:
            self._alive.append(peer)
            return
        if peer.home not in open_links:
            peer.home = self._rng.choice(open_links)
        event = self._event(peer, drawn, now)
        if event == COMPLETED:
            peer.seeder, peer.completed = True, now
            self._downloads[peer.info_hash] += 1
        if event == STOPPED:
            peer.gone = True
        else:
            self._alive.append(peer)
        self._announce(peer.home, peer, event, now)

    def _event(self, peer, drawn, now):
        """What a peer of whom it is the turn says."""
        if not self._most:
            return STOPPED
        since = max(peer.completed or 0, self._calm)
        settled = not peer.completed or (not self._cut and now - since > SETTLED_SECONDS)
        settled = settled and now - peer.told_elsewhere > SETTLED_SECONDS
        # It has to be heard of by somebody before.
        if 0.75 < drawn < 0.83 and settled and len(self._alive) > self._most // 2:
            return STOPPED
        if drawn > 0.9 and not peer.seeder:
            return COMPLETED
        return UPDATE

    def _new_peer(self, link):
        name = self._rng.choice(self.hashes)
        self._made[name] += 1
        peer = Peer(name, self._made[name], link)
        self._alive.append(peer)
        return link, peer

    def _announce(self, link, peer, event, now):
        if event != UPDATE:
            self._history.append((now, link.member, peer))
        peer.busy = True
        link.announce(self._transaction(), peer, event, now)

    def _receive(self, link, now):
        while True:
            try:
                reply = link.socket.recv(2048)
            except BlockingIOError:
                return
            action, transaction = struct.unpack_from(">II", reply)
            sent, peer = link.under_way.pop(transaction, (None, None))
            if sent is None:
                raise StepFailed(f"{link.member.name} answers what nobody asked: {reply[:64]!r}")
            if peer is None:
                self._check_action(link, action, UDP_CONNECT, reply)
                (link.id,) = struct.unpack_from(">Q", reply, 8)
                continue
            peer.busy = False
            self._check_action(link, action, UDP_ANNOUNCE, reply)
            self.answered += 1
            self.longest = max(self.longest, now - sent)
            self._check_announce(link, peer, reply)

    @staticmethod
    def _check_action(link, action, expected, reply):
        if action != expected:
            raise StepFailed(f"{link.member.name} answers {reply[8:]!r}, action {action}, not {expected}")

    def _check_announce(self, link, peer, reply):
        interval, incomplete, complete = struct.unpack_from(">III", reply, 8)
        made = self._made[peer.info_hash]
        # Nobody can be told of more peers than there have ever been, nor of others.
        if not 0 < interval <= 3600 or complete + incomplete > made:
            raise StepFailed(f"{link.member.name}: {interval=}, {complete=}, {incomplete=} of {made} peers")
        size = 6 if link.socket.family == socket.AF_INET else 18
        ports = [int.from_bytes(reply[at + size - 2 : at + size]) for at in range(20, len(reply), size)]
        if not all(0 < port <= made for port in ports):
            raise StepFailed(f"{link.member.name} hands out {ports}; peers are those up to {made}")

    def _look_for_lost(self, now):
        for link in self._links:
            # The oldest is the first.
            sent, peer = next(iter(link.under_way.values()), (now, None))
            if now - sent > LOST_SECONDS:
                what = "a connect" if peer is None else f"an announce of port {peer.port}"
                raise StepFailed(f"{link.member.name} does not answer {what} for {LOST_SECONDS} s")
