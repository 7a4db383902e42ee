//! A process that is to hand over, and ends at any moment, or says what it should not.

use std::fs;

use nix::sys::signal::Signal;

use super::{Post, Swarms, assert_untroubled};
use crate::clients::handover::{
    ALL_ONCE, ALL_SOCKETS, Estate, HELLO, IDENTITY, KEEPS, OWN_SOCKET, PAUSE, READY, REFUSED, SOCKETS, SWARMS, Speaker,
    Stream, TAKEN, YOURS, accept, checksum,
};
use crate::clients::udp::Client;
use crate::flavour::{IPV4, IPV6, has, info_hash, only_with, serves};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    one_that_ends_before_it_has_given_all_sockets_is_nobody,
    one_that_ends_later_leaves_what_has_come,
    one_that_says_what_makes_no_sense_goes_on,
    a_start_that_waits_for_one_that_says_nothing_can_be_ended,
    what_is_not_served_is_left_out_and_said,
];

/// What a tracker with swarms has given to a successor. It has ended.
struct Recorded {
    post: Post,
    estate: Estate,
    stream: Stream,
    swarms: Swarms,
}

impl Recorded {
    fn new() -> Self {
        let post = Post::new();
        let tracker = post.start().run();
        let swarms = Swarms::announced(&tracker);
        let (estate, stream) = post.take_over(tracker);
        Self { post, estate, stream, swarms }
    }
}

/// Has a tracker that is started take over all of this. It is ready.
#[track_caller]
pub(crate) fn hand_to(start: Start, estate: &Estate, stream: &Stream) -> Tracker {
    let new = start.begin();
    let successor = estate.give();
    say_stream(&successor, stream);
    successor.expect(TAKEN);
    successor.say(YOURS, b"");
    new.ready()
}

/// Says all of the stream to a successor that has been given everything else.
#[track_caller]
fn say_stream(successor: &Speaker, stream: &Stream) {
    successor.expect(READY);
    successor.say_swarms(&stream.once);
    successor.say(ALL_ONCE, b"");
    successor.expect(PAUSE);
    successor.say_swarms(&stream.changes);
}

/// What one does before it ends.
type Act = fn(&Speaker, &Recorded);

fn one_that_ends_before_it_has_given_all_sockets_is_nobody() {
    only_with("handover");
    let acts: [Act; 4] = [
        |_, _| (),
        |successor, _| drop(successor.expect(HELLO)),
        |successor, recorded| {
            successor.expect(HELLO);
            successor.say(IDENTITY, &recorded.estate.identity);
        },
        |successor, recorded| {
            successor.expect(HELLO);
            successor.say(IDENTITY, &recorded.estate.identity);
            let sockets: Vec<_> = recorded.estate.sockets.iter().map(std::os::fd::AsFd::as_fd).collect();
            successor.send(SOCKETS, b"", &sockets);
        },
    ];
    for act in acts {
        let recorded = Recorded::new();
        let new = recorded.post.start().begin();
        let successor = accept(&recorded.estate.own_socket);
        act(&successor, &recorded);
        let Recorded { estate, post, .. } = recorded;
        // All that the process has is closed.
        drop(estate);
        drop(successor);
        let new = new.ready();
        Client::new(new.udp());
        assert!(fs::symlink_metadata(post.path()).is_ok());
        let next = post.start().run();
        super::ended(new);
        next.stop();
    }
}

