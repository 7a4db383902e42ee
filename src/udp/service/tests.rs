mod unproved;

use super::*;
use crate::stats::{AddressFamily, Counters};
use crate::tracker::flavour::Standalone;
use crate::tracker::testing::{Asked, NotThatOne, NotXx, RefusesWith, THAT_ONE, TestFlavour, TestTracker, key};
use crate::tracker::{AnnounceError, Capacity, Event, InfoHash, Intervals, Ipv4Only, Retry, Unlogged};
use crate::udp::packet::tests::{announce_body, request};
use crate::udp::packet::{ANNOUNCE_LEN, PROTOCOL_ID};
use fastrand::Rng;
use proptest::prelude::*;
use std::num::NonZeroU16;

const NOW: Minute = Minute(1000);

fn ids() -> ConnectionIds {
    ConnectionIds::new((1, 2), NonZeroU16::new(2).unwrap())
}

type TestService = Service<TestFlavour<Ipv4Only, NotThatOne>>;

fn service() -> TestService {
    let tracker = TestTracker::with_plugs(Capacity::NONE, NOW, NotThatOne, Standalone);
    Service::new(Arc::new(tracker), ids(), Arc::default(), Rng::with_seed(1))
}

fn client(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 40_000))
}

fn ask<F: Flavour>(service: &mut Service<F>, datagram: &[u8], from: SocketAddr) -> Vec<u8> {
    let mut reply = [0xff; REPLY_BUFFER_LEN];
    let mut questions = [Question::new(datagram, from, &mut reply)];
    service.answer(&mut questions, NOW.into());
    questions[0].answer().to_vec()
}

fn announcing(from: SocketAddr, announce: AnnounceBody, event: u32) -> Vec<u8> {
    request(ids().slot(NOW.into()).issue(from.ip()), 1, 77, &announce_body(&announce, event))
}

fn leecher() -> AnnounceBody {
    AnnounceBody { info_hash: InfoHash([7; 20]), left: 9, uploaded: 0, event: Event::Update, num_want: -1, port: 6881 }
}

#[test]
fn a_client_connects_announces_and_scrapes() {
    let mut service = service();
    let connected = ask(&mut service, &request(PROTOCOL_ID, 0, 5, &[]), client(1));
    assert_eq!(connected[..8], [0, 0, 0, 0, 0, 0, 0, 5]);
    let id = u64::from_be_bytes(connected[8..].try_into().unwrap());

    let datagram = request(id, 1, 77, &announce_body(&leecher(), 2));
    let reply = ask(&mut service, &datagram, client(1));
    assert_eq!((&reply[..8], &reply[12..]), (&[0, 0, 0, 1, 0, 0, 0, 77][..], &[0, 0, 0, 1, 0, 0, 0, 0][..]));
    let interval = u32::from_be_bytes(reply[8..12].try_into().unwrap());
    assert!((1620..=1980).contains(&interval));

    let seeder = AnnounceBody { left: 0, port: 80, ..leecher() };
    let reply = ask(&mut service, &announcing(client(2), seeder, 1), client(2));
    assert_eq!(reply[12..20], [0, 0, 0, 1, 0, 0, 0, 1], "one leecher, one seeder");
    assert_eq!(reply[20..], [192, 0, 2, 1, 0x1a, 0xe1], "the leecher, by the address that it came from");

    let datagram = request(id, 2, 78, &[[7; 20], [8; 20]].concat());
    let reply = ask(&mut service, &datagram, client(1));
    let expected = [[0, 0, 0, 2], [0, 0, 0, 78], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]].concat();
    assert_eq!(reply, [expected, vec![0; 12]].concat());

    let reply = ask(&mut service, &announcing(client(2), seeder, 3), client(2));
    assert_eq!(reply[12..], [0, 0, 0, 1, 0, 0, 0, 0], "who stops is given no peers");
}

