//! Any stream: what comes of it is what a naive reader makes of it, however it is cut; and what has been read and is
//! written again is the same.

use std::sync::Arc;

use super::format::VERSION;
use super::model::{Known, Model, checksum, known};
use super::{Progress, Reader, StreamError, Totals, Writer};
use crate::fuzz::Choices;
use crate::switches::ThisBuild;
use crate::tracker::testing::{Ipv6Only, NotThatOne, TestTracker};
use crate::tracker::{
    AddressFamilies, Capacity, Flavour, Intervals, Ipv4Only, MergeCounts, Minute, Standalone, Tracker,
};

pub(crate) const NOW: Minute = Minute(29_000_191);

/// The families of this build: with both, streams of both are taken over whole.
pub(crate) type Families = <ThisBuild as Flavour>::Families;

type Tested<F> = TestTracker<F, NotThatOne>;

/// What has come of a stream.
type Outcome = (Result<bool, StreamError>, Totals, MergeCounts);

/// Reads the bytes as a stream: as they are, then as records behind a good header, then with an end mark that is right.
/// The first bytes say how it is cut, and how long ago it was written.
pub(crate) fn any_stream(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let cuts = [choices.byte(), choices.byte(), choices.byte()].map(|len| usize::from(len) + 1);
    let elapsed = u32::from(choices.byte()) * u32::from(choices.byte() % 10);
    let families = choices.byte() % 3 + 1;
    check(choices.0, &cuts, elapsed);
    let mut stream = header(families);
    stream.extend_from_slice(choices.0);
    check(&stream, &cuts, elapsed);
    let mut model = Model::new::<Families>(&stream, Known::new(), NOW, elapsed, lifetime());
    if model.run() == Ok(false) {
        let totals = model.totals;
        end(&mut stream, totals);
        check(&stream, &cuts, elapsed);
    }
}

/// Returns the header of a writer of these families.
pub(crate) fn header(families: u8) -> Vec<u8> {
    let minute = NOW.0.to_be_bytes();
    [&b"otswarms"[..], &VERSION.to_be_bytes(), &[families], &[0, 0, 0, 0, 0, 0, 0, 7], &minute].concat()
}

/// Appends an end mark.
pub(crate) fn end(stream: &mut Vec<u8>, totals: Totals) {
    stream.push(5);
    for number in [totals.torrents, totals.peers, totals.departures] {
        stream.extend_from_slice(&number.to_be_bytes());
    }
    let checksum = checksum(stream);
    stream.extend_from_slice(&checksum);
}

fn lifetime() -> u32 {
    Intervals::default().peer_lifetime()
}

fn check(stream: &[u8], cuts: &[usize], elapsed: u32) {
    check_for::<Ipv4Only>(stream, cuts, elapsed);
    check_for::<Ipv6Only>(stream, cuts, elapsed);
    check_for::<Families>(stream, cuts, elapsed);
}

fn check_for<F: AddressFamilies>(stream: &[u8], cuts: &[usize], elapsed: u32) {
    let into = tracker::<F>(Capacity::NONE);
    let outcome = read_whole(&into, stream, elapsed);
    let mut model = Model::new::<F>(stream, Known::new(), NOW, elapsed, lifetime());
    let is_whole = model.run();
    // How much the downloads have become is not followed by the model; in a tracker that was empty, it is what they
    // are.
    let counts = MergeCounts { downloads: outcome.2.downloads, ..model.counts };
    assert_eq!(outcome, (is_whole, model.totals, counts));
    let known_there = known(&into, NOW);
    assert_eq!(known_there, model.known);
    let census = into.store().census();
    assert_eq!(census.torrents, known_there.len());
    assert_eq!(census.peers.peers(), known_there.values().map(|torrent| torrent.peers.len()).sum::<usize>());

    // However it is cut.
    let cut_into = tracker::<F>(Capacity::NONE);
    let mut reader = Reader::new(Arc::clone(&cut_into), elapsed);
    let (mut rest, mut result, mut cuts) = (stream, Ok(()), cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*cuts.next().expect("some cuts")).min(rest.len()));
        result = reader.read(piece, NOW);
        rest = behind;
    }
    assert_eq!((result.map(|()| reader.is_whole()), reader.totals(), *reader.counts()), outcome);
    assert_eq!(known(&cut_into, NOW), known_there);

    // What is known is written, and comes back.
    let again = tracker::<F>(Capacity::NONE);
    let mut written = Vec::new();
    let mut writer = Writer::new(Arc::clone(&into), 1, NOW);
    while writer.write_unchanged(NOW, &mut written) == Progress::More {}
    let (is_whole, totals, counts) = read_whole(&again, &written, 0);
    assert_eq!((is_whole, totals), (Ok(true), writer.totals()));
    assert_eq!(counts.left_out.total() + counts.outdated + counts.refreshed, 0);
    assert_eq!(known(&again, NOW), known_there);

    // Nothing goes beyond the limits.
    let capacity = Capacity { torrents: 2, peers: 4, peers_per_address: 2 };
    let small = tracker::<F>(capacity);
    let (is_whole, totals, counts) = read_whole(&small, stream, elapsed);
    assert_eq!((is_whole, totals), (outcome.0, outcome.1));
    let census = small.store().census();
    assert!(census.torrents <= 2 && census.peers.peers() <= 4, "{census:?}");
    let accounted = counts.peers + counts.refreshed + counts.outdated + counts.left_out.total();
    assert!(accounted >= totals.peers, "{counts:?} of {totals}");
    assert!(counts.peers >= census.peers.peers() as u64);
}

fn tracker<F: AddressFamilies>(capacity: Capacity) -> Arc<Tested<F>> {
    Arc::new(Tested::<F>::with_plugs(capacity, NOW, NotThatOne, Standalone))
}

/// Reads a stream in one piece.
fn read_whole<F: Flavour>(into: &Arc<Tracker<F>>, stream: &[u8], elapsed: u32) -> Outcome {
    let mut reader = Reader::new(Arc::clone(into), elapsed);
    let result = reader.read(stream, NOW);
    (result.map(|()| reader.is_whole()), reader.totals(), *reader.counts())
}
