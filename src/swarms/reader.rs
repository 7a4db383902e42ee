//! Reads a stream, however it is cut, and merges it into a running tracker.

use std::sync::Arc;

use crate::tracker::{
    Flavour, InfoHash, KnownDeparture, KnownPeer, KnownTorrent, MAX_MERGED, MergeCounts, Minute, Tracker,
};

use super::error::StreamError;
use super::format::{
    CHECKSUM_LEN, COMPLETED, Checksum, DEPARTURE_V4, DEPARTURE_V4_LEN, DEPARTURE_V6, DEPARTURE_V6_LEN, EMPTY_FOR_LEN,
    END, Fields, MINUTES, PEER_V4_LEN, PEER_V6_LEN, SEEDER, TORRENT, TORRENT_LEN, TOTALS_LEN, Totals,
};
use super::header::Header;

/// Reads a stream and takes over what it tells, as it comes: a stream that stops midway has been taken over as far as
/// it is whole. Holds no more than one record's beginning and 256 peers.
pub struct Reader<F: Flavour> {
    tracker: Arc<Tracker<F>>,
    /// Minutes from when the header was written to when it is read.
    elapsed: u32,
    header: Option<Header>,
    /// When the header was read.
    began: Minute,
    /// Minutes that have passed for the writer since the header, as far as has been read.
    minutes: u32,
    next: Part,
    /// The beginning of the next part, if it has been cut.
    cut: Vec<u8>,
    torrent: Torrent,
    /// Peers of the torrent that have been read and not been merged yet.
    peers: Vec<KnownPeer>,
    totals: Totals,
    checksum: Checksum,
    counts: MergeCounts,
    failed: Option<StreamError>,
}

/// What is read next: a part of the stream whose length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    /// The first byte of a record.
    First,
    Torrent,
    EmptyFor,
    Peer {
        ipv6: bool,
    },
    Departure {
        ipv6: bool,
    },
    Minutes,
    Totals,
    Checksum,
    /// The stream has ended, and nothing may follow.
    Nothing,
}

impl Part {
    fn len(self) -> usize {
        match self {
            Self::Header => Header::LEN,
            Self::First | Self::Minutes | Self::Nothing => 1,
            Self::Torrent => TORRENT_LEN,
            Self::EmptyFor => EMPTY_FOR_LEN,
            Self::Peer { ipv6: false } => PEER_V4_LEN,
            Self::Peer { ipv6: true } => PEER_V6_LEN,
            Self::Departure { ipv6: false } => DEPARTURE_V4_LEN,
            Self::Departure { ipv6: true } => DEPARTURE_V6_LEN,
            Self::Totals => TOTALS_LEN,
            Self::Checksum => CHECKSUM_LEN,
        }
    }
}

/// The torrent whose record is being read.
#[derive(Debug, Clone, Copy, Default)]
struct Torrent {
    info_hash: InfoHash,
    downloaded: u32,
    /// How many of its peers have not been read yet.
    ipv4: u16,
    ipv6: u16,
}

impl<F: Flavour> Reader<F> {
    /// Makes a reader of a stream whose header is read `elapsed` minutes after it was written: 0 for a stream that is
    /// read while it is written.
    pub fn new(tracker: Arc<Tracker<F>>, elapsed: u32) -> Self {
        Self {
            tracker,
            elapsed,
            header: None,
            began: Minute::default(),
            minutes: 0,
            next: Part::Header,
            cut: Vec::new(),
            torrent: Torrent::default(),
            peers: Vec::new(),
            totals: Totals::default(),
            checksum: Checksum::new(),
            counts: MergeCounts::default(),
            failed: None,
        }
    }

