"""The cases: who meets whom, over what, at which build of the tracker."""

from dataclasses import dataclass

from clients import Aria2, Aria2Udp, Libtorrent, NpmClient, Rtorrent, Transmission
from haproxy import BY_CONNECTION, BY_REQUEST, Proxied
from meeting import Apart, Meeting, side, tracker_families
from narrow import Narrow
from tracker import Tracker


@dataclass(frozen=True)
class Npm:
    """A client asks for all that there is to ask, and judges the replies itself."""

    name: str
    build: str
    protocol: str
    family: str

    programs = (NpmClient,)

    @property
    def sides(self):
        return (side(NpmClient, self.protocol, self.family),)

    def play(self, stage, binary):
        tracker_host = stage.network.host("tracker", tracker_families(self.build, self.sides))
        tracker = Tracker(stage, tracker_host, binary, stage.folder / "tracker")
        folder = stage.folder / "client"
        folder.mkdir()
        host = stage.network.host("client", (self.family,))
        announce = tracker.announce_url(self.protocol, self.family)
        client = NpmClient(stage, host, folder, announce, host.addresses[self.family])
        stage.until("the client has asked for everything", client.process.ended, [tracker.process])
        stage.stop([client.process, tracker.process])


def _magnet(client, protocol):
    """The leecher tells its tracker that nothing is left, and needs the seeder for all it is to know."""
    return Meeting(
        f"magnet-{protocol}-ipv4@default",
        "default",
        side(client, protocol, "ipv4"),
        (side(client, protocol, "ipv4", magnet=True),),
    )


def _no_port(protocol):
    """The leecher can be reached by nobody, and reaches the seeder itself."""
    return Meeting(
        f"no-port-{protocol}-ipv4@default",
        "default",
        side(Libtorrent, protocol, "ipv4"),
        (side(Rtorrent, protocol, "ipv4"),),
    )


def _npm(protocol, family, build):
    return Npm(f"npm-{protocol}-{family}@{build}", build, protocol, family)


def _proxied(how, says_who):
    one = side(Libtorrent, "http", "ipv4")
    return Proxied(f"haproxy-{how}-ipv4@proxy", "proxy", one, (one,), says_who)


def _alike(client, protocol, family, build):
    one = side(client, protocol, family)
    name = f"{client.__name__.lower()}-{protocol}-{family}@{build}"
    return Meeting(name, build, one, (one,))


def _across(protocol, seeder_family, leecher_family):
    """The seeder has one address family, the leecher both, and asks over the other one.

    So it learns of the seeder only if a reply carries both families.
    """
    return Meeting(
        f"across-{protocol}-{leecher_family}-to-{seeder_family}@dual-stack",
        "dual-stack",
        side(Libtorrent, protocol, seeder_family),
        (side(Libtorrent, protocol, leecher_family, ("ipv4", "ipv6")),),
    )


CASES = [
    _alike(Aria2, "http", "ipv4", "default"),
    _alike(Transmission, "http", "ipv4", "default"),
    _alike(Transmission, "udp", "ipv4", "default"),
    _alike(Libtorrent, "http", "ipv4", "default"),
    _alike(Libtorrent, "udp", "ipv4", "default"),
    Meeting(
        "mixed-http-udp-ipv4@default",
        "default",
        side(Transmission, "http", "ipv4"),
        (side(Libtorrent, "udp", "ipv4"),),
    ),
    Meeting(
        "three-clients-ipv4@default",
        "default",
        side(Libtorrent, "udp", "ipv4"),
        (side(Aria2, "http", "ipv4"), side(Transmission, "udp", "ipv4")),
    ),
    Apart(
        "apart-ipv4@default",
        "default",
        tuple(side(client, "http", "ipv4") for client in (Aria2, Transmission, Libtorrent)),
        (side(Aria2, "http", "ipv4"), side(Transmission, "udp", "ipv4"), side(Libtorrent, "udp", "ipv4")),
    ),
    Apart(
        "apart-magnet-ipv4@default",
        "default",
        (side(Aria2Udp, "udp", "ipv4"),),
        (side(Aria2Udp, "udp", "ipv4", magnet=True),),
    ),
    _magnet(Aria2, "http"),
    _magnet(Aria2Udp, "udp"),
    _no_port("http"),
    _no_port("udp"),
    _npm("http", "ipv4", "default"),
    _npm("udp", "ipv4", "default"),
    Narrow("narrow-udp-ipv4@default", "default"),
    _alike(Aria2, "http", "ipv6", "v6"),
    _alike(Transmission, "http", "ipv6", "v6"),
    _alike(Libtorrent, "http", "ipv6", "v6"),
    _alike(Libtorrent, "udp", "ipv6", "v6"),
    _npm("http", "ipv6", "v6"),
    _alike(Aria2, "http", "ipv4", "dual-stack"),
    _alike(Transmission, "udp", "ipv4", "dual-stack"),
    _alike(Transmission, "http", "ipv6", "dual-stack"),
    _alike(Libtorrent, "http", "ipv4", "dual-stack"),
    _alike(Libtorrent, "udp", "ipv4", "dual-stack"),
    _alike(Libtorrent, "http", "ipv6", "dual-stack"),
    _alike(Libtorrent, "udp", "ipv6", "dual-stack"),
    _npm("http", "ipv4", "dual-stack"),
    _npm("http", "ipv6", "dual-stack"),
    _npm("udp", "ipv4", "dual-stack"),
    Narrow("narrow-udp-ipv4@dual-stack", "dual-stack"),
    _across("http", "ipv6", "ipv4"),
    _across("http", "ipv4", "ipv6"),
    _proxied("header", BY_REQUEST),
    _proxied("proxy-protocol", BY_CONNECTION),
]
