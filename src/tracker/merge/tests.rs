use std::net::SocketAddr;

use fastrand::Rng;

use super::*;
use crate::tracker::testing::{Recorder, TestTracker};
use crate::tracker::{AnnounceRequest, Capacity, Event, Ipv4Only, Open, PeerRequest};

const NOW: Minute = Minute(29_000_191);
const TORRENT: InfoHash = InfoHash([7; 20]);

type Listened = TestTracker<Ipv4Only, Open, Recorder>;

fn tracker() -> Listened {
    TestTracker::with_plugs(Capacity::NONE, NOW, Open, Recorder::default())
}

fn at(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 6881).into()
}

/// Merges a peer of this age. Returns what has come of it.
fn merge(tracker: &Listened, peer: KnownPeer, downloaded: u32) -> MergeCounts {
    let mut counts = MergeCounts::default();
    let torrent = KnownTorrent { info_hash: TORRENT, downloaded, empty_for: 0, peers: &[peer] };
    tracker.merge(&torrent, NOW, &mut counts);
    counts
}

fn leecher(age: u32) -> KnownPeer {
    KnownPeer { endpoint: at(1), seeder: false, completed: false, age }
}

/// Has the peer announce itself. Returns whether its download was counted, and how often it was published.
fn announce(tracker: &Listened, event: Event, minutes: u32) -> (bool, usize) {
    let seeder = event == Event::Completed;
    let announce = AnnounceRequest { info_hash: TORRENT, endpoint: at(1), seeder, uploaded: false, event };
    let outcome = tracker.announce(&announce, NOW + minutes, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    (outcome.counted_download, tracker.flavour().cluster().take().len())
}

fn downloaded(tracker: &Listened) -> Option<u32> {
    tracker.scrape(&TORRENT).map(|counts| counts.downloaded)
}

#[test]
fn nothing_is_published_and_a_peer_counts_as_published_when_it_was_seen() {
    for (age, minutes, published) in [(0, 5, 0), (0, 11, 1), (8, 1, 0), (8, 4, 1), (20, 0, 1)] {
        let tracker = tracker();
        merge(&tracker, leecher(age), 0);
        assert_eq!(tracker.flavour().cluster().take(), []);
        assert_eq!(announce(&tracker, Event::Update, minutes).1, published, "{age} minutes old, {minutes} later");
        let departure = KnownDeparture { info_hash: TORRENT, endpoint: at(1), downloaded: 0, age: 0 };
        tracker.merge_departure(&departure, NOW, &mut MergeCounts::default());
        assert_eq!(tracker.flavour().cluster().take(), []);
    }
}

#[test]
fn a_download_that_was_counted_there_is_not_counted_here() {
    let tracker = tracker();
    let peer = KnownPeer { seeder: true, completed: true, ..leecher(3) };
    assert_eq!(merge(&tracker, peer, 5).downloads, 5);
    assert!(!announce(&tracker, Event::Completed, 0).0);
    assert_eq!(downloaded(&tracker), Some(5));
    // The same if something younger is known of the peer.
    let tracker = self::tracker();
    announce(&tracker, Event::Update, 0);
    let counts = merge(&tracker, peer, 5);
    assert_eq!((counts.outdated, counts.downloads), (1, 5));
    assert_eq!(tracker.store().census().peers.leechers, 1, "it stays what it was last");
    assert!(!announce(&tracker, Event::Completed, 0).0);
    assert_eq!(downloaded(&tracker), Some(5));
}

#[test]
fn a_download_that_was_counted_here_stays_counted_and_the_larger_number_holds() {
    let tracker = tracker();
    assert!(announce(&tracker, Event::Completed, 0).0);
    let counts = merge(&tracker, leecher(0), 0);
    assert_eq!((counts.refreshed, counts.downloads, downloaded(&tracker)), (1, 0, Some(1)));
    assert!(!announce(&tracker, Event::Completed, 0).0);
    merge(&tracker, leecher(0), u32::MAX);
    assert_eq!(downloaded(&tracker), Some(u32::MAX));
}

#[test]
fn who_has_completed_here_a_moment_ago_has_everything_although_it_is_not_known_there() {
    for (later, is_kept) in [(0, true), (1, true), (DOUBT, true), (DOUBT + 1, false)] {
        let tracker = tracker();
        merge(&tracker, KnownPeer { seeder: true, completed: true, ..leecher(later) }, 1);
        merge(&tracker, leecher(0), 0);
        let peers = tracker.store().census().peers;
        assert_eq!((peers.seeders, peers.leechers), (usize::from(is_kept), usize::from(!is_kept)), "{later}");
    }
    // Of who has not, theirs counts in the same minute; and also of who has, as they know.
    for (event, theirs) in
        [(Event::Update, leecher(0)), (Event::Completed, KnownPeer { completed: true, ..leecher(0) })]
    {
        let tracker = tracker();
        announce(&tracker, event, 0);
        merge(&tracker, theirs, 0);
        assert_eq!(tracker.store().census().peers.leechers, 1, "{event:?}");
    }
}

#[test]
fn who_left_is_removed_unless_he_has_come_back() {
    let departure = |age| KnownDeparture { info_hash: TORRENT, endpoint: at(1), downloaded: 3, age };
    for (age, is_gone) in [(0, true), (1, true), (2, false)] {
        let (tracker, mut counts) = (tracker(), MergeCounts::default());
        merge(&tracker, leecher(1), 0);
        tracker.merge_departure(&departure(age), NOW, &mut counts);
        assert_eq!(tracker.store().census().peers.peers(), usize::from(!is_gone));
        assert_eq!((counts.departed, counts.downloads, downloaded(&tracker)), (u64::from(is_gone), 3, Some(3)));
        // The torrent is kept from when he left.
        tracker.sweep(NOW + (TORRENT_LIFETIME - age), || {});
        assert!(!is_gone || downloaded(&tracker).is_some());
        tracker.sweep(NOW + (TORRENT_LIFETIME - age + 1), || {});
        assert!(!is_gone || downloaded(&tracker).is_none());
    }
}

#[test]
fn nothing_is_left_of_a_torrent_that_nothing_is_taken_over_of() {
    let (tracker, mut counts) = (tracker(), MergeCounts::default());
    merge(&tracker, leecher(100), 0);
    merge(&tracker, KnownPeer { endpoint: ([10, 0, 0, 1], 0).into(), ..leecher(0) }, 0);
    merge(&tracker, KnownPeer { endpoint: "[2001:db8::1]:80".parse().unwrap(), ..leecher(0) }, 0);
    let departure = KnownDeparture { info_hash: TORRENT, endpoint: at(1), downloaded: 0, age: 0 };
    tracker.merge_departure(&departure, NOW, &mut counts);
    tracker.merge_departure(&KnownDeparture { age: 2000, downloaded: 5, ..departure }, NOW, &mut counts);
    let empty = KnownTorrent { info_hash: TORRENT, downloaded: 0, empty_for: 0, peers: &[] };
    tracker.merge(&empty, NOW, &mut counts);
    assert_eq!((tracker.store().census().torrents, counts.torrents, counts.left_out.expired), (0, 0, 1));
}
