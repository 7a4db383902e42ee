mod owed;

use super::*;
use crate::tracker::{InfoHash, Minute, Origin};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_secs(15);
/// Records of a full packet.
const FULL: usize = 5;

/// Writes ports, after a byte that says which kind they are of: those of IPv4 are even, those of IPv6 odd.
struct Ports;

impl Codec for Ports {
    const MAX_WAITING: usize = 256;

    fn begin(&self, kind: RecordKind) -> Vec<u8> {
        vec![u8::from(kind == RecordKind::Ipv6)]
    }

    fn append(&self, packet: &mut Vec<u8>, change: &Change) {
        packet.extend(change.endpoint.port().to_be_bytes());
    }

    fn is_full(packet: &[u8], _: RecordKind) -> bool {
        packet.len() > 2 * FULL
    }
}

fn change(port: u16) -> Change {
    Change {
        info_hash: InfoHash([7; 20]),
        endpoint: SocketAddr::new(if port % 2 == 0 { IPV4 } else { IPV6 }, port),
        seeder: false,
        completed: false,
        stopped: false,
        seen: Minute(1),
        origin: Origin::Client,
    }
}

/// What a packet says, and how many changes it holds.
type Said = (Vec<u8>, usize);

fn packet(ports: &[u16]) -> Said {
    let mut bytes = Ports.begin(RecordKind::of(&change(ports[0])));
    ports.iter().for_each(|port| Ports.append(&mut bytes, &change(*port)));
    (bytes, ports.len())
}

fn said(packet: Option<OutgoingPacket>) -> Option<Said> {
    packet.map(|packet| (packet.bytes, packet.records))
}

/// A change that came in by another transport.
fn forwarded(port: u16) -> Change {
    Change { origin: Origin::Transport { name: "other", member: 0 }, ..change(port) }
}

const THIS: Origin = Origin::Transport { name: "this", member: 0 };

/// All that is taken, one packet after the other.
fn drain(batcher: &mut Batcher<Ports>, now: Instant) -> Vec<Said> {
    std::iter::from_fn(|| said(batcher.take_any(now))).collect()
}

#[test]
fn a_packet_goes_out_so_long_after_the_one_before() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    assert_eq!(batcher.take(start + 100 * SECOND), None, "there is nothing to tell");

    assert_eq!(batcher.add(&change(2), start), AddResult::Batched);
    assert_eq!(said(batcher.take(start)), Some(packet(&[2])));

    batcher.add(&change(4), start + SECOND);
    batcher.add(&change(6), start + 14 * SECOND);
    assert_eq!(batcher.take(start + DELAY - Duration::from_millis(1)), None);
    assert_eq!(said(batcher.take(start + DELAY)), Some(packet(&[4, 6])));
    assert_eq!(batcher.take(start + 2 * DELAY), None);
}

#[test]
fn a_full_packet_goes_out_at_once() {
    let now = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, now);
    batcher.add(&change(100), now);
    batcher.take(now);
    let added: Vec<_> = [2, 4, 6, 8, 10, 12].map(|port| batcher.add(&change(port), now)).into();
    let expected = [
        AddResult::Batched,
        AddResult::Batched,
        AddResult::Batched,
        AddResult::Batched,
        AddResult::Completed,
        AddResult::Batched,
    ];
    assert_eq!(added, expected);
    assert!(batcher.is_waiting());
    assert_eq!(said(batcher.take(now)), Some(packet(&[2, 4, 6, 8, 10])));
    assert!(!batcher.is_waiting());
    assert_eq!(batcher.take(now), None, "the last waits");
    assert_eq!(said(batcher.take(now + DELAY)), Some(packet(&[12])));
}

#[test]
fn kinds_have_packets_and_delays_of_their_own() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    batcher.add(&change(2), start);
    assert_eq!(said(batcher.take(start)), Some(packet(&[2])));
    batcher.add(&change(4), start);
    batcher.add(&change(1), start);
    assert_eq!(said(batcher.take(start)), Some(packet(&[1])));
    assert_eq!(batcher.take(start), None);
}