    /// Takes the next bytes of the stream, wherever they end, and merges what they tell. Locks one shard at a time.
    ///
    /// # Errors
    ///
    /// The stream is not one that this program can read, or not whole: what came before has been taken over. Whatever
    /// is read from then on fails in the same way.
    pub fn read(&mut self, bytes: &[u8], now: Minute) -> Result<(), StreamError> {
        if self.failed.is_none() {
            self.failed = self.read_parts(bytes, now).err();
            // Nobody waits for the bytes that follow.
            self.merge_peers(now);
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Returns the header, once it has been read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Returns whether all of the stream has come: its end, which tells what came before, and nothing behind it.
    pub fn is_whole(&self) -> bool {
        self.next == Part::Nothing && self.failed.is_none()
    }

    /// Returns how much has been read.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns what has come of all that was read.
    pub fn counts(&self) -> &MergeCounts {
        &self.counts
    }

    fn read_parts(&mut self, mut bytes: &[u8], now: Minute) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            let lacking = self.next.len() - self.cut.len();
            let Some((part, rest)) = bytes.split_at_checked(lacking) else {
                self.cut.extend_from_slice(bytes);
                return Ok(());
            };
            bytes = rest;
            if self.cut.is_empty() {
                self.read_part(part, now)?;
            } else {
                let mut cut = std::mem::take(&mut self.cut);
                cut.extend_from_slice(part);
                self.read_part(&cut, now)?;
                cut.clear();
                self.cut = cut;
            }
        }
        Ok(())
    }

    /// Takes a part, which is as long as it has to be.
    fn read_part(&mut self, part: &[u8], now: Minute) -> Result<(), StreamError> {
        let fields = Fields(part);
        self.next = match self.next {
            Part::Header => self.read_header(part, now)?,
            Part::First => first(fields)?,
            Part::Torrent => self.read_torrent(fields)?,
            Part::EmptyFor => self.read_empty_for(fields, now),
            Part::Peer { ipv6 } => self.read_peer(fields, ipv6, now)?,
            Part::Departure { ipv6 } => self.read_departure(fields, ipv6, now)?,
            Part::Minutes => self.read_minutes(fields),
            Part::Totals => self.read_totals(part)?,
            Part::Checksum => return self.read_checksum(fields),
            Part::Nothing => return Err(StreamError::BehindEnd),
        };
        self.checksum.add(part);
        Ok(())
    }

    fn read_header(&mut self, part: &[u8], now: Minute) -> Result<Part, StreamError> {
        self.header = Header::read(part).transpose()?;
        self.began = now;
        Ok(Part::First)
    }

    fn read_torrent(&mut self, mut fields: Fields<'_>) -> Result<Part, StreamError> {
        self.torrent = Torrent {
            info_hash: InfoHash(fields.take()),
            downloaded: u32::from_be_bytes(fields.take()),
            ipv4: u16::from_be_bytes(fields.take()),
            ipv6: u16::from_be_bytes(fields.take()),
        };
        let Torrent { ipv4, ipv6, .. } = self.torrent;
        if ipv4 > 0 {
            self.check_family(false)?;
        }
        if ipv6 > 0 {
            self.check_family(true)?;
        }
        self.totals.torrents += 1;
        Ok(if ipv4 == 0 && ipv6 == 0 { Part::EmptyFor } else { self.next_peer() })
    }

    fn read_empty_for(&mut self, mut fields: Fields<'_>, now: Minute) -> Part {
        let Torrent { info_hash, downloaded, .. } = self.torrent;
        let empty_for = self.age_now(u16::from_be_bytes(fields.take()), now);
        self.tracker.merge(&KnownTorrent { info_hash, downloaded, empty_for, peers: &[] }, now, &mut self.counts);
        Part::First
    }

