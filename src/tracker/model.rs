//! Tests of the whole tracker: its answers are compared with those of a naive model over random histories.

#[cfg(test)]
mod crowds;
#[cfg(test)]
pub(crate) mod walks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fastrand::Rng;
#[cfg(test)]
use proptest::prelude::*;

use super::announce::AnnounceOutcome;
use super::clock::TORRENT_LIFETIME;
use super::counts::SwarmCounts;
use super::families::{AddressFamilies, Ipv4Only, PeerBuffer, PeerBuffers, PeerRequest};
use super::flavour::Flavour;
use super::peer::PeerState;
use super::store::{Census, Cursor};
use super::testing::{Ipv6Only, TestTracker};
use super::{AnnounceError, AnnounceRequest, Capacity, Event, InfoHash, Intervals, Minute, ScrapeCounts, Tracker};

/// Not a round number, so that minutes modulo 64 and 256 wrap early.
const START: u32 = 29_000_191;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Announce { torrent: u8, peer: u16, seeder: bool, uploaded: bool, has_port: bool, event: Event, wanted: usize },
    Scrape { torrent: u8 },
    Wait { minutes: u32 },
}

#[cfg(test)]
pub(crate) fn steps(peers: u16) -> impl Strategy<Value = Vec<Step>> {
    let event = prop_oneof![7 => Just(Event::Update), 2 => Just(Event::Completed), 2 => Just(Event::Stopped)];
    let announce =
        (0..3_u8, 0..peers, prop::bool::weighted(0.3), any::<bool>(), prop::bool::weighted(0.9), event, 0..120_usize)
            .prop_map(|(torrent, peer, seeder, uploaded, has_port, event, wanted)| Step::Announce {
                torrent,
                peer,
                seeder,
                uploaded,
                has_port,
                event,
                wanted,
            });
    let minutes = prop_oneof![30 => 1..12_u32, 6 => 30..60_u32, 1 => 200..3000_u32];
    prop::collection::vec(
        prop_oneof![40 => announce, 1 => (0..3_u8).prop_map(|torrent| Step::Scrape { torrent }),
                    1 => minutes.prop_map(|minutes| Step::Wait { minutes })],
        1..1500,
    )
}

/// What the model knows of a torrent.
#[derive(Default)]
pub(crate) struct ModelTorrent {
    peers: BTreeMap<SocketAddr, ModelPeer>,
    downloaded: u32,
    touched: u32,
}

struct ModelPeer {
    seeder: bool,
    counted: bool,
    seen: u32,
}

impl ModelTorrent {
    pub(crate) fn counts(&self) -> SwarmCounts {
        let seeders = self.peers.values().filter(|peer| peer.seeder).count();
        SwarmCounts { seeders, leechers: self.peers.len() - seeders }
    }

    pub(crate) fn scrape_counts(&self) -> ScrapeCounts {
        let SwarmCounts { seeders, leechers } = self.counts();
        ScrapeCounts { seeders: seeders as u32, leechers: leechers as u32, downloaded: self.downloaded }
    }
}

/// Intervals with lifetimes of peers from the shortest to the longest.
#[cfg(test)]
pub(crate) fn intervals() -> impl Strategy<Value = Intervals> {
    prop::sample::select(vec![300, 1800, 1801, 2400, 3600]).prop_map(|interval| Intervals::new(interval, None))
}

/// Runs a history through a tracker with these intervals and through the model, and compares every answer. `endpoint`
/// says where the n-th peer is.
#[cfg(test)]
pub(crate) fn holds_like_the_model<F: AddressFamilies>(
    intervals: Intervals,
    steps: &[Step],
    endpoint: impl Fn(u16) -> SocketAddr,
) {
    holds_like_the_model_with_limit::<F>(intervals, 0, steps, endpoint);
}