#[test]
fn each_of_many_gets_its_own_reply() {
    let mut service = service();
    let connect = request(PROTOCOL_ID, 0, 5, &[]);
    let refused = announcing(client(3), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, 0);
    let scrape = request(ids().slot(NOW.into()).issue(client(4).ip()), 2, 78, &[7; 20]);
    let announces = (10..40).map(|n| (announcing(client(n), leecher(), 0), client(n)));
    let others = [(connect, client(1)), (vec![1; 15], client(2)), (refused, client(3)), (scrape, client(4))];
    let datagrams: Vec<_> = others.into_iter().chain(announces).collect();
    let mut buffers = vec![[0xff; REPLY_BUFFER_LEN]; datagrams.len()];
    let mut questions: Vec<_> = datagrams
        .iter()
        .zip(&mut buffers)
        .map(|((datagram, from), buffer)| Question::new(datagram, *from, buffer))
        .collect();
    service.answer(&mut questions, NOW.into());
    let replies: Vec<_> = questions.iter().map(Question::answer).collect();
    let begins: Vec<_> = replies.iter().map(|reply| reply.get(..8).unwrap_or_default()).collect();
    let header = |action, transaction_id| [0, 0, 0, action, 0, 0, 0, transaction_id];
    assert_eq!(begins[..4], [&header(0, 5)[..], &[], &header(3, 77), &header(2, 78)]);
    for (known, reply) in replies[4..].iter().enumerate() {
        assert_eq!(reply[..8], header(1, 77));
        assert_eq!(reply[12..20], [0, 0, 0, known as u8 + 1, 0, 0, 0, 0]);
        assert_eq!((reply.len() - 20) / 6, known, "all who came before");
    }
}

#[test]
fn in_short_memory_a_reply_has_fewer_peers_or_there_is_none() {
    let mut service = service();
    for n in 1..=5 {
        ask(&mut service, &announcing(client(n), leecher(), 0), client(n));
    }
    let announce = announcing(client(6), leecher(), 0);
    let scrape = request(ids().slot(NOW.into()).issue(client(6).ip()), 2, 78, &[7; 60]);
    let connect = request(PROTOCOL_ID, 0, 5, &[]);
    for lent in 0..60 {
        let mut memory = [[0xff; 60]; 3];
        let datagrams = [&announce, &scrape, &connect];
        let mut questions: Vec<_> = datagrams
            .into_iter()
            .zip(&mut memory)
            .map(|(datagram, reply)| Question::new(datagram, client(6), &mut reply[..lent]))
            .collect();
        service.answer(&mut questions, NOW.into());
        // Peers are written in steps of eight bytes.
        let peers = lent.saturating_sub(ANNOUNCE_REPLY_LEN + PeerBuffer::SPARE) / PEER_LEN;
        let announced = if lent < ANNOUNCE_REPLY_LEN { 0 } else { ANNOUNCE_REPLY_LEN + peers.min(5) * PEER_LEN };
        let scraped = if lent < 8 { 0 } else { 8 + ((lent - 8) / 12).min(3) * 12 };
        let connected = if lent < 16 { 0 } else { 16 };
        let lens: Vec<_> = questions.iter().map(|question| question.reply_len).collect();
        assert_eq!(lens, [announced, scraped, connected], "{lent}");
    }
}

