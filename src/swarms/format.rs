//! What the stream is made of: a header, records in any number and order, and an end mark. Numbers are big-endian.
//!
//! # Header
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `otswarms` |
//! | 2 | the version: [`VERSION`] |
//! | 1 | address families that the writer keeps: 1 for IPv4, 2 for IPv6, 3 for both |
//! | 8 | the generation: whoever finds several streams takes that with the highest |
//! | 4 | the minute in which this header was written, by the writer's clock |
//!
//! # Records
//!
//! The first byte says what the record is.
//!
//! | first | then bytes | what |
//! | --- | --- | --- |
//! | 1 | 20, 4, 2, 2 | a torrent: info hash, completed downloads, how many IPv4 and how many IPv6 peers follow |
//! | | 2 | if none follow: minutes since it last had a peer, 65,535 at most |
//! | | 4, 2, 1, 1 each | its IPv4 peers: address, port, flags, age |
//! | | 16, 2, 1, 1 each | its IPv6 peers: the same |
//! | 2 | 20, 4, 4, 2, 1 | an IPv4 peer that has left: info hash, the torrent's downloads, address, port, age |
//! | 3 | 20, 4, 16, 2, 1 | an IPv6 peer that has left: the same |
//! | 4 | 1 | so many minutes have passed since the last such record, or since the header |
//! | 5 | 8, 8, 8, 8 | the end: how many records of torrents, peers and departures came before, and a checksum |
//!
//! A torrent may come several times: a large one in parts, one that has moved meanwhile, and one that has changed. What
//! is younger counts, and of the same minute what comes later.
//!
//! Flags are 1 for a seeder and 2 for a peer whose completed download has been counted, added up. The checksum is
//! SipHash-1-3 with a key of zeros of all bytes that stand before it. It finds what has been mangled by accident; who
//! is believed is for others to say.
//!
//! # Ages
//!
//! An age is in minutes, 255 at most: since the peer was last heard of, or since it left. Nothing but the header holds
//! a minute of the writer's clock, for that of the reader may differ. Ages count back from the moment at which the
//! record was written: that of the header and the minutes of all records 4 before it. So whoever knows how long ago the
//! header was written knows how long ago a peer was heard of, at any time, even if it took an hour to write or to read.

use std::fmt;
use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::tracker::InfoHash;

/// The version that is written, and the only one that is read.
pub const VERSION: u16 = 1;

pub(super) const MAGIC: [u8; 8] = *b"otswarms";

pub(super) const TORRENT: u8 = 1;
pub(super) const DEPARTURE_V4: u8 = 2;
pub(super) const DEPARTURE_V6: u8 = 3;
pub(super) const MINUTES: u8 = 4;
pub(super) const END: u8 = 5;

/// Bytes of a torrent, without its first byte and its peers.
pub(super) const TORRENT_LEN: usize = InfoHash::LEN + 4 + 2 + 2;
pub(super) const EMPTY_FOR_LEN: usize = 2;
pub(super) const PEER_V4_LEN: usize = 4 + 2 + 1 + 1;
pub(super) const PEER_V6_LEN: usize = 16 + 2 + 1 + 1;
/// Bytes of a departure, without the first.
pub(super) const DEPARTURE_V4_LEN: usize = InfoHash::LEN + 4 + 4 + 2 + 1;
pub(super) const DEPARTURE_V6_LEN: usize = InfoHash::LEN + 4 + 16 + 2 + 1;
pub(super) const TOTALS_LEN: usize = 3 * 8;
pub(super) const CHECKSUM_LEN: usize = 8;

pub(super) const SEEDER: u8 = 1;
pub(super) const COMPLETED: u8 = 2;

pub(super) const IPV4: u8 = 1;
pub(super) const IPV6: u8 = 2;

/// How much a stream holds. What comes twice is counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records of torrents.
    pub torrents: u64,
    /// Peers in them.
    pub peers: u64,
    /// Peers that have left.
    pub departures: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { torrents, peers, departures } = self;
        write!(f, "{torrents} torrents, {peers} peers and {departures} departures")
    }
}

impl Totals {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let [torrents, peers, departures] = [fields.take(), fields.take(), fields.take()].map(u64::from_be_bytes);
        Self { torrents, peers, departures }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Self { torrents, peers, departures } = *self;
        [torrents, peers, departures].iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    }
}

/// The checksum of the bytes that have been added, in whatever pieces.
#[derive(Clone)]
pub(super) struct Checksum(SipHasher13);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(SipHasher13::new_with_keys(0, 0))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.finish()
    }
}

/// Bytes that are taken from the front, field by field. There are as many as the fields take: where there were not,
/// zeros would follow.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const LEN: usize>(&mut self) -> [u8; LEN] {
        let Some((field, rest)) = self.0.split_first_chunk() else {
            debug_assert!(false, "{LEN} bytes are wanted of {}", self.0.len());
            return [0; LEN];
        };
        self.0 = rest;
        *field
    }

    /// Takes an address of this family, and a port.
    pub(super) fn take_endpoint(&mut self, ipv6: bool) -> SocketAddr {
        let address = if ipv6 { IpAddr::from(self.take::<16>()) } else { IpAddr::from(self.take::<4>()) };
        SocketAddr::new(address, u16::from_be_bytes(self.take()))
    }
}

pub(super) fn write_endpoint(endpoint: SocketAddr, out: &mut Vec<u8>) {
    match endpoint.ip() {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
    out.extend_from_slice(&endpoint.port().to_be_bytes());
}
