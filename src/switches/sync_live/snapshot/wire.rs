//! The bodies of the packets with which snapshots are asked for and offered, and what a connection begins with. Numbers
//! are big-endian.
//!
//! | packet | type | bytes behind the header |
//! | --- | --- | --- |
//! | who gives a snapshot? | 17 | 2: the version, [`VERSION`] |
//! | an offer | 18 | 2: the version; 2: the TCP port; 4: uptime in seconds; 8: torrents; 8: peers |
//!
//! A donor that gives as many as it can names port 0, so that whoever asks knows that it is there, and asks again.
//! Whatever follows these bytes is for later versions, and is not looked at. A joiner that has connected sends
//! `otsnap`, the version (2) and the donor's id (4). The donor answers with one byte, and behind [`GIVES`] comes the
//! snapshot.

use crate::cluster::snapshot::Offer;

/// The version that is written, and the only one that is understood.
pub(in super::super) const VERSION: u16 = 1;

/// What a joiner says first.
pub(super) type Greeting = [u8; 12];

const MAGIC: [u8; 6] = *b"otsnap";

/// The donor gives a snapshot.
pub(super) const GIVES: u8 = 1;
/// The donor gives as many as it can already.
pub(super) const BUSY: u8 = 0;

/// What a donor says to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Invitation {
    /// Where it is to be connected to: a TCP port of the address that the packet comes from. 0 if as many are being
    /// given as may be: it is to be asked again.
    pub(in super::super) port: u16,
    pub(in super::super) offer: Offer,
}

/// Why the body of a packet is not understood. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum BodyError {
    TooShort,
    Version(u16),
}

/// Returns the body of a question.
pub(super) fn write_ask() -> Vec<u8> {
    VERSION.to_be_bytes().into()
}

/// Reads the body of a question.
pub(in super::super) fn read_ask(body: &[u8]) -> Result<(), BodyError> {
    read_version(body).map(|_| ())
}

impl Invitation {
    /// Returns that of a donor with this id that is busy.
    pub(super) fn busy(id: u64) -> Self {
        Self { port: 0, offer: Offer { id, uptime_seconds: 0, torrents: 0, peers: 0 } }
    }

    /// Returns the body of an offer.
    pub(in super::super) fn write(&self) -> Vec<u8> {
        let Self { port, offer: Offer { uptime_seconds, torrents, peers, .. } } = self;
        let fields: [&[u8]; 5] = [
            &VERSION.to_be_bytes(),
            &port.to_be_bytes(),
            &uptime_seconds.to_be_bytes(),
            &torrents.to_be_bytes(),
            &peers.to_be_bytes(),
        ];
        fields.concat()
    }

    /// Reads the body of an offer that the donor with this id makes.
    pub(in super::super) fn read(id: u64, body: &[u8]) -> Result<Self, BodyError> {
        let rest = read_version(body)?;
        let (port, rest) = take(rest)?;
        let (uptime_seconds, rest) = take(rest)?;
        let (torrents, rest) = take(rest)?;
        let (peers, _) = take(rest)?;
        let offer = Offer {
            id,
            uptime_seconds: u32::from_be_bytes(uptime_seconds),
            torrents: u64::from_be_bytes(torrents),
            peers: u64::from_be_bytes(peers),
        };
        Ok(Self { port: u16::from_be_bytes(port), offer })
    }
}

/// Returns what a joiner says first to the donor with this id.
pub(super) fn greeting(donor: [u8; 4]) -> Greeting {
    let mut greeting = [0; 12];
    let bytes = MAGIC.into_iter().chain(VERSION.to_be_bytes()).chain(donor);
    greeting.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    greeting
}

fn read_version(body: &[u8]) -> Result<&[u8], BodyError> {
    let (version, rest) = take(body)?;
    match u16::from_be_bytes(version) {
        VERSION => Ok(rest),
        other => Err(BodyError::Version(other)),
    }
}

fn take<const LEN: usize>(bytes: &[u8]) -> Result<([u8; LEN], &[u8]), BodyError> {
    bytes.split_first_chunk().map(|(field, rest)| (*field, rest)).ok_or(BodyError::TooShort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INVITATION: Invitation =
        Invitation { port: 9696, offer: Offer { id: 7, uptime_seconds: 3600, torrents: 2, peers: 0x1_0000_0003 } };

    #[test]
    fn an_offer_and_a_question_are_right_to_the_byte() {
        let expected = [0, 1, 0x25, 0xe0, 0, 0, 14, 16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3];
        assert_eq!(INVITATION.write(), expected);
        assert_eq!(write_ask(), [0, 1]);
        assert_eq!(&greeting([1, 2, 3, 4]), b"otsnap\0\x01\x01\x02\x03\x04");
    }

    #[test]
    fn other_versions_and_cut_bodies_are_refused_and_longer_ones_are_read() {
        let body = INVITATION.write();
        for len in 0..body.len() {
            assert_eq!(Invitation::read(7, &body[..len]), Err(BodyError::TooShort), "{len}");
        }
        assert_eq!(Invitation::read(7, &[&body[..], &[9; 100]].concat()), Ok(INVITATION));
        assert_eq!(Invitation::read(7, &[&[0, 2], &body[2..]].concat()), Err(BodyError::Version(2)));
        assert_eq!(
            [read_ask(&[0]), read_ask(&[0, 1]), read_ask(&[0, 1, 5])],
            [Err(BodyError::TooShort), Ok(()), Ok(())]
        );
        assert_eq!(read_ask(&[1, 0]), Err(BodyError::Version(256)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(
            (id, port, uptime_seconds, torrents, peers) in any::<(u64, u16, u32, u64, u64)>(),
        ) {
            let invitation = Invitation { port, offer: Offer { id, uptime_seconds, torrents, peers } };
            prop_assert_eq!(Invitation::read(id, &invitation.write()), Ok(invitation));
        }
    }
}
