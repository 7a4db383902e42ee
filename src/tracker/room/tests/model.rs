//! What goes and what stays, beside a naive model.

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;
use crate::tracker::model::config;
use crate::tracker::testing::Ipv6Only;

const LIMIT: u64 = 1500;
const SHARE: u64 = 23;

fn v6(network: u8, n: u16) -> SocketAddr {
    ([0x2001, 0xdb8, network.into(), n, 1, 2, 3, n], 1000 + n).into()
}

/// What happens before room is made.
#[derive(Debug, Clone)]
enum Act {
    /// Somebody of a network makes torrents, each with so many peers, and perhaps one of the next network.
    Make { network: u8, torrents: u16, peers: u16, mixed: bool },
    /// Somebody makes torrents, has so many downloads of each counted, and leaves.
    CompleteAndLeave { network: u8, torrents: u16, downloads: u16 },
    /// The torrents with these numbers and no downloads are left by everybody.
    Leave { first: u32, torrents: u32 },
    /// Time passes.
    Wait { minutes: u32 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let few = || prop_oneof![4 => 1..12_u16, 2 => 12..60_u16, 2 => 100..500_u16];
    let make = (0..7_u8, few(), prop_oneof![5 => 1..3_u16, 1 => 3..12_u16, 1 => 66..80_u16], prop::bool::weighted(0.2))
        .prop_map(|(network, torrents, peers, mixed)| {
            let torrents = torrents.min(3000 / peers);
            Act::Make { network, torrents, peers, mixed }
        });
    let complete =
        (0..7_u8, few(), prop_oneof![4 => 1..4_u16, 1 => 100..300_u16]).prop_map(|(network, torrents, downloads)| {
            Act::CompleteAndLeave { network, torrents: torrents.min(2000 / downloads), downloads }
        });
    let leave = (0..1000_u32, 1..100_u32).prop_map(|(first, torrents)| Act::Leave { first, torrents });
    let wait = (1..15_u32).prop_map(|minutes| Act::Wait { minutes });
    prop::collection::vec(prop_oneof![8 => make, 4 => complete, 2 => leave, 2 => wait], 1..16)
}

#[derive(Default)]
struct ModelTorrent {
    /// When each was seen last.
    peers: BTreeMap<SocketAddr, Minute>,
    downloads: u32,
    touched: Minute,
}

impl ModelTorrent {
    fn sole_network(&self) -> Option<Network> {
        let networks: BTreeSet<_> = self.peers.keys().map(|endpoint| Network::of(endpoint.ip())).collect();
        if networks.len() == 1 { networks.first().copied() } else { None }
    }
}

/// A tracker with a history, and what is known of it.
struct Filled<F: AddressFamilies> {
    tracker: TestTracker<F>,
    torrents: BTreeMap<u32, ModelTorrent>,
    now: Minute,
}

impl<F: AddressFamilies> Filled<F> {
    /// Goes through a history as far as the limits go.
    fn with(capacity: Capacity, acts: &[Act], at: fn(u8, u16) -> SocketAddr) -> Self {
        let tracker = TestTracker::<F>::plain(capacity, START);
        let mut filled = Self { tracker, torrents: BTreeMap::new(), now: START };
        let mut next = 0;
        let is_full = |filled: &Self, more: u16| {
            let peers = filled.torrents.values().map(|torrent| torrent.peers.len()).sum::<usize>();
            filled.torrents.len() as u64 == capacity.torrents || (peers + usize::from(more)) as u64 > capacity.peers
        };
        for act in acts {
            match *act {
                Act::Make { network, torrents, peers, mixed } => {
                    for _ in 0..torrents {
                        if is_full(&filled, peers + 1) {
                            break;
                        }
                        let others = mixed.then(|| at(network + 1, 0));
                        for endpoint in (0..peers).map(|n| at(network, n)).chain(others) {
                            filled.announce(next, endpoint, Event::Update);
                        }
                        next += 1;
                    }
                }
                Act::CompleteAndLeave { network, torrents, downloads } => {
                    for _ in 0..torrents {
                        if is_full(&filled, 1) {
                            break;
                        }
                        for n in 0..downloads {
                            filled.announce(next, at(network, n), Event::Completed);
                            filled.announce(next, at(network, n), Event::Stopped);
                        }
                        next += 1;
                    }
                }
                Act::Leave { first, torrents } => {
                    for torrent in first..first + torrents {
                        let model = filled.torrents.get(&torrent).filter(|model| model.downloads == 0);
                        let peers: Vec<_> = model.into_iter().flat_map(|model| model.peers.keys().copied()).collect();
                        peers.iter().for_each(|endpoint| filled.announce(torrent, *endpoint, Event::Stopped));
                    }
                }
                Act::Wait { minutes } => filled.now = filled.now + minutes,
            }
        }
        filled
    }

