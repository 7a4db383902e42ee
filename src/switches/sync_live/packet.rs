//! Live sync packets: bytes to changes and back, as the original writes them.
//!
//! A packet is the sender's tracker id (4 bytes), the type (4 bytes, big-endian) and then, if it is 0 or 1, records of
//! one length ([`record`]), of which the last byte is for the receiver's use. Types from 16 on are this program's own,
//! and the original passes them over: 16 is a keep-alive of a [bridge](super::bridging), 17 and 18 are for
//! [snapshots](super::snapshot). Types beyond are later versions', and are passed over like the later versions of
//! these: that trackers differ in their versions is no mistake of anybody's.

use std::fmt;

use thiserror::Error;

use crate::cluster::outbox::Codec;
use crate::cluster::record::{self, RecordKind};
use crate::tracker::{Change, Minute, Origin};

use super::snapshot::{BodyError, Invitation, read_ask};

/// What live sync is called where transports are told apart: in the origin of changes, and in names of metrics.
pub(super) const NAME: &str = "sync";

/// Bytes in a packet at most: with the headers of IP and UDP, what an Ethernet frame holds.
pub(super) const MAX_PACKET: usize = 1480;

/// Bytes of the tracker id and the type.
const HEADER_LEN: usize = 8;

/// The type of a keep-alive.
pub(super) const KEEP_ALIVE: u32 = 16;
/// The type of a question for a snapshot.
pub(super) const ASK: u32 = 17;
/// The type of an offer of a snapshot.
pub(super) const OFFER: u32 = 18;
/// The first type that means nothing yet.
pub(super) const FIRST_LATER: u32 = 19;

/// What a tracker of a cluster is known by: chosen at random when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrackerId(pub(super) [u8; 4]);

impl TrackerId {
    /// Returns it as a number.
    pub(super) fn number(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    /// Returns the id with this [`number`](Self::number).
    pub(super) fn from_number(number: u32) -> Self {
        Self(number.to_be_bytes())
    }
}

impl fmt::Display for TrackerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A packet that is understood, and its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// Changes of peers.
    Changes(SyncPacket<'a>),
    /// A bridge says whether it could forward.
    KeepAlive(TrackerId, bool),
    /// A joiner asks for a snapshot.
    Ask(TrackerId),
    /// A donor offers one.
    Offer(TrackerId, Invitation),
    /// What only a later version of this program understands.
    Later(TrackerId),
}

/// A packet that is well-formed as a whole. Its records may still be refused, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyncPacket<'a> {
    pub(super) sender: TrackerId,
    /// The address family of all its peers: its type.
    pub(super) kind: RecordKind,
    /// At least one, all of them whole.
    records: &'a [u8],
}

/// Why a packet is refused as a whole. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ParseError {
    #[error("it is longer than {MAX_PACKET} bytes")]
    TooLong,
    #[error("it ends within its first {HEADER_LEN} bytes")]
    TooShort,
    #[error("its type is {0}")]
    UnknownType(u32),
    #[error("it has no records, or ends within one")]
    PartialRecord,
    #[error("it ends before what its type stands for is said")]
    PartialBody,
    #[error("it is a keep-alive, and says {0} where 0 or 1 should stand")]
    UnknownState(u8),
}

/// Reads a packet's header. The original takes the whole records of a packet that ends within one; nobody sends such
/// packets, so one that comes is damaged, and is refused.
pub(super) fn parse(datagram: &[u8]) -> Result<Packet<'_>, ParseError> {
    if datagram.len() > MAX_PACKET {
        return Err(ParseError::TooLong);
    }
    let (sender, rest) = datagram.split_first_chunk().ok_or(ParseError::TooShort)?;
    let (code, body) = rest.split_first_chunk().ok_or(ParseError::TooShort)?;
    let sender = TrackerId(*sender);
    match u32::from_be_bytes(*code) {
        0 => SyncPacket::parse(sender, RecordKind::Ipv4, body).map(Packet::Changes),
        1 => SyncPacket::parse(sender, RecordKind::Ipv6, body).map(Packet::Changes),
        KEEP_ALIVE => read_keep_alive(body).map(|is_able| Packet::KeepAlive(sender, is_able)),
        ASK => read_snapshots(sender, read_ask(body).map(|()| Packet::Ask(sender))),
        OFFER => {
            let invitation = Invitation::read(sender.number().into(), body);
            read_snapshots(sender, invitation.map(|invitation| Packet::Offer(sender, invitation)))
        }
        FIRST_LATER.. => Ok(Packet::Later(sender)),
        unknown => Err(ParseError::UnknownType(unknown)),
    }
}

