"""The case of clients whose path from the tracker is too narrow for its longest replies."""

import hashlib
from dataclasses import dataclass

from cluster import STOPPED, Client
from stage import StepFailed
from tracker import Tracker

# Bytes in a packet: Linux takes no path for narrower (`net.ipv4.route.min_pmtu`).
NARROWEST = 552
HEADERS = 20 + 8
PEERS, PEERS_CUT = 200, (NARROWEST - HEADERS - 20) // 6
OWN_PORT = 1 + PEERS
# How long a reply that is lost is waited for.
LOST_SECONDS = 5
SCRAPED, SCRAPED_CUT = 74, (NARROWEST - HEADERS - 8) // 12


@dataclass(frozen=True)
class Narrow:
    """Over a narrow path a reply over UDP is cut to whole peers, or whole torrents, that fit it.

    The tracker knows what its own links take. Of a link behind a router it learns when a reply is lost there.
    """

    name: str
    build: str
    # No clients but those of the test itself.
    sides = ()
    programs = ()

    def play(self, stage, binary):
        info_hash = hashlib.sha1(self.name.encode()).digest()
        hosts = {name: stage.network.host(name, ("ipv4",)) for name in ("tracker", "router", "near")}
        beside = stage.network.behind(hosts["tracker"], "beside", NARROWEST)
        beyond = stage.network.behind(hosts["router"], "beyond", NARROWEST)
        stage.network.route(hosts["tracker"], beyond, hosts["router"])
        tracker = Tracker(stage, hosts["tracker"], binary, stage.folder / "tracker")

        near = Client(hosts["near"], tracker)
        ports = range(1, OWN_PORT)
        for port in ports:
            near.announce(info_hash, port)
        peers = {(near.address, port) for port in ports}
        hashes = [info_hash] * SCRAPED

        def check(client, what, count, scraped):
            handed_out = announce(client, info_hash)
            if handed_out is None or len(handed_out) != count or not handed_out <= peers:
                raise StepFailed(f"{what} is to be handed out {count} peers, not {handed_out}")
            if (seen := client.scrape(hashes)) != [(0, 0, 1 + PEERS)] * scraped:
                raise StepFailed(f"{what} is to be told of {scraped} torrents, not {seen}")
            # It is nobody's peer.
            client.announce(info_hash, OWN_PORT, event=STOPPED)

        check(near, "who is near", PEERS, SCRAPED)
        check(Client(beside, tracker), "who has a narrow link to the tracker", PEERS_CUT, SCRAPED_CUT)
        client = Client(beyond, tracker, seconds=LOST_SECONDS)
        if (handed_out := announce(client, info_hash)) is not None:
            raise StepFailed(f"a link of {NARROWEST} bytes took {len(handed_out)} peers")
        check(Client(beyond, tracker), "who is beyond a narrow link, and asks again,", PEERS_CUT, SCRAPED_CUT)
        check(near, "who is near, afterwards,", PEERS, SCRAPED)
        stage.stop([tracker.process])


def announce(client, info_hash):
    """The peers that it is handed out, or None if no reply arrives."""
    try:
        return client.announce(info_hash, OWN_PORT)
    except TimeoutError:
        return None