/// [`holds_like_the_model`], with a limit to the peers of one address.
#[cfg(test)]
pub(crate) fn holds_like_the_model_with_limit<F: AddressFamilies>(
    intervals: Intervals,
    limit: u32,
    steps: &[Step],
    endpoint: impl Fn(u16) -> SocketAddr,
) {
    let tracker = TestTracker::<F>::with_address_limit(intervals, limit, Minute(START));
    let mut model = BTreeMap::<u8, ModelTorrent>::new();
    let mut now = START;
    let mut rng = Rng::with_seed(3);
    for (n, step) in steps.iter().enumerate() {
        match *step {
            Step::Announce { torrent, peer, seeder, uploaded, has_port, event, wanted } => {
                let mut at = endpoint(peer);
                if !has_port {
                    at.set_port(0);
                }
                let announce =
                    AnnounceRequest { info_hash: InfoHash([torrent; 20]), endpoint: at, seeder, uploaded, event };
                let (mut ipv4, mut ipv6) = ([0; 120 * 6 + PeerBuffer::SPARE], [0; 120 * 18 + PeerBuffer::SPARE]);
                let into = PeerBuffers::Both { ipv4: PeerBuffer::new(&mut ipv4), ipv6: PeerBuffer::new(&mut ipv6) };
                let mut peers = PeerRequest { wanted, into };
                let outcome = tracker.announce(&announce, Minute(now), &mut rng, &mut peers).unwrap();
                crowds::displace(&tracker, model.get_mut(&torrent), &announce, limit);
                let expected = model_announce(&mut model, torrent, &announce, now);
                assert_eq!(outcome, expected);
                check_selection(model.get(&torrent), &announce, wanted, peers.into.written());
            }
            Step::Scrape { torrent } => {
                let expected = model.get(&torrent).map(ModelTorrent::scrape_counts);
                assert_eq!(tracker.scrape(&InfoHash([torrent; 20])), expected);
            }
            Step::Wait { minutes } => {
                now += minutes;
                tracker.sweep(Minute(now), || {});
                model_sweep(&mut model, now, intervals.peer_lifetime());
                crowds::trim(&tracker, &mut model, limit);
            }
        }
        // Looking at every shard is slow: not after each step.
        if n % 32 == 0 || n + 1 == steps.len() || matches!(step, Step::Wait { .. }) {
            compare(&tracker, &model);
        }
    }
}

/// Has a client announce itself to the model. Returns what the tracker has to say.
pub(crate) fn model_announce(
    model: &mut BTreeMap<u8, ModelTorrent>,
    name: u8,
    announce: &AnnounceRequest,
    now: u32,
) -> AnnounceOutcome {
    let mut outcome = AnnounceOutcome::default();
    if announce.endpoint.port() == 0 {
        outcome.counts = model.get(&name).map(ModelTorrent::scrape_counts).unwrap_or_default();
        return outcome;
    }
    if announce.event == Event::Stopped && !model.contains_key(&name) {
        return outcome;
    }
    let torrent = model.entry(name).or_default();
    torrent.touched = now;
    let old = torrent.peers.remove(&announce.endpoint);
    if announce.event != Event::Stopped {
        outcome.back_after = old.as_ref().map(|old| now - old.seen);
        let counted = old.is_some_and(|old| old.counted);
        let completes = announce.event == Event::Completed && announce.seeder;
        outcome.counted_download = completes && !counted;
        torrent.downloaded += u32::from(outcome.counted_download);
        let peer = ModelPeer { seeder: announce.seeder, counted: counted || completes, seen: now };
        torrent.peers.insert(announce.endpoint, peer);
    }
    outcome.counts = torrent.scrape_counts();
    if torrent.peers.is_empty() && torrent.downloaded == 0 {
        model.remove(&name);
    }
    outcome
}

/// Forgets who has been silent for too long.
pub(crate) fn model_sweep(model: &mut BTreeMap<u8, ModelTorrent>, now: u32, peer_lifetime: u32) {
    model.retain(|_, torrent| {
        let had_peers = !torrent.peers.is_empty();
        torrent.peers.retain(|_, peer| now - peer.seen <= peer_lifetime);
        if had_peers && torrent.peers.is_empty() {
            // Whoever has just expired was last heard of one lifetime ago; the tracker keeps no more exact time.
            torrent.touched = now - peer_lifetime - 1;
        }
        !torrent.peers.is_empty() || torrent.downloaded > 0 && now - torrent.touched <= TORRENT_LIFETIME
    });
}

/// Checks that as many peers are handed out as are wanted and eligible, none of them twice, and not the requester.
pub(crate) fn check_selection(
    torrent: Option<&ModelTorrent>,
    announce: &AnnounceRequest,
    wanted: usize,
    [ipv4, ipv6]: [&[u8]; 2],
) {
    let none = BTreeMap::new();
    let peers = torrent.filter(|_| announce.event != Event::Stopped).map_or(&none, |torrent| &torrent.peers);
    let others = || peers.iter().filter(|(at, _)| **at != announce.endpoint);
    let leechers = others().filter(|(_, peer)| !peer.seeder).count();
    let handed: Vec<_> = ipv4.chunks(6).chain(ipv6.chunks(18)).map(endpoint_of).collect();
    assert_eq!(handed.iter().collect::<BTreeSet<_>>().len(), handed.len(), "a peer is handed out twice");
    let is_handed = |at: &SocketAddr| handed.contains(at);
    let handed_leechers = others().filter(|(at, peer)| !peer.seeder && is_handed(at)).count();
    let handed_seeders = others().filter(|(at, peer)| peer.seeder && is_handed(at)).count();
    assert_eq!(handed_leechers + handed_seeders, handed.len(), "somebody who is not there, or the client itself");
    if announce.seeder && announce.uploaded {
        assert_eq!((handed_leechers, handed_seeders), (wanted.min(leechers), 0));
    } else {
        assert_eq!(handed.len(), wanted.min(others().count()));
        assert!(!announce.seeder || handed_leechers == wanted.min(leechers), "leechers come first");
    }
}

