//! What a tracker says that has missed something, and what it tells itself.
//!
//! Numbers are big-endian. An ask is [`MAGIC`], the name of the cluster as in a batch, and five numbers of 8 bytes: who
//! asks, who is asked, the first batch that was missed and the first behind these, and for how many minutes back.

use std::ops::Range;

use super::batch::{MAX_NAME, ParseError, Sender, parse_prefix, take_number, write_prefix};

/// What an ask begins with; the last byte is the version.
const MAGIC: [u8; 4] = *b"OTA\x01";
/// Bytes in an ask at most.
const MAX_ASK: usize = 4 + 1 + MAX_NAME + 5 * 8;

/// Asks a tracker to send what somebody has missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// Who asks.
    pub(super) asker: Sender,
    /// Who is asked.
    pub(super) sender: Sender,
    /// Which of its batches were missed. If it does not have them any more, it walks over its peers. Empty: those of
    /// trackers that are not there any more, for which it is to walk in any case.
    pub(super) missed: Range<u64>,
    /// For how many minutes back. With batches: only those of the last minutes; 0 for all.
    pub(super) minutes: u64,
}

impl Ask {
    /// Reads an ask of this cluster.
    pub(super) fn parse(bytes: &[u8], cluster: &str) -> Result<Self, ParseError> {
        if bytes.len() > MAX_ASK {
            return Err(ParseError::TooLong);
        }
        let mut rest = parse_prefix(bytes, MAGIC, cluster)?;
        let asker = take_number(&mut rest)?;
        let sender = take_number(&mut rest)?;
        let missed = take_number(&mut rest)?..take_number(&mut rest)?;
        let minutes = take_number(&mut rest)?;
        if !rest.is_empty() || missed.start > missed.end {
            return Err(ParseError::Nonsense);
        }
        Ok(Self { asker, sender, missed, minutes })
    }

    /// Returns the ask as it travels in this cluster.
    pub(super) fn write(&self, cluster: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_ASK);
        write_prefix(&mut bytes, MAGIC, cluster);
        let Self { asker, sender, missed, minutes } = self;
        for number in [asker, sender, &missed.start, &missed.end, minutes] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }
}

/// What a tracker sends to itself behind a batch. NATS keeps the order of what comes by one connection, so once this is
/// back the server has had that batch and all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    /// Drawn for each connection: what was said by an earlier one proves nothing of this one.
    pub(super) epoch: u64,
    /// Of the batch.
    pub(super) sequence: u64,
}

impl Echo {
    /// Reads an echo; `None` if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let sequence = rest.try_into().ok()?;
        Some(Self { epoch: u64::from_be_bytes(*epoch), sequence: u64::from_be_bytes(sequence) })
    }

    /// Returns the echo as it travels.
    pub(super) fn write(self) -> Vec<u8> {
        [self.epoch.to_be_bytes(), self.sequence.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(asker: u64, sender: u64, one: u64, other: u64, minutes: u64, name in "[a-z.]{1,64}") {
            let ask = Ask { asker, sender, missed: one.min(other)..one.max(other), minutes };
            prop_assert_eq!(Ask::parse(&ask.write(&name), &name), Ok(ask));
            let echo = Echo { epoch: one, sequence: other };
            prop_assert_eq!(Echo::parse(&echo.write()), Some(echo));
        }

        #[test]
        fn an_ask_that_is_cut_or_longer_is_refused(len in 0..47_usize, more in 1..20_usize) {
            let whole = Ask { asker: 1, sender: 2, missed: 3..4, minutes: 5 }.write("ab");
            prop_assert_eq!(whole.len(), 47);
            prop_assert!(Ask::parse(&whole[..len], "ab").is_err());
            prop_assert!(Ask::parse(&[&whole[..], &vec![0; more]].concat(), "ab").is_err());
            prop_assert_eq!(Echo::parse(&whole[..len]).is_some(), len == 16);
        }
    }

    #[test]
    fn what_is_not_for_this_cluster_is_refused_and_why() {
        let whole = Ask { asker: 1, sender: 2, missed: 3..4, minutes: 5 }.write("ab");
        for (name, at, byte, expected) in [
            ("ab", 0, b'X', ParseError::Foreign),
            ("ab", 2, b'B', ParseError::Foreign),
            ("ab", 3, 2, ParseError::UnknownVersion(2)),
            ("ac", 0, b'O', ParseError::OtherCluster),
            ("a", 0, b'O', ParseError::OtherCluster),
            ("ab", 4, 255, ParseError::TooShort),
            ("ab", 30, 9, ParseError::Nonsense),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert_eq!(Ask::parse(&bytes, name), Err(expected), "{name} {at}");
        }
    }
}
