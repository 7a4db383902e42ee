//! Which peers are stored, counted and handed out. The same code answers over HTTP.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::thread;

use crate::clients::udp::{Announce, COMPLETED, Client, STARTED, STOPPED};
use crate::flavour::{self, info_hash};
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    a_client_is_a_seeder_only_if_all_64_bits_of_left_are_0,
    a_client_is_never_handed_itself,
    a_seeder_that_has_uploaded_is_handed_only_leechers,
    leechers_come_first_for_whoever_has_nothing_left_and_uploaded_nothing,
    a_client_gets_as_many_peers_as_it_wants_up_to_a_maximum,
    the_selection_is_random,
    a_client_that_stops_is_removed_and_is_handed_nobody,
    a_download_is_counted_once_for_each_peer_when_nothing_is_left,
    unknown_events_are_plain_announces,
    the_address_in_the_packet_is_ignored,
    who_announces_port_0_is_handed_peers_and_not_remembered,
    many_clients_announce_at_once,
];

fn a_client_is_a_seeder_only_if_all_64_bits_of_left_are_0() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    for (n, left, seeders) in
        [(0, 0, 1), (1, 1, 0), (2, 1 << 32, 0), (3, 1 << 63, 0), (4, u64::MAX, 0), (5, 1 << 16, 0)]
    {
        let announced = client.announce(&Announce { left, ..Announce::leecher(info_hash(n), 1) });
        assert_eq!((announced.seeders, announced.leechers), (seeders, 1 - seeders), "{left}");
    }
}

fn a_client_is_never_handed_itself() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        let hash = info_hash(u8::from(server.is_ipv6()));
        for swarm in [1, 2, 5, 30, 200] {
            for port in 1..=swarm {
                let asked = Announce { num_want: [-1, 1, 5][usize::from(port) % 3], ..Announce::leecher(hash, port) };
                let peers = client.announce(&asked).peers;
                assert!(!peers.contains(&client.endpoint(port)), "{port} of {swarm}");
                let different: HashSet<_> = peers.iter().collect();
                assert_eq!(different.len(), peers.len(), "and nobody is handed out twice");
            }
        }
    }
}

fn a_seeder_that_has_uploaded_is_handed_only_leechers() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    let hash = info_hash(0);
    for port in 1..=20 {
        client.announce(&Announce::leecher(hash, port));
        client.announce(&Announce::seeder(hash, 1000 + port));
    }
    let ports = |announce| {
        let peers: HashSet<_> = client.announce(&announce).peers.iter().map(SocketAddr::port).collect();
        peers
    };
    assert_eq!(ports(Announce::seeder(hash, 1001)), (1..=20).collect());
    assert_eq!(ports(Announce::leecher(hash, 1)), (2..=20).chain(1001..=1020).collect());
    // A leecher that completes is a seeder from then on.
    assert_eq!(ports(Announce::seeder(hash, 20).event(COMPLETED)), (1..=19).collect());
    assert_eq!(ports(Announce::seeder(hash, 1001)), (1..=19).collect());
    assert_eq!(client.counts(hash), (21, 1, 19));
}