fn endpoint_of(compact: &[u8]) -> SocketAddr {
    let (address, port) = compact.split_at(compact.len() - 2);
    let port = u16::from_be_bytes(port.try_into().unwrap());
    match address.try_into().map(<[u8; 4]>::into) {
        Ok(v4) => SocketAddr::new(IpAddr::V4(v4), port),
        Err(_) => SocketAddr::new(IpAddr::V6(<[u8; 16]>::try_from(address).unwrap().into()), port),
    }
}

fn compare<F: AddressFamilies>(tracker: &TestTracker<F>, model: &BTreeMap<u8, ModelTorrent>) {
    let mut census = Census { torrents: model.len(), ..Census::default() };
    for torrent in model.values() {
        census.peers.seeders += torrent.counts().seeders;
        census.peers.leechers += torrent.counts().leechers;
    }
    assert_eq!(tracker.store().census(), census);
    let mut walked = BTreeSet::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = tracker.store().walk(from, 1, |torrent| assert!(walked.insert(torrent.info_hash.0[0])));
    }
    assert!(walked.iter().eq(model.keys()));
    let mut walked = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = tracker.store().walk_peers(from, &mut 50, |_, endpoint, _| walked.push(endpoint));
    }
    walked.sort();
    let mut peers: Vec<_> = model.values().flat_map(|torrent| torrent.peers.keys().copied()).collect();
    peers.sort();
    assert_eq!(walked, peers);
}

/// Histories are long: a fifth of the usual number of them. What fails is printed whole, so no file keeps it.
#[cfg(test)]
pub(crate) fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(5), failure_persistence: None, ..usual }
}

fn v4(n: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8), 1000 + n % 7).into()
}

fn v6(n: u16) -> SocketAddr {
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 1000 + n % 7).into()
}

#[cfg(test)]
proptest! {
    #![proptest_config(config())]

    #[test]
    fn small_swarms_hold_like_the_model(intervals in intervals(), steps in steps(6)) {
        holds_like_the_model::<Ipv4Only>(intervals, &steps, v4);
        holds_like_the_model::<Ipv6Only>(intervals, &steps, v6);
    }

    #[test]
    fn middling_swarms_hold_like_the_model(intervals in intervals(), steps in steps(90)) {
        holds_like_the_model::<Ipv4Only>(intervals, &steps, v4);
        holds_like_the_model::<Ipv6Only>(intervals, &steps, v6);
    }

    #[test]
    fn large_swarms_hold_like_the_model(intervals in intervals(), steps in steps(1500)) {
        holds_like_the_model::<Ipv4Only>(intervals, &steps, v4);
        holds_like_the_model::<Ipv6Only>(intervals, &steps, v6);
    }
}

#[cfg(test)]
proptest! {
    #![proptest_config(config())]

    #[test]
    fn swarms_of_few_addresses_hold_like_the_model(
        intervals in intervals(),
        limit in 1..20_u32,
        steps in prop_oneof![steps(6), steps(90), steps(1500)],
    ) {
        holds_like_the_model_with_limit::<Ipv4Only>(intervals, limit, &steps, |n| crowds::crowded(v4(n), n));
        holds_like_the_model_with_limit::<Ipv6Only>(intervals, limit, &steps, |n| crowds::crowded(v6(n), n));
    }
}

fn come<F: Flavour>(
    tracker: &Tracker<F>,
    torrent: u16,
    peer: u16,
    event: Event,
) -> Result<AnnounceOutcome, AnnounceError> {
    let mut info_hash = InfoHash([0; 20]);
    info_hash.0[..2].copy_from_slice(&torrent.to_be_bytes());
    let announce = AnnounceRequest { info_hash, endpoint: v4(peer), seeder: false, uploaded: false, event };
    tracker.announce(&announce, Minute(START), &mut Rng::with_seed(1), &mut PeerRequest::none())
}