#[test]
fn a_client_with_4_gib_left_is_no_seeder() {
    let mut service = service();
    let announce = AnnounceBody { left: 1 << 32, ..leecher() };
    let reply = ask(&mut service, &announcing(client(1), announce, 0), client(1));
    assert_eq!(reply[12..20], [0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn a_reply_has_as_many_peers_as_are_wanted_and_at_most_200() {
    let mut service = service();
    for port in 1..=300 {
        let datagram = announcing(client(1), AnnounceBody { port, ..leecher() }, 0);
        ask(&mut service, &datagram, client(1));
    }
    for (num_want, expected) in [(-1, 200), (i32::MIN, 200), (i32::MAX, 200), (0, 0), (1, 1), (50, 50), (201, 200)] {
        let datagram = announcing(client(2), AnnounceBody { num_want, ..leecher() }, 0);
        let reply = ask(&mut service, &datagram, client(2));
        assert_eq!((reply.len() - 20) / 6, expected, "{num_want}");
    }
}

#[test]
fn a_refused_announce_is_answered_with_the_reason() {
    let mut service = service();
    let error = |text: &str| [&[0, 0, 0, 3, 0, 0, 0, 77], text.as_bytes()].concat();
    let datagram = announcing(client(1), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, 0);
    let refused = "Requested download is not authorized for use with this tracker.";
    assert_eq!(ask(&mut service, &datagram, client(1)), error(refused));
    let datagram = announcing(client(1), leecher(), 0);
    assert_eq!(ask(&mut service, &datagram[..ANNOUNCE_LEN - 1], client(1)), error("Announce is too short."));
    assert_eq!(service.tracker.store().census().torrents, 0);
}

#[test]
fn a_torrent_that_is_not_served_is_refused_as_the_terms_say_and_counted_in_any_case() {
    let error = b"Requested download is not authorized for use with this tracker.";
    let hour = Retry::InMinutes(NonZeroU16::new(60).unwrap());
    for (retry, as_empty, expected) in [
        (hour, false, [&[0, 0, 0, 3, 0, 0, 0, 77][..], error].concat()),
        (hour, true, [[0, 0, 0, 1], [0, 0, 0, 77], 3600_u32.to_be_bytes(), [0; 4], [0; 4]].concat()),
        (Retry::Never, true, [[0, 0, 0, 1], [0, 0, 0, 77], 86_400_u32.to_be_bytes(), [0; 4], [0; 4]].concat()),
    ] {
        let counters = Counters::default();
        let admission = RefusesWith(RefusalTerms { retry, as_empty });
        let tracker = TestTracker::<Ipv4Only, _>::with_plugs(Capacity::NONE, NOW, admission, Standalone);
        let mut service = Service::new(Arc::new(tracker), ids(), counters.for_worker(), Rng::with_seed(1));
        for event in [0, 1, 2, 3] {
            let datagram = announcing(client(1), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, event);
            assert_eq!(ask(&mut service, &datagram, client(1)), expected);
        }
        let refused = counters.refusals(Protocol::Udp, AnnounceError::NotAdmitted, AddressFamily::Ipv4);
        assert_eq!((refused, counters.total(Counter::UdpAnnounced)), (4, 0));
        // Others are refused as ever.
        let ipv6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 40_000));
        let reply = ask(&mut service, &announcing(ipv6, leecher(), 0), ipv6);
        assert_eq!(
            reply,
            [&[0, 0, 0, 3, 0, 0, 0, 77][..], b"This tracker does not serve your address family."].concat()
        );
        for reason in AnnounceError::ALL {
            let terms = service.tracker.refusal_terms(reason);
            assert_eq!(terms.is_some(), reason == AnnounceError::NotAdmitted, "{reason}");
        }
    }
}

#[test]
fn a_client_that_is_not_served_is_refused_as_the_terms_say_and_may_leave() {
    let error = b"This tracker does not serve the BitTorrent client that you use. Please choose another one.";
    let error = [&[0, 0, 0, 3, 0, 0, 0, 77][..], error].concat();
    let hour = Retry::InMinutes(NonZeroU16::new(60).unwrap());
    let empty = [[0, 0, 0, 1], [0, 0, 0, 77], 3600_u32.to_be_bytes(), [0; 4], [0; 4]].concat();
    for (terms, expected) in [
        (None, &error),
        (Some(RefusalTerms { retry: hour, as_empty: false }), &error),
        (Some(RefusalTerms { retry: hour, as_empty: true }), &empty),
    ] {
        let counters = Counters::default();
        let flavour = TestFlavour::<Ipv4Only, _, _>::with_plugs(NotThatOne, Standalone).with_clients(NotXx(terms));
        let tracker = Arc::new(Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour));
        let mut service = Service::new(Arc::clone(&tracker), ids(), counters.for_worker(), Rng::with_seed(1));
        let announcing = |peer_id: &[u8; 20], event| {
            let mut datagram = announcing(client(1), leecher(), event);
            datagram[36..56].copy_from_slice(peer_id);
            datagram
        };
        let (denied, served) = (b"-XX0012-abcdefghijkl", b"-YY0012--XXghijklmno");
        for event in [0, 1, 2] {
            assert_eq!(ask(&mut service, &announcing(denied, event), client(1)), *expected);
        }
        assert_eq!(tracker.store().census().torrents, 0);
        assert_eq!(ask(&mut service, &announcing(served, 2), client(1))[..4], [0, 0, 0, 1]);
        assert_eq!(tracker.store().census().peers.peers(), 1);
        // Of many in one batch each is answered by itself.
        let datagrams = [announcing(denied, 0), announcing(served, 0), announcing(denied, 0)];
        let mut replies = [[0; REPLY_BUFFER_LEN]; 3];
        let mut questions: Vec<_> = datagrams
            .iter()
            .zip(&mut replies)
            .map(|(datagram, reply)| Question::new(datagram, client(1), reply))
            .collect();
        service.answer(&mut questions, NOW.into());
        assert_eq!((questions[0].answer(), questions[2].answer()), (&**expected, &**expected));
        assert_eq!(questions[1].answer()[12..20], [0, 0, 0, 1, 0, 0, 0, 0]);

        assert_eq!(ask(&mut service, &announcing(denied, 3), client(1))[..4], [0, 0, 0, 1]);
        assert_eq!(tracker.store().census().peers.peers(), 0, "it has left");
        let refused = counters.refusals(Protocol::Udp, AnnounceError::ClientNotServed, AddressFamily::Ipv4);
        assert_eq!((refused, counters.total(Counter::UdpAnnounced)), (5, 3));
    }
}

