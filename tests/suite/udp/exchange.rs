//! Connect, announce and scrape, byte for byte.

use std::collections::HashSet;

use crate::clients::udp::{Announce, Client, MAGIC, STOPPED, ScrapeCounts, assert_header, header, scrape_packet};
use crate::flavour::{client, info_hash};
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    a_connect_is_answered_with_a_connection_id,
    an_announce_is_answered_with_counts_and_peers,
    a_scrape_is_answered_with_seeders_completed_and_leechers,
    the_interval_is_half_an_hour_give_or_take_three_minutes,
    options_after_an_announce_are_ignored,
    an_incomplete_info_hash_at_the_end_of_a_scrape_is_ignored,
    a_scrape_covers_at_most_74_torrents,
    a_connection_id_belongs_to_one_address_at_one_tracker,
];

fn a_connect_is_answered_with_a_connection_id() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::unconnected(client(server.ip(), 1), server);
        let connect = [&MAGIC.to_be_bytes()[..], &[0, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd]].concat();
        let reply = client.exchange(&connect);
        assert_eq!((reply.len(), &reply[..8]), (16, &[0, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd][..]));
        let id = u64::from_be_bytes(reply[8..].try_into().unwrap());
        assert_ne!(id, MAGIC);
        let mut ids = vec![id, client.connect(), client.connect()];
        ids.dedup();
        assert!(ids.len() <= 2, "it changes once in an hour, not with every question: {ids:x?}");
    }
}

fn an_announce_is_answered_with_counts_and_peers() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let (first, second) = (Client::at(client(server.ip(), 2), server), Client::at(client(server.ip(), 3), server));
        let hash = info_hash(u8::from(server.is_ipv6()));

        let reply = first.exchange(&Announce::leecher(hash, 0x1234).packet(first.id, 0x0102_0304));
        assert_eq!(reply[..8], [0, 0, 0, 1, 1, 2, 3, 4]);
        assert_eq!(reply[12..], [0, 0, 0, 1, 0, 0, 0, 0], "one leecher, who is not given himself");

        let reply = second.exchange(&Announce::seeder(hash, 0x5678).packet(second.id, 5));
        assert_eq!(reply[..8], [0, 0, 0, 1, 0, 0, 0, 5]);
        assert_eq!(reply[12..20], [0, 0, 0, 1, 0, 0, 0, 1], "leechers, seeders");
        let ip = match first.ip() {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        assert_eq!(reply[20..], [&ip[..], &[0x12, 0x34]].concat(), "the first one, where he came from");
    }
}

fn a_scrape_is_answered_with_seeders_completed_and_leechers() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        let hash = info_hash(u8::from(server.is_ipv6()));
        for port in [1, 2, 3] {
            client.announce(&Announce::leecher(hash, port));
        }
        for port in [4, 5] {
            client.announce(&Announce::seeder(hash, port).event(1));
        }
        client.announce(&Announce::seeder(hash, 5).event(STOPPED));
        let reply = client.exchange(&scrape_packet(client.id, 0x0102_0304, &[hash, info_hash(9)]));
        let expected = [[0, 0, 0, 2], [1, 2, 3, 4], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3]].concat();
        assert_eq!(reply, [expected, vec![0; 12]].concat(), "and zeros for a torrent that nobody knows");
    }
}

fn the_interval_is_half_an_hour_give_or_take_three_minutes() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    let announce = Announce::leecher(info_hash(0), 1);
    let intervals: HashSet<u32> = (0..100).map(|_| client.announce(&announce).interval).collect();
    assert!(intervals.iter().all(|interval| (1620..=1980).contains(interval)), "{intervals:?}");
    assert!(intervals.len() > 10, "at random: {intervals:?}");
}

fn options_after_an_announce_are_ignored() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    // BEP 41: NOP, URL data, end of options; an unknown one; a length that lies.
    for (port, options) in (1..).zip([
        &b"\x02\x09/announce\x00"[..],
        b"\x01\x01\x01\x00",
        b"\x02\x0c/dir?a=b&c=d",
        b"\x77\x01x",
        b"\x02\xffx",
    ]) {
        let transaction = client.next_transaction();
        let packet = Announce::leecher(info_hash(0), port).packet(client.id, transaction);
        let reply = client.exchange(&[&packet, options].concat());
        assert_header(&reply, 1, transaction);
        assert_eq!(reply[15], port.to_be_bytes()[1], "leechers");
    }
}

fn an_incomplete_info_hash_at_the_end_of_a_scrape_is_ignored() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    client.announce(&Announce::seeder(info_hash(0), 1));
    for (len, answered) in [(0, 0), (1, 0), (19, 0), (20, 1), (21, 1), (39, 1), (40, 2), (59, 2)] {
        let transaction = client.next_transaction();
        let hashes = [info_hash(0), info_hash(0), info_hash(0)].concat();
        let reply = client.exchange(&[header(client.id, 2, transaction), hashes[..len].to_vec()].concat());
        assert_header(&reply, 2, transaction);
        assert_eq!(reply[8..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0].repeat(answered), "{len}");
    }
}

fn a_scrape_covers_at_most_74_torrents() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    client.announce(&Announce::seeder(info_hash(73), 1));
    for asked in [1, 73, 74, 75, 100] {
        let hashes: Vec<_> = (0..asked).map(info_hash).collect();
        let found = client.scrape(&hashes);
        assert_eq!(found.len(), usize::from(asked.min(74)));
        let totals = |n| ScrapeCounts { seeders: u32::from(n == 73), completed: 0, leechers: 0 };
        assert!((0..).zip(&found).all(|(n, found)| *found == totals(n)), "in the order of the question: {found:?}");
    }
}

fn a_connection_id_belongs_to_one_address_at_one_tracker() {
    let (tracker, other) = (Tracker::start(&[]), Tracker::start(&[]));
    let ours = Client::new(tracker.udp());
    assert_ne!(ours.id, Client::new(other.udp()).id, "the key is random");
    let mut neighbour = Client::unconnected(ours.ip(), tracker.udp());
    neighbour.id = ours.id;
    assert_eq!(neighbour.counts(info_hash(0)), (0, 0, 0), "whatever the port");
    for _ in 0..3 {
        ours.announce(&Announce::leecher(info_hash(0), 1));
    }
    if ours.ip().is_ipv4() {
        let mut stranger = Client::at(client(ours.ip(), 9), tracker.udp());
        assert_ne!(stranger.id, ours.id);
        stranger.id = ours.id;
        assert_eq!(stranger.refusal(&Announce::leecher(info_hash(0), 2)), "Connection ID missmatch.\0");
        assert_eq!(ours.counts(info_hash(0)), (0, 0, 1), "the stranger is not taken in");
    }
}