fn read_snapshots(sender: TrackerId, read: Result<Packet<'_>, BodyError>) -> Result<Packet<'_>, ParseError> {
    match read {
        Ok(packet) => Ok(packet),
        Err(BodyError::TooShort) => Err(ParseError::PartialBody),
        Err(BodyError::Version(_)) => Ok(Packet::Later(sender)),
    }
}

/// Returns a packet of a type of this program's own.
pub(super) fn write(sender: TrackerId, code: u32, body: &[u8]) -> Vec<u8> {
    [&sender.0[..], &code.to_be_bytes(), body].concat()
}

/// Returns a keep-alive: one byte says whether the bridge could forward.
pub(super) fn keep_alive(sender: TrackerId, is_able: bool) -> Vec<u8> {
    write(sender, KEEP_ALIVE, &[u8::from(is_able)])
}

/// Reads what stands behind the type of a keep-alive. Later versions may say more behind it.
fn read_keep_alive(body: &[u8]) -> Result<bool, ParseError> {
    match body {
        [0, ..] => Ok(false),
        [1, ..] => Ok(true),
        [] => Err(ParseError::PartialBody),
        [other, ..] => Err(ParseError::UnknownState(*other)),
    }
}

impl Packet<'_> {
    /// Returns who has sent it.
    pub(super) fn sender(&self) -> TrackerId {
        match self {
            Self::Changes(SyncPacket { sender, .. })
            | Self::KeepAlive(sender, _)
            | Self::Ask(sender)
            | Self::Later(sender)
            | Self::Offer(sender, _) => *sender,
        }
    }
}

/// How a tracker with this id writes packets.
#[derive(Debug)]
pub(super) struct SyncCodec(pub(super) TrackerId);

impl Codec for SyncCodec {
    /// A third of a megabyte.
    const MAX_WAITING: usize = 256;

    fn begin(&self, kind: RecordKind) -> Vec<u8> {
        let code: u32 = match kind {
            RecordKind::Ipv4 => 0,
            RecordKind::Ipv6 => 1,
        };
        let mut packet = Vec::with_capacity(MAX_PACKET);
        packet.extend(self.0.0);
        packet.extend(code.to_be_bytes());
        packet
    }

    fn append(&self, packet: &mut Vec<u8>, change: &Change) {
        record::append(packet, change, 0);
    }

    fn is_full(packet: &[u8], kind: RecordKind) -> bool {
        packet.len() + kind.record_len() > MAX_PACKET
    }
}

impl<'a> SyncPacket<'a> {
    fn parse(sender: TrackerId, kind: RecordKind, records: &'a [u8]) -> Result<Self, ParseError> {
        if records.is_empty() || records.len() % kind.record_len() != 0 {
            return Err(ParseError::PartialRecord);
        }
        Ok(Self { sender, kind, records })
    }

    /// Returns how many records it has.
    pub(super) fn records(&self) -> usize {
        self.records.len() / self.kind.record_len()
    }

