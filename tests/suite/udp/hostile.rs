//! Datagrams that no honest client sends, and that they do no harm.

use fastrand::Rng;

use crate::clients::udp::{
    ANNOUNCE, Announce, CONNECT, Client, ERROR, MAGIC, SCRAPE, assert_header, header, scrape_packet,
};
use crate::flavour::{client, info_hash};
use crate::harness::tests;
use crate::tracker::Tracker;

tests![
    datagrams_of_every_length_up_to_an_announce_are_handled,
    oversized_datagrams_are_handled,
    unknown_actions_are_dropped,
    malformed_datagrams_between_requests_change_no_reply,
    a_connection_id_with_any_wrong_bit_is_refused_and_nothing_is_stored,
    a_wrong_connection_id_is_answered_with_the_bytes_that_programs_compare,
    without_a_connection_id_no_reply_is_longer_than_its_request,
    with_a_connection_id_random_requests_are_answered,
];

const MISMATCH: &str = "Connection ID missmatch.\0";

fn datagrams_of_every_length_up_to_an_announce_are_handled() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        for len in 0..=98 {
            every_action_with(&client, len, client.id, true);
            for id in [0, client.id ^ 1, MAGIC] {
                every_action_with(&client, len, id, false);
            }
        }
    }
}

/// Sends each action in a datagram of `len` bytes, and checks the reply. `right`: whether `id` is the client's.
fn every_action_with(client: &Client, len: usize, id: u64, right: bool) {
    for action in [CONNECT, ANNOUNCE, SCRAPE] {
        let transaction = client.next_transaction();
        let mut packet = Announce::leecher(info_hash(0), 1).packet(id, transaction);
        packet[8..12].copy_from_slice(&action.to_be_bytes());
        packet.truncate(len);
        if len < 16 || action == CONNECT && id != MAGIC {
            client.gets_no_answer_to(&packet);
            continue;
        }
        let reply = client.exchange(&packet);
        let expected = match action {
            CONNECT => CONNECT,
            ANNOUNCE if right && len >= 98 => ANNOUNCE,
            SCRAPE if right => SCRAPE,
            _ => ERROR,
        };
        assert_header(&reply, expected, transaction);
        if right {
            let hashes = (len - 16) / 20;
            assert!(action != SCRAPE || reply.len() == 8 + 12 * hashes, "{len}: {reply:02x?}");
        } else {
            assert!(reply.len() <= len, "{action} with {len} bytes gets {}", reply.len());
            assert!(action == CONNECT || MISMATCH.as_bytes().starts_with(&reply[8..]), "{reply:02x?}");
        }
    }
}

fn oversized_datagrams_are_handled() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        for len in [99, 1495, 1496, 1497, 2000, 9000, 65_000] {
            let longer = |mut packet: Vec<u8>| {
                packet.resize(len, 0xee);
                client.exchange(&packet)
            };
            let reply = longer(header(MAGIC, CONNECT, 7));
            assert_header(&reply, CONNECT, 7);
            assert_eq!(reply.len(), 16);
            assert_header(&longer(Announce::leecher(info_hash(0), 1).packet(client.id, 8)), ANNOUNCE, 8);
            let reply = longer(scrape_packet(client.id, 9, &[info_hash(0)]));
            assert_header(&reply, SCRAPE, 9);
            assert_eq!(reply.len(), 8 + 12 * ((len - 16) / 20).min(74));
            for action in [ANNOUNCE, SCRAPE] {
                assert_header(&longer(header(client.id ^ 1, action, 10)), ERROR, 10);
            }
        }
    }
}

fn unknown_actions_are_dropped() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    for action in [3, 4, 5, 255, 256, 1 << 16, 1 << 24, u32::MAX] {
        for id in [client.id, MAGIC, 0] {
            for len in [16, 36, 98, 200] {
                let mut packet = header(id, action, 1);
                packet.resize(len, 0);
                client.gets_no_answer_to(&packet);
            }
        }
    }
}

