//! A naive reader: it has the whole stream before it, and keeps what comes of it in maps.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::{Header, StreamError, Totals};
use crate::tracker::clock::TORRENT_LIFETIME;
use crate::tracker::store::{Cursor, Portion};
use crate::tracker::testing::THAT_ONE;
use crate::tracker::{AddressFamilies, Flavour, InfoHash, MergeCounts, Minute, Tracker, is_host};

/// What is known of a torrent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KnownTorrent {
    pub(crate) downloaded: u32,
    /// Since when it has been without peers; `None` if it has some.
    pub(crate) empty_since: Option<Minute>,
    pub(crate) peers: BTreeMap<SocketAddr, KnownPeer>,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownPeer {
    pub(crate) seeder: bool,
    pub(crate) completed: bool,
    pub(crate) seen: Minute,
}

/// All torrents.
pub(crate) type Known = BTreeMap<InfoHash, KnownTorrent>;

/// Returns all that a tracker knows.
pub(crate) fn known<F: Flavour>(tracker: &Tracker<F>, now: Minute) -> Known {
    let (mut known, mut cursor, mut portion) = (Known::new(), Some(Cursor::default()), Portion::default());
    while let Some(from) = cursor {
        cursor = tracker.store().copy(from, &mut 1000, &mut portion);
    }
    for (torrent, peers) in portion.torrents() {
        let known = known.entry(torrent.info_hash).or_default();
        (known.downloaded, known.empty_since) = (torrent.downloaded, torrent.empty_since);
        for (endpoint, state) in peers {
            let peer = KnownPeer { seeder: state.seeder(), completed: state.completed(), seen: state.seen(now) };
            assert_eq!(known.peers.insert(*endpoint, peer), None, "nothing has moved, so nobody is copied twice");
        }
        assert_eq!(known.empty_since.is_some(), known.peers.is_empty());
    }
    known
}

/// Reads a whole stream in the minute `now`, which was begun `elapsed` minutes before, into what is known. Families `F`
/// are served, every torrent but [`THAT_ONE`], and there is room for all. `downloads` are not counted.
pub(crate) struct Model<'a> {
    rest: &'a [u8],
    whole: &'a [u8],
    now: Minute,
    elapsed: u32,
    serves: fn(IpAddr) -> bool,
    peer_lifetime: u32,
    minutes: u32,
    pub(crate) known: Known,
    pub(crate) header: Option<Header>,
    pub(crate) totals: Totals,
    pub(crate) counts: MergeCounts,
}

/// Why a stream ends before its end.
enum End {
    Midway,
    Wrong(StreamError),
}

impl<'a> Model<'a> {
    pub(crate) fn new<F: AddressFamilies>(
        stream: &'a [u8],
        known: Known,
        now: Minute,
        elapsed: u32,
        peer_lifetime: u32,
    ) -> Self {
        Self {
            rest: stream,
            whole: stream,
            now,
            elapsed,
            serves: F::serves,
            peer_lifetime,
            minutes: 0,
            known,
            header: None,
            totals: Totals::default(),
            counts: MergeCounts::default(),
        }
    }

    /// Reads all. Returns whether the stream is whole.
    pub(crate) fn run(&mut self) -> Result<bool, StreamError> {
        match self.stream() {
            Ok(()) => Ok(true),
            Err(End::Midway) => Ok(false),
            Err(End::Wrong(error)) => Err(error),
        }
    }

