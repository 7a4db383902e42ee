//! A tracker that is filled on purpose.

mod model;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;

use super::*;
use crate::tracker::testing::{TestTracker, key};
use crate::tracker::{AnnounceError, AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, PeerRequest};

const START: Minute = Minute(29_000_191);

fn info_hash(n: u32) -> InfoHash {
    let mut info_hash = InfoHash::default();
    info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
    info_hash
}

fn v4(network: u8, n: u16) -> SocketAddr {
    ([10, 1, network, n as u8], 1000 + n).into()
}

fn announce<F: AddressFamilies>(
    tracker: &TestTracker<F>,
    torrent: u32,
    endpoint: SocketAddr,
    event: Event,
    now: Minute,
) -> Result<(), AnnounceError> {
    let seeder = event == Event::Completed;
    let announce = AnnounceRequest { info_hash: info_hash(torrent), endpoint, seeder, uploaded: false, event };
    tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).map(drop)
}

#[test]
fn a_share_is_a_sixty_fourth_but_not_less_than_a_few() {
    assert_eq!([0, 1, 1000, 1024, 6400, u64::MAX].map(share), [16, 16, 16, 16, 100, u64::MAX / 64]);
}

#[test]
fn torrents_without_peers_are_told_apart_by_downloads_and_then_by_silence() {
    let torrent = |downloaded, silent| {
        let mut torrent = Torrent::<Ipv4Only> { downloaded, ..Torrent::default() };
        torrent.peers.set_empty_since(Minute(START.0 - silent));
        torrent
    };
    // From the one that stays longest to the one that goes first.
    let order = [
        (u32::MAX, 0),
        (u32::MAX >> 1, 100),
        (256, 0),
        (255, 0),
        (128, 24),
        (127, 0),
        (2, 0),
        (1, 0),
        (1, 12),
        (1, TORRENT_LIFETIME),
    ];
    let ranks: Vec<_> = order.map(|(downloads, silent)| empty_rank(&torrent(downloads, silent), START)).into();
    assert!(ranks.is_sorted_by(|one, next| one < next), "{ranks:?}");
    assert!(ranks.iter().all(|rank| rank.unwrap() < EMPTY_RANKS));
    assert_eq!(empty_rank(&torrent(1, TORRENT_LIFETIME + 5000), START), Some(EMPTY_RANKS - 1 - SILENCES));
}

#[test]
fn positions_have_ranks_from_the_first_to_the_last() {
    for of in [1, 2, 255, 256, 1000, 123_456] {
        let ranks: Vec<_> = (0..of).map(|at| position_rank(Position { at, of })).collect();
        assert!(ranks[0] == 0 && ranks.is_sorted());
        assert!(of < 256 || ranks.last() == Some(&Rank::MAX));
    }
    assert_eq!(position_rank(Position { at: 7, of: 0 }), Rank::MAX);
}

/// Announces torrents of one network from `first` on until there is no room, and returns how many there was room for.
fn spray(tracker: &TestTracker, network: u8, first: u32, most: u32) -> u32 {
    (0..most)
        .filter(|n| announce(tracker, first + n, v4(network, *n as u16 % 200), Event::Update, START).is_ok())
        .count() as u32
}

#[test]
fn whoever_fills_the_tracker_keeps_his_share_and_a_newcomer_gets_in() {
    for limit in [40, 1000, 60_000, 120_000] {
        let tracker =
            TestTracker::<Ipv4Only>::plain(Capacity { torrents: limit, peers: u64::MAX, ..Capacity::NONE }, START);
        assert_eq!(spray(&tracker, 1, 0, 8), 8, "of an honest network");
        assert!(!tracker.wants_room());
        spray(&tracker, 2, 1000, 2 * limit as u32);
        assert!(tracker.wants_room());
        assert_eq!(announce(&tracker, 900, v4(3, 1), Event::Update, START), Err(AnnounceError::Full));
        let taken = tracker.make_room(START, || true);
        assert!(!tracker.wants_room());
        assert_eq!((taken.largest(), taken.networks.len()), (Some(Network::of(v4(2, 0).ip())), 1));
        assert_eq!(tracker.taken(), (taken.torrents, 0));
        let census = tracker.store().census();
        assert!(census.torrents as u64 <= limit * 9 / 10 + 1, "{census:?}");
        announce(&tracker, 900, v4(3, 1), Event::Update, START).unwrap();
        for torrent in 0..8 {
            assert!(tracker.scrape(&info_hash(torrent)).is_some(), "{torrent} is honest");
        }
    }
}

