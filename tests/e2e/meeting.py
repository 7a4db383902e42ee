"""Clients that meet through a tracker, or are kept apart by two, and exchange a file."""

from dataclasses import dataclass
from functools import partial

from stage import StepFailed
from torrent import Torrent
from tracker import Tracker

# How long clients without a common tracker are watched. Local discovery, were it on, speaks earlier.
APART_SECONDS = 8


@dataclass(frozen=True)
class Side:
    """One client: what it is, how it asks the tracker, and which addresses its host has."""

    client: type
    protocol: str
    family: str
    has: tuple
    # It is given a magnet link. aria2 then tells its tracker that nothing is left until it knows the size.
    magnet: bool = False


def side(client, protocol, family, has=None, magnet=False):
    return Side(client, protocol, family, has or (family,), magnet)


@dataclass(frozen=True)
class Meeting:
    """A seeder and leechers meet through one tracker, and the content crosses."""

    name: str
    build: str
    seeder: Side
    leechers: tuple

    @property
    def sides(self):
        return (self.seeder, *self.leechers)

    @property
    def programs(self):
        return {side.client for side in self.sides}

    def play(self, stage, binary):
        torrent = torrent_for(self)
        tracker_host = stage.network.host("tracker", tracker_families(self.build, self.sides))
        tracker = Tracker(stage, tracker_host, binary, stage.folder / "tracker")
        self.meet(stage, torrent, tracker)
        stage.stop([tracker.process])

    def meet(self, stage, torrent, tracker, front=None, among=lambda clients: None):
        """The clients ask the tracker, or `front` before it. When all are complete, `among` is told of them."""

        def scrape():
            return tracker.scrape("http", self.seeder.family, torrent.info_hash)

        front = front or tracker
        seeder = start(stage, "seeder", self.seeder, front, torrent, has_content=True)
        running = [tracker.process, seeder.process]
        # Clients ask again after half an hour: a leecher that comes first would wait that long.
        stage.until_equal("the seeder is announced", scrape, (1, 0, 0), running)

        leechers = []
        for number, leecher in enumerate(self.leechers, 1):
            leechers.append(start(stage, f"leecher{number}", leecher, front, torrent))
            running.append(leechers[-1].process)
        count = sum(leecher.client.HAS_PORT for leecher in self.leechers)
        # Each leecher says by itself that it is complete, so this is the end of the transfer too.
        stage.until_equal("the leechers complete", scrape, (1 + count, 0, count), running)
        for side, leecher in zip(self.leechers, leechers, strict=True):
            # Nobody tells how far one is that the tracker does not count.
            if not side.client.HAS_PORT:
                stage.until(f"{leecher.name} has it all", partial(has_all, leecher, torrent), running)
        self._check_every_scrape(tracker, torrent, (1 + count, 0, count))
        clients = [seeder, *leechers]
        among(clients)

        for client in clients:
            client.leave()
        stage.until_equal("all clients are gone", scrape, (0, 0, count), [tracker.process])
        stage.stop([client.process for client in clients])
        # Only now: a client may write its last pieces when it ends.
        for client in clients:
            compare(client, torrent)

    def _check_every_scrape(self, tracker, torrent, expected):
        """The tracker counts the same whichever protocol and family asks."""
        for protocol, family in sorted({(each.protocol, each.family) for each in self.sides}):
            counts = tracker.scrape(protocol, family, torrent.info_hash)
            if counts != expected:
                raise StepFailed(f"scrape over {protocol} and {family}: {counts}, expected {expected}")


@dataclass(frozen=True)
class Apart:
    """Seeders ask one tracker, leechers another: nothing crosses.

    This is what makes the other cases proof: no client here finds peers without its tracker.
    """

    name: str
    build: str
    seeders: tuple
    leechers: tuple

    @property
    def sides(self):
        return self.seeders + self.leechers

    @property
    def programs(self):
        return {side.client for side in self.sides}

    def play(self, stage, binary):
        torrent = torrent_for(self)
        host = stage.network.host("tracker", tracker_families(self.build, self.sides))
        trackers = [
            Tracker(stage, host, binary, stage.folder / f"tracker{n}", port_offset=10 * n) for n in (0, 1)
        ]
        family = self.seeders[0].family

        def scrapes():
            return [tracker.scrape("http", family, torrent.info_hash) for tracker in trackers]

        seeders = [
            start(stage, f"seeder{number}", each, trackers[0], torrent, has_content=True)
            for number, each in enumerate(self.seeders, 1)
        ]
        leechers = [
            start(stage, f"leecher{number}", each, trackers[1], torrent)
            for number, each in enumerate(self.leechers, 1)
        ]
        clients = seeders + leechers
        running = [player.process for player in [*clients, *trackers]]
        magnets = sum(side.magnet for side in self.leechers)
        apart = [(len(seeders), 0, 0), (magnets, len(leechers) - magnets, 0)]
        stage.until_equal("all clients are announced", scrapes, apart, running)
        stage.pause(APART_SECONDS)
        if (seen := scrapes()) != apart:
            raise StepFailed(f"clients met without a common tracker: {seen}, expected {apart}")

        for client in clients:
            client.leave()
        stage.until_equal(
            "all clients are gone", scrapes, [(0, 0, 0)] * 2, [tracker.process for tracker in trackers]
        )
        stage.stop(running)
        for leecher in leechers:
            if any(leecher.content()):
                raise StepFailed(f"{leecher.name} got something without a common tracker")


class Player:
    """A side in action: a running client and its file."""

    def __init__(self, name, host, file, client):
        self.name = name
        self.host = host
        self.process = client.process
        self.leave = client.leave
        self._file = file

    def content(self):
        return self._file.read_bytes() if self._file.exists() else b""


def start(stage, name, side, tracker, torrent, *, has_content=False):
    host = stage.network.host(name, side.has)
    folder = stage.folder / name
    folder.mkdir()
    file = folder / torrent.name
    if has_content:
        file.write_bytes(torrent.content)
    announce = tracker.announce_url(side.protocol, side.family)
    if side.magnet:
        source = torrent.magnet(announce)
    else:
        source = folder.with_suffix(".torrent")
        source.write_bytes(torrent.metainfo(announce))
    client = side.client(stage, host, folder, source)
    return Player(name, host, file, client)


def torrent_for(case):
    """The content to exchange. A torrent that is asked for by its magnet link cannot be private: who has
    the link alone is to be told the rest by strangers."""
    return Torrent.named(case.name, private=not any(side.magnet for side in case.sides))


def has_all(client, torrent):
    return client.content() == torrent.content


def compare(client, torrent):
    if not has_all(client, torrent):
        content = client.content()
        raise StepFailed(
            f"{client.name}: its {len(content)} bytes are not the {len(torrent.content)} of the torrent"
        )


def tracker_families(build, sides):
    """A dual-stack build always listens on both, also where a case uses only one of them."""
    if build == "dual-stack":
        return ("ipv4", "ipv6")
    return tuple(sorted({side.family for side in sides}))


def families(case):
    """The address families that a case needs."""
    used = {family for side in case.sides for family in side.has}
    return used | set(tracker_families(case.build, case.sides))
