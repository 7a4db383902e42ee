//! What those get who have not proved that they receive at the address that they send from: little, and not often.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::clients::http::get;
use crate::clients::prometheus::samples;
use crate::clients::udp::{
    ANNOUNCE, Announce, CONNECT, Client, ERROR, MAGIC, SCRAPE, STOPPED, assert_header, header, scrape_packet,
};
use crate::flavour::{client, has, info_hash};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    whatever_the_action_and_the_length_no_reply_is_longer,
    errors_to_one_address_are_limited_and_counted,
    by_default_an_address_gets_a_thousand_errors_a_second,
    without_a_limit_every_error_is_sent,
    refusals_to_a_right_id_are_never_limited,
    two_trackers_do_not_answer_each_other,
];

/// Starts a tracker with several workers and so many errors a second for each address.
fn limited(errors: &str) -> Tracker {
    Start::loopback().config(&format!("listen.udp.workers 4\nlimits.udp_errors_per_address {errors}\n")).run()
}

/// Sends so many datagrams with a wrong id, few enough for the socket that receives them. Returns how many are
/// answered.
fn errors(client: &Client, wrong: u32) -> u32 {
    for transaction in 0..wrong {
        client.send(&Announce::leecher(info_hash(0), 1).packet(client.id ^ 1, transaction));
    }
    // It is answered in any case, and after them.
    client.send(&header(MAGIC, CONNECT, wrong));
    let mut answered = 0;
    loop {
        let reply = client.receive();
        if reply[..8] == header(0, CONNECT, wrong)[8..] {
            return answered;
        }
        assert_eq!((&reply[..4], reply.len()), (&ERROR.to_be_bytes()[..], 33));
        answered += 1;
    }
}

fn whatever_the_action_and_the_length_no_reply_is_longer() {
    let tracker = limited("0");
    for &server in tracker.udps() {
        let peers = Client::new(server);
        (1..=16).for_each(|port| assert!(peers.announce(&Announce::leecher(info_hash(0), port)).leechers > 0));
        let stranger = Client::unconnected(client(server.ip(), 66), server);
        for action in [CONNECT, ANNOUNCE, SCRAPE] {
            let id = if action == CONNECT { MAGIC } else { peers.id ^ 1 };
            let mut whole = Announce::leecher(info_hash(0), 1).packet(id, 7);
            whole[8..12].copy_from_slice(&action.to_be_bytes());
            whole.extend(info_hash(0).iter().cycle().take(2048 - 98));
            for len in (0..=200).chain((201..=2048).step_by(7)).chain([2048]) {
                if len < 16 {
                    stranger.gets_no_answer_to(&whole[..len]);
                    continue;
                }
                let reply = stranger.exchange(&whole[..len]);
                assert_header(&reply, if action == CONNECT { CONNECT } else { ERROR }, 7);
                assert!(reply.len() <= len.min(33), "{len} bytes of action {action} get {}", reply.len());
            }
        }
    }
}

fn errors_to_one_address_are_limited_and_counted() {
    const EACH: u32 = 2;
    let tracker = limited("2");
    let mut withheld = BTreeMap::new();
    for &server in tracker.udps() {
        let (mut sent, mut answered) = (0, 0);
        let begin = Instant::now();
        // From many ports, so that every worker has some.
        for _ in 0..20 {
            let client = Client::new(server);
            answered += errors(&client, 50);
            sent += 50;
        }
        // The first and the last second are not whole.
        let most = EACH * (u32::try_from(begin.elapsed().as_secs()).unwrap() + 2);
        assert!((1..=most).contains(&answered), "{answered} of {sent} errors, and not {most}");
        if server.is_ipv4() {
            // Hardly one of them shares its count with the one above.
            let others: u32 = (2..=9).map(|n| errors(&Client::at(client(server.ip(), n), server), 1)).sum();
            assert!(others >= 6, "{others}");
            sent += 8;
            answered += others;
        }
        withheld.insert(if server.is_ipv4() { "ipv4" } else { "ipv6" }, (sent, sent - answered));
    }
    if has("metrics") {
        let page = samples(&get(tracker.http(), "/metrics"));
        for (family, (sent, withheld)) in withheld {
            let labels = format!("protocol=\"udp\",kind=\"connection_id_mismatch\",family=\"{family}\"");
            assert_eq!(page[&format!("opentracker_errors_total{{{labels}}}")], f64::from(sent));
            let labels = format!("protocol=\"udp\",family=\"{family}\"");
            assert_eq!(page[&format!("opentracker_errors_withheld_total{{{labels}}}")], f64::from(withheld));
        }
    }
}