#[test]
fn a_scrape_tells_nothing_of_what_is_not_served() {
    let mut service = service();
    let datagram = request(ids().slot(NOW.into()).issue(client(1).ip()), 2, 78, &THAT_ONE.0);
    assert_eq!(ask(&mut service, &datagram, client(1))[8..], [0; 12]);
}

#[test]
fn what_comes_from_port_0_is_dropped() {
    let from = SocketAddr::from(([192, 0, 2, 1], 0));
    assert_eq!(ask(&mut service(), &request(PROTOCOL_ID, 0, 5, &[]), from), b"");
}

#[test]
fn what_is_not_served_is_counted_by_its_reason() {
    let counters = Counters::default();
    let mut service = Service { worker_counters: counters.for_worker(), ..service() };
    let at = |n: u8| request(ids().slot(NOW.into()).issue(client(n).ip()), 2, 77, &[7; 20]);
    ask(&mut service, &announcing(client(1), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, 0), client(1));
    ask(&mut service, &announcing(client(1), leecher(), 0)[..ANNOUNCE_LEN - 1], client(1));
    ask(&mut service, &at(2), client(1));
    ask(&mut service, &at(1)[..15], client(1));
    ask(&mut service, &at(1), SocketAddr::from(([192, 0, 2, 1], 0)));
    let ipv6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 40_000));
    ask(&mut service, &announcing(ipv6, leecher(), 0), ipv6);
    for (count, expected) in [
        (Counter::UdpReceived, (5, 1)),
        (Counter::UdpTruncated, (1, 0)),
        (Counter::UdpMismatched, (1, 0)),
        (Counter::UdpDropped, (2, 0)),
        (Counter::UdpAnnounced, (0, 0)),
        (Counter::UdpScraped, (0, 0)),
    ] {
        assert_eq!(
            (counters.of(count, AddressFamily::Ipv4), counters.of(count, AddressFamily::Ipv6)),
            expected,
            "{count:?}"
        );
    }
    for (refusal, expected) in AnnounceError::ALL.into_iter().zip([(1, 0), (0, 1), (0, 0), (0, 0)]) {
        let of = |family| counters.refusals(Protocol::Udp, refusal, family);
        assert_eq!((of(AddressFamily::Ipv4), of(AddressFamily::Ipv6)), expected, "{refusal}");
    }
}

proptest! {
    #[test]
    fn whoever_has_proved_himself_may_send_anything(body in prop::collection::vec(any::<u8>(), 0..2000),
                                                    action in 0..4_u32) {
        let datagram = request(ids().slot(NOW.into()).issue(client(1).ip()), action, 1, &body);
        prop_assert!(ask(&mut service(), &datagram, client(1)).len() <= MAX_REPLY);
    }
}

#[test]
fn what_an_announce_asks_for_is_counted_whatever_becomes_of_it() {
    let asked = Asked::default();
    let flavour = TestFlavour::<Ipv4Only, _, _, _, _>::with_logs(NotThatOne, Standalone, Unlogged, asked.clone());
    let tracker = Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour);
    let mut service = Service::new(Arc::new(tracker), ids(), Arc::default(), Rng::with_seed(1));
    for num_want in [-1, 0, 7, i32::MAX, i32::MIN] {
        ask(&mut service, &announcing(client(1), AnnounceBody { num_want, ..leecher() }, 0), client(1));
    }
    assert_eq!(asked.take(), [usize::MAX, 0, 7, i32::MAX as usize, usize::MAX]);
    let refused = AnnounceBody { info_hash: THAT_ONE, num_want: 5, ..leecher() };
    ask(&mut service, &announcing(client(1), refused, 3), client(1));
    assert_eq!(asked.take(), [5]);
    // Neither who has not proved itself nor who announces nothing asks for peers.
    ask(&mut service, &request(1, 1, 77, &announce_body(&leecher(), 0)), client(1));
    ask(&mut service, &request(ids().slot(NOW.into()).issue(client(1).ip()), 2, 78, &THAT_ONE.0), client(1));
    assert!(asked.take().is_empty());
}