#[test]
fn full_packets_of_one_kind_do_not_hold_up_the_other_for_long() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    let add = |batcher: &mut Batcher<Ports>, ports: &[u16]| {
        ports.iter().for_each(|port| assert_ne!(batcher.add(&change(*port), start), AddResult::Refused));
    };
    (0..3).for_each(|_| add(&mut batcher, &[2, 4, 6, 8, 10]));
    add(&mut batcher, &[12, 1]);
    let full = Some(packet(&[2, 4, 6, 8, 10]));
    let overdue = start + MAX_OVERDUE;
    assert_eq!(said(batcher.take(overdue - Duration::from_millis(1))), full);
    assert_eq!(said(batcher.take(overdue)), Some(packet(&[1])));
    add(&mut batcher, &[3]);
    assert_eq!(said(batcher.take(overdue + DELAY)), full, "once in a while");
    assert_eq!(said(batcher.take(overdue + DELAY + MAX_OVERDUE)), Some(packet(&[3])));
    assert_eq!(said(batcher.take(overdue + 2 * DELAY)), full, "its own kind leaves in its order");
    assert_eq!(said(batcher.take(overdue + 2 * DELAY)), Some(packet(&[12])));
}

#[test]
fn what_there_is_no_room_for_is_not_taken_and_is_counted_by_the_packet() {
    let now = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, now);
    // One full packet of either kind waits outside.
    let room = FULL * (Ports::MAX_WAITING + 1);
    let taken =
        (0..10_000_u16).map(|n| 2 * n).take_while(|port| batcher.add(&change(*port), now) != AddResult::Refused);
    assert_eq!(taken.count(), room);
    (0..FULL * 3).for_each(|_| assert_eq!(batcher.add(&change(2), now), AddResult::Refused));
    assert_eq!((batcher.take_lost(), batcher.take_lost()), (3, 0));
    assert_eq!(batcher.add(&change(1), now), AddResult::Batched, "the other kind still has room for one packet");

    assert_eq!(said(batcher.take(now)), Some(packet(&[0, 2, 4, 6, 8])), "the first to come are told");
    assert_eq!(batcher.add(&change(2), now), AddResult::Batched);
    let rest: usize = std::iter::from_fn(|| batcher.take_any(now)).map(|packet| packet.records).sum();
    assert_eq!(rest, room - FULL + 2);
}

#[test]
fn at_the_end_all_of_it_goes_out_in_order() {
    let now = Instant::now();
    let outbox = Outbox::new(Ports, DELAY, now);
    assert!(outbox.add(&change(100), now));
    assert_eq!(said(outbox.next(Duration::ZERO)), Some(packet(&[100])));
    for port in [2, 4, 6, 8, 10, 12, 14, 1] {
        assert!(outbox.add(&change(port), now));
    }
    let taken: Vec<_> = std::iter::from_fn(|| said(outbox.take_any())).collect();
    assert_eq!(taken, [packet(&[2, 4, 6, 8, 10]), packet(&[12, 14]), packet(&[1])]);
    assert_eq!((outbox.next(Duration::ZERO), outbox.take_lost()), (None, 0));
}

#[test]
fn what_is_forwarded_takes_the_next_packet_along_within_a_second() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    batcher.add(&change(2), start);
    batcher.take(start);
    batcher.add(&change(4), start + SECOND);
    batcher.add(&forwarded(6), start + 2 * SECOND);
    assert_eq!(batcher.take(start + 2 * SECOND), None, "others may come");
    let due = start + 2 * SECOND + MAX_FORWARD_DELAY;
    assert_eq!(said(batcher.take(due)), Some(packet(&[4, 6])));
    batcher.add(&change(8), due);
    assert_eq!(batcher.take(due + DELAY - SECOND), None, "what clients announce waits for as long as ever");
    // One that is due earlier does not wait for it.
    batcher.add(&forwarded(10), due + DELAY);
    assert_eq!(said(batcher.take(due + DELAY)), Some(packet(&[8, 10])));
    // One that fills a packet leaves the next as it is.
    [2, 4, 6, 8, 10].into_iter().for_each(|port| _ = batcher.add(&forwarded(port), due + DELAY));
    batcher.add(&change(12), due + DELAY);
    assert_eq!(said(batcher.take(due + DELAY)), Some(packet(&[2, 4, 6, 8, 10])));
    assert_eq!(batcher.take(due + DELAY + 2 * SECOND), None);
}

