//! Walks in portions over a store that others change between the portions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fastrand::Rng;
use proptest::prelude::*;

use crate::tracker::peer::PeerState;
use crate::tracker::store::Cursor;
use crate::tracker::testing::{Ipv6Only, TestTracker};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Event, InfoHash, Intervals, Ipv4Only, Minute, PeerRequest,
};

use super::{START, config, v4, v6};

/// Torrents of one shard, where each that is forgotten is replaced by the last.
const TORRENTS: u16 = 12;
const PEERS: u16 = 1200;

/// What happens between two portions of a walk.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// These peers of a torrent announce themselves.
    Come { torrent: u16, peers: (u16, u16), seeders: bool },
    /// These peers leave.
    Leave { torrent: u16, peers: (u16, u16) },
    /// Time passes, and those who are silent are forgotten.
    Wait { minutes: u32 },
    /// So many portions of about so many peers.
    Walk { portions: usize, most: usize },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few or many at once, so that swarms take every form and tables grow and shrink between two portions.
    let peers = || {
        let many = prop_oneof![3 => 1..4_u16, 2 => 30..100_u16, 2 => 300..PEERS];
        (0..PEERS, many).prop_map(|(first, many)| (first, first.saturating_add(many).min(PEERS)))
    };
    let come = (0..TORRENTS, peers(), any::<bool>()).prop_map(|(torrent, peers, seeders)| Step::Come {
        torrent,
        peers,
        seeders,
    });
    let leave = (0..TORRENTS, prop_oneof![peers(), Just((0, PEERS))])
        .prop_map(|(torrent, peers)| Step::Leave { torrent, peers });
    let wait = (1..30_u32).prop_map(|minutes| Step::Wait { minutes });
    let walk = (1..4_usize, 1..500_usize).prop_map(|(portions, most)| Step::Walk { portions, most });
    prop::collection::vec(prop_oneof![6 => come, 3 => leave, 1 => wait, 6 => walk], 1..40)
}

/// What is known of a peer: is it a seeder, and when was it last seen?
type Known = BTreeMap<(InfoHash, SocketAddr), (bool, u32)>;

/// A walk under way, and whom it has to visit.
#[derive(Default)]
struct Walk {
    cursor: Cursor,
    /// Those who have been there since its beginning.
    stayed: BTreeSet<(InfoHash, SocketAddr)>,
    visited: BTreeSet<(InfoHash, SocketAddr)>,
}

/// Runs a history during which walks go on, and compares each with who was there from its beginning to its end.
pub(crate) fn visits_everybody_who_stays<F: AddressFamilies>(steps: &[Step], endpoint: impl Fn(u16) -> SocketAddr) {
    let tracker = TestTracker::<F>::plain(Capacity::NONE, Minute(START));
    let torrents = of_one_shard(&tracker);
    let mut known = Known::new();
    let mut now = START;
    let mut walk = Walk::default();
    // The last walk is brought to its end.
    for step in steps.iter().chain([&Step::Walk { portions: usize::MAX, most: 100 }]) {
        match *step {
            Step::Come { torrent, peers: (first, end), seeders } => {
                for peer in first..end {
                    let name = (torrents[usize::from(torrent)], endpoint(peer));
                    announce(&tracker, name, seeders, Event::Update, now);
                    known.insert(name, (seeders, now));
                }
            }
            Step::Leave { torrent, peers: (first, end) } => {
                for peer in first..end {
                    let name = (torrents[usize::from(torrent)], endpoint(peer));
                    announce(&tracker, name, false, Event::Stopped, now);
                    known.remove(&name);
                }
            }
            Step::Wait { minutes } => {
                now += minutes;
                tracker.sweep(Minute(now), || {});
                known.retain(|_, (_, seen)| now - *seen <= Intervals::MIN_PEER_LIFETIME);
            }
            Step::Walk { portions, most } => {
                for _ in 0..portions {
                    if walk.goes_on(&tracker, &known, most, now) {
                        continue;
                    }
                    walk = Walk { stayed: known.keys().copied().collect(), ..Walk::default() };
                    if portions == usize::MAX {
                        break;
                    }
                }
            }
        }
        walk.stayed.retain(|name| known.contains_key(name));
    }
}