    /// Returns what each record says, in a packet that came `now`; `None` for one whose flags have no meaning yet.
    pub(super) fn changes(&self, now: Minute) -> impl Iterator<Item = Option<Change>> + 'a {
        let Self { sender, kind, records } = *self;
        let origin = Origin::Transport { name: NAME, member: sender.number() };
        // In the last byte the original keeps the peer's age. It sets that to 0 for a peer that comes, and leaves
        // whatever was there for one that stops.
        let read = move |bytes| record::read(bytes, kind, origin, |_| now);
        records.chunks_exact(kind.record_len()).map(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tracker::InfoHash;
    use proptest::prelude::*;
    use std::net::{IpAddr, SocketAddr};

    pub(in super::super) const SENDER: TrackerId = TrackerId([1, 2, 3, 4]);
    pub(in super::super) const NOW: Minute = Minute(1000);

    pub(in super::super) fn change(endpoint: &str) -> Change {
        Change {
            info_hash: InfoHash([7; 20]),
            endpoint: endpoint.parse().unwrap(),
            seeder: false,
            completed: false,
            stopped: false,
            seen: NOW,
            origin: Origin::Transport { name: NAME, member: SENDER.number() },
        }
    }

    /// A packet with these changes, which are all of one kind.
    pub(in super::super) fn packet(sender: TrackerId, changes: &[Change]) -> Vec<u8> {
        let codec = SyncCodec(sender);
        let mut packet = codec.begin(RecordKind::of(&changes[0]));
        changes.iter().for_each(|change| codec.append(&mut packet, change));
        packet
    }

    /// Reads a packet that is to have changes.
    pub(in super::super) fn changes_in(datagram: &[u8]) -> Result<SyncPacket<'_>, ParseError> {
        match parse(datagram)? {
            Packet::Changes(packet) => Ok(packet),
            other => panic!("{other:?}"),
        }
    }

    fn changes(kind: RecordKind, most: usize) -> impl Strategy<Value = Vec<Change>> {
        let ip = move |v4: [u8; 4], v6: [u8; 16]| match kind {
            RecordKind::Ipv4 => IpAddr::from(v4),
            RecordKind::Ipv6 => IpAddr::from(v6),
        };
        let change = any::<([u8; 20], [u8; 4], [u8; 16], u16, bool, bool, bool)>().prop_map(
            move |(info_hash, v4, v6, port, seeder, completed, stopped)| Change {
                info_hash: InfoHash(info_hash),
                endpoint: SocketAddr::new(ip(v4, v6), port),
                seeder,
                completed,
                stopped,
                seen: NOW,
                origin: Origin::Transport { name: NAME, member: SENDER.number() },
            },
        );
        prop::collection::vec(change, 1..=most)
    }

    #[test]
    fn an_ipv4_packet_is_right_to_the_byte() {
        let seeder = Change { seeder: true, completed: true, ..change("192.0.2.1:6881") };
        let gone = Change { stopped: true, ..change("192.0.2.2:80") };
        let hash = [7; 20];
        let expected: &[&[u8]] = &[
            &[1, 2, 3, 4, 0, 0, 0, 0],
            &hash,
            &[192, 0, 2, 1, 0x1a, 0xe1, 0xc0, 0],
            &hash,
            &[192, 0, 2, 2, 0, 80, 0x20, 0],
        ];
        assert_eq!(packet(SENDER, &[seeder, gone]), expected.concat());
    }

    #[test]
    fn an_ipv6_packet_is_right_to_the_byte() {
        let seeder = Change { seeder: true, ..change("[2001:db8::1]:6881") };
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let expected: &[&[u8]] = &[&[1, 2, 3, 4, 0, 0, 0, 1], &[7; 20], &address, &[0x1a, 0xe1, 0x80, 0]];
        assert_eq!(packet(SENDER, &[seeder]), expected.concat());
    }

    #[test]
    fn keep_alives_are_right_to_the_byte() {
        assert_eq!(keep_alive(SENDER, true), [1, 2, 3, 4, 0, 0, 0, 16, 1]);
        for is_able in [true, false] {
            assert_eq!(parse(&keep_alive(SENDER, is_able)), Ok(Packet::KeepAlive(SENDER, is_able)));
            let longer = [keep_alive(SENDER, is_able), vec![7; 100]].concat();
            assert_eq!(parse(&longer), Ok(Packet::KeepAlive(SENDER, is_able)), "a later version says more");
        }
        assert_eq!(parse(&keep_alive(SENDER, true)[..8]), Err(ParseError::PartialBody));
        assert_eq!(parse(&[1, 2, 3, 4, 0, 0, 0, 16, 2]), Err(ParseError::UnknownState(2)));
    }

