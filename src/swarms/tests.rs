//! Streams from one tracker into another, held against what each knows.

mod errors;
mod interleaved;
mod limits;
mod times;

use std::net::SocketAddr;
use std::sync::Arc;

use fastrand::Rng;
use proptest::prelude::*;

use super::fuzz::{Families, NOW};
use super::model::{Known, Model, known};
use super::{Header, Progress, Reader, Writer};
use crate::tracker::keyed_hash::HashKey;
use crate::tracker::model::{config, intervals};
use crate::tracker::testing::{Ipv6Only, NotThatOne, THAT_ONE, TestFlavour, TestTracker};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Event, Flavour, InfoHash, Intervals, Ipv4Only, MergeCounts, Minute,
    Open, PeerRequest, Standalone, Tracker,
};

/// The bound of a piece.
const MAX_PIECE: usize = 64 * 1024;

/// What happens in a tracker.
#[derive(Debug, Clone)]
enum Step {
    /// These peers of a torrent announce themselves.
    Come { torrent: u16, peers: (u16, u16), event: Event },
    /// Time passes, and who is silent is forgotten.
    Wait { minutes: u32 },
    /// So many pieces of about so many torrents and peers are written.
    Write { pieces: usize, most: usize },
}

/// Steps with so many torrents and peers.
fn steps(torrents: u16, peers: u16) -> impl Strategy<Value = Vec<Step>> {
    // Few or many at once, so that swarms take every form.
    let some = (0..peers, prop_oneof![3 => 1..4_u16, 2 => 30..100_u16, 1 => 300..600_u16])
        .prop_map(move |(first, many)| (first, first.saturating_add(many).min(peers)));
    let event = prop_oneof![3 => Just(Event::Update), 2 => Just(Event::Completed), 2 => Just(Event::Stopped)];
    let come = (0..torrents, some, event).prop_map(|(torrent, peers, event)| Step::Come { torrent, peers, event });
    let wait = prop_oneof![4 => 0..3_u32, 1 => 3..60_u32].prop_map(|minutes| Step::Wait { minutes });
    let write = (1..4_usize, 1..300_usize).prop_map(|(pieces, most)| Step::Write { pieces, most });
    prop::collection::vec(prop_oneof![6 => come, 2 => wait, 5 => write], 1..40)
}

/// Returns where a peer is: in a tracker of both families every third has IPv6.
fn endpoint<F: AddressFamilies>(peer: u16) -> SocketAddr {
    let [high, low] = peer.to_be_bytes();
    if F::IPV4 && (peer % 3 > 0 || !F::IPV6) {
        SocketAddr::from(([10, 0, high, low], 6881))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, peer, 0, 0, 0, 1], 6881))
    }
}

fn announce<F: Flavour>(tracker: &Tracker<F>, info_hash: InfoHash, peer: u16, event: Event, now: Minute) -> bool {
    let endpoint = endpoint::<F::Families>(peer);
    let seeder = event == Event::Completed;
    let announce = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event };
    tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).is_ok()
}

fn named(torrent: u16) -> InfoHash {
    let mut info_hash = InfoHash::default();
    info_hash.0[..2].copy_from_slice(&torrent.to_be_bytes());
    info_hash
}

/// Returns all that a tracker in which nothing happens writes.
fn written<F: Flavour>(tracker: &Arc<Tracker<F>>, now: Minute) -> Vec<u8> {
    let (mut writer, mut bytes) = (Writer::new(Arc::clone(tracker), 7, now), Vec::new());
    loop {
        let before = bytes.len();
        let progress = writer.write_unchanged(now, &mut bytes);
        assert!(bytes.len() - before <= MAX_PIECE, "a piece of {} bytes", bytes.len() - before);
        if progress == Progress::Done {
            return bytes;
        }
    }
}

fn plain<F: AddressFamilies>() -> Arc<TestTracker<F>> {
    Arc::new(TestTracker::<F>::plain(Capacity::NONE, NOW))
}

