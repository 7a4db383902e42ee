//! The way out to the cluster: gathers changes into packets.
//!
//! A worker adds a change to the [`Outbox`], which is all that an announce waits for; a thread of the transport takes
//! packets that are full or due, and sends them.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::tracker::Change;

/// Most full packets that wait to be sent: of an Ethernet frame each, a third of a megabyte. If the transport cannot
/// keep up, changes that find no room are refused.
pub const MAX_WAITING: usize = 256;

/// How a transport writes packets.
pub trait Codec: Send + 'static {
    /// Distinguishes packets that cannot hold the same changes: for instance, by the address family.
    type Kind: Copy + PartialEq + Debug + Send + 'static;

    /// All kinds. If packets of several kinds are due, the first kind goes first.
    const KINDS: &'static [Self::Kind];

    /// Returns the kind of packet that holds this change.
    fn kind(change: &Change) -> Self::Kind;

    /// Returns a packet of this kind with no record in it.
    fn begin(&self, kind: Self::Kind) -> Vec<u8>;

    /// Appends a change as a record to a packet of its kind that is not full.
    fn append(packet: &mut Vec<u8>, change: &Change);

    /// Returns whether there is no room for one more record.
    fn is_full(packet: &[u8], kind: Self::Kind) -> bool;
}

/// A packet to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct OutgoingPacket {
    /// As it is written on the wire.
    pub bytes: Vec<u8>,
    /// How many changes it holds.
    pub records: usize,
}

/// Takes changes from workers, and gives packets of them to the thread that sends.
#[derive(Debug)]
pub struct Outbox<C: Codec> {
    batcher: Mutex<Batcher<C>>,
    /// Notified when a packet has become full.
    filled: Condvar,
}

impl<C: Codec> Outbox<C> {
    /// Makes an empty outbox, from which the first change is due at once. Later, a packet that is not full is due
    /// `delay` after the previous one of its kind.
    pub fn new(codec: C, delay: Duration, now: Instant) -> Self {
        Self { batcher: Mutex::new(Batcher::new(codec, delay, now)), filled: Condvar::new() }
    }

    /// Adds a change. Returns false if there is no room for it. Holds a lock for as long as it takes to write a record.
    pub fn add(&self, change: &Change, now: Instant) -> bool {
        let added = self.batcher().add(change, now);
        if added == AddResult::Completed {
            self.filled.notify_one();
        }
        added != AddResult::Refused
    }

    /// Waits until a packet is full, but no longer than `max_wait`. Returns a packet that is full or due by then, if
    /// there is one.
    pub fn next(&self, max_wait: Duration) -> Option<OutgoingPacket> {
        let waited = self.filled.wait_timeout_while(self.batcher(), max_wait, |batcher| !batcher.is_waiting());
        waited.unwrap_or_else(PoisonError::into_inner).0.take(Instant::now())
    }

    /// Returns a packet whether it is full or due or neither; `None` when nothing is left.
    pub fn take_any(&self) -> Option<OutgoingPacket> {
        self.batcher().take_any(Instant::now())
    }

    /// Returns how many packets the changes would have filled that were refused since the last call.
    pub fn take_lost(&self) -> usize {
        self.batcher().take_lost()
    }

    /// A panic in another thread is a defect, but each of our changes leaves the batcher whole: go on.
    fn batcher(&self) -> MutexGuard<'_, Batcher<C>> {
        self.batcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gathers changes into packets. Each kind has packets of its own, and its changes leave in the order in which they
/// came. Time is passed in.
#[derive(Debug)]
struct Batcher<C: Codec> {
    codec: C,
    delay: Duration,
    drafts: Vec<Draft<C::Kind>>,
    /// Full packets, the oldest first; at most [`MAX_WAITING`].
    waiting: VecDeque<OutgoingPacket>,
    /// Changes that were refused since `lost` was last raised: less than a packet of them.
    refused: usize,
    /// Packets that refused changes would have filled.
    lost: usize,
}

/// The packet of one kind that is not finished yet.
#[derive(Debug)]
struct Draft<K> {
    kind: K,
    bytes: Vec<u8>,
    records: usize,
    /// When it is taken even if it is not full.
    due: Instant,
}

/// What has become of a change that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddResult {
    /// It is in a packet that is not full yet.
    Batched,
    /// It completed a packet, which can be taken now.
    Completed,
    /// There is no room for it.
    Refused,
}

impl<C: Codec> Batcher<C> {
    fn new(codec: C, delay: Duration, now: Instant) -> Self {
        let draft = |&kind| Draft { kind, bytes: codec.begin(kind), records: 0, due: now };
        let drafts = C::KINDS.iter().map(draft).collect();
        Self { codec, delay, drafts, waiting: VecDeque::new(), refused: 0, lost: 0 }
    }

    fn add(&mut self, change: &Change, now: Instant) -> AddResult {
        let kind = C::kind(change);
        let Some(draft) = self.drafts.iter_mut().find(|draft| draft.kind == kind) else {
            debug_assert!(false, "{kind:?} is none of the kinds");
            return AddResult::Refused;
        };
        if C::is_full(&draft.bytes, kind) {
            // The packet stays here until there is room for it among those that wait.
            self.refused += 1;
            if self.refused >= draft.records {
                self.refused = 0;
                self.lost += 1;
            }
            return AddResult::Refused;
        }
        C::append(&mut draft.bytes, change);
        draft.records += 1;
        if !C::is_full(&draft.bytes, kind) {
            return AddResult::Batched;
        }
        self.queue_full(now);
        AddResult::Completed
    }

    /// Moves full packets to those that wait, as far as there is room.
    fn queue_full(&mut self, now: Instant) {
        for draft in &mut self.drafts {
            if self.waiting.len() < MAX_WAITING && C::is_full(&draft.bytes, draft.kind) {
                self.waiting.push_back(draft.finish(&self.codec, now + self.delay));
            }
        }
    }

    /// Returns the next packet that is full or due.
    fn take(&mut self, now: Instant) -> Option<OutgoingPacket> {
        let full = self.waiting.pop_front();
        self.queue_full(now);
        full.or_else(|| {
            let is_due = |draft: &&mut Draft<C::Kind>| now >= draft.due && draft.records > 0;
            self.drafts.iter_mut().find(is_due).map(|draft| draft.finish(&self.codec, now + self.delay))
        })
    }

    /// Returns the next packet, whether it is full or due or neither.
    fn take_any(&mut self, now: Instant) -> Option<OutgoingPacket> {
        self.drafts.iter_mut().for_each(|draft| draft.due = now);
        self.take(now)
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn take_lost(&mut self) -> usize {
        mem::take(&mut self.lost)
    }
}

impl<K: Copy> Draft<K> {
    /// Returns the packet, and begins the next one of its kind, to be taken by `due`.
    fn finish<C: Codec<Kind = K>>(&mut self, codec: &C, due: Instant) -> OutgoingPacket {
        self.due = due;
        let bytes = mem::replace(&mut self.bytes, codec.begin(self.kind));
        OutgoingPacket { bytes, records: mem::take(&mut self.records) }
    }
}

#[cfg(test)]
mod tests {
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

        fn kind(change: &Change) -> u8 {
            (change.endpoint.port() % 2) as u8
        }

        fn begin(&self, kind: u8) -> Vec<u8> {
            vec![kind]
        }

        fn append(packet: &mut Vec<u8>, change: &Change) {
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
        ports.iter().for_each(|port| Ports::append(&mut bytes, &change(*port)));
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
        let room = FULL * (MAX_WAITING + 1);
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
                prop_assert!(batcher.waiting.len() <= MAX_WAITING);
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
}
