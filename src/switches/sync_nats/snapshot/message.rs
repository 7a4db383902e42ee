//! What those who give and take snapshots tell each other. Numbers are big-endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | [`MAGIC`], the last of which is the version |
//! | 1, and as many as it says | the name of the cluster |
//! | 1 | what it is |
//!
//! | what | to | then bytes | what |
//! | --- | --- | --- | --- |
//! | 1, question | all | 8 | who can give a snapshot to the joiner of this number? |
//! | 2, offer | the joiner | 8, 4, 8, 8 | the donor of this number can: its uptime in seconds, torrents, peers |
//! | 3, presence | the joiner | | a tracker is there that gives nobody a snapshot at present |
//! | 4, demand | the donor | 8, 8, 4 | the joiner's number, the snapshot's, and how many pieces of it have been taken |
//! | 5, piece | the joiner | 8, 4, any | the snapshot's number, the piece's, and a piece of the stream |
//! | 6, refusal | the joiner | 8 | of this snapshot there is nothing, or nothing more |
//! | 7, end | the donor | 8, 8 | the joiner's number, and the snapshot's of which no more is wanted |
//!
//! The first demand begins a snapshot. Each joiner numbers those that it asks for. There are never more than [`WINDOW`]
//! pieces on the way: each demand makes room for as many as it says have been taken.

use thiserror::Error;

use crate::cluster::snapshot::Offer;

use super::super::batch::{MAX_NAME, ParseError, parse_prefix, write_prefix};

/// Most pieces that have been sent and are not known to have been taken: a megabyte. At 4 MB a second the answer may
/// take a quarter of a second.
pub(super) const WINDOW: u32 = 16;

/// What a message begins with.
const MAGIC: [u8; 4] = *b"OTS\x01";
/// Bytes of a message beside the piece in it, at most.
pub(super) const MAX_OVERHEAD: usize = MAGIC.len() + 1 + MAX_NAME + 1 + 8 + 4;

const QUESTION: u8 = 1;
const OFFER: u8 = 2;
const PRESENCE: u8 = 3;
const DEMAND: u8 = 4;
const PIECE: u8 = 5;
const REFUSAL: u8 = 6;
const END: u8 = 7;

/// A message between a joiner and donors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Asks all who can give.
    Question { joiner: u64 },
    /// Its id is the donor's number.
    Offer(Offer),
    /// Says that somebody is there.
    Presence,
    /// Begins a snapshot, or goes on.
    Demand { joiner: u64, snapshot: u64, taken: u32 },
    /// The next part of the stream.
    Piece { snapshot: u64, number: u32, bytes: &'a [u8] },
    /// Nothing (more) will come.
    Refusal { snapshot: u64 },
    /// Nothing more is wanted.
    End { joiner: u64, snapshot: u64 },
}

/// Why a message is refused. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Prefix(#[from] ParseError),
    #[error("it says nothing that is known: {0}")]
    Kind(u8),
    #[error("it has a wrong length")]
    Length,
}

impl<'a> Message<'a> {
    /// Reads a message among trackers of this cluster.
    pub(super) fn parse(bytes: &'a [u8], cluster: &str) -> Result<Self, MessageError> {
        let (&kind, rest) = parse_prefix(bytes, MAGIC, cluster)?.split_first().ok_or(MessageError::Length)?;
        let mut fields = Fields(rest);
        let message = match kind {
            QUESTION => Self::Question { joiner: fields.u64()? },
            OFFER => {
                let (id, uptime_seconds) = (fields.u64()?, fields.u32()?);
                Self::Offer(Offer { id, uptime_seconds, torrents: fields.u64()?, peers: fields.u64()? })
            }
            PRESENCE => Self::Presence,
            DEMAND => Self::Demand { joiner: fields.u64()?, snapshot: fields.u64()?, taken: fields.u32()? },
            PIECE => Self::Piece { snapshot: fields.u64()?, number: fields.u32()?, bytes: fields.rest() },
            REFUSAL => Self::Refusal { snapshot: fields.u64()? },
            END => Self::End { joiner: fields.u64()?, snapshot: fields.u64()? },
            _ => return Err(MessageError::Kind(kind)),
        };
        if fields.0.is_empty() { Ok(message) } else { Err(MessageError::Length) }
    }