/// Returns a tracker that is to read. Its key is another than that of who wrote, as it is in two processes: in the
/// order of its own hashes, a large table is filled very slowly.
fn reading<F: AddressFamilies>() -> Arc<TestTracker<F>> {
    let flavour = TestFlavour::with_plugs(Open, Standalone);
    Arc::new(Tracker::new(other_key(), Capacity::NONE, Intervals::default(), NOW, flavour))
}

fn other_key() -> HashKey {
    HashKey::from_bytes(&std::array::from_fn(|i| (i * 31 + 3) as u8))
}

/// Reads a stream to its end. Returns what has come of it.
fn read<F: Flavour>(into: &Arc<Tracker<F>>, stream: &[u8], now: Minute) -> MergeCounts {
    let mut reader = Reader::new(Arc::clone(into), 0);
    reader.read(stream, now).unwrap();
    assert!(reader.is_whole());
    *reader.counts()
}

#[test]
fn what_was_written_is_known_where_it_is_read() {
    fn check<F: AddressFamilies>() {
        let from = plain::<F>();
        for torrent in 0..200 {
            for peer in 0..=torrent {
                let event = if peer % 5 == 0 { Event::Completed } else { Event::Update };
                announce(&from, named(torrent), peer, event, NOW + u32::from(peer % 40));
            }
        }
        // Some have nobody any more, and keep their downloads.
        for torrent in 0..4 {
            (0..=torrent).for_each(|peer| _ = announce(&from, named(torrent), peer, Event::Stopped, NOW + 39));
        }
        let now = NOW + 40;
        let into = reading::<F>();
        let counts = read(&into, &written(&from, now), now);
        assert_eq!(known(&into, now), known(&from, now));
        let census = into.store().census();
        assert_eq!(census, from.store().census());
        assert_eq!((counts.torrents, counts.peers), (census.torrents as u64, census.peers.peers() as u64));
        let downloads: u64 = known(&from, now).values().map(|torrent| u64::from(torrent.downloaded)).sum();
        assert_eq!((counts.downloads, counts.left_out.total()), (downloads, 0));
    }
    check::<Ipv4Only>();
    check::<Ipv6Only>();
    check::<Families>();
}

#[test]
fn the_header_tells_of_the_writer_and_is_read_alone() {
    let check = |bytes: Vec<u8>, ipv4, ipv6| {
        let header = Header { ipv4, ipv6, generation: 7, minute: NOW + 3 };
        assert_eq!(Header::read(&bytes), Some(Ok(header)));
        assert_eq!(Header::read(&bytes[..Header::LEN]), Some(Ok(header)));
        assert_eq!(Header::read(&bytes[..Header::LEN - 1]), None);
        let mut reader = Reader::new(reading::<Ipv4Only>(), 0);
        assert_eq!((reader.header(), reader.is_whole()), (None, false));
        reader.read(&bytes[..Header::LEN], NOW).unwrap();
        assert_eq!((reader.header(), reader.is_whole()), (Some(&header), false));
    };
    check(written(&plain::<Ipv4Only>(), NOW + 3), true, false);
    check(written(&plain::<Ipv6Only>(), NOW + 3), false, true);
    check(written(&plain::<Families>(), NOW + 3), Families::IPV4, Families::IPV6);
}

#[test]
fn an_ipv4_peer_takes_eight_bytes_and_an_ipv6_peer_twenty() {
    fn len<F: AddressFamilies>(peers: u16) -> usize {
        let from = plain::<F>();
        (0..peers).for_each(|peer| _ = announce(&from, named(1), peer, Event::Update, NOW));
        written(&from, NOW).len()
    }
    let none = Header::LEN + 1 + 32;
    assert_eq!((len::<Ipv4Only>(0), len::<Ipv4Only>(1), len::<Ipv4Only>(60)), (none, none + 29 + 8, none + 29 + 480));
    assert_eq!((len::<Ipv6Only>(0), len::<Ipv6Only>(1), len::<Ipv6Only>(60)), (none, none + 29 + 20, none + 29 + 1200));
}