#[test]
fn a_shorter_delay_is_that_of_the_next_packet_already() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    batcher.add(&change(2), start);
    batcher.take(start);
    batcher.set_delay(SECOND, start);
    for n in 1..4 {
        batcher.add(&change(4), start + (n - 1) * SECOND);
        assert_eq!(batcher.take(start + n * SECOND - Duration::from_millis(1)), None);
        assert_eq!(said(batcher.take(start + n * SECOND)), Some(packet(&[4])));
    }
}

#[test]
fn what_is_held_leaves_in_its_order_when_this_tracker_forwards() {
    let now = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, now);
    for port in [2, 4, 6] {
        assert_eq!(batcher.hold(&forwarded(port), now), AddResult::Batched);
    }
    assert_eq!(drain(&mut batcher, now), []);
    batcher.set_forwarding(false, now);
    assert_eq!(drain(&mut batcher, now), []);
    batcher.set_forwarding(true, now - RELEASE_DELAY);
    // Whoever was about to hold one finds that it is for this tracker to forward it.
    batcher.hold(&forwarded(8), now);
    assert_eq!(drain(&mut batcher, now), [packet(&[2, 4, 6, 8])]);
    batcher.set_forwarding(false, now);
    batcher.hold(&forwarded(10), now);
    batcher.add(&change(12), now);
    assert_eq!(drain(&mut batcher, now), [packet(&[12])], "what clients announce is not held");
    batcher.set_forwarding(true, now - RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, now), [packet(&[10])], "nothing is sent twice");
}

#[test]
fn what_another_tracker_has_forwarded_is_held_no_more() {
    let now = Instant::now();
    let outbox = Outbox::new(Ports, DELAY, now);
    [2, 2, 4, 6].into_iter().for_each(|port| assert!(outbox.hold(&forwarded(port), now)));
    // As it comes in by this transport.
    let this = |port| Change { origin: THIS, ..change(port) };
    let changes = [4, 8, 2, 2].map(this);
    assert_eq!(outbox.hear("another", Cow::Borrowed(&changes)), &changes[..]);
    let heard = outbox.hear("this", Cow::Borrowed(&changes));
    assert_eq!(*heard, [this(4), this(8), this(2)], "the last of a peer is as good as it was");
    let heard = outbox.hear("this", Cow::Borrowed(&changes));
    assert!(matches!(heard, Cow::Borrowed(heard) if heard == changes), "nothing is copied where there is no copy");
    outbox.set_forwarding(true, now - RELEASE_DELAY);
    assert_eq!(said(outbox.take_any()), Some(packet(&[6])));
    assert_eq!(outbox.take_any(), None);
}

#[test]
fn a_stop_that_was_held_ends_what_comes_before_it_in_the_same_packet() {
    let now = Instant::now();
    let outbox = Outbox::new(Ports, DELAY, now);
    let stop = |port| Change { stopped: true, ..forwarded(port) };
    [stop(2), stop(4)].iter().for_each(|change| assert!(outbox.hold(change, now)));
    // This tracker has started after the first one came by the other transport.
    let told = [forwarded(2), stop(2), stop(4)].map(|change| Change { origin: THIS, ..change });
    assert_eq!(*outbox.hear("this", Cow::Borrowed(&told)), told[..2]);
}

#[test]
fn what_comes_before_what_is_held_has_left_goes_behind_it() {
    let now = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, now);
    batcher.hold(&forwarded(2), now);
    // This tracker forwards since a moment ago, but what is held has not been released yet.
    batcher.add(&forwarded(4), now);
    assert_eq!(drain(&mut batcher, now), []);
    batcher.set_forwarding(true, now - RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, now), [packet(&[2, 4])]);
}