fn by_default_an_address_gets_a_thousand_errors_a_second() {
    let tracker = Tracker::start(&[]);
    let begin = Instant::now();
    let answered: u32 = (0..60).map(|_| errors(&Client::new(tracker.udp()), 50)).sum();
    let most = 1000 * (u32::try_from(begin.elapsed().as_secs()).unwrap() + 2);
    assert!((1000..=most).contains(&answered), "{answered} of 3000 errors, and not {most}");
}

fn without_a_limit_every_error_is_sent() {
    let tracker = limited("0");
    for _ in 0..60 {
        assert_eq!(errors(&Client::new(tracker.udp()), 50), 50);
    }
}

fn refusals_to_a_right_id_are_never_limited() {
    let tracker = limited("1");
    for &server in tracker.udps() {
        let client = Client::new(server);
        errors(&client, 50);
        for transaction in 0..50 {
            let reply = client.exchange(&Announce::leecher(info_hash(0), 1).packet(client.id, transaction)[..97]);
            assert_header(&reply, ERROR, transaction);
            assert_eq!(reply[8..], *b"Announce is too short.");
        }
        assert_eq!(client.connect(), client.id, "nor are connects");
    }
}

/// What one tracker answers is sent to the other, and what that answers to the first: there is an end at once, or after
/// one error. No test can make two trackers send to each other by themselves without forging addresses; but of the
/// address nothing depends here.
fn two_trackers_do_not_answer_each_other() {
    let (one, other) = (limited("0"), limited("0"));
    let (at_one, at_other) = (Client::new(one.udp()), Client::new(other.udp()));
    // The numbers that a scrape tells of these are those of actions.
    at_one.announce(&Announce::seeder(info_hash(1), 1));
    (1..=2).for_each(|port| assert!(at_one.announce(&Announce::seeder(info_hash(2), port)).seeders > 0));
    let mut errors = 0;
    for transaction in [0, 1, 2, 3, 0x417, 0x2710_1980, u32::MAX] {
        let id = at_one.id;
        for question in [
            header(MAGIC, CONNECT, transaction),
            Announce::leecher(info_hash(0), 1).packet(id, transaction),
            Announce::seeder(info_hash(2), 3).packet(id, transaction),
            Announce::seeder(info_hash(2), 3).event(STOPPED).packet(id, transaction),
            Announce::leecher(info_hash(0), 1).packet(id ^ 1, transaction),
            Announce::leecher(info_hash(0), 1).packet(id, transaction)[..97].to_vec(),
            scrape_packet(id, transaction, &[]),
            scrape_packet(id, transaction, &[info_hash(0)]),
            scrape_packet(id, transaction, &[info_hash(1), info_hash(2)]),
            scrape_packet(id, transaction, &[info_hash(2); 74]),
            scrape_packet(id ^ 1, transaction, &[info_hash(0)]),
        ] {
            let first = at_one.exchange(&question);
            at_other.send(&first);
            let connect = at_other.next_transaction();
            at_other.send(&header(MAGIC, CONNECT, connect));
            let second = at_other.receive();
            if second[..8] != header(0, CONNECT, connect)[8..] {
                assert_eq!(second[..4], ERROR.to_be_bytes(), "{question:02x?}");
                assert!(first[..4] == SCRAPE.to_be_bytes() && second.len() <= first.len(), "{question:02x?}");
                at_one.gets_no_answer_to(&second);
                errors += 1;
                assert_header(&at_other.receive(), CONNECT, connect);
            }
        }
    }
    assert!(errors > 0, "the numbers are chosen so that it comes to that");
}