#[test]
fn a_swarm_of_a_hundred_thousand_comes_in_small_pieces() {
    fn check<F: AddressFamilies>() {
        let from = plain::<F>();
        for peer in 0..100_000_u32 {
            let port = (peer >> 16) as u16 + 1;
            let mut endpoint = endpoint::<F>(peer as u16);
            endpoint.set_port(port);
            let event = if peer % 7 == 0 { Event::Completed } else { Event::Update };
            let announce = AnnounceRequest {
                info_hash: named(1),
                endpoint,
                seeder: event == Event::Completed,
                uploaded: false,
                event,
            };
            from.announce(&announce, NOW, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
        }
        let stream = written(&from, NOW);
        let into = reading::<F>();
        let mut reader = Reader::new(Arc::clone(&into), 0);
        stream.chunks(1000).for_each(|piece| reader.read(piece, NOW).unwrap());
        assert!(reader.is_whole() && reader.totals().torrents > 50, "{}", reader.totals());
        assert_eq!(reader.counts().peers, 100_000);
        assert!(known(&into, NOW) == known(&from, NOW), "the same peers");
    }
    check::<Ipv4Only>();
    check::<Families>();
}

proptest! {
    #![proptest_config(config())]

    /// One tracker reads what another has written, whatever both know already.
    #[test]
    fn what_is_read_is_merged_as_a_naive_reader_does(
        intervals in intervals(),
        theirs in steps(6, 600),
        ours in steps(6, 600),
        elapsed in 0..60_u32,
    ) {
        merges_like_the_model::<Ipv4Only, Ipv4Only>(intervals, &theirs, &ours, elapsed);
        merges_like_the_model::<Families, Ipv4Only>(intervals, &theirs, &ours, elapsed);
        merges_like_the_model::<Families, Ipv6Only>(intervals, &theirs, &ours, elapsed);
        merges_like_the_model::<Ipv6Only, Families>(intervals, &theirs, &ours, elapsed);
        merges_like_the_model::<Families, Families>(intervals, &theirs, &ours, elapsed);
    }
}

fn merges_like_the_model<From: AddressFamilies, Into: AddressFamilies>(
    intervals: Intervals,
    theirs: &[Step],
    ours: &[Step],
    elapsed: u32,
) {
    let from = plain::<From>();
    let their_now = run(&from, theirs);
    let into = Arc::new(Tracker::new(
        other_key(),
        Capacity::NONE,
        intervals,
        NOW,
        TestFlavour::<Into, _, _>::with_plugs(NotThatOne, Standalone),
    ));
    let now = run(&into, ours);
    let stream = written(&from, their_now);
    let mut model = Model::new::<Into>(&stream, known(&into, now), now, elapsed, intervals.peer_lifetime());
    assert_eq!(model.run(), Ok(true));
    let before = downloads(&known(&into, now));
    let mut reader = Reader::new(Arc::clone(&into), elapsed);
    stream.chunks(777).for_each(|piece| reader.read(piece, now).unwrap());
    assert!(reader.is_whole());
    let known = known(&into, now);
    assert_eq!(known, model.known);
    let counts = MergeCounts { downloads: downloads(&known) - before, ..model.counts };
    assert_eq!(*reader.counts(), counts);
}

/// Runs steps in a tracker. Returns the minute in which they end. One of the torrents is not admitted by some.
fn run<F: Flavour>(tracker: &Tracker<F>, steps: &[Step]) -> Minute {
    let mut now = NOW;
    for step in steps {
        match *step {
            Step::Come { torrent, peers: (first, end), event } => {
                let info_hash = if torrent == 3 { THAT_ONE } else { named(torrent) };
                (first..end).for_each(|peer| _ = announce(tracker, info_hash, peer, event, now));
            }
            Step::Wait { minutes } => {
                now = now + minutes;
                tracker.sweep(now, || {});
            }
            Step::Write { .. } => {}
        }
    }
    now
}

fn downloads(known: &Known) -> u64 {
    known.values().map(|torrent| u64::from(torrent.downloaded)).sum()
}