fn one_that_ends_later_leaves_what_has_come() {
    only_with("handover");
    let acts: [(Act, bool); 9] = [
        (|_, _| (), false),
        (|successor, _| drop(successor.expect(READY)), false),
        (
            |successor, recorded| {
                successor.expect(READY);
                successor.say(SWARMS, &recorded.stream.once[..10]);
            },
            false,
        ),
        (
            |successor, recorded| {
                successor.expect(READY);
                successor.say_swarms(&recorded.stream.once[..recorded.stream.once.len() / 2]);
            },
            false,
        ),
        (
            |successor, recorded| {
                successor.expect(READY);
                successor.say_swarms(&recorded.stream.once);
            },
            true,
        ),
        (
            |successor, recorded| {
                successor.expect(READY);
                successor.say_swarms(&recorded.stream.once);
                successor.say(ALL_ONCE, b"");
                successor.expect(PAUSE);
            },
            true,
        ),
        (
            |successor, recorded| {
                let Stream { once, changes } = &recorded.stream;
                say_stream(successor, &Stream { once: once.clone(), changes: changes[..changes.len() / 2].into() });
            },
            true,
        ),
        (
            |successor, recorded| {
                let Stream { once, changes } = &recorded.stream;
                say_stream(successor, &Stream { once: once.clone(), changes: changes[..changes.len() - 1].into() });
            },
            true,
        ),
        (
            |successor, recorded| {
                say_stream(successor, &recorded.stream);
                successor.expect(TAKEN);
            },
            true,
        ),
    ];
    let last = acts.len() - 1;
    for (at, (act, all)) in acts.into_iter().enumerate() {
        let recorded = Recorded::new();
        let new = recorded.post.start().begin();
        let successor = recorded.estate.give();
        act(&successor, &recorded);
        drop(successor);
        let new = new.ready();
        if all {
            recorded.swarms.assert_served(&new);
        } else {
            Client::new(new.udp());
        }
        let log = new.stop();
        assert!(log.contains("taken over from the process before: "), "{log}");
        assert_eq!(log.contains("has ended in the middle of the handover"), at < last, "{at}:\n{log}");
    }
}

fn one_that_says_what_makes_no_sense_goes_on() {
    only_with("handover");
    // What it says once it has been asked, and what the new one says of that.
    let asked: [(Act, &str); 8] = [
        (|_, _| (), "closes the connection"),
        (|successor, _| successor.say(99, b""), "makes no sense"),
        (|successor, _| successor.say(SWARMS, b""), "makes no sense"),
        (|successor, _| successor.say(IDENTITY, &[&[0, 2], &[0; 32][..]].concat()), "another version"),
        (|successor, _| successor.say(IDENTITY, &[0, 1, 2, 3]), "another version"),
        (|successor, _| successor.say(ALL_SOCKETS, b""), "makes no sense"),
        (
            |successor, recorded| {
                successor.say(IDENTITY, &recorded.estate.identity);
                successor.say(OWN_SOCKET, b"");
                successor.say(ALL_SOCKETS, b"");
            },
            "makes no sense",
        ),
        (|successor, _| successor.say(REFUSED, b"this is why"), "this is why"),
    ];
    // What it says when the new one is ready for the swarms.
    let ready: [(Act, &str); 10] = [
        (|successor, _| successor.say(99, b""), "makes no sense"),
        (|successor, _| successor.say(IDENTITY, b""), "makes no sense"),
        (|successor, _| successor.say(YOURS, b""), "makes no sense"),
        (|successor, _| successor.say(REFUSED, b"this is why"), "this is why"),
        (|successor, _| successor.say(KEEPS, b"this is why"), "this is why"),
        (|successor, _| successor.say(SWARMS, &[b'x'; 23]), "not the swarms of a tracker"),
        (|successor, _| successor.say(SWARMS, &[b"otswarms\0\x07", &[0; 13][..]].concat()), "version 7"),
        (
            |successor, recorded| {
                successor.say_swarms(&recorded.stream.once);
                successor.say(SWARMS, &[77]);
            },
            "77",
        ),
        (
            |successor, recorded| {
                successor.say_swarms(&recorded.stream.once);
                let mut changes = recorded.stream.changes.clone();
                *changes.last_mut().unwrap() ^= 1;
                successor.say_swarms(&changes);
            },
            "checksum",
        ),
        (
            |successor, recorded| {
                successor.say_swarms(&recorded.stream.once);
                successor.say_swarms(&recorded.stream.changes);
                successor.expect(TAKEN);
                successor.say(KEEPS, b"this is why");
            },
            "this is why",
        ),
    ];
    let recorded = Recorded::new();
    let path = recorded.post.path();
    let path = path.to_str().unwrap();
    for (act, said) in asked {
        let new = recorded.post.start().begin();
        // It asks again where the other may have ended.
        let tries = if said.starts_with("closes") { 3 } else { 1 };
        for _ in 0..tries {
            let successor = accept(&recorded.estate.own_socket);
            successor.expect(HELLO);
            act(&successor, &recorded);
        }
        new.end().refuses(1, &["opentracker: tracker.handover: ", path, said]);
    }
    for (act, said) in ready {
        let new = recorded.post.start().begin();
        let successor = recorded.estate.give();
        successor.expect(READY);
        act(&successor, &recorded);
        new.end().refuses(1, &["opentracker: tracker.handover: ", path, said]);
    }
    // Nothing of what they had has been touched.
    let new = hand_to(recorded.post.start(), &recorded.estate, &recorded.stream);
    recorded.swarms.assert_served(&new);
    assert_untroubled(&new.stop());
}