    fn read_peer(&mut self, mut fields: Fields<'_>, ipv6: bool, now: Minute) -> Result<Part, StreamError> {
        let endpoint = fields.take_endpoint(ipv6);
        let [flags, age] = fields.take();
        if flags & !(SEEDER | COMPLETED) != 0 {
            return Err(StreamError::Flags(flags));
        }
        let age = self.age_now(age, now);
        let (seeder, completed) = (flags & SEEDER != 0, flags & COMPLETED != 0);
        self.peers.push(KnownPeer { endpoint, seeder, completed, age });
        self.totals.peers += 1;
        let left = if ipv6 { &mut self.torrent.ipv6 } else { &mut self.torrent.ipv4 };
        *left = left.saturating_sub(1);
        let next = self.next_peer();
        if next == Part::First || self.peers.len() == MAX_MERGED {
            self.merge_peers(now);
        }
        Ok(next)
    }

    fn read_departure(&mut self, mut fields: Fields<'_>, ipv6: bool, now: Minute) -> Result<Part, StreamError> {
        self.check_family(ipv6)?;
        let info_hash = InfoHash(fields.take());
        let downloaded = u32::from_be_bytes(fields.take());
        let endpoint = fields.take_endpoint(ipv6);
        let [age] = fields.take();
        let age = self.age_now(age, now);
        let departure = KnownDeparture { info_hash, endpoint, downloaded, age };
        self.tracker.merge_departure(&departure, now, &mut self.counts);
        self.totals.departures += 1;
        Ok(Part::First)
    }

    fn read_minutes(&mut self, mut fields: Fields<'_>) -> Part {
        let [minutes] = fields.take();
        self.minutes = self.minutes.saturating_add(minutes.into());
        Part::First
    }

    fn read_totals(&self, part: &[u8]) -> Result<Part, StreamError> {
        let (told, found) = (Totals::parse(part), self.totals);
        if told == found { Ok(Part::Checksum) } else { Err(StreamError::Totals { told, found }) }
    }

    fn read_checksum(&mut self, mut fields: Fields<'_>) -> Result<(), StreamError> {
        if u64::from_be_bytes(fields.take()) != self.checksum.value() {
            return Err(StreamError::Checksum);
        }
        self.next = Part::Nothing;
        Ok(())
    }

    /// Refuses a family that the header does not name.
    fn check_family(&self, ipv6: bool) -> Result<(), StreamError> {
        let named = self.header.is_some_and(|header| if ipv6 { header.ipv6 } else { header.ipv4 });
        if named { Ok(()) } else { Err(StreamError::FamilyNotNamed) }
    }

    /// Returns how many minutes ago it was what was so many minutes ago when it was written. Nobody comes from the
    /// future, whatever the clocks say.
    fn age_now(&self, age: impl Into<u32>, now: Minute) -> u32 {
        let since_begun = now.since(self.began).saturating_add(self.elapsed);
        since_begun.saturating_add(age.into()).saturating_sub(self.minutes)
    }

    /// Returns what follows a peer, or the beginning of a torrent that has some.
    fn next_peer(&self) -> Part {
        match self.torrent {
            Torrent { ipv4: 0, ipv6: 0, .. } => Part::First,
            Torrent { ipv4: 0, .. } => Part::Peer { ipv6: true },
            _ => Part::Peer { ipv6: false },
        }
    }

    /// Merges the peers that have been read.
    fn merge_peers(&mut self, now: Minute) {
        if !self.peers.is_empty() {
            let Torrent { info_hash, downloaded, .. } = self.torrent;
            let torrent = KnownTorrent { info_hash, downloaded, empty_for: 0, peers: &self.peers };
            self.tracker.merge(&torrent, now, &mut self.counts);
            self.peers.clear();
        }
    }
}

/// Returns what follows the first byte of a record.
fn first(mut fields: Fields<'_>) -> Result<Part, StreamError> {
    let [first] = fields.take();
    match first {
        TORRENT => Ok(Part::Torrent),
        DEPARTURE_V4 => Ok(Part::Departure { ipv6: false }),
        DEPARTURE_V6 => Ok(Part::Departure { ipv6: true }),
        MINUTES => Ok(Part::Minutes),
        END => Ok(Part::Totals),
        _ => Err(StreamError::Record(first)),
    }
}
