//! Any packet of a cluster, from a tracker that is believed and from one that is not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use super::bridging::Bridging;
use super::packet::{self, Packet, TrackerId};
use super::snapshot::Notices;
use super::{Inbox, Receiver, SyncCodec, TransportCounters, Trust};
use crate::cluster::outbox::Codec as _;
use crate::stats::Counters;
use crate::tracker::testing::{Recorder, TestTracker};
use crate::tracker::{Capacity, Change, Flavour as _, InfoHash, Ipv4Only, Minute, Open, is_host};

const NOW: Minute = Minute(29_000_000);
const OWN: TrackerId = TrackerId([9; 4]);

/// Takes the bytes as a packet, as they are and behind a good header.
pub(in crate::switches) fn any_packet(bytes: &[u8]) {
    take(bytes);
    let (kind, records) = bytes.split_first().unwrap_or((&0, &[]));
    take(&[&[1, 2, 3, 4, 0, 0, 0, kind & 1], records].concat());
    take(&[&[1, 2, 3, 4, 0, 0, 0, 16 + (kind & 3)], records].concat());
    take(&[&[1, 2, 3, 4, 0, 0, 0, 16 + (kind & 3), 0, 1], records].concat());
    // Whole records, whatever they hold.
    let record_len = if kind & 1 == 0 { 28 } else { 40 };
    take(&[&[1, 2, 3, 4, 0, 0, 0, kind & 1], &records[..records.len() / record_len * record_len]].concat());
}

/// Returns whether a tracker for IPv4 can have such a peer.
fn is_ipv4_peer(endpoint: SocketAddr) -> bool {
    endpoint.is_ipv4() && endpoint.port() > 0 && is_host(endpoint.ip())
}

fn take(datagram: &[u8]) {
    let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, Open, Recorder::default());
    let inbox = Inbox { own: OWN, trust: Trust::new(vec!["192.0.2.0/24".parse().expect("a network")]) };
    let (counters, stats, notices) = (TransportCounters::default(), Counters::default(), Notices::default());
    let bridging = Bridging::new(OWN, Instant::now());
    let receiver = Receiver {
        tracker: &tracker,
        counters: &counters,
        worker_counters: &stats.for_worker(),
        notices: &notices,
        bridging: &bridging,
    };

    let stranger = [198, 51, 100, 1].into();
    inbox.take(datagram, stranger, NOW, &receiver).expect_err("a stranger is not believed");
    assert_eq!(tracker.store().census().torrents, 0);

    let taken = inbox.take(datagram, [192, 0, 2, 1].into(), NOW, &receiver);
    let counts = counters.counts();
    let census = tracker.store().census();
    let packet = packet::parse(datagram).ok().filter(|packet| packet.sender() != OWN);
    assert_eq!(taken.is_ok(), packet.is_some());
    let packet = match packet {
        Some(Packet::Changes(packet)) => packet,
        other => {
            let refused = if other.is_some() { 1 } else { 2 };
            assert_eq!((counts.records_received, counts.packets_refused, census.torrents), (0, refused, 0));
            let port = if let Some(Packet::Offer(_, invitation)) = other { Some(invitation.port) } else { None };
            let is_offer = port.is_some_and(|port| port > 0);
            assert_eq!((notices.take_offers().len(), notices.has_heard()), (usize::from(is_offer), port == Some(0)));
            return;
        }
    };
    assert_eq!(counts.records_received + counts.records_refused, packet.records() as u64);
    let changes: Vec<_> = packet.changes(NOW).collect();
    assert_eq!(changes.len(), packet.records());

    // The last word on each peer holds.
    let mut peers = BTreeSet::new();
    let is_peer = |change: &&Change| is_ipv4_peer(change.endpoint);
    for change in changes.iter().flatten().filter(is_peer) {
        let Change { info_hash: InfoHash(hash), endpoint, stopped, .. } = *change;
        if stopped {
            peers.remove(&(hash, endpoint))
        } else {
            peers.insert((hash, endpoint))
        };
    }
    assert_eq!(census.peers.peers(), peers.len());
    assert_eq!(tracker.flavour().cluster().take(), [], "it is not told on by the way that it came");

    // What was read is written as it came, but for the byte that is the receiver's.
    if changes.iter().all(Option::is_some) {
        let codec = SyncCodec(packet.sender);
        let mut written = codec.begin(packet.kind);
        changes.iter().flatten().for_each(|change| codec.append(&mut written, change));
        let mut expected = datagram.to_vec();
        let record_len = (datagram.len() - 8) / packet.records();
        expected.chunks_mut(1).enumerate().skip(8).for_each(|(at, byte)| {
            if (at - 8) % record_len == record_len - 1 {
                byte[0] = 0;
            }
        });
        assert_eq!(written, expected);
    }
}
