//! What those are answered who have not proved that they receive at their address.

use super::*;
use std::num::NonZeroU32;

#[test]
fn a_wrong_connection_id_is_an_error_that_is_no_longer_than_the_question() {
    let mut service = service();
    for (action, body) in [(1, announce_body(&leecher(), 0)), (2, vec![7; 20]), (2, vec![]), (1, vec![7; 3])] {
        let datagram = request(ids().slot(NOW.into()).issue(client(2).ip()), action, 77, &body);
        let reply = ask(&mut service, &datagram, client(1));
        assert_eq!(reply[..8], [0, 0, 0, 3, 0, 0, 0, 77]);
        assert!(reply.len() <= datagram.len());
        assert!(MISMATCH.as_bytes().starts_with(&reply[8..]) && reply.len() > 8);
    }
    assert_eq!(service.tracker.store().census().torrents, 0);
}

/// A service that sends so many errors a second to an address that has not proved itself, and what it counts.
fn limited_service(each: u32) -> (TestService, Counters) {
    let counters = Counters::default();
    let limit = ErrorLimit::new((3, 4), NonZeroU32::new(each).unwrap());
    let service = Service { worker_counters: counters.for_worker(), ..service() };
    (service.with_error_limit(Some(Arc::new(limit))), counters)
}

#[test]
fn who_has_not_proved_himself_is_sent_so_many_errors_a_second() {
    let (mut service, counters) = limited_service(3);
    let wrong = request(7, 1, 77, &announce_body(&leecher(), 0));
    let ipv6 = |network| SocketAddr::from(([0x2001, 0xdb8, 0, network, 0, 0, 0, network], 40_000));
    for second in [0, 1, 2, 59, 60] {
        let mut answered = |from: SocketAddr, port: u16| {
            let (mut reply, from) = ([0xff; REPLY_BUFFER_LEN], SocketAddr::new(from.ip(), port));
            let mut questions = [Question::new(&wrong, from, &mut reply)];
            service.answer(&mut questions, Second(Second::from(NOW).0 + second));
            questions[0].reply_len > 0
        };
        for from in [client(1), client(2), ipv6(1), ipv6(2)] {
            let answered: Vec<_> = (1..=5).map(|port| answered(from, port)).collect();
            assert_eq!(answered, [true, true, true, false, false], "{from}, whatever the port");
        }
    }
    for (counter, each_family) in [(Counter::UdpMismatched, 50), (Counter::UdpWithheld, 20), (Counter::UdpDropped, 0)] {
        for family in [AddressFamily::Ipv4, AddressFamily::Ipv6] {
            assert_eq!(counters.of(counter, family), each_family, "{counter:?}");
        }
    }
}

#[test]
fn who_has_proved_himself_is_answered_however_often_he_is_refused() {
    let (mut service, counters) = limited_service(1);
    let refused = announcing(client(1), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, 0);
    let truncated = &announcing(client(1), leecher(), 0)[..ANNOUNCE_LEN - 1];
    let connect = request(PROTOCOL_ID, 0, 5, &[]);
    let wrong = request(7, 1, 77, &announce_body(&leecher(), 0));
    for n in 0..100 {
        for (datagram, action) in
            [(&refused[..], 3), (truncated, 3), (&connect, 0), (&announcing(client(1), leecher(), 0), 1)]
        {
            assert_eq!(ask(&mut service, datagram, client(1))[3], action, "{n}");
        }
        assert_eq!(ask(&mut service, &wrong, client(1)).is_empty(), n > 0);
    }
    assert_eq!(counters.total(Counter::UdpWithheld), 99);
}

