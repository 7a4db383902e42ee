//! How a change is written as a record, the same by every transport: info hash (20 bytes), address (4 or 16), port (2,
//! big-endian), flags (1), and a byte that each transport uses in its own way (1).

use std::net::{IpAddr, SocketAddr};

use crate::tracker::{Change, InfoHash, Minute, Origin};

/// The flags of a record. The other bits have no meaning yet.
const SEEDING: u8 = 0x80;
const COMPLETED: u8 = 0x40;
const STOPPED: u8 = 0x20;

/// The address family of a record, on which its length depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// 28 bytes.
    Ipv4,
    /// 40 bytes.
    Ipv6,
}

impl RecordKind {
    /// Both of them.
    pub const ALL: &'static [Self] = &[Self::Ipv4, Self::Ipv6];

    /// Returns the kind of record that a change is written as.
    pub const fn of(change: &Change) -> Self {
        if change.endpoint.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// Returns the bytes in a record.
    pub const fn record_len(self) -> usize {
        InfoHash::LEN + 4 + if matches!(self, Self::Ipv4) { 4 } else { 16 }
    }
}

const _: () = assert!(RecordKind::Ipv4.record_len() == 28 && RecordKind::Ipv6.record_len() == 40);

/// Appends a change as a record of its kind that ends with the byte `last`.
pub fn append(bytes: &mut Vec<u8>, change: &Change, last: u8) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(change.seeder, SEEDING) | flag(change.completed, COMPLETED) | flag(change.stopped, STOPPED);
    bytes.extend(change.info_hash.0);
    match change.endpoint.ip() {
        IpAddr::V4(ip) => bytes.extend(ip.octets()),
        IpAddr::V6(ip) => bytes.extend(ip.octets()),
    }
    bytes.extend(change.endpoint.port().to_be_bytes());
    bytes.extend([flags, last]);
}

/// Reads one record, of a change with this origin; `seen` makes of the last byte when the peer was seen. `None` if the
/// record is not of the length of its kind, or has flags without a meaning.
pub fn read(record: &[u8], kind: RecordKind, origin: Origin, seen: impl FnOnce(u8) -> Minute) -> Option<Change> {
    let (info_hash, rest) = record.split_first_chunk()?;
    let (ip, rest) = match kind {
        RecordKind::Ipv4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        RecordKind::Ipv6 => rest.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
    };
    let &[high, low, flags, last] = rest else { return None };
    let change = Change {
        info_hash: InfoHash(*info_hash),
        endpoint: SocketAddr::new(ip, u16::from_be_bytes([high, low])),
        seeder: flags & SEEDING != 0,
        completed: flags & COMPLETED != 0,
        stopped: flags & STOPPED != 0,
        seen: seen(last),
        origin,
    };
    (flags & !(SEEDING | COMPLETED | STOPPED) == 0).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: Origin = Origin::Transport { name: "test", member: 0 };

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(
            hash in any::<[u8; 20]>(), v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), is_v4: bool, port: u16,
            flags in any::<[bool; 3]>(), last: u8,
        ) {
            let ip = if is_v4 { IpAddr::from(v4) } else { IpAddr::from(v6) };
            let [seeder, completed, stopped] = flags;
            let endpoint = SocketAddr::new(ip, port);
            let seen = Minute(last.into());
            let change =
                Change { info_hash: InfoHash(hash), endpoint, seeder, completed, stopped, seen, origin: ORIGIN };
            let kind = RecordKind::of(&change);
            let mut record = Vec::new();
            append(&mut record, &change, last);
            prop_assert_eq!(record.len(), kind.record_len());
            prop_assert_eq!(read(&record, kind, ORIGIN, |last| Minute(last.into())), Some(change));
        }

        #[test]
        fn flags_without_a_meaning_make_a_record_mean_nothing(flags: u8) {
            let mut record = vec![7; 28];
            record[26] = flags;
            let read = read(&record, RecordKind::Ipv4, ORIGIN, |last| Minute(last.into()));
            prop_assert_eq!(read.is_some(), flags & 0x1f == 0);
        }

        #[test]
        fn a_record_of_another_length_means_nothing(len in 0..60_usize) {
            let record = vec![0; len];
            let reads = |kind| read(&record, kind, ORIGIN, |_| Minute(0)).is_some();
            prop_assert_eq!((reads(RecordKind::Ipv4), reads(RecordKind::Ipv6)), (len == 28, len == 40));
        }
    }
}
