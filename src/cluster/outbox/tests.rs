use super::*;
use crate::tracker::{InfoHash, Minute, Origin};
use proptest::prelude::*;
use std::net::SocketAddr;

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_secs(15);
/// Records of a full packet.
const FULL: usize = 5;

/// Writes ports, after a byte that says which kind they are of: even or odd.
struct Ports;

impl Codec for Ports {
    type Kind = u8;
    const KINDS: &'static [u8] = &[0, 1];
    const MAX_WAITING: usize = 256;

    fn kind(change: &Change) -> u8 {
        (change.endpoint.port() % 2) as u8
    }

    fn begin(&self, kind: u8) -> Vec<u8> {
        vec![kind]
    }

    fn append(&self, packet: &mut Vec<u8>, change: &Change) {
        packet.extend(change.endpoint.port().to_be_bytes());
    }

    fn is_full(packet: &[u8], _: u8) -> bool {
        packet.len() > 2 * FULL
    }
}

fn change(port: u16) -> Change {
    Change {
        info_hash: InfoHash([7; 20]),
        endpoint: SocketAddr::from(([192, 0, 2, 1], port)),
        seeder: false,
        completed: false,
        stopped: false,
        seen: Minute(1),
        origin: Origin::Client,
    }
}

fn packet(ports: &[u16]) -> OutgoingPacket {
    let mut bytes = Ports.begin((ports[0] % 2) as u8);
    ports.iter().for_each(|port| Ports.append(&mut bytes, &change(*port)));
    OutgoingPacket { bytes, records: ports.len() }
}

#[test]
fn a_packet_goes_out_so_long_after_the_one_before() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    assert_eq!(batcher.take(start + 100 * SECOND), None, "there is nothing to tell");

    assert_eq!(batcher.add(&change(2), start), AddResult::Batched);
    assert_eq!(batcher.take(start), Some(packet(&[2])));

    batcher.add(&change(4), start + SECOND);
    batcher.add(&change(6), start + 14 * SECOND);
    assert_eq!(batcher.take(start + DELAY - Duration::from_millis(1)), None);
    assert_eq!(batcher.take(start + DELAY), Some(packet(&[4, 6])));
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
    assert_eq!(batcher.take(now), Some(packet(&[2, 4, 6, 8, 10])));
    assert!(!batcher.is_waiting());
    assert_eq!(batcher.take(now), None, "the last waits");
    assert_eq!(batcher.take(now + DELAY), Some(packet(&[12])));
}

#[test]
fn kinds_have_packets_and_delays_of_their_own() {
    let start = Instant::now();
    let mut batcher = Batcher::new(Ports, DELAY, start);
    batcher.add(&change(2), start);
    assert_eq!(batcher.take(start), Some(packet(&[2])));
    batcher.add(&change(4), start);
    batcher.add(&change(1), start);
    assert_eq!(batcher.take(start), Some(packet(&[1])));
    assert_eq!(batcher.take(start), None);
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

    assert_eq!(batcher.take(now), Some(packet(&[0, 2, 4, 6, 8])), "the first to come are told");
    assert_eq!(batcher.add(&change(2), now), AddResult::Batched);
    let rest: usize = std::iter::from_fn(|| batcher.take_any(now)).map(|packet| packet.records).sum();
    assert_eq!(rest, room - FULL + 2);
}

#[test]
fn at_the_end_all_of_it_goes_out_in_order() {
    let now = Instant::now();
    let outbox = Outbox::new(Ports, DELAY, now);
    assert!(outbox.add(&change(100), now));
    assert_eq!(outbox.next(Duration::ZERO), Some(packet(&[100])));
    for port in [2, 4, 6, 8, 10, 12, 14, 1] {
        assert!(outbox.add(&change(port), now));
    }
    let taken: Vec<_> = std::iter::from_fn(|| outbox.take_any()).collect();
    assert_eq!(taken, [packet(&[2, 4, 6, 8, 10]), packet(&[12, 14]), packet(&[1])]);
    assert_eq!((outbox.next(Duration::ZERO), outbox.take_lost()), (None, 0));
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