#[test]
fn nobody_unproved_gets_more_than_he_sent_whatever_the_action_and_the_length() {
    let (mut service, unproved) = (service(), client(66));
    // A swarm and downloads that a longer reply could tell of.
    (1..=100).for_each(|n| assert!(!ask(&mut service, &announcing(client(n), leecher(), 1), client(n)).is_empty()));
    let others = ids().slot(NOW.into()).issue(client(1).ip());
    for action in [0, 1, 2, 3, 4, u32::MAX] {
        for id in [0, 1, others, PROTOCOL_ID, PROTOCOL_ID ^ 1, u64::MAX] {
            let whole = request(id, action, 77, &announce_body(&leecher(), 0)).into_iter().chain([7; 2048]);
            let whole: Vec<_> = whole.collect();
            for len in 0..=2048 {
                let reply = ask(&mut service, &whole[..len], unproved);
                assert!(reply.len() <= len, "{len} bytes of action {action} get {}", reply.len());
                let known = matches!(action, 1 | 2) || (action, id) == (0, PROTOCOL_ID);
                assert_eq!(!reply.is_empty(), known && len >= 16, "{len} bytes of action {action}");
                assert!(reply.len() <= 8 + MISMATCH.len());
            }
        }
    }
    assert_eq!(service.tracker.store().census().peers.peers(), 100);
}

/// What a tracker is asked by others, from its own address or another's: with a right id, a wrong one and none.
fn all_kinds_of_questions() -> Vec<(Vec<u8>, SocketAddr)> {
    let refused = AnnounceBody { info_hash: THAT_ONE, ..leecher() };
    let mut questions = Vec::new();
    for transaction_id in [0, 1, 2, 3, 0x417, PROTOCOL_ID as u32, u32::MAX] {
        for n in 1..=3 {
            let right = ids().slot(NOW.into()).issue(client(n).ip());
            for id in [right, right ^ 1, PROTOCOL_ID, 0] {
                let body = announce_body(&leecher(), 1);
                for (action, body) in
                    [(0, &[][..]), (1, &body), (1, &announce_body(&refused, 0)), (2, &[7; 60]), (2, &[])]
                {
                    let datagram = request(id, action, transaction_id, body);
                    let ends = [datagram.len(), datagram.len() - datagram.len() / 4, 16];
                    questions.extend(ends.map(|end| (datagram[..end.min(datagram.len())].to_vec(), client(n))));
                }
            }
        }
    }
    questions
}

#[test]
fn two_trackers_cannot_be_made_to_answer_each_other() {
    let (mut one, mut other) = (service(), service());
    let seeder = AnnounceBody { left: 0, ..leecher() };
    ask(&mut one, &announcing(client(9), seeder, 0), client(9));
    let (mut replies, mut answered_again) = (0, 0);
    for (question, from) in all_kinds_of_questions() {
        let first = ask(&mut one, &question, from);
        replies += usize::from(!first.is_empty());
        // The other one takes it for a request, if the counts of a scrape happen to be the number of an action.
        let second = ask(&mut other, &first, client(200));
        if !second.is_empty() {
            answered_again += 1;
            assert_eq!(first[3], 2, "{first:02x?}");
            assert_eq!(second[..4], [0, 0, 0, 3], "{second:02x?}");
            assert!(second.len() <= first.len());
        }
        assert_eq!(ask(&mut one, &second, client(201)), b"", "an error is no request");
    }
    assert!(replies > 500 && answered_again > 0, "{replies} {answered_again}");
}

proptest! {
    #[test]
    fn nobody_unproved_gets_more_than_he_sent(body in prop::collection::vec(any::<u8>(), 0..2000), action in 0..4_u32,
                                              id in prop_oneof![Just(PROTOCOL_ID), any::<u64>()]) {
        let mut service = service();
        for datagram in [request(id, action, 1, &body), body] {
            let reply = ask(&mut service, &datagram, client(1));
            prop_assert!(reply.len() <= datagram.len());
        }
    }

    #[test]
    fn no_error_is_a_request(transaction_id: u32, text in prop_oneof![
        prop::sample::select(vec![MISMATCH.to_owned(), TRUNCATED.to_owned()]),
        prop::sample::select(AnnounceError::ALL.map(|reason| reason.to_string()).to_vec()),
    ], most in 0..100_usize) {
        let mut error = [0; 200];
        let len = packet::write_error(&mut error, transaction_id, &text);
        prop_assert_eq!(ask(&mut service(), &error[..len.min(most)], client(1)), b"");
    }
}