    /// Returns the message as it is sent among trackers of this cluster.
    pub(super) fn to_bytes(self, cluster: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_prefix(&mut bytes, MAGIC, cluster);
        match self {
            Self::Question { joiner } => {
                bytes.push(QUESTION);
                bytes.extend(joiner.to_be_bytes());
            }
            Self::Offer(Offer { id, uptime_seconds, torrents, peers }) => {
                bytes.push(OFFER);
                bytes.extend(id.to_be_bytes());
                bytes.extend(uptime_seconds.to_be_bytes());
                bytes.extend([torrents, peers].map(u64::to_be_bytes).concat());
            }
            Self::Presence => bytes.push(PRESENCE),
            Self::Demand { joiner, snapshot, taken } => {
                bytes.push(DEMAND);
                bytes.extend([joiner, snapshot].map(u64::to_be_bytes).concat());
                bytes.extend(taken.to_be_bytes());
            }
            Self::Piece { snapshot, number, bytes: piece } => {
                bytes.reserve_exact(1 + 8 + 4 + piece.len());
                bytes.push(PIECE);
                bytes.extend(snapshot.to_be_bytes());
                bytes.extend(number.to_be_bytes());
                bytes.extend(piece);
            }
            Self::Refusal { snapshot } => {
                bytes.push(REFUSAL);
                bytes.extend(snapshot.to_be_bytes());
            }
            Self::End { joiner, snapshot } => {
                bytes.push(END);
                bytes.extend([joiner, snapshot].map(u64::to_be_bytes).concat());
            }
        }
        bytes
    }
}

/// Bytes that are taken from the front, field by field.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const LEN: usize>(&mut self) -> Result<[u8; LEN], MessageError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(MessageError::Length)?;
        self.0 = rest;
        Ok(*field)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLUSTER: &str = "trackers.europe";

    /// One of each, with its bytes beside the head.
    fn all() -> Vec<(Message<'static>, usize)> {
        vec![
            (Message::Question { joiner: 1 }, 8),
            (Message::Offer(Offer { id: 1, uptime_seconds: 2, torrents: 3, peers: 4 }), 8 + 4 + 8 + 8),
            (Message::Presence, 0),
            (Message::Demand { joiner: 1, snapshot: 2, taken: 3 }, 8 + 8 + 4),
            (Message::Piece { snapshot: 1, number: 2, bytes: b"otswarms" }, 8 + 4 + 8),
            (Message::Piece { snapshot: 1, number: 2, bytes: b"" }, 8 + 4),
            (Message::Refusal { snapshot: u64::MAX }, 8),
            (Message::End { joiner: 1, snapshot: 2 }, 8 + 8),
        ]
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        for (message, len) in all() {
            let bytes = message.to_bytes(CLUSTER);
            assert_eq!(Message::parse(&bytes, CLUSTER), Ok(message));
            assert_eq!(bytes.len(), 4 + 1 + CLUSTER.len() + 1 + len, "{message:?}");
            assert!(bytes.starts_with(b"OTS\x01\x0ftrackers.europe"));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_or_of_others_is_refused() {
        for (message, _) in all() {
            let bytes = message.to_bytes(CLUSTER);
            let shortest =
                if let Message::Piece { bytes: piece, .. } = message { bytes.len() - piece.len() } else { bytes.len() };
            for len in 0..shortest {
                let expected = if len < 5 + CLUSTER.len() { ParseError::TooShort.into() } else { MessageError::Length };
                assert_eq!(Message::parse(&bytes[..len], CLUSTER), Err(expected), "{len} of {message:?}");
            }
            if !matches!(message, Message::Piece { .. }) {
                let longer = [&bytes[..], &[0]].concat();
                assert_eq!(Message::parse(&longer, CLUSTER), Err(MessageError::Length));
            }
            for other in ["", "trackers", "trackers.europa", "trackers.europe.west"] {
                assert_eq!(Message::parse(&bytes, other), Err(ParseError::OtherCluster.into()));
            }
            let mut newer = bytes.clone();
            newer[3] = 2;
            assert_eq!(Message::parse(&newer, CLUSTER), Err(ParseError::UnknownVersion(2).into()));
            for kind in [0, 8, 255] {
                let mut other = bytes.clone();
                other[5 + CLUSTER.len()] = kind;
                assert_eq!(Message::parse(&other, CLUSTER), Err(MessageError::Kind(kind)));
            }
        }
    }

    #[test]
    fn a_piece_has_no_more_beside_it_than_the_overhead() {
        let piece = Message::Piece { snapshot: 1, number: 2, bytes: &[7; 100] };
        assert_eq!(piece.to_bytes(&"x".repeat(MAX_NAME)).len(), MAX_OVERHEAD + 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_read_is_written_as_it_was(kind in 0..9_u8, rest in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [b"OTS\x01\x01c", &[kind][..], &rest].concat();
            if let Ok(message) = Message::parse(&bytes, "c") {
                prop_assert_eq!(message.to_bytes("c"), bytes);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::parse(&bytes, "c");
        }
    }
}