impl Walk {
    /// Walks one portion, and checks that each peer visited is known and as it is known. Returns false at the end, when
    /// everybody who has stayed has been visited.
    fn goes_on<F: AddressFamilies>(&mut self, tracker: &TestTracker<F>, known: &Known, most: usize, now: u32) -> bool {
        let mut budget = most;
        let mut next = Some(self.cursor);
        // Empty shards are no portion.
        while let Some(from) = next.filter(|_| budget == most) {
            let visit = |info_hash: &InfoHash, endpoint: SocketAddr, state: PeerState| {
                let name = (*info_hash, endpoint);
                let (seeder, seen) = known[&name];
                assert_eq!((state.seeder(), state.seen(Minute(now))), (seeder, Minute(seen)));
                self.visited.insert(name);
            };
            next = tracker.store().walk_peers(from, &mut budget, visit);
        }
        if let Some(next) = next {
            self.cursor = next;
            return true;
        }
        let missed: Vec<_> = self.stayed.difference(&self.visited).collect();
        assert!(missed.is_empty(), "{} of {} are not visited: {missed:?}", missed.len(), self.stayed.len());
        false
    }
}

/// Returns the names of [`TORRENTS`] torrents that stand in the same shard.
pub(crate) fn of_one_shard<F: AddressFamilies>(tracker: &TestTracker<F>) -> Vec<InfoHash> {
    let named = (0..u32::MAX).map(|n| {
        let mut info_hash = InfoHash::default();
        info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
        info_hash
    });
    let of_the_shard = named.filter(|info_hash| tracker.store().hash(info_hash).shard() == 7);
    of_the_shard.take(TORRENTS.into()).collect()
}

fn announce<F: AddressFamilies>(
    tracker: &TestTracker<F>,
    (info_hash, endpoint): (InfoHash, SocketAddr),
    seeder: bool,
    event: Event,
    now: u32,
) {
    let announce = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event };
    tracker.announce(&announce, Minute(now), &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_walk_visits_everybody_who_stays(steps in steps()) {
        visits_everybody_who_stays::<Ipv4Only>(&steps, v4);
        visits_everybody_who_stays::<Ipv6Only>(&steps, v6);
    }
}

#[test]
fn a_walk_resumes_at_the_right_torrent_when_the_one_that_it_had_begun_is_gone() {
    let steps = [
        Step::Come { torrent: 0, peers: (0, 500), seeders: false },
        Step::Come { torrent: 1, peers: (0, 500), seeders: false },
        Step::Come { torrent: 2, peers: (0, 500), seeders: false },
        Step::Walk { portions: usize::MAX, most: 100 },
        Step::Walk { portions: 3, most: 100 },
        Step::Leave { torrent: 2, peers: (0, PEERS) },
        Step::Walk { portions: 2, most: 100 },
        Step::Leave { torrent: 0, peers: (0, PEERS) },
    ];
    visits_everybody_who_stays::<Ipv4Only>(&steps, v4);
}

#[test]
fn a_walk_follows_a_swarm_that_grows_shrinks_and_changes_sides() {
    let walk = || Step::Walk { portions: 2, most: 60 };
    let mut steps = vec![Step::Come { torrent: 0, peers: (0, 200), seeders: false }];
    for n in 0..20 {
        let (first, end) = (200 + n * 50, 200 + n * 50 + 50);
        steps.push(Step::Come { torrent: 0, peers: (first, end), seeders: n % 3 == 0 });
        steps.push(walk());
        steps.push(Step::Come { torrent: 0, peers: (n * 10, n * 10 + 10), seeders: true });
        steps.push(walk());
        steps.push(Step::Leave { torrent: 0, peers: (200 + n / 2 * 50, 200 + n / 2 * 50 + 40) });
        steps.push(walk());
    }
    visits_everybody_who_stays::<Ipv4Only>(&steps, v4);
}