    fn announce(&mut self, torrent: u32, endpoint: SocketAddr, event: Event) {
        announce(&self.tracker, torrent, endpoint, event, self.now).unwrap();
        let model = self.torrents.entry(torrent).or_default();
        model.touched = self.now;
        model.downloads += u32::from(event == Event::Completed);
        if event == Event::Stopped {
            model.peers.remove(&endpoint);
        } else {
            model.peers.insert(endpoint, self.now);
        }
        if model.peers.is_empty() && model.downloads == 0 {
            self.torrents.remove(&torrent);
        }
    }

    /// Returns the position of every torrent in its shard.
    fn positions(&self) -> BTreeMap<u32, Position> {
        let mut positions = BTreeMap::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.tracker.store().take_torrents(from, 10, 10, |position, torrent, _| {
                let [a, b, c, d, ..] = torrent.info_hash.0;
                positions.insert(u32::from_be_bytes([a, b, c, d]), position);
                Fate::Stays
            });
        }
        positions
    }

    /// Returns all peers.
    fn peers(&self) -> BTreeSet<(u32, SocketAddr)> {
        let mut peers = BTreeSet::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.tracker.store().walk_peers(from, &mut 1000, |info_hash, endpoint, _| {
                let [a, b, c, d, ..] = info_hash.0;
                peers.insert((u32::from_be_bytes([a, b, c, d]), endpoint));
            });
        }
        peers
    }
}

/// What makes one go before another. Which of those goes that are alike does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alike {
    OfNetwork(Network, Rank),
    Empty(usize),
}

/// Returns which of `held` go, one after the other, until as many are gone as lack.
fn expected_to_go(held: &[(Network, Rank)], lacking: usize) -> Vec<Alike> {
    let mut keeps = BTreeMap::<_, u64>::new();
    held.iter().for_each(|(network, _)| *keeps.entry(*network).or_default() += 1);
    let mut order = held.to_vec();
    order.sort_unstable_by_key(|(network, rank)| (Reverse(*rank), *network));
    let mut going = Vec::new();
    for (network, rank) in order {
        let keeps = keeps.entry(network).or_default();
        if going.len() < lacking && *keeps > SHARE {
            *keeps -= 1;
            going.push(Alike::OfNetwork(network, rank));
        }
    }
    going
}

/// Returns how many of so many have to go.
fn lacking(held: usize) -> usize {
    (held + LIMIT.div_ceil(10) as usize).saturating_sub(LIMIT as usize)
}

fn sorted(mut all: Vec<Alike>) -> Vec<Alike> {
    all.sort_unstable();
    all
}