#[test]
fn many_torrents_are_all_found_and_all_forgotten() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(START));
    for torrent in 0..20_000 {
        come(&tracker, torrent, 1, Event::Update).unwrap();
    }
    assert_eq!(tracker.store().census().torrents, 20_000);
    for torrent in (0..20_000).step_by(2) {
        come(&tracker, torrent, 1, Event::Stopped).unwrap();
    }
    assert_eq!(tracker.store().census().torrents, 10_000);
    for torrent in (1..20_000).step_by(2) {
        assert_eq!(come(&tracker, torrent, 1, Event::Update).unwrap().back_after, Some(0));
    }
    let mut pauses = 0;
    tracker.sweep(Minute(START + Intervals::MIN_PEER_LIFETIME), || pauses += 1);
    assert_eq!(tracker.store().census().torrents, 10_000, "45 minutes are not over yet");
    assert!(pauses >= 1024, "no lock is held for longer than a shard takes");
    tracker.sweep(Minute(START + Intervals::MIN_PEER_LIFETIME + 1), || {});
    assert_eq!(tracker.store().census(), Census::default());
}

#[test]
fn a_swarm_is_swept_in_portions() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(START));
    for peer in 0..60_000 {
        come(&tracker, 1, peer, Event::Update).unwrap();
    }
    let mut pauses = 0;
    tracker.sweep(Minute(START + Intervals::MIN_PEER_LIFETIME + 1), || pauses += 1);
    assert_eq!(tracker.store().census(), Census::default());
    assert!(pauses > 1024 + 10, "{pauses}: the lock was held for the whole swarm");
}

#[test]
fn limits_hold_and_what_is_known_stays_welcome() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 3, peers: 5, ..Capacity::NONE }, Minute(START));
    for torrent in 0..3 {
        come(&tracker, torrent, 1, Event::Update).unwrap();
    }
    assert_eq!(come(&tracker, 3, 1, Event::Update), Err(AnnounceError::Full), "a fourth torrent");
    come(&tracker, 0, 2, Event::Update).unwrap();
    come(&tracker, 0, 3, Event::Update).unwrap();
    let sixth = come(&tracker, 0, 4, Event::Update).expect("there are peers to hand out");
    assert_eq!((sixth.counts.leechers, tracker.store().census().peers.leechers), (3, 5), "a sixth peer is not kept");
    assert!(come(&tracker, 0, 3, Event::Update).unwrap().back_after.is_some());
    come(&tracker, 2, 1, Event::Stopped).unwrap();
    come(&tracker, 3, 4, Event::Update).expect("a torrent and a peer have left");
    assert_eq!(come(&tracker, 3, 5, Event::Update).map(|outcome| outcome.counts.leechers), Ok(1));
    assert_eq!(tracker.store().census().peers.leechers, 5);
    assert_eq!(tracker.store().census().torrents, 3);
}

#[test]
fn what_can_never_be_reached_is_refused() {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(START));
    let announce = |endpoint: &str| {
        let endpoint = endpoint.parse().unwrap();
        let announce = AnnounceRequest {
            info_hash: InfoHash([1; 20]),
            endpoint,
            seeder: false,
            uploaded: false,
            event: Event::Update,
        };
        tracker.announce(&announce, Minute(START), &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap_err()
    };
    assert_eq!(announce("[2001:db8::1]:80"), AnnounceError::FamilyNotServed);
    assert_eq!(announce("[2001:db8::1]:0"), AnnounceError::FamilyNotServed);
    assert_eq!(tracker.store().census().torrents, 0);
}

#[test]
fn a_process_that_was_stopped_for_hours_forgets_everybody_and_keeps_the_downloads() {
    let gaps = [PeerState::MAX_SWEEP_GAP, PeerState::MAX_SWEEP_GAP + 1, 256, 300, 512];
    let with_each_lifetime = |gap: u32| [300, 3600].map(|interval| (gap, Intervals::new(interval, None)));
    for (gap, intervals) in gaps.into_iter().flat_map(with_each_lifetime) {
        let tracker = TestTracker::<Ipv4Only>::with_intervals(intervals, Minute(START));
        let seeder = AnnounceRequest {
            info_hash: InfoHash([0; 20]),
            endpoint: v4(1),
            seeder: true,
            uploaded: false,
            event: Event::Completed,
        };
        tracker.announce(&seeder, Minute(START), &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
        come(&tracker, 1, 1, Event::Update).unwrap();
        tracker.sweep(Minute(START + gap), || {});
        assert_eq!(
            tracker.store().census(),
            Census { torrents: 1, peers: SwarmCounts::default() },
            "after {gap} minutes"
        );
        assert_eq!(tracker.scrape(&InfoHash([0; 20])).map(|counts| counts.downloaded), Some(1));
    }
}