    fn take(&mut self, many: usize) -> Result<&'a [u8], End> {
        let (taken, rest) = self.rest.split_at_checked(many).ok_or(End::Midway)?;
        self.rest = rest;
        Ok(taken)
    }

    fn stream(&mut self) -> Result<(), End> {
        let header = self.take(23)?;
        let header = Header::read(header).expect("23 bytes are enough").map_err(End::Wrong)?;
        self.header = Some(header);
        loop {
            match self.take(1)?[0] {
                1 => self.torrent(header)?,
                tag @ (2 | 3) => self.departure(header, tag == 3)?,
                4 => self.minutes = self.minutes.saturating_add(self.take(1)?[0].into()),
                5 => return self.end(),
                other => return Err(End::Wrong(StreamError::Record(other))),
            }
        }
    }

    fn end(&mut self) -> Result<(), End> {
        let totals = self.take(24)?;
        let told = |n: usize| u64::from_be_bytes(totals[8 * n..8 * n + 8].try_into().expect("eight bytes"));
        let told = Totals { torrents: told(0), peers: told(1), departures: told(2) };
        if told != self.totals {
            return Err(End::Wrong(StreamError::Totals { told, found: self.totals }));
        }
        let before = &self.whole[..self.whole.len() - self.rest.len()];
        if self.take(8)? != checksum(before) {
            return Err(End::Wrong(StreamError::Checksum));
        }
        if self.rest.is_empty() { Ok(()) } else { Err(End::Wrong(StreamError::BehindEnd)) }
    }

    /// Returns when it was, if it is said to have been so many minutes before it was written.
    fn age(&self, age: impl Into<u32>) -> u32 {
        self.elapsed.saturating_add(age.into()).saturating_sub(self.minutes)
    }

    fn minute(&self, age: u32) -> Minute {
        Minute(self.now.0.saturating_sub(age))
    }

    fn torrent(&mut self, header: Header) -> Result<(), End> {
        let head = self.take(28)?;
        let info_hash = InfoHash(head[..20].try_into().expect("20 bytes"));
        let downloaded = u32::from_be_bytes(head[20..24].try_into().expect("4 bytes"));
        let [ipv4, ipv6] = [24, 26].map(|at| usize::from(u16::from_be_bytes([head[at], head[at + 1]])));
        if ipv4 > 0 && !header.ipv4 || ipv6 > 0 && !header.ipv6 {
            return Err(End::Wrong(StreamError::FamilyNotNamed));
        }
        self.totals.torrents += 1;
        if ipv4 + ipv6 == 0 {
            let empty_for = self.take(2)?;
            let age = self.age(u16::from_be_bytes([empty_for[0], empty_for[1]]));
            if info_hash == THAT_ONE {
                self.counts.left_out.not_admitted += 1;
            } else if age > TORRENT_LIFETIME {
                self.counts.left_out.expired += 1;
            } else {
                self.heard_of(info_hash, downloaded, age);
            }
            return Ok(());
        }
        for n in 0..ipv4 + ipv6 {
            let len = if n < ipv4 { 4 } else { 16 };
            let peer = self.take(len + 4)?;
            let (endpoint, flags, age) = (endpoint(&peer[..len + 2]), peer[len + 2], self.age(peer[len + 3]));
            if flags > 3 {
                return Err(End::Wrong(StreamError::Flags(flags)));
            }
            self.totals.peers += 1;
            self.peer(info_hash, downloaded, endpoint, flags, age);
        }
        Ok(())
    }

    fn peer(&mut self, info_hash: InfoHash, downloaded: u32, endpoint: SocketAddr, flags: u8, age: u32) {
        let left_out = &mut self.counts.left_out;
        let reason = if info_hash == THAT_ONE {
            left_out.not_admitted += 1;
            return;
        } else if !(self.serves)(endpoint.ip()) {
            Some(&mut left_out.family_not_served)
        } else if endpoint.port() == 0 {
            Some(&mut left_out.no_port)
        } else if !is_host(endpoint.ip()) {
            Some(&mut left_out.no_host)
        } else if age > self.peer_lifetime {
            Some(&mut left_out.expired)
        } else {
            None
        };
        if let Some(reason) = reason {
            *reason += 1;
            if age <= TORRENT_LIFETIME {
                self.heard_of(info_hash, downloaded, age);
            }
            return;
        }
        let seen = self.minute(age);
        self.counts.torrents += u64::from(!self.known.contains_key(&info_hash));
        let torrent = self.known.entry(info_hash).or_default();
        torrent.downloaded = torrent.downloaded.max(downloaded);
        torrent.empty_since = None;
        let (seeder, completed) = (flags & 1 != 0, flags & 2 != 0);
        match torrent.peers.get_mut(&endpoint) {
            None => self.counts.peers += 1,
            Some(known) if known.seen > seen => {
                self.counts.outdated += 1;
                known.completed |= completed;
                return;
            }
            Some(_) => self.counts.refreshed += 1,
        }
        let known = torrent.peers.get(&endpoint);
        // Completed here after it was heard of there, but no more than 5 minutes before.
        let completes = |known: &KnownPeer| known.seeder && known.completed && !completed && seen.0 - known.seen.0 <= 5;
        let seeder = seeder || known.is_some_and(completes);
        let completed = completed || known.is_some_and(|known| known.completed);
        torrent.peers.insert(endpoint, KnownPeer { seeder, completed, seen });
    }

    fn departure(&mut self, header: Header, ipv6: bool) -> Result<(), End> {
        let len = if ipv6 { 16 } else { 4 };
        let departure = self.take(20 + 4 + len + 2 + 1)?;
        if ipv6 && !header.ipv6 || !ipv6 && !header.ipv4 {
            return Err(End::Wrong(StreamError::FamilyNotNamed));
        }
        self.totals.departures += 1;
        let info_hash = InfoHash(departure[..20].try_into().expect("20 bytes"));
        let downloaded = u32::from_be_bytes(departure[20..24].try_into().expect("4 bytes"));
        let (endpoint, age) = (endpoint(&departure[24..24 + len + 2]), self.age(departure[24 + len + 2]));
        let left = self.minute(age);
        if info_hash == THAT_ONE {
            self.counts.left_out.not_admitted += 1;
            return Ok(());
        }
        match self.known.get_mut(&info_hash) {
            Some(torrent) => {
                if torrent.peers.get(&endpoint).is_some_and(|known| known.seen <= left) {
                    torrent.peers.remove(&endpoint);
                    self.counts.departed += 1;
                    if torrent.peers.is_empty() {
                        torrent.empty_since = Some(Minute(0));
                    }
                }
                self.heard_of(info_hash, downloaded, age);
            }
            None if age > TORRENT_LIFETIME => self.counts.left_out.expired += 1,
            None => self.heard_of(info_hash, downloaded, age),
        }
        Ok(())
    }

    /// Takes the downloads of a torrent over, and that it was heard of so long ago.
    fn heard_of(&mut self, info_hash: InfoHash, downloaded: u32, age: u32) {
        let minute = self.minute(age);
        if downloaded == 0 && !self.known.contains_key(&info_hash) {
            return;
        }
        self.counts.torrents += u64::from(!self.known.contains_key(&info_hash));
        let new = KnownTorrent { empty_since: Some(minute), ..KnownTorrent::default() };
        let torrent = self.known.entry(info_hash).or_insert(new);
        torrent.downloaded = torrent.downloaded.max(downloaded);
        torrent.empty_since = torrent.empty_since.map(|since| since.max(minute));
        let is_forgotten = |since: Minute| torrent.downloaded == 0 || self.now.since(since) > TORRENT_LIFETIME;
        if torrent.empty_since.is_some_and(is_forgotten) {
            self.known.remove(&info_hash);
        }
    }
}

/// Returns the checksum of these bytes as it is written.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 8] {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(bytes);
    hasher.finish().to_be_bytes()
}

fn endpoint(bytes: &[u8]) -> SocketAddr {
    let (address, port) = bytes.split_at(bytes.len() - 2);
    let address = match <[u8; 4]>::try_from(address) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).expect("16 bytes")),
    };
    SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]]))
}