fn takes_the_torrents_that_the_model_takes<F: AddressFamilies>(acts: &[Act], at: fn(u8, u16) -> SocketAddr) {
    let filled = Filled::<F>::with(Capacity { torrents: LIMIT, peers: u64::MAX, ..Capacity::NONE }, acts, at);
    let before = filled.positions();
    assert!(before.keys().eq(filled.torrents.keys()));
    let empty_rank = |model: &ModelTorrent| {
        let torrent = Torrent::<F> { downloaded: model.downloads, ..Torrent::default() };
        let mut torrent = torrent;
        torrent.peers.set_empty_since(model.touched);
        empty_rank(&torrent, filled.now).unwrap()
    };
    let alike = |torrent: u32| {
        let model = &filled.torrents[&torrent];
        if model.peers.is_empty() {
            return Some(Alike::Empty(empty_rank(model)));
        }
        Some(Alike::OfNetwork(model.sole_network()?, position_rank(before[&torrent])))
    };
    let (mut of_networks, mut empty) = (Vec::new(), Vec::new());
    for alike in before.keys().filter_map(|torrent| alike(*torrent)) {
        match alike {
            Alike::OfNetwork(network, rank) => of_networks.push((network, rank)),
            Alike::Empty(rank) => empty.push(rank),
        }
    }
    let mut expected = expected_to_go(&of_networks, lacking(before.len()));
    empty.sort_unstable_by_key(|rank| Reverse(*rank));
    let and_empty: Vec<_> = empty.into_iter().map(Alike::Empty).take(lacking(before.len()) - expected.len()).collect();
    let counts = (expected.len() as u64, and_empty.len() as u64);
    expected.extend(and_empty);

    let taken = filled.tracker.make_room(filled.now, || true);
    assert_eq!((taken.torrents, taken.empty_torrents, taken.peers), (counts.0, counts.1, 0));
    assert_eq!(taken.networks.values().sum::<u64>(), taken.torrents);
    let after = filled.positions();
    let gone = before.keys().filter(|torrent| !after.contains_key(torrent));
    let gone: Vec<_> = gone.map(|torrent| alike(*torrent).expect("it is of several networks")).collect();
    assert_eq!(sorted(gone), sorted(expected));
    // Who stays is whole.
    let peers = after.keys().flat_map(|torrent| filled.torrents[torrent].peers.keys().map(|peer| (*torrent, *peer)));
    assert!(filled.peers().into_iter().eq(peers));
    assert_eq!(filled.tracker.store().torrent_allowance().lacking() as usize, lacking(after.len()));
    assert_eq!(filled.tracker.store().census().torrents, after.len());
}

fn takes_the_peers_that_the_model_takes<F: AddressFamilies>(acts: &[Act], at: fn(u8, u16) -> SocketAddr) {
    let filled = Filled::<F>::with(Capacity { torrents: u64::MAX, peers: LIMIT, ..Capacity::NONE }, acts, at);
    let age = |(torrent, peer): (u32, SocketAddr)| {
        Rank::try_from(filled.now.since(filled.torrents[&torrent].peers[&peer])).unwrap()
    };
    let before = filled.peers();
    let held: Vec<_> = before.iter().map(|peer| (Network::of(peer.1.ip()), age(*peer))).collect();
    let expected = expected_to_go(&held, lacking(before.len()));

    let taken = filled.tracker.make_room(filled.now, || true);
    assert_eq!((taken.torrents, taken.empty_torrents, taken.peers), (0, 0, expected.len() as u64));
    let after = filled.peers();
    let gone: Vec<_> = before.difference(&after).copied().collect();
    let gone = gone.into_iter().map(|peer| Alike::OfNetwork(Network::of(peer.1.ip()), age(peer)));
    assert_eq!(sorted(gone.collect()), sorted(expected));
    // Downloads stay, and nothing is left of a torrent that had none.
    let torrents = filled.positions();
    for (torrent, model) in &filled.torrents {
        let has_peers = after.range((*torrent, SocketAddr::from(([0, 0, 0, 0], 0)))..).next();
        let has_peers = has_peers.is_some_and(|(found, _)| found == torrent);
        assert_eq!(torrents.contains_key(torrent), has_peers || model.downloads > 0);
        let counted = filled.tracker.scrape(&info_hash(*torrent)).map_or(0, |counts| counts.downloaded);
        assert_eq!(counted, if torrents.contains_key(torrent) { model.downloads } else { 0 });
    }
    let census = filled.tracker.store().census();
    assert_eq!((census.torrents, census.peers.peers()), (torrents.len(), after.len()));
    assert_eq!(filled.tracker.store().peer_allowance().lacking() as usize, lacking(after.len()));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn torrents_of_large_networks_go_first_then_empty_ones_and_nothing_else(acts in acts()) {
        takes_the_torrents_that_the_model_takes::<Ipv4Only>(&acts, v4);
        takes_the_torrents_that_the_model_takes::<Ipv6Only>(&acts, v6);
    }

    #[test]
    fn peers_of_large_networks_go_the_longest_silent_first_and_nobody_else(acts in acts()) {
        takes_the_peers_that_the_model_takes::<Ipv4Only>(&acts, v4);
        takes_the_peers_that_the_model_takes::<Ipv6Only>(&acts, v6);
    }
}

#[test]
fn the_share_of_the_model_is_that_of_a_network() {
    assert_eq!(share(LIMIT), SHARE);
}