#[test]
fn the_youngest_of_a_network_go_first() {
    let tracker =
        TestTracker::<Ipv4Only>::plain(Capacity { torrents: 20_000, peers: u64::MAX, ..Capacity::NONE }, START);
    spray(&tracker, 2, 0, 20_000);
    tracker.make_room(START, || true);
    let stays = |torrents: std::ops::Range<u32>| torrents.filter(|n| tracker.scrape(&info_hash(*n)).is_some()).count();
    assert!(stays(0..12_000) > 11_950, "{} of the first 12000", stays(0..12_000));
    assert!(stays(18_500..20_000) < 300, "{} of the last 1500", stays(18_500..20_000));
}

#[test]
fn what_was_completed_and_left_goes_when_there_is_no_room_and_well_known_torrents_stay() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 1000, peers: u64::MAX, ..Capacity::NONE }, START);
    for torrent in 0..1000 {
        // The first have been downloaded by several.
        for n in 0..if torrent < 100 { 3 } else { 1 } {
            announce(&tracker, torrent, v4(1, n), Event::Completed, START).unwrap();
            announce(&tracker, torrent, v4(1, n), Event::Stopped, START).unwrap();
        }
    }
    let taken = tracker.make_room(START, || true);
    assert_eq!((taken.torrents, taken.empty_torrents, taken.networks.len()), (0, 100, 0));
    assert!((0..100).all(|torrent| tracker.scrape(&info_hash(torrent)).is_some()));
    announce(&tracker, 2000, v4(2, 1), Event::Update, START).unwrap();
}

#[test]
fn a_tracker_that_is_full_of_honest_swarms_refuses_as_ever() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 500, peers: 600, ..Capacity::NONE }, START);
    for torrent in 0..500 {
        announce(&tracker, torrent, v4((torrent / 5) as u8, torrent as u16), Event::Update, START).unwrap();
    }
    for n in 0..100 {
        announce(&tracker, 7, v4(n, 777), Event::Update, START).unwrap();
    }
    let before = tracker.store().census();
    let taken = tracker.make_room(START, || true);
    assert_eq!(taken, Taken { lacked_torrents: 50, lacked_peers: 60, ..Taken::default() });
    assert_eq!(tracker.store().census(), before);
    assert_eq!(announce(&tracker, 900, v4(200, 1), Event::Update, START), Err(AnnounceError::Full));
    assert!(tracker.wants_room(), "who is refused asks for room again");
}

#[test]
fn nothing_goes_while_there_is_room() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 1000, peers: 1000, ..Capacity::NONE }, START);
    spray(&tracker, 1, 0, 900);
    assert!(!tracker.wants_room());
    assert_eq!(tracker.make_room(START, || true), Taken::default());
    assert_eq!(tracker.store().census().torrents, 900);
}

