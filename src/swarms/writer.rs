//! Writes all swarms of a tracker in pieces, while announces go on.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::tracker::peer::PeerState;
use crate::tracker::store::{CopiedTorrent, Cursor, DepartureCursor, Portion};
use crate::tracker::{Departure, Flavour, Minute, Tracker};

use super::format::{
    COMPLETED, Checksum, DEPARTURE_V4, DEPARTURE_V6, END, MINUTES, SEEDER, TORRENT, Totals, write_endpoint,
};
use super::header::Header;

/// Torrents and peers that a piece is about: it has 64 KiB at most, and no shard is locked for more than some tens of
/// microseconds.
const PORTION_LEN: usize = 1024;
/// Peers are copied from this many minutes before the beginning on, too: a worker may have read its clock a moment
/// before it stored a peer, and a change that a cluster tells of comes later than the announce that it tells of.
const OVERLAP: u32 = 1;

/// Whether there is more to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// There is more.
    More,
    /// That was all.
    Done,
}

/// Writes all swarms of a tracker, as they are while announces go on, and then what has changed meanwhile. While there
/// is one, the tracker notes who leaves: 65,536 departures at most, those for other writers included. The changes may
/// be written while announces go on, too ([`Self::write_changes`]).
///
/// What is written when nobody announces any more is all that the tracker knows, but for two cases: who left when no
/// more departures could be noted ([`Self::missed_departures`]) is written as if still there; and a download is not
/// counted if whoever completed it meanwhile was taken to make room, and nobody of its torrent has been heard of since
/// the beginning.
pub struct Writer<F: Flavour> {
    tracker: Arc<Tracker<F>>,
    generation: u64,
    stage: Stage,
    /// Since when departures have been noted.
    begun: Minute,
    /// The minute from which ages are counted back at present.
    now: Minute,
    totals: Totals,
    checksum: Checksum,
    missed_before: u64,
    /// About how many torrents and peers are in a piece.
    pub(super) portion_len: usize,
    /// Memory that is used again for each piece.
    portion: Portion,
    departures: Vec<Departure>,
}

/// What is to be written next.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Header,
    /// All torrents and peers.
    Torrents(Cursor),
    /// They have been written once.
    Written,
    /// Who has left since.
    Departures(DepartureCursor),
    /// Who has been heard of since.
    Changes(Cursor),
    End,
    Ended,
}

impl<F: Flavour> Writer<F> {
    /// Begins a stream. Departures are noted from now on.
    pub fn new(tracker: Arc<Tracker<F>>, generation: u64, now: Minute) -> Self {
        tracker.store().begin_copy();
        Self {
            generation,
            stage: Stage::Header,
            begun: now,
            now,
            totals: Totals::default(),
            checksum: Checksum::new(),
            missed_before: tracker.store().missed_departures(),
            portion_len: PORTION_LEN,
            portion: Portion::default(),
            departures: Vec::new(),
            tracker,
        }
    }

    /// Appends the next piece of all torrents and peers to `out`: 64 KiB at most, and often nothing. Locks one shard at
    /// a time. Done when all have been written once.
    pub fn write(&mut self, now: Minute, out: &mut Vec<u8>) -> Progress {
        match self.stage {
            Stage::Header | Stage::Torrents(_) => {
                self.step(now, out);
                Progress::More
            }
            _ => Progress::Done,
        }
    }

    /// Appends the next piece of what has changed since the beginning, in pieces as [`Self::write`] does: who has left,
    /// and everybody who has been heard of. Done after the end mark.
    ///
    /// Called when nobody announces any more, it tells everything. Called while announces go on, it ends all the same:
    /// then it tells who left before the first call at least, as far as that was noted, and of each torrent what had
    /// happened when its turn came. A reader hears in another way of what comes later.
    ///
    /// What [`Self::write`] has not written yet comes first.
    pub fn write_changes(&mut self, now: Minute, out: &mut Vec<u8>) -> Progress {
        if let Stage::Written = self.stage {
            self.stage = Stage::Departures(DepartureCursor::default());
        }
        self.step(now, out);
        self.progress()
    }

    /// Appends the next piece of all torrents and peers, as [`Self::write`] does, and at last the end mark. To be
    /// called instead of [`Self::write_changes`] where nobody has announced anything since the beginning. Done after
    /// the end mark.
    pub fn write_unchanged(&mut self, now: Minute, out: &mut Vec<u8>) -> Progress {
        if let Stage::Written = self.stage {
            self.stage = Stage::End;
        }
        self.step(now, out);
        self.progress()
    }

    /// Returns what has been written so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns how many departures have not been noted since the beginning, because there were too many. The reader
    /// keeps these peers until they have been silent for too long.
    pub fn missed_departures(&self) -> u64 {
        self.tracker.store().missed_departures().saturating_sub(self.missed_before)
    }

    fn progress(&self) -> Progress {
        if let Stage::Ended = self.stage { Progress::Done } else { Progress::More }
    }

