//! Streams from one tracker into another, held against what each knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fastrand::Rng;

use super::{Progress, Reader, Writer};
use crate::tracker::store::{Cursor, Portion};
use crate::tracker::testing::{Ipv6Only, TestTracker};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Event, Flavour, InfoHash, Ipv4Only, Minute, PeerRequest, Tracker,
};

const NOW: Minute = Minute(29_000_191);

/// What is known of a torrent: its downloads, since when it has been without peers, and its peers, each with whether it
/// is a seeder, whether its download has been counted, and when it was seen.
type Known = BTreeMap<InfoHash, (u32, Option<Minute>, BTreeMap<SocketAddr, (bool, bool, Minute)>)>;

fn known<F: Flavour>(tracker: &Tracker<F>, now: Minute) -> Known {
    let (mut known, mut cursor, mut portion) = (Known::new(), Some(Cursor::default()), Portion::default());
    while let Some(from) = cursor {
        cursor = tracker.store().copy(from, &mut 1000, &mut portion);
    }
    for (torrent, peers) in portion.torrents() {
        let peers =
            peers.iter().map(|(endpoint, state)| (*endpoint, (state.seeder(), state.completed(), state.seen(now))));
        known
            .entry(torrent.info_hash)
            .or_insert((torrent.downloaded, torrent.empty_since, BTreeMap::new()))
            .2
            .extend(peers);
    }
    known
}

fn announce<F: Flavour>(tracker: &Tracker<F>, torrent: u16, peer: u16, event: Event, now: Minute) {
    let mut info_hash = InfoHash::default();
    info_hash.0[..2].copy_from_slice(&torrent.to_be_bytes());
    let [high, low] = peer.to_be_bytes();
    let endpoint = if F::Families::IPV4 && (peer % 3 > 0 || !F::Families::IPV6) {
        SocketAddr::from(([10, 0, high, low], 6881))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, peer, 0, 0, 0, 1], 6881))
    };
    let seeder = event == Event::Completed;
    let announce = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event };
    let _ = tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none());
}

/// Returns all that a tracker in which nothing happens writes.
fn written<F: Flavour>(tracker: &Arc<Tracker<F>>, now: Minute) -> Vec<u8> {
    let (mut writer, mut bytes) = (Writer::new(Arc::clone(tracker), 7, now), Vec::new());
    while writer.write_unchanged(now, &mut bytes) == Progress::More {}
    bytes
}

fn plain<F: AddressFamilies>() -> Arc<TestTracker<F>> {
    Arc::new(TestTracker::<F>::plain(Capacity::NONE, NOW))
}

#[test]
fn what_was_written_is_known_where_it_is_read() {
    fn check<F: AddressFamilies>() {
        let from = plain::<F>();
        for torrent in 0..300 {
            for peer in 0..=torrent {
                let event = if peer % 5 == 0 { Event::Completed } else { Event::Update };
                announce(&from, torrent, peer, event, NOW + u32::from(peer % 40));
            }
        }
        let now = NOW + 40;
        let bytes = written(&from, now);
        let into = plain::<F>();
        let mut reader = Reader::new(Arc::clone(&into), 0);
        reader.read(&bytes, now).unwrap();
        assert!(reader.is_whole());
        assert_eq!(known(&into, now), known(&from, now));
        assert_eq!(into.store().census(), from.store().census());
    }
    check::<Ipv4Only>();
    check::<Ipv6Only>();
}