#[test]
fn one_that_begins_to_forward_hears_first_what_another_has_still_sent() {
    let now = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, now);
    [2, 4].into_iter().for_each(|port| _ = batcher.hold(&forwarded(port), now));
    batcher.set_forwarding(true, now);
    batcher.hold(&forwarded(6), now);
    assert_eq!(drain(&mut batcher, now + SECOND), []);
    batcher.held.forget_published(&change(4));
    batcher.set_forwarding(true, now + RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, now + RELEASE_DELAY), [packet(&[2, 6])]);
}

#[test]
fn what_is_held_for_too_long_is_forgotten() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    batcher.hold(&forwarded(2), start);
    batcher.hold(&forwarded(4), start + SECOND);
    batcher.set_forwarding(false, start + MAX_HELD_TIME + SECOND);
    batcher.set_forwarding(true, start - RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, start), [packet(&[4])]);
    batcher.set_forwarding(false, start);
    batcher.hold(&forwarded(6), start);
    batcher.hold(&forwarded(8), start + MAX_HELD_TIME + SECOND);
    batcher.set_forwarding(true, start - RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, start), [packet(&[8])], "each that comes looks at those before it");
}

#[test]
fn more_is_held_than_can_wait_and_leaves_as_fast_as_there_is_room() {
    let now = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, now);
    let ports = || (0..MAX_HELD as u16).map(|n| 2 * n);
    batcher.hold(&forwarded(1), now);
    ports().for_each(|port| assert_eq!(batcher.hold(&forwarded(port), now), AddResult::Batched));
    batcher.set_forwarding(true, now - RELEASE_DELAY);
    let turns = (FULL * (Ports::MAX_WAITING + 1)).div_ceil(MAX_SETTLED);
    (0..turns).for_each(|_| batcher.set_forwarding(true, now));
    assert_eq!(batcher.waiting.len(), Ports::MAX_WAITING, "the oldest one gave way");
    assert!(!batcher.is_unsettled, "there is no room");
    // What comes now goes behind what is held.
    let room = FULL * (Ports::MAX_WAITING + 1);
    for n in 0..room + FULL {
        let expected = if n < room { AddResult::Batched } else { AddResult::Refused };
        assert_eq!(batcher.add(&forwarded(2), now), expected);
    }
    assert_eq!(batcher.take_lost(), 1);
    let mut sent = [Vec::new(), Vec::new()];
    while let Some(packet) = batcher.take_any(now) {
        assert!(batcher.waiting.len() <= Ports::MAX_WAITING);
        read(&packet, &mut sent);
    }
    let expected: Vec<_> = ports().chain(std::iter::repeat_n(2, room)).collect();
    assert!(sent == [expected, vec![]], "they are too many to be printed");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_goes_out_once_and_in_order_and_what_is_not_never(
        steps in prop::collection::vec((0..900_usize, 0..300_usize, 0..20_u32), 1..20),
    ) {
        let mut now = Instant::now();
        let mut batcher = Batcher::new(Ports, DELAY, now);
        let (mut expected, mut sent) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let mut port = 0_u16;
        for (adds, takes, seconds) in steps {
            now += seconds * SECOND;
            for _ in 0..adds {
                port = port.wrapping_add(1 + port % 3);
                if batcher.add(&change(port), now) != AddResult::Refused {
                    expected[usize::from(port % 2)].push(port);
                }
            }
            for packet in std::iter::from_fn(|| batcher.take(now)).take(takes) {
                read(&packet, &mut sent);
            }
            prop_assert!(batcher.waiting.len() <= Ports::MAX_WAITING);
        }
        std::iter::from_fn(|| batcher.take_any(now)).for_each(|packet| read(&packet, &mut sent));
        prop_assert_eq!(sent, expected);
    }
}

fn read(packet: &OutgoingPacket, sent: &mut [Vec<u16>; 2]) {
    let (kind, ports) = packet.bytes.split_first().unwrap();
    assert_eq!((ports.len(), ports.len() <= 2 * FULL), (2 * packet.records, true));
    let ports = ports.chunks_exact(2).map(|port| u16::from_be_bytes(port.try_into().unwrap()));
    sent[usize::from(*kind)].extend(ports);
}