/// As aria2 announces a magnet link: it does not know yet how much is left.
fn leechers_come_first_for_whoever_has_nothing_left_and_uploaded_nothing() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        // One of each size that a swarm is kept in a form of its own for.
        for (n, [leechers, seeders]) in (0..).zip([[0, 1], [1, 0], [1, 1], [0, 30], [25, 30], [3, 300], [150, 200]]) {
            let hash = info_hash(100 * u8::from(server.is_ipv6()) + n);
            (1..=leechers).for_each(|port| drop(client.announce(&Announce::leecher(hash, port))));
            (1001..=1000 + seeders).for_each(|port| drop(client.announce(&Announce::seeder(hash, port))));
            let magnet = Announce { uploaded: 0, ..Announce::seeder(hash, 5000) };
            for num_want in [-1, 0, 1, 2, 28, 40, 160] {
                let peers = client.announce(&Announce { num_want, ..magnet }).peers;
                let most = if server.is_ipv4() { 200 } else { 66 };
                let wanted = u16::try_from(num_want).unwrap_or(most).min(most);
                let (handed_leechers, handed_seeders): (HashSet<_>, HashSet<_>) =
                    peers.iter().map(SocketAddr::port).partition(|port| *port <= 1000);
                let expected = (wanted.min(leechers), wanted.saturating_sub(leechers).min(seeders));
                let handed = (handed_leechers.len(), handed_seeders.len());
                assert_eq!(handed, (expected.0.into(), expected.1.into()), "{num_want} of {leechers} and {seeders}");
                assert!(!handed_seeders.contains(&5000) && handed.0 + handed.1 == peers.len());
            }
            let uploaded = client.announce(&Announce { uploaded: 1, ..magnet }).peers;
            assert!(uploaded.iter().all(|peer| peer.port() <= 1000), "it has uploaded: {uploaded:?}");
            let announced = client.announce(&magnet);
            assert_eq!((announced.leechers, announced.seeders), (leechers.into(), u32::from(seeders) + 1), "counted");
        }
    }
}

fn a_client_gets_as_many_peers_as_it_wants_up_to_a_maximum() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        let hash = info_hash(0);
        for port in 1..=250 {
            client.announce(&Announce { num_want: 0, ..Announce::leecher(hash, port) });
        }
        let most = if server.is_ipv4() { 200 } else { 66 };
        for (num_want, expected) in [
            (-1, most),
            (i32::MIN, most),
            (i32::MAX, most),
            (201, most),
            (200, most),
            (66, 66),
            (50, 50),
            (1, 1),
            (0, 0),
        ] {
            let announced = client.announce(&Announce { num_want, ..Announce::leecher(hash, 1) });
            assert_eq!(announced.peers.len(), expected, "{num_want}");
            assert!(announced.peers.iter().all(|peer| peer.ip() == client.ip()), "of the asker's own family");
        }
    }
}

fn the_selection_is_random() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    for port in 1..=100 {
        client.announce(&Announce { num_want: 0, ..Announce::leecher(info_hash(0), port) });
    }
    let ask = || client.announce(&Announce { num_want: 10, ..Announce::seeder(info_hash(0), 500) }).peers;
    let handed_out: HashSet<_> = (0..100).flat_map(|_| ask()).collect();
    assert!(handed_out.len() > 90, "everybody has his turn: {}", handed_out.len());
}

fn a_client_that_stops_is_removed_and_is_handed_nobody() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        let hash = info_hash(u8::from(server.is_ipv6()));
        client.announce(&Announce::leecher(hash, 1));
        client.announce(&Announce::seeder(hash, 2));
        let stopped = client.announce(&Announce::leecher(hash, 1).event(STOPPED));
        assert_eq!((stopped.leechers, stopped.seeders, stopped.peers), (0, 1, vec![]));
        let again = client.announce(&Announce::leecher(hash, 1).event(STOPPED));
        assert_eq!((again.leechers, again.seeders), (0, 1));
        assert_eq!(client.announce(&Announce::leecher(hash, 3)).peers, [client.endpoint(2)]);
        let unknown = client.announce(&Announce::leecher(info_hash(9), 1).event(STOPPED));
        assert_eq!((unknown.leechers, unknown.seeders, unknown.peers), (0, 0, vec![]));
    }
}

