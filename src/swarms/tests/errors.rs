//! Streams that are wrong, or stop midway.

use std::sync::Arc;

use proptest::prelude::*;

use super::{announce, named, plain, reading, written};
use crate::swarms::fuzz::{NOW, any_stream, end, header};
use crate::swarms::model::known;
use crate::swarms::{Header, Reader, StreamError, Totals};
use crate::tracker::model::config;
use crate::tracker::{Event, Ipv4Only};

/// Reads a stream, in one piece and byte by byte. Returns what is wrong with it.
fn error(stream: &[u8]) -> Option<StreamError> {
    let mut reader = Reader::new(reading::<Ipv4Only>(), 0);
    let whole = reader.read(stream, NOW).err();
    let mut bytewise = Reader::new(reading::<Ipv4Only>(), 0);
    let last = stream.iter().map(|byte| bytewise.read(&[*byte], NOW)).last();
    assert_eq!(last.and_then(Result::err), whole);
    if let Some(error) = whole {
        assert!(!reader.is_whole() && !bytewise.is_whole());
        // It stays wrong, whatever comes.
        assert_eq!((reader.read(&[], NOW), reader.read(&[4, 1], NOW)), (Err(error), Err(error)));
    }
    whole
}

fn a_stream() -> Vec<u8> {
    let from = plain::<Ipv4Only>();
    (0..100).for_each(|n| _ = announce(&from, named(n % 7), n, Event::Completed, NOW));
    written(&from, NOW)
}

#[test]
fn what_is_wrong_is_said() {
    let stream = a_stream();
    assert_eq!(error(&stream), None);
    let with = |at: usize, byte: u8| {
        let mut stream = stream.clone();
        stream[at] = byte;
        stream
    };
    assert_eq!(error(&with(0, b'O')), Some(StreamError::NotSwarms));
    assert_eq!(error(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), Some(StreamError::NotSwarms));
    assert_eq!(error(&with(9, 2)), Some(StreamError::Version(2)));
    assert_eq!(error(&with(8, 1)), Some(StreamError::Version(0x101)));
    assert_eq!(error(&with(10, 0)), Some(StreamError::Families(0)));
    assert_eq!(error(&with(10, 4)), Some(StreamError::Families(4)));
    assert_eq!(error(&with(10, 2)), Some(StreamError::FamilyNotNamed));
    assert_eq!(error(&with(Header::LEN, 0)), Some(StreamError::Record(0)));
    assert_eq!(error(&with(Header::LEN, 6)), Some(StreamError::Record(6)));
    let flags = Header::LEN + 29 + 6;
    assert_eq!(error(&with(flags, 4)), Some(StreamError::Flags(4)));
    assert_eq!(error(&with(flags, 255)), Some(StreamError::Flags(255)));
    // Bytes that mean something else instead.
    assert_eq!(error(&with(flags, 0)), Some(StreamError::Checksum));
    assert_eq!(error(&with(stream.len() - 1, stream[stream.len() - 1] ^ 1)), Some(StreamError::Checksum));
    assert_eq!(error(&[&stream[..], &[5]].concat()), Some(StreamError::BehindEnd));
    assert_eq!(error(&[&stream[..], &stream[..]].concat()), Some(StreamError::BehindEnd));
}

#[test]
fn totals_that_lie_are_refused() {
    let mut stream = header(1);
    let told = Totals { torrents: 1, ..Totals::default() };
    end(&mut stream, told);
    assert_eq!(error(&stream), Some(StreamError::Totals { told, found: Totals::default() }));
    // Records that were lost, or repeated.
    let stream = a_stream();
    let record = |n: usize| n + 29 + 8 * usize::from(u16::from_be_bytes([stream[n + 25], stream[n + 26]]));
    let second = record(Header::LEN);
    let without = [&stream[..Header::LEN], &stream[second..]].concat();
    assert!(matches!(error(&without), Some(StreamError::Totals { .. })));
    let twice = [&stream[..second], &stream[Header::LEN..]].concat();
    assert!(matches!(error(&twice), Some(StreamError::Totals { .. })));
}

#[test]
fn a_number_of_peers_that_lies_is_found_out() {
    let stream = a_stream();
    for at in [Header::LEN + 25, Header::LEN + 26, Header::LEN + 27, Header::LEN + 28] {
        for bit in 0..8 {
            let mut stream = stream.clone();
            stream[at] ^= 1 << bit;
            let mut reader = Reader::new(reading::<Ipv4Only>(), 0);
            // It waits for what will not come, or something is wrong.
            assert!(reader.read(&stream, NOW).is_err() || !reader.is_whole());
        }
    }
}

#[test]
fn a_stream_that_stops_midway_is_taken_over_as_far_as_it_is_whole() {
    let stream = a_stream();
    let whole = plain::<Ipv4Only>();
    super::read(&whole, &stream, NOW);
    let whole = known(&whole, NOW);
    let mut before = 0;
    for len in 0..stream.len() {
        let into = reading::<Ipv4Only>();
        let mut reader = Reader::new(Arc::clone(&into), 0);
        assert_eq!(reader.read(&stream[..len], NOW), Ok(()));
        assert!(!reader.is_whole());
        let known = known(&into, NOW);
        let peers: usize = known.values().map(|torrent| torrent.peers.len()).sum();
        assert!(peers == before || peers == before + 1, "{peers} of {len} bytes, and {before} of one less");
        before = peers;
        assert!(known.iter().all(|(info_hash, torrent)| {
            torrent.peers.iter().all(|(endpoint, peer)| whole[info_hash].peers[endpoint] == *peer)
        }));
    }
    assert_eq!(before, 100);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_mangled_comes_to_what_a_naive_reader_makes_of_it(
        how: [u8; 6],
        mangled in prop::collection::vec((0..1000_usize, any::<u8>()), 0..6),
    ) {
        // Behind what says how it is cut; records alone, since the end tells on what is mangled.
        let mut records = a_stream().split_off(Header::LEN);
        records.truncate(records.len() - 33);
        for (at, byte) in mangled {
            let at = at % records.len();
            records[at] = byte;
        }
        any_stream(&[&how[..], &records].concat());
    }
}

#[test]
fn an_error_says_what_was_found() {
    let told = Totals { torrents: 1, peers: 2, departures: 3 };
    let error = StreamError::Totals { told, found: Totals::default() };
    assert_eq!(
        error.to_string(),
        "1 torrents, 2 peers and 3 departures are announced at the end, and 0 torrents, 0 peers and 0 departures have come"
    );
    assert_eq!(
        StreamError::Version(2).to_string(),
        "the swarms are written in version 2, and this program reads version 1"
    );
}
