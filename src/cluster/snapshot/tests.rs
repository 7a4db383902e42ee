//! Snapshots from one tracker to another, whole and broken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Giver, Limits, MAX_PIECE, MAX_TIME, SnapshotError, Snapshots, Taker};
use crate::cluster::counts::TransportCounters;
use crate::swarms::StreamError;
use crate::swarms::model::known;
use crate::tracker::testing::TestTracker;
use crate::tracker::{AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, Minute, PeerRequest};
use fastrand::Rng;

const NOW: Minute = Minute(29_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn empty() -> Arc<TestTracker<Ipv4Only>> {
    Arc::new(TestTracker::plain(Capacity::NONE, NOW))
}

fn announce(tracker: &TestTracker<Ipv4Only>, peer: u32, event: Event) {
    let [_, high, middle, low] = peer.to_be_bytes();
    let mut info_hash = InfoHash::default();
    info_hash.0[0] = low;
    let endpoint = ([10, high, middle, low], 6881).into();
    let announce = AnnounceRequest { info_hash, endpoint, seeder: event == Event::Completed, uploaded: false, event };
    tracker.announce(&announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
}

/// A tracker with so many peers, of which every third has completed.
fn filled(peers: u32) -> Arc<TestTracker<Ipv4Only>> {
    let tracker = empty();
    (0..peers).for_each(|peer| announce(&tracker, peer, if peer % 3 == 0 { Event::Completed } else { Event::Update }));
    tracker
}

fn snapshots(rate: u64) -> (Arc<Snapshots>, Instant) {
    let start = Instant::now();
    (Snapshots::new(Limits { wait: SECOND, rate, max: u64::MAX }, start), start)
}

/// Gives all of it, as fast as may be. Returns the bytes, and when the last of them is due.
fn given(
    giver: &mut Giver<impl crate::tracker::Flavour>,
    start: Instant,
    mut meanwhile: impl FnMut(),
) -> (Vec<u8>, Instant) {
    let (mut bytes, mut now) = (Vec::new(), start);
    while let Some(piece) = giver.next(NOW, now).unwrap() {
        assert!(piece.bytes.len() <= MAX_PIECE && piece.due >= now);
        now = piece.due;
        bytes.extend(piece.bytes);
        meanwhile();
    }
    (bytes, now)
}

fn taken(into: &Arc<TestTracker<Ipv4Only>>, bytes: &[u8], max: u64, now: Instant) -> Result<bool, SnapshotError> {
    let mut taker = Taker::new(Arc::clone(into), max, now);
    let pieces: Result<Vec<bool>, _> = bytes.chunks(1000).map(|piece| taker.take(piece, NOW, now)).collect();
    pieces.map(|whole| whole.last() == Some(&true))
}

#[test]
fn what_is_given_is_taken_at_the_configured_rate() {
    let from = filled(50_000);
    let (snapshots, start) = snapshots(100_000);
    let mut giver = Giver::begin(&snapshots, Arc::clone(&from), NOW, start).unwrap();
    let (bytes, end) = given(&mut giver, start, || {});
    let (time, least) = (end - start, bytes.len() as f64 / 100_000.0);
    assert!((least - 1.0..least).contains(&time.as_secs_f64()), "{time:?} for {} bytes", bytes.len());

    let into = empty();
    let counters = TransportCounters::default();
    let mut taker = Taker::new(Arc::clone(&into), bytes.len() as u64, start);
    assert!(taker.take(&bytes, NOW, start).unwrap());
    taker.finish(&"10.0.0.1", start + 2 * SECOND, &counters);
    giver.finish(&"10.0.0.2", start + 3 * SECOND, &counters);
    assert!(known(&into, NOW) == known(&from, NOW));
    let counts = counters.counts();
    assert_eq!([counts.snapshots_taken, counts.snapshots_given], [1, 1]);
    assert_eq!([counts.snapshots_taken_ms, counts.snapshots_given_ms], [2000, 3000]);
}

#[test]
fn who_comes_and_leaves_meanwhile_is_told_as_well() {
    let from = filled(20_000);
    let (snapshots, start) = snapshots(1_000_000);
    let mut giver = Giver::begin(&snapshots, Arc::clone(&from), NOW, start).unwrap();
    let mut peers = 0..;
    // No more than happens until the last has left who was there.
    let (bytes, _) = given(&mut giver, start, || {
        peers.by_ref().take(2000).for_each(|peer| announce(&from, peer, Event::Stopped));
        peers.clone().take(2000).for_each(|peer| announce(&from, 100_000 + peer, Event::Completed));
    });
    let into = empty();
    assert!(taken(&into, &bytes, u64::MAX, start).unwrap());
    let (ours, theirs) = (known(&into, NOW), known(&from, NOW));
    let gone = peers.next().unwrap();
    assert!(gone > 2000);
    // What happened after it had been written is for the cluster to tell; nobody is missing who was there before.
    for (info_hash, torrent) in &theirs {
        let old = torrent.peers.keys().filter(|endpoint| endpoint.to_string().starts_with("10.0."));
        old.for_each(|endpoint| assert!(ours[info_hash].peers.contains_key(endpoint), "{endpoint}"));
    }
    let early = ours.values().flat_map(|torrent| torrent.peers.keys()).filter(|endpoint| {
        let std::net::IpAddr::V4(ip) = endpoint.ip() else { panic!("{endpoint}") };
        u32::from(ip) - (10 << 24) < 2000
    });
    assert_eq!(early.count(), 0, "the first to leave are not there");
}

#[test]
fn at_most_two_are_given_at_a_time_and_they_share_the_rate() {
    let from = filled(30_000);
    let (snapshots, start) = snapshots(200_000);
    let begin = || Giver::begin(&snapshots, Arc::clone(&from), NOW, start);
    let mut givers = [begin().unwrap(), begin().unwrap()];
    assert!(begin().is_none());
    let (mut bytes, mut ends, mut last) = ([0, 0], [false, false], start);
    while ends != [true, true] {
        for (giver, (bytes, end)) in givers.iter_mut().zip(bytes.iter_mut().zip(&mut ends)) {
            match giver.next(NOW, start).unwrap() {
                Some(piece) => {
                    *bytes += piece.bytes.len();
                    last = last.max(piece.due);
                }
                None => *end = true,
            }
        }
    }
    assert_eq!(bytes[0], bytes[1]);
    let least = (bytes[0] + bytes[1]) as f64 / 200_000.0;
    assert!((least - 1.0..least).contains(&(last - start).as_secs_f64()));
    drop(givers);
    assert!(begin().is_some());
}

#[test]
fn one_that_takes_too_long_is_given_up_on_either_side() {
    let (snapshots, start) = snapshots(1);
    let mut giver = Giver::begin(&snapshots, filled(10), NOW, start).unwrap();
    assert_eq!(giver.next(NOW, start + MAX_TIME).unwrap().unwrap().bytes.len(), 1);
    let late = start + MAX_TIME + SECOND;
    assert!(matches!(giver.next(NOW, late), Err(SnapshotError::TooSlow)));
    let mut taker = Taker::new(empty(), 10, start);
    assert!(matches!(taker.take(b"otswarms", NOW, late), Err(SnapshotError::TooSlow)));
}

#[test]
fn a_snapshot_that_is_none_or_lies_or_repeats_is_taken_as_far_as_it_is_good() {
    let (snapshots, start) = snapshots(u64::MAX);
    let from = filled(100);
    let (whole, _) = given(&mut Giver::begin(&snapshots, from, NOW, start).unwrap(), start, || {});
    let mut other_version = whole.clone();
    other_version[9] ^= 0x40;
    let mut lies = whole.clone();
    let totals = whole.len() - 32;
    lies[totals + 15] ^= 1;
    let mut mangled = whole.clone();
    mangled[30] ^= 1;
    let twice = [&whole[..], &whole].concat();
    let error = |bytes: &[u8], max| {
        let into = empty();
        let error = match taken(&into, bytes, max, start) {
            Ok(whole) => return (None, whole, into.store().census().peers.peers()),
            Err(error) => error,
        };
        let text = match error {
            SnapshotError::Stream(error @ (StreamError::Totals { .. } | StreamError::NotSwarms)) => error.to_string(),
            other => other.to_string(),
        };
        (Some(text), false, into.store().census().peers.peers())
    };
    assert_eq!(error(&whole, u64::MAX), (None, true, 100));
    assert_eq!(error(&whole[..whole.len() - 33], u64::MAX), (None, false, 100), "it stopped midway");
    for (bytes, max, said, peers) in [
        (&b"HTTP/1.1 404 Not Found\r\n"[..], u64::MAX, "not the swarms of a tracker", 0),
        (&other_version, u64::MAX, "written in version 65", 0),
        (&lies, u64::MAX, "are announced at the end, and", 100),
        // A peer of another torrent, which comes once more among the changes.
        (&mangled, u64::MAX, "the checksum is wrong", 101),
        (&twice, u64::MAX, "something follows the end", 100),
        (&whole, whole.len() as u64 - 1, "it has more than", 0),
    ] {
        let (text, _, found) = error(bytes, max);
        let text = text.unwrap_or_default();
        assert!(text.contains(said), "{said}: {text}");
        assert!(found <= peers.max(100) && (max < u64::MAX || found == peers), "{said}: {found}");
    }
}