fn a_download_is_counted_once_for_each_peer_when_nothing_is_left() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    let hash = info_hash(0);
    let after = |announce: Announce, expected| {
        client.announce(&announce);
        assert_eq!(client.counts(hash), expected, "{announce:?}");
    };
    after(Announce::leecher(hash, 1).event(STARTED), (0, 0, 1));
    after(Announce::leecher(hash, 1).event(COMPLETED), (0, 0, 1));
    after(Announce::seeder(hash, 1).event(COMPLETED), (1, 1, 0));
    after(Announce::seeder(hash, 1).event(COMPLETED), (1, 1, 0));
    after(Announce::seeder(hash, 1), (1, 1, 0));
    after(Announce::seeder(hash, 1).event(COMPLETED), (1, 1, 0));
    after(Announce::seeder(hash, 2), (2, 1, 0));
    after(Announce::seeder(hash, 2).event(COMPLETED), (2, 2, 0));
    after(Announce::seeder(hash, 3).event(COMPLETED), (3, 3, 0));
    // The number of downloads stays when all peers have left.
    after(Announce::seeder(hash, 1).event(STOPPED), (2, 3, 0));
    after(Announce::seeder(hash, 2).event(STOPPED), (1, 3, 0));
    after(Announce::seeder(hash, 3).event(STOPPED), (0, 3, 0));
    after(Announce::leecher(hash, 4), (0, 3, 1));
}

fn unknown_events_are_plain_announces() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    for (port, event) in (1..).zip([0, STARTED, 4, 5, 1 << 8, 3 << 24, u32::MAX]) {
        let announced = client.announce(&Announce::seeder(info_hash(0), port).event(event));
        assert_eq!((announced.seeders, announced.leechers), (u32::from(port), 0), "{event}");
    }
    assert_eq!(client.counts(info_hash(0)), (7, 0, 0));
}

fn the_address_in_the_packet_is_ignored() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    client.announce(&Announce { address: 0xc000_0201, ..Announce::leecher(info_hash(0), 1) });
    assert_eq!(client.announce(&Announce::leecher(info_hash(0), 2)).peers, [client.endpoint(1)]);
}

fn who_announces_port_0_is_handed_peers_and_not_remembered() {
    let tracker = Tracker::start(&[]);
    for (n, &server) in (0..).zip(tracker.udps()) {
        let client = Client::new(server);
        let hash = info_hash(n);
        let nothing = client.announce(&Announce::leecher(hash, 0));
        assert_eq!((nothing.leechers, nothing.seeders, nothing.peers), (0, 0, vec![]), "a torrent that nobody has");
        for swarm in [1, 2, 5, 30, 200] {
            (1..=swarm).for_each(|port| drop(client.announce(&Announce::leecher(hash, port))));
            let most = if server.is_ipv4() { 200 } else { 66 };
            let port_0 = client.announce(&Announce::leecher(hash, 0));
            assert_eq!((port_0.leechers, port_0.seeders), (swarm.into(), 0), "itself is not counted");
            assert_eq!(port_0.peers.len(), usize::from(swarm).min(most));
            assert!(port_0.peers.iter().all(|peer| peer.port() != 0));
        }
        client.announce(&Announce::seeder(hash, 0).event(COMPLETED));
        let stopped = client.announce(&Announce::leecher(hash, 0).event(STOPPED));
        assert_eq!((stopped.leechers, stopped.seeders, stopped.peers), (200, 0, vec![]));
        assert_eq!(client.counts(hash), (0, 0, 200), "no download is counted, and nobody is removed");
    }
}

fn many_clients_announce_at_once() {
    const THREADS: u8 = 8;
    const EACH: u16 = 100;
    let tracker = Tracker::start(&[]);
    let server = tracker.udp();
    thread::scope(|scope| {
        for n in 1..=THREADS {
            scope.spawn(move || {
                let client = Client::at(flavour::client(server.ip(), n), server);
                for port in 0..EACH {
                    // IPv6 clients share one address.
                    let port = 1000 * u16::from(n) + port;
                    let announced = client.announce(&Announce::leecher(info_hash(port.to_be_bytes()[1] % 3), port));
                    assert!(!announced.peers.contains(&client.endpoint(port)));
                }
            });
        }
    });
    let client = Client::new(server);
    let leechers: u32 = client.scrape(&[0, 1, 2].map(info_hash)).iter().map(|totals| totals.leechers).sum();
    assert_eq!(leechers, u32::from(THREADS) * u32::from(EACH));
}
