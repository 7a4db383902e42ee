//! The limit to the peers of one address in a torrent.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::{IPV4, info_hash, only_with, serves};
use crate::harness::{skip, tests};
use crate::http::announce;
use crate::tracker::{Start, Tracker};

tests![
    an_address_has_sixteen_peers_of_a_torrent_unless_the_operator_says_otherwise,
    an_address_that_announces_port_after_port_is_handed_out_beside_everybody_else,
    an_address_may_have_a_sixteenth_of_a_large_torrent,
    without_a_limit_every_port_is_a_peer,
    whoever_takes_a_place_needs_no_room_and_leaves_the_downloads_counted,
    a_network_of_ipv6_is_one_address,
];

/// With the default, or with this limit.
fn limited(config: &str) -> Tracker {
    Start::needed().on_loopback().config(config).run()
}

fn an_address_has_sixteen_peers_of_a_torrent_unless_the_operator_says_otherwise() {
    for (config, most) in [("", 16), ("limits.peers_per_address 1\n", 1), ("limits.peers_per_address 40\n", 40)] {
        let tracker = limited(config);
        for &server in tracker.udps() {
            let client = Client::new(server);
            let hash = info_hash(u8::from(server.is_ipv6()));
            let ask = |port| {
                // Seeders and leechers together.
                let asks = if port % 3 == 0 { Announce::seeder(hash, port) } else { Announce::leecher(hash, port) };
                client.announce(&Announce { uploaded: 0, ..asks })
            };
            for port in 1..=100_u16 {
                let reply = ask(port);
                let peers = port.min(most);
                assert_eq!(reply.leechers + reply.seeders, u32::from(peers), "{port}, {config}");
                assert_eq!(reply.peers.len(), usize::from(peers - 1), "whoever comes is handed all others");
            }
            // One is there, and one has fallen out and comes back for another.
            for port in [100, 1] {
                ask(port);
                assert_eq!(counted(&client, hash), u32::from(most));
            }
        }
    }
}

/// The test needs many addresses, and IPv6 has one on this machine.
fn only_with_a_loopback_network() {
    if !serves(IPV4) {
        skip("this build does not serve IPv4");
    }
}

/// How many peers there are.
fn counted(client: &Client, hash: [u8; 20]) -> u32 {
    let (seeders, _, leechers) = client.counts(hash);
    seeders + leechers
}

/// Addresses of the loopback network, beside those that [`Client::new`] has.
fn stranger(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(127, 9, high, low).into()
}

/// Announces a torrent from so many addresses.
fn strangers(server: SocketAddr, hash: [u8; 20], many: u16) -> HashSet<SocketAddr> {
    let come = |n| {
        let client = Client::at(stranger(n), server);
        client.announce(&Announce { num_want: 0, ..Announce::leecher(hash, 6881) });
        client.endpoint(6881)
    };
    (1..=many).map(come).collect()
}

fn an_address_that_announces_port_after_port_is_handed_out_beside_everybody_else() {
    only_with_a_loopback_network();
    let tracker = limited("");
    let server = tracker.udp();
    for (n, many) in (0..).zip([1, 20, 50, 170]) {
        let hash = info_hash(n);
        let honest = strangers(server, hash, many);
        let crowd = Client::new(server);
        let ports = if many == 50 { u16::MAX } else { 3000 };
        for port in 1..=ports {
            let seeder = port % 2 == 0;
            let asks = if seeder { Announce::seeder(hash, port) } else { Announce::leecher(hash, port) };
            crowd.announce(&Announce { num_want: 0, ..asks });
        }
        assert_eq!(counted(&crowd, hash), u32::from(many) + 16);
        let newcomer = Client::at(stranger(9999), server).announce(&Announce::leecher(hash, 6881));
        let handed: HashSet<_> = newcomer.peers.into_iter().collect();
        assert!(honest.is_subset(&handed), "{} of {many}", honest.intersection(&handed).count());
        let of_crowd: HashSet<_> = handed.difference(&honest).copied().collect();
        assert!(of_crowd.contains(&crowd.endpoint(ports)), "who came last has a place");
        assert_eq!((of_crowd.len(), of_crowd.iter().all(|peer| peer.ip() == crowd.ip())), (16, true), "{of_crowd:?}");
    }
}

fn an_address_may_have_a_sixteenth_of_a_large_torrent() {
    only_with_a_loopback_network();
    let tracker = limited("");
    let server = tracker.udp();
    let hash = info_hash(0);
    strangers(server, hash, 600);
    let crowd = Client::new(server);
    for port in 1..=3000 {
        crowd.announce(&Announce { num_want: 0, ..Announce::leecher(hash, port) });
    }
    // Of 639 peers, a sixteenth is 39.
    assert_eq!(counted(&crowd, hash), 600 + 39);
    let newcomer = Client::at(stranger(9999), server).announce(&Announce::leecher(hash, 6881));
    let of_crowd = newcomer.peers.iter().filter(|peer| peer.ip() == crowd.ip()).count();
    assert!(newcomer.peers.len() == 200 && of_crowd <= 39, "{of_crowd} of {}", newcomer.peers.len());
}

fn without_a_limit_every_port_is_a_peer() {
    let tracker = limited("limits.peers_per_address 0\n");
    for &server in tracker.udps() {
        let client = Client::new(server);
        let hash = info_hash(u8::from(server.is_ipv6()));
        for port in 1..=1000 {
            client.announce(&Announce { num_want: 0, ..Announce::leecher(hash, port) });
        }
        assert_eq!(counted(&client, hash), 1000);
    }
}

fn whoever_takes_a_place_needs_no_room_and_leaves_the_downloads_counted() {
    let tracker = limited("limits.peers 3\nlimits.peers_per_address 3\n");
    let client = Client::new(tracker.udp());
    let hash = info_hash(0);
    for port in 1..=3 {
        client.announce(&Announce::seeder(hash, port).event(COMPLETED));
    }
    for port in 4..=20 {
        client.announce(&Announce::leecher(hash, port));
        assert_eq!(counted(&client, hash), 3);
    }
    assert_eq!(client.counts(hash), (0, 3, 3), "three downloads were completed, and three leechers are there");
    let peers: HashSet<_> = client.announce(&Announce::leecher(hash, 20)).peers.into_iter().collect();
    assert_eq!(peers.len(), 2);
    assert!(peers.iter().all(|peer| peer.port() > 3), "those who came first have fallen out: {peers:?}");
}

fn a_network_of_ipv6_is_one_address() {
    only_with("ip-from-query");
    let tracker = limited("");
    for &server in tracker.https().iter().filter(|server| serves("::1".parse().unwrap()) || server.is_ipv6()) {
        for n in 1..=100 {
            // 2001:db8:: and 2001:db8:0:1:: are two networks.
            announce(server, 0, &format!("port=1&left=1&ip=2001:db8::{n}:{n}"));
            announce(server, 0, &format!("port=1&left=1&ip=2001:db8:0:1::{n}"));
        }
        let answer = announce(server, 0, "port=2&left=1&ip=2001:db8:0:2::1");
        assert_eq!(crate::http::counts(&answer), (0, 0, 16 + 16 + 1));
        announce(server, 0, "port=2&event=stopped&ip=2001:db8:0:2::1");
    }
}