    #[test]
    fn what_is_malformed_is_refused_and_why() {
        let whole = packet(SENDER, &[change("192.0.2.1:1")]);
        let with_type = |code: u8| [&whole[..7], &[code], &whole[8..]].concat();
        for (datagram, expected) in [
            (vec![], ParseError::TooShort),
            (whole[..7].to_vec(), ParseError::TooShort),
            (whole[..8].to_vec(), ParseError::PartialRecord),
            (whole[..35].to_vec(), ParseError::PartialRecord),
            ([&whole[..], &[0]].concat(), ParseError::PartialRecord),
            (with_type(1), ParseError::PartialRecord),
            (with_type(2), ParseError::UnknownType(2)),
            (with_type(15), ParseError::UnknownType(15)),
            ([&whole[..8], &whole[8..].repeat(53)].concat(), ParseError::TooLong),
        ] {
            assert_eq!(parse(&datagram), Err(expected), "{datagram:?}");
        }
    }

    #[test]
    fn flags_without_a_meaning_make_a_record_mean_nothing() {
        for flags in 0..=u8::MAX {
            let mut datagram = packet(SENDER, &[change("192.0.2.1:1")]);
            datagram[34] = flags;
            let read: Vec<_> = changes_in(&datagram).unwrap().changes(NOW).collect();
            let expected = Change {
                seeder: flags & 0x80 != 0,
                completed: flags & 0x40 != 0,
                stopped: flags & 0x20 != 0,
                ..change("192.0.2.1:1")
            };
            assert_eq!(read, [(flags & 0x1f == 0).then_some(expected)], "{flags:#x}");
        }
    }

    #[test]
    fn the_age_in_the_last_byte_is_not_looked_at() {
        let mut datagram = packet(SENDER, &[change("192.0.2.1:1")]);
        datagram[35] = 44;
        let read: Vec<_> = changes_in(&datagram).unwrap().changes(NOW).collect();
        assert_eq!(read, [Some(change("192.0.2.1:1"))]);
    }

    #[test]
    fn as_many_records_fit_a_packet_as_the_original_sends() {
        for (endpoint, most, len) in [("192.0.2.1:1", 52, 1464), ("[::1]:1", 36, 1448)] {
            let kind = RecordKind::of(&change(endpoint));
            let mut packet = SyncCodec(SENDER).begin(kind);
            while !SyncCodec::is_full(&packet, kind) {
                SyncCodec(SENDER).append(&mut packet, &change(endpoint));
            }
            assert_eq!(packet.len(), len);
            assert_eq!(changes_in(&packet).unwrap().changes(NOW).count(), most);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(v4 in changes(RecordKind::Ipv4, 52), v6 in changes(RecordKind::Ipv6, 36)) {
            for told in [v4, v6] {
                let datagram = packet(SENDER, &told);
                let read = changes_in(&datagram).unwrap();
                prop_assert_eq!(read.sender, SENDER);
                prop_assert_eq!(read.changes(NOW).collect::<Vec<_>>(), told.into_iter().map(Some).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_packet_cut_within_a_record_is_refused(v4 in changes(RecordKind::Ipv4, 3), v6 in changes(RecordKind::Ipv6, 3)) {
            for (told, record) in [(v4, 28), (v6, 40)] {
                let datagram = packet(SENDER, &told);
                for len in (0..datagram.len()).filter(|len| len % record != 8 || *len == 8) {
                    prop_assert!(parse(&datagram[..len]).is_err(), "{}", len);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1600), code in 0..3_u8) {
            let told = [&[9, 9, 9, 9, 0, 0, 0, code], &bytes[..]].concat();
            for datagram in [&bytes, &told] {
                if let Ok(Packet::Changes(packet)) = parse(datagram) {
                    prop_assert_eq!(packet.changes(NOW).count(), (datagram.len() - 8) / packet.kind.record_len());
                }
            }
        }
    }
}