    /// Appends one piece of the present stage, and adds it to the checksum.
    fn step(&mut self, now: Minute, out: &mut Vec<u8>) {
        let begin = out.len();
        self.stage = match self.stage {
            Stage::Header => {
                self.now = self.now.max(now);
                Header::of::<F::Families>(self.generation, self.now).write(out);
                Stage::Torrents(Cursor::default())
            }
            Stage::Torrents(cursor) => self.copy(cursor, None, now, out).map_or(Stage::Written, Stage::Torrents),
            Stage::Departures(cursor) => {
                let since = self.changed_since();
                let mut budget = self.portion_len;
                let mut next = Some(cursor);
                while let Some(from) = next.filter(|_| budget > 0) {
                    next = self.tracker.store().copy_departures(from, &mut budget, since, &mut self.departures);
                }
                self.write_departures(now, out);
                next.map_or(Stage::Changes(Cursor::default()), Stage::Departures)
            }
            Stage::Changes(cursor) => {
                let since = Some(self.changed_since());
                self.copy(cursor, since, now, out).map_or(Stage::End, Stage::Changes)
            }
            Stage::End => {
                out.push(END);
                self.totals.write(out);
                Stage::Ended
            }
            stage @ (Stage::Written | Stage::Ended) => stage,
        };
        self.checksum.add(out.get(begin..).unwrap_or_default());
        if out.len() > begin && matches!(self.stage, Stage::Ended) {
            out.extend_from_slice(&self.checksum.value().to_be_bytes());
        }
    }

    /// Returns since which minute whoever has been heard of may not be written yet.
    fn changed_since(&self) -> Minute {
        Minute(self.begun.0.saturating_sub(OVERLAP))
    }

    /// Copies a portion from `cursor` on, shard by shard, and writes it while none is locked: all of it, or who has
    /// been heard of since a minute.
    fn copy(&mut self, cursor: Cursor, since: Option<Minute>, now: Minute, out: &mut Vec<u8>) -> Option<Cursor> {
        let (store, portion) = (self.tracker.store(), &mut self.portion);
        let mut budget = self.portion_len;
        let mut next = Some(cursor);
        while let Some(from) = next.filter(|_| budget > 0) {
            next = match since {
                None => store.copy(from, &mut budget, portion),
                Some(since) => store.copy_changed(from, &mut budget, since, now, portion),
            };
        }
        let portion = std::mem::take(&mut self.portion);
        for (torrent, peers) in portion.torrents() {
            self.write_torrent(torrent, peers, now, out);
        }
        self.portion = portion;
        self.portion.clear();
        next
    }

    fn write_torrent(
        &mut self,
        torrent: &CopiedTorrent,
        peers: &[(SocketAddr, PeerState)],
        now: Minute,
        out: &mut Vec<u8>,
    ) {
        self.write_minutes(now, out);
        // A part is never as large, so there is one record.
        for peers in peers.chunks(usize::from(u16::MAX)) {
            self.write_record(torrent, peers, out);
        }
        if peers.is_empty() {
            self.write_record(torrent, &[], out);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "no more than 65,535 peers are passed")]
    fn write_record(&mut self, torrent: &CopiedTorrent, peers: &[(SocketAddr, PeerState)], out: &mut Vec<u8>) {
        let ipv4 = peers.iter().filter(|(endpoint, _)| endpoint.is_ipv4()).count();
        out.push(TORRENT);
        out.extend_from_slice(&torrent.info_hash.0);
        out.extend_from_slice(&torrent.downloaded.to_be_bytes());
        out.extend_from_slice(&(ipv4 as u16).to_be_bytes());
        out.extend_from_slice(&((peers.len() - ipv4) as u16).to_be_bytes());
        if peers.is_empty() {
            let empty_for = torrent.empty_since.map_or(0, |since| self.now.since(since));
            out.extend_from_slice(&u16::try_from(empty_for).unwrap_or(u16::MAX).to_be_bytes());
        }
        let families = [SocketAddr::is_ipv4, SocketAddr::is_ipv6];
        for (endpoint, state) in families.iter().flat_map(|is_of| peers.iter().filter(|(endpoint, _)| is_of(endpoint)))
        {
            let flags = if state.seeder() { SEEDER } else { 0 } | if state.completed() { COMPLETED } else { 0 };
            write_endpoint(*endpoint, out);
            out.extend_from_slice(&[flags, age(state.age(self.now))]);
        }
        self.totals.torrents += 1;
        self.totals.peers += peers.len() as u64;
    }

    fn write_departures(&mut self, now: Minute, out: &mut Vec<u8>) {
        if !self.departures.is_empty() {
            self.write_minutes(now, out);
        }
        for Departure { info_hash, endpoint, downloaded, left } in self.departures.drain(..) {
            out.push(if endpoint.is_ipv4() { DEPARTURE_V4 } else { DEPARTURE_V6 });
            out.extend_from_slice(&info_hash.0);
            out.extend_from_slice(&downloaded.to_be_bytes());
            write_endpoint(endpoint, out);
            out.push(age(self.now.since(left)));
            self.totals.departures += 1;
        }
    }

    /// Says how many minutes have passed, if any have.
    fn write_minutes(&mut self, now: Minute, out: &mut Vec<u8>) {
        while now > self.now {
            let minutes = age(now.since(self.now));
            out.extend_from_slice(&[MINUTES, minutes]);
            self.now = self.now + u32::from(minutes);
        }
    }
}

impl<F: Flavour> Drop for Writer<F> {
    fn drop(&mut self) {
        self.tracker.store().end_copy();
    }
}

/// Returns an age as it is written.
fn age(minutes: u32) -> u8 {
    u8::try_from(minutes).unwrap_or(u8::MAX)
}