fn malformed_datagrams_between_requests_change_no_reply() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let (strange, first, second) = (Client::new(server), Client::new(server), Client::new(server));
        for round in 0..20 {
            // So close to each other that the tracker receives some of them at once.
            for n in 0..8 {
                strange.send(&[0xee; 15]);
                first.send(&header(MAGIC, CONNECT, 100 * round + n));
                strange.send(&header(strange.id, 7, 7));
                strange.send(&header(MAGIC, CONNECT, 100 * round + n));
                second.send(&Announce::leecher(info_hash(0), 1).packet(second.id, 100 * round + n));
            }
            for n in 0..8 {
                assert_header(&first.receive(), CONNECT, 100 * round + n);
                assert_header(&strange.receive(), CONNECT, 100 * round + n);
                assert_header(&second.receive(), ANNOUNCE, 100 * round + n);
            }
        }
    }
}

fn a_connection_id_with_any_wrong_bit_is_refused_and_nothing_is_stored() {
    let tracker = Tracker::start(&[]);
    let mut client = Client::new(tracker.udp());
    let right = client.id;
    let wrong = (0..64).map(|bit| right ^ (1 << bit)).chain([0, u64::MAX, MAGIC, right.swap_bytes(), !right]);
    for id in wrong {
        client.id = id;
        assert_eq!(client.refusal(&Announce::leecher(info_hash(0), 1)), MISMATCH);
        let transaction = client.next_transaction();
        let reply = client.exchange(&scrape_packet(id, transaction, &[info_hash(0)]));
        assert_header(&reply, ERROR, transaction);
    }
    client.id = right;
    assert_eq!(client.counts(info_hash(0)), (0, 0, 0));
}

fn a_wrong_connection_id_is_answered_with_the_bytes_that_programs_compare() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.udps() {
        let client = Client::new(server);
        let announce = Announce::leecher(info_hash(0), 1).packet(client.id ^ 1, 0x0102_0304);
        let whole = [&[0, 0, 0, 3, 1, 2, 3, 4][..], b"Connection ID missmatch.\0"].concat();
        assert_eq!((client.exchange(&announce), whole.len()), (whole.clone(), 33));
        // What is shorter gets as much of it as it has bytes itself.
        for len in 16..=34 {
            assert_eq!(client.exchange(&announce[..len]), whole[..len.min(33)]);
        }
        let scrape = scrape_packet(client.id ^ 1, 0x0102_0304, &[info_hash(0)]);
        assert_eq!(client.exchange(&scrape), whole);
    }
}

fn without_a_connection_id_no_reply_is_longer_than_its_request() {
    let tracker = Tracker::start(&[]);
    let server = tracker.udp();
    let announcer = Client::new(server);
    for port in 1..=100 {
        announcer.announce(&Announce::leecher(info_hash(0), port));
    }
    let stranger = Client::unconnected(client(server.ip(), 66), server);
    let mut rng = Rng::with_seed(15);
    for _ in 0..2000 {
        let len = rng.usize(0..=300);
        let mut datagram: Vec<u8> = Announce::leecher(info_hash(0), 1).packet(rng.u64(..), 1);
        datagram.resize_with(len, || rng.u8(..));
        let spoiled = rng.usize(..len.max(1)).min(16);
        datagram.iter_mut().take(spoiled).for_each(|byte| *byte = rng.u8(..));
        if let Some(action) = datagram.get_mut(8..12) {
            action.copy_from_slice(&rng.u32(0..4).to_be_bytes());
        }
        // Followed by a request that is always answered, as the datagram may be dropped.
        let transaction = stranger.next_transaction();
        let connect = header(MAGIC, CONNECT, transaction);
        stranger.send(&datagram);
        stranger.send(&connect);
        let reply = stranger.receive();
        if reply[..8] != header(0, CONNECT, transaction)[8..] {
            assert!(reply.len() <= datagram.len(), "{datagram:02x?} gets {reply:02x?}");
            assert_header(&stranger.receive(), CONNECT, transaction);
        }
    }
    assert_eq!(announcer.counts(info_hash(0)), (0, 0, 100));
}

fn with_a_connection_id_random_requests_are_answered() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    let mut rng = Rng::with_seed(48);
    for _ in 0..2000 {
        let mut datagram = header(client.id, rng.u32(1..3), 1);
        let len = rng.usize(0..2000);
        datagram.extend(std::iter::repeat_with(|| rng.u8(..)).take(len));
        let reply = client.exchange(&datagram);
        assert!(reply.len() <= 1220);
    }
    client.connect();
}