#[test]
fn many_ports_in_one_torrent_go_in_portions_and_the_others_of_the_swarm_stay() {
    let limit = 20_000;
    let tracker =
        TestTracker::<Ipv4Only>::plain(Capacity { torrents: u64::MAX, peers: limit, ..Capacity::NONE }, START);
    for n in 0..50 {
        announce(&tracker, 1, v4(n, 1), Event::Update, START).unwrap();
    }
    announce(&tracker, 1, v4(100, 1), Event::Completed, START).unwrap();
    for port in 1..=19_949 {
        announce(&tracker, 1, ([10, 9, 9, 9], port).into(), Event::Update, START + u32::from(port > 15_000)).unwrap();
    }
    assert!(tracker.wants_room());
    let mut portions = 0;
    let taken = tracker.make_room(START + 1, || {
        portions += 1;
        true
    });
    assert!(portions > 3 * 1024 + 3 * 15, "{portions}: a lock was held for the whole swarm");
    assert_eq!((taken.torrents, taken.peers), (0, 2000));
    let mut ages = BTreeMap::<_, usize>::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = tracker.store().walk_peers(from, &mut 1000, |_, endpoint, state| {
            *ages.entry((Network::of(endpoint.ip()), state.age(START + 1))).or_default() += 1;
        });
    }
    let sprayed = Network::of([10, 9, 9, 9].into());
    assert_eq!((ages[&(sprayed, 1)], ages[&(sprayed, 0)]), (13_000, 4949), "the oldest go first");
    assert_eq!(ages.len(), 2 + 51, "of the others nobody");
    assert_eq!(tracker.scrape(&info_hash(1)).map(|counts| counts.downloaded), Some(1));
}

#[test]
fn it_ends_when_it_is_told_to() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 5000, peers: u64::MAX, ..Capacity::NONE }, START);
    spray(&tracker, 1, 0, 5000);
    let mut portions = 0;
    let taken = tracker.make_room(START, || {
        portions += 1;
        false
    });
    assert!(portions <= 3, "{portions}");
    assert!(taken.torrents < 50, "{taken:?}");
}

#[test]
fn what_is_taken_in_several_rounds_is_added_up_and_the_names_are_bounded() {
    let of = |networks: std::ops::Range<u16>, each| Taken {
        torrents: each,
        empty_torrents: 1,
        peers: 2,
        lacked_torrents: 10,
        lacked_peers: 0,
        networks: networks.map(|n| (Network::of([10, (n >> 8) as u8, n as u8, 0].into()), each)).collect(),
    };
    let mut taken = Taken::default();
    assert!(taken.is_nothing() && taken.largest().is_none());
    taken.add(&of(0..200, 5));
    taken.add(&of(7..9, 1));
    taken.add(&of(8..9, 1));
    assert_eq!((taken.torrents, taken.empty_torrents, taken.peers), (7, 3, 6));
    assert_eq!((taken.all(), taken.lacked_torrents), (16, 30));
    assert_eq!(taken.largest(), Some(Network::of([10, 0, 8, 0].into())));
    taken.add(&of(100..700, 1));
    assert_eq!(taken.networks.len(), MAX_NAMED);
    assert!(!taken.is_nothing());
}

#[test]
fn room_is_made_while_others_announce() {
    let limit = 4000;
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: limit, peers: 6000, ..Capacity::NONE }, START);
    for torrent in 0..1000 {
        // Of many networks, so that each holds little.
        announce(&tracker, torrent, v4((torrent / 10) as u8, 1), Event::Update, START).unwrap();
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..3 {
            let (tracker, is_done) = (&tracker, &is_done);
            scope.spawn(move || {
                for n in (0..).take_while(|_| !is_done.load(Ordering::Relaxed)) {
                    let torrent = 10_000 + n % 20_000 + worker * 20_000;
                    let _ = announce(tracker, torrent, v4(200 + worker as u8, (n % 5000) as u16), Event::Update, START);
                    if n % 3 == 0 {
                        let _ = announce(tracker, n % 1000, v4(220, (n % 5000) as u16), Event::Update, START);
                    }
                }
            });
        }
        for _ in 0..40 {
            tracker.make_room(START, || true);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    tracker.make_room(START, || true);
    let census = tracker.store().census();
    assert!(census.torrents as u64 <= limit * 9 / 10 && census.peers.peers() <= 5400, "{census:?}");
    for torrent in 0..1000 {
        let own = v4((torrent / 10) as u8, 1);
        let locked = tracker.store().lock(&info_hash(torrent));
        let state = locked.torrent().and_then(|torrent| TorrentPeers::state(&torrent.peers, &key(), own));
        assert!(state.is_some(), "{torrent} is honest");
    }
}
