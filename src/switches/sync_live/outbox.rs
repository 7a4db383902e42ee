//! What is to be told to the cluster: changes gathered into packets. No socket, and time is passed in.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use crate::tracker::Change;

use super::packet::{self, Kind, TrackerId};

/// A packet that is not full goes out when the one before it is so old.
pub(super) const DELAY: Duration = Duration::from_secs(15);

/// Full packets that wait to be sent, at most: a third of a megabyte. A cluster that cannot keep up loses the rest.
const MAX_WAITING: usize = 256;

/// Gathers changes. Each family has packets of its own, and its changes go out in the order in which they came.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: TrackerId,
    drafts: [Draft; 2],
    /// Full, or due.
    waiting: VecDeque<OutgoingPacket>,
    lost: usize,
}

/// A packet to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutgoingPacket {
    pub(super) bytes: Vec<u8>,
    /// How many there are in it.
    pub(super) records: usize,
}

/// The packet under construction.
#[derive(Debug)]
struct Draft {
    kind: Kind,
    bytes: Vec<u8>,
    /// When it goes out even if it is not full.
    due: Instant,
}

impl Outbox {
    /// An empty one, which sends its first change at once.
    pub(super) fn new(sender: TrackerId, now: Instant) -> Self {
        let draft = |kind| Draft { kind, bytes: packet::begin(sender, kind), due: now };
        let drafts = [draft(Kind::Ipv4), draft(Kind::Ipv6)];
        Self { sender, drafts, waiting: VecDeque::new(), lost: 0 }
    }

    /// Adds one change. True when that fills a packet, which can be taken then.
    pub(super) fn add(&mut self, change: &Change, now: Instant) -> bool {
        let Self { sender, drafts: [ipv4, ipv6], waiting, lost } = self;
        let draft = match Kind::of(&change.endpoint) {
            Kind::Ipv4 => ipv4,
            Kind::Ipv6 => ipv6,
        };
        packet::append(&mut draft.bytes, change);
        let full = packet::is_full(&draft.bytes, draft.kind);
        if full {
            let packet = draft.finish(*sender, now);
            if waiting.len() < MAX_WAITING {
                waiting.push_back(packet);
            } else {
                *lost += 1;
            }
        }
        full
    }

    /// The next packet that is full or due.
    pub(super) fn take(&mut self, now: Instant) -> Option<OutgoingPacket> {
        self.waiting.pop_front().or_else(|| {
            let due = |draft: &&mut Draft| now >= draft.due && !packet::is_blank(&draft.bytes);
            self.drafts.iter_mut().find(due).map(|draft| draft.finish(self.sender, now))
        })
    }

    /// Whatever there is, full and due or not.
    pub(super) fn take_any(&mut self, now: Instant) -> Option<OutgoingPacket> {
        self.drafts.iter_mut().for_each(|draft| draft.due = now);
        self.take(now)
    }

    /// Is a full packet waiting?
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many packets there was no room for since this was asked last.
    pub(super) fn take_lost(&mut self) -> usize {
        mem::take(&mut self.lost)
    }
}

impl Draft {
    fn finish(&mut self, sender: TrackerId, now: Instant) -> OutgoingPacket {
        self.due = now + DELAY;
        let bytes = mem::replace(&mut self.bytes, packet::begin(sender, self.kind));
        OutgoingPacket { records: packet::records(&bytes, self.kind), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{SENDER, change, packet};
    use super::*;

    fn peer(n: u16) -> Change {
        change(&format!("192.0.2.1:{n}"))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_packet_goes_out_15_seconds_after_the_one_before() {
        let start = Instant::now();
        let mut outbox = Outbox::new(SENDER, start);
        assert_eq!(outbox.take(start + 100 * SECOND), None, "there is nothing to tell");

        assert!(!outbox.add(&peer(1), start));
        let first = outbox.take(start).unwrap();
        assert_eq!(first, OutgoingPacket { bytes: packet(SENDER, &[peer(1)]), records: 1 });

        outbox.add(&peer(2), start + SECOND);
        outbox.add(&peer(3), start + 14 * SECOND);
        assert_eq!(outbox.take(start + DELAY - Duration::from_millis(1)), None);
        let second = outbox.take(start + DELAY).unwrap();
        assert_eq!(second, OutgoingPacket { bytes: packet(SENDER, &[peer(2), peer(3)]), records: 2 });
        assert_eq!(outbox.take(start + 2 * DELAY), None);
    }

    #[test]
    fn a_full_packet_goes_out_at_once() {
        let now = Instant::now();
        let mut outbox = Outbox::new(SENDER, now);
        let peers: Vec<_> = (1..=53).map(peer).collect();
        outbox.add(&peers[0], now);
        outbox.take(now);
        let full: Vec<_> = peers.iter().map(|peer| outbox.add(peer, now)).collect();
        assert_eq!(full.iter().position(|full| *full), Some(51));
        assert!(outbox.is_waiting());
        assert_eq!(outbox.take(now), Some(OutgoingPacket { bytes: packet(SENDER, &peers[..52]), records: 52 }));
        assert!(!outbox.is_waiting());
        assert_eq!(outbox.take(now), None, "the 53rd waits");
        assert_eq!(outbox.take(now + DELAY).map(|packet| packet.records), Some(1));
    }

    #[test]
    fn families_have_packets_and_delays_of_their_own() {
        let start = Instant::now();
        let mut outbox = Outbox::new(SENDER, start);
        let ipv6 = change("[2001:db8::1]:1");
        outbox.add(&peer(1), start);
        assert_eq!(outbox.take(start).unwrap().bytes, packet(SENDER, &[peer(1)]));
        outbox.add(&peer(2), start);
        outbox.add(&ipv6, start);
        assert_eq!(outbox.take(start).unwrap().bytes, packet(SENDER, &[ipv6]));
        assert_eq!(outbox.take(start), None);
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_the_rest_is_counted() {
        let now = Instant::now();
        let mut outbox = Outbox::new(SENDER, now);
        for n in 0..52 * (MAX_WAITING as u16 + 3) {
            outbox.add(&peer(n), now);
        }
        assert_eq!((outbox.take_lost(), outbox.take_lost()), (3, 0));
        let taken: Vec<_> = std::iter::from_fn(|| outbox.take(now)).collect();
        assert_eq!(taken.len(), MAX_WAITING);
        assert!(taken[0].bytes.starts_with(&packet(SENDER, &[peer(0), peer(1)])), "the first to come are told");
    }

    #[test]
    fn at_the_end_all_of_it_goes_out_in_order() {
        let now = Instant::now();
        let mut outbox = Outbox::new(SENDER, now);
        outbox.add(&peer(100), now);
        outbox.take(now);
        for n in 1..=60 {
            outbox.add(&peer(n), now);
        }
        outbox.add(&change("[::1]:1"), now);
        let taken: Vec<_> = std::iter::from_fn(|| outbox.take_any(now)).map(|packet| packet.records).collect();
        assert_eq!(taken, [52, 8, 1]);
    }
}