fn a_start_that_waits_for_one_that_says_nothing_can_be_ended() {
    only_with("handover");
    let recorded = Recorded::new();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let new = recorded.post.start().begin();
        let successor = accept(&recorded.estate.own_socket);
        successor.expect(HELLO);
        new.stop_by(signal);
        let new = recorded.post.start().begin();
        let successor = recorded.estate.give();
        successor.expect(READY);
        let log = new.stop_by(signal);
        assert!(!log.contains("listening on"), "{log}");
    }
}

/// A stream of these records, which hold so many torrents and peers.
fn stream_of(records: &[u8], torrents: u64, peers: u64) -> Stream {
    let mut once = [&b"otswarms"[..], &[0, 1, 3], &[0; 8], &[0; 4], records].concat();
    let mut changes = vec![5];
    [torrents, peers, 0].iter().for_each(|number| changes.extend(number.to_be_bytes()));
    let len = once.len();
    once.extend(changes);
    let checksum = checksum(&once);
    let mut changes = once.split_off(len);
    changes.extend(checksum);
    Stream { once, changes }
}

/// The record of a torrent that was downloaded so often, with these peers.
fn torrent(hash: [u8; 20], downloads: u32, ipv4: &[[u8; 8]], ipv6: &[[u8; 20]]) -> Vec<u8> {
    let lens = [ipv4.len(), ipv6.len()].map(|len| u16::try_from(len).unwrap().to_be_bytes());
    [&[1], &hash[..], &downloads.to_be_bytes(), lens.as_flattened(), ipv4.as_flattened(), ipv6.as_flattened()].concat()
}

fn what_is_not_served_is_left_out_and_said() {
    only_with("handover");
    let Recorded { post, estate, .. } = Recorded::new();
    let v4 = |ip: u8, port: u8, age: u8| [127, 0, 0, ip, 0, port, 0, age];
    let v6 = |ip: u8, port: u8, age: u8| {
        let mut peer = [0; 20];
        (peer[0], peer[1], peer[15], peer[17], peer[19]) = (0x20, 0x01, ip, port, age);
        peer
    };
    let stranger = *b"nobody knows of this";
    let records = [
        torrent(
            info_hash(0),
            9,
            &[v4(1, 1, 0), v4(2, 0, 0), v4(3, 1, 255)],
            &[v6(1, 1, 0), v6(2, 0, 0), v6(3, 1, 255)],
        ),
        torrent(stranger, 1, &[v4(1, 1, 0)], &[v6(1, 1, 0)]),
    ];
    let new = hand_to(post.start(), &estate, &stream_of(&records.concat(), 2, 8));
    let served = [IPV4, IPV6].into_iter().filter(|ip| serves(*ip)).count();
    let client = Client::new(new.udp());
    assert_eq!(client.counts(info_hash(0)), (0, 9, u32::try_from(served).unwrap()));
    assert_eq!(client.counts(stranger).2, if has("accesslist-white") { 0 } else { u32::try_from(served).unwrap() });
    let log = new.stop();
    let report = log.lines().find(|line| line.contains("taken over from the process before")).expect(&log);
    assert!(report.contains("not heard of for too long") && report.contains("without a port"), "{report}");
    assert_eq!(report.contains("of an address family that is not served here"), served == 1, "{report}");
    assert_eq!(report.contains("of torrents that are not served here"), has("accesslist-white"), "{report}");
}
