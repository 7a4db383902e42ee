//! The torrents of one range of info hashes, in order and in bounded memory.
//!
//! A range begins behind an info hash and takes what comes next, as much as there is room for. Where it ends is
//! estimated from how many torrents are left; if more lie in it than it has room for, because their info hashes are
//! chosen so, it ends earlier: the greatest are dropped again. So it names each torrent up to its end, whatever their
//! info hashes are, and never takes more than its room.
//!
//! Torrents come in any order. They are kept in runs of bounded length, each of which is sorted when it is full, and
//! which are merged as they are taken out: no single step takes longer the more torrents there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::tracker::prefetch::prefetch;
use crate::tracker::store::{Cursor, Store};
use crate::tracker::{AddressFamilies, InfoHash, ScrapeCounts};

use super::bounds::{Bounds, is_behind, prefix};

/// Torrents that are looked at while a shard is locked: most are none of the range, and cost a comparison.
const TORRENTS_PER_LOCK: usize = 1024;
/// Torrents that are looked at in a step.
const TORRENTS_PER_STEP: usize = 8 * TORRENTS_PER_LOCK;
/// Torrents in a run: 32 KB, which are sorted in some 30 microseconds.
const RUN_LEN: usize = 1024;
/// Runs that may be opened in a step.
const RUNS_PER_STEP: usize = 2;
/// Of a run, every so manieth torrent is looked at to find where a range that is full is to end.
const SAMPLES_PER_RUN: usize = 16;

/// How many torrents ahead of the one that is taken out of a run are being fetched.
const PREFETCHED: usize = 6;

/// How many torrents a range may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Runs, each of which takes its memory at once: 1 at least.
    runs: usize,
    /// Torrents in a run: 2 at least.
    run_len: usize,
}

impl Room {
    /// Returns room for so many torrents, or a few less.
    pub(super) fn new(torrents: usize) -> Self {
        Self::in_runs(torrents, RUN_LEN.min(torrents))
    }

    /// Returns room for so many torrents in runs of this length.
    fn in_runs(torrents: usize, run_len: usize) -> Self {
        let run_len = run_len.max(2);
        Self { runs: (torrents / run_len).max(1), run_len }
    }

    /// Returns how many runs there is room for.
    pub(super) fn runs(self) -> usize {
        self.runs
    }

    /// Returns how many torrents there is room for.
    pub(super) fn torrents(self) -> usize {
        self.runs * self.run_len
    }
}

/// A torrent as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) info_hash: InfoHash,
    pub(super) counts: ScrapeCounts,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// Some torrents of a range, or memory for them. While they are gathered in it, its memory never grows.
pub(super) type Run = Vec<Entry>;

/// The torrents of a range: first they are gathered, then taken out in the order of their info hashes.
#[derive(Debug)]
pub(super) struct Range {
    bounds: Bounds,
    room: Room,
    /// Where the walk goes on; `None` once all torrents of the range are gathered.
    cursor: Option<Cursor>,
    /// Sorted runs, the greatest info hash first, so that the next one can be taken from the end.
    runs: Vec<Run>,
    /// The run to which torrents are added.
    open: Run,
    /// Runs that are empty, and used before others take new memory.
    spare: Vec<Run>,
    /// The next info hash of each run, once all are gathered.
    merge: BinaryHeap<Reverse<Head>>,
    /// Torrents that were found behind the end.
    beyond: usize,
    /// How much of the room the torrents took when all had been gathered, in percent.
    filled: usize,
}

impl Range {
    /// Returns a range that begins behind `after`, or with the least info hash there is, and ends with `until` or
    /// earlier.
    pub(super) fn new(after: Option<InfoHash>, until: InfoHash, room: Room) -> Self {
        Self {
            bounds: Bounds::new(after, until),
            room,
            cursor: Some(Cursor::default()),
            runs: Vec::new(),
            open: Run::new(),
            spare: Vec::new(),
            merge: BinaryHeap::new(),
            beyond: 0,
            filled: 0,
        }
    }

    /// Returns the info hash with which the range ends. While torrents are gathered, it can come down.
    pub(super) fn until(&self) -> InfoHash {
        self.bounds.until
    }

    /// Returns about how many torrents there are behind the end.
    pub(super) fn beyond(&self) -> usize {
        self.beyond
    }

    /// Returns how much of its room the range has filled, in percent.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Returns whether all torrents of the range are gathered.
    pub(super) fn is_gathered(&self) -> bool {
        self.cursor.is_none()
    }

    /// Leaves it room for so many torrents at most. Returns false if it takes more already.
    pub(super) fn limit(&mut self, torrents: usize) -> bool {
        self.room.runs = self.room.runs.min(torrents / self.room.run_len);
        self.taken_runs().max(1) <= self.room.runs
    }

    /// Returns how many runs have taken their memory.
    pub(super) fn taken_runs(&self) -> usize {
        self.runs.iter().chain([&self.open]).chain(&self.spare).filter(|run| run.capacity() > 0).count()
    }

    /// Takes over empty runs of the kind that it needs, as many as a step may need and there is room for.
    pub(super) fn take_spare(&mut self, spare: &mut Vec<Run>) {
        let missing = self.room.runs.saturating_sub(self.taken_runs());
        let missing = if self.is_gathered() { 0 } else { missing.min(RUNS_PER_STEP.saturating_sub(self.spare.len())) };
        self.spare.extend(spare.drain(spare.len().saturating_sub(missing)..));
    }

    /// Returns all its runs, emptied.
    pub(super) fn into_spare(self) -> impl Iterator<Item = Run> {
        let taken = self.runs.into_iter().chain([self.open]).chain(self.spare).filter(|run| run.capacity() > 0);
        taken.map(|mut run| {
            run.clear();
            run
        })
    }

    /// Returns for how many torrents it has taken memory.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken_runs() * self.room.run_len
    }

    /// Takes a step of the walk over all torrents. Locks one shard at a time.
    pub(super) fn gather<F: AddressFamilies>(&mut self, store: &Store<F>) {
        let mut entries = Vec::with_capacity(TORRENTS_PER_LOCK);
        let (mut looked_at, mut sorted) = (0, 0);
        while let Some(cursor) = self.cursor.filter(|_| looked_at < TORRENTS_PER_STEP && sorted == 0) {
            let (bounds, mut beyond, mut visited) = (self.bounds, 0, 0);
            self.cursor = store.walk(cursor, TORRENTS_PER_LOCK, |torrent| {
                visited += 1;
                beyond += usize::from(bounds.are_before(&torrent.info_hash));
                if bounds.contain(&torrent.info_hash) {
                    entries.push(Entry { info_hash: torrent.info_hash, counts: torrent.scrape_counts() });
                }
            });
            self.beyond += beyond;
            // A shard counts even if it is empty: to lock it takes its time.
            looked_at += visited + TORRENTS_PER_LOCK / 64;
            sorted = entries.drain(..).map(|entry| usize::from(self.add(entry))).sum();
        }
        if self.cursor.is_none() {
            self.begin_to_merge();
        }
    }

    /// Adds a torrent, if it is not behind the end, which can have come down. Returns whether a run was sorted.
    fn add(&mut self, entry: Entry) -> bool {
        if is_behind(&entry.info_hash, &self.bounds.until) {
            self.beyond += 1;
            return false;
        }
        if self.open.capacity() == 0 {
            self.open = self.spare.pop().unwrap_or_default();
            self.open.reserve_exact(self.room.run_len);
        }
        self.open.push(entry);
        let is_full = self.open.len() >= self.room.run_len;
        if is_full {
            self.close();
        }
        is_full
    }

    /// Sorts the open run and opens another.
    fn close(&mut self) {
        sort(&mut self.open);
        // A torrent that is moved in its shard can be visited twice.
        if self.open.len() < self.room.run_len {
            return;
        }
        self.runs.push(std::mem::take(&mut self.open));
        if self.shortest().is_some_and(|(_, len)| len > self.room.run_len * 7 / 8) {
            if self.runs.len() < self.room.runs {
                return;
            }
            self.end_earlier();
        }
        self.open = self.shortest().map(|(at, _)| self.runs.swap_remove(at)).unwrap_or_default();
    }

    /// Returns the position and the length of the shortest run.
    fn shortest(&self) -> Option<(usize, usize)> {
        self.runs.iter().map(Vec::len).enumerate().min_by_key(|&(_, len)| len)
    }

    /// Drops about a quarter of the torrents, those with the greatest info hashes, so that there is room.
    fn end_earlier(&mut self) {
        let step = (self.room.run_len / SAMPLES_PER_RUN).max(1);
        let samples = self.runs.iter().flat_map(|run| run.iter().rev().skip(step - 1).step_by(step));
        let mut samples: Vec<InfoHash> = samples.map(|entry| entry.info_hash).collect();
        samples.sort_unstable();
        // Never the greatest of all: something has to go.
        let most = samples.partition_point(|sample| Some(sample) < samples.last()).saturating_sub(1);
        let Some(until) = samples.get((samples.len() * 3 / 4).min(most)) else { return };
        self.bounds = Bounds::new(self.bounds.after, *until);
        for run in &mut self.runs {
            let dropped = run.partition_point(|entry| entry.info_hash > *until);
            run.drain(..dropped);
            self.beyond += dropped;
        }
    }

    /// Sorts what is not sorted yet. From now on torrents are taken out.
    fn begin_to_merge(&mut self) {
        sort(&mut self.open);
        self.runs.push(std::mem::take(&mut self.open));
        self.filled = self.runs.iter().map(Vec::len).sum::<usize>() * 100 / self.room.torrents();
        let heads = self.runs.iter().enumerate();
        self.merge = heads.filter_map(|(at, run)| Some(Reverse(Head::new(&run.last()?.info_hash, at)))).collect();
    }

    /// Takes the next torrent out, which can be the same as before if it was visited twice; `None` at the end.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let mut head = self.merge.peek_mut()?;
        let at = head.0.run;
        let run = self.runs.get_mut(at)?;
        let entry = run.pop();
        if let Some(ahead) = run.len().checked_sub(PREFETCHED).and_then(|at| run.get(at)) {
            prefetch(ahead);
        }
        match run.last() {
            Some(next) => head.0 = Head::new(&next.info_hash, at),
            None => {
                PeekMut::pop(head);
            }
        }
        entry
    }
}

/// Sorts a run, the greatest info hash first, each once.
fn sort(run: &mut Vec<Entry>) {
    run.sort_unstable_by(|one, other| {
        let by_prefix = prefix(&other.info_hash).cmp(&prefix(&one.info_hash));
        by_prefix.then_with(|| other.info_hash.cmp(&one.info_hash))
    });
    run.dedup_by_key(|entry| entry.info_hash);
}

/// The next info hash of a run, as numbers in the same order, which are compared in no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    prefix: u64,
    rest: [u8; InfoHash::LEN - size_of::<u64>()],
    run: usize,
}

impl Head {
    fn new(info_hash: &InfoHash, run: usize) -> Self {
        let rest = info_hash.0.last_chunk().copied().unwrap_or_default();
        Self { prefix: prefix(info_hash), rest, run }
    }
}

#[cfg(test)]
mod tests;
