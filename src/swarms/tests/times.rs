//! Ages: at their bounds, and in streams that take long.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{announce, endpoint, named, plain, reading, written};
use crate::swarms::fuzz::{NOW, end, header};
use crate::swarms::model::known;
use crate::swarms::{Progress, Reader, Totals, Writer};
use crate::tracker::clock::TORRENT_LIFETIME;
use crate::tracker::{Event, InfoHash, Ipv4Only, Minute};

/// Returns a torrent with IPv4 peers of these ages, or one that has been without peers for so long.
fn torrent(info_hash: InfoHash, ages: &[u8], empty_for: u16) -> Vec<u8> {
    let count = (ages.len() as u16).to_be_bytes();
    let mut record = [&[1][..], &info_hash.0, &[0, 0, 0, 5], &count, &[0, 0]].concat();
    for (peer, age) in (0..).zip(ages) {
        let SocketAddr::V4(endpoint) = endpoint::<Ipv4Only>(peer) else { panic!("an IPv4 peer") };
        record.extend_from_slice(&endpoint.ip().octets());
        record.extend_from_slice(&endpoint.port().to_be_bytes());
        record.extend_from_slice(&[0, *age]);
    }
    if ages.is_empty() {
        record.extend_from_slice(&empty_for.to_be_bytes());
    }
    record
}

/// Returns how old the peers of torrent 1 are after a stream of these records has been read.
fn ages(records: &[Vec<u8>], elapsed: u32) -> (Vec<u32>, u64) {
    let into = reading::<Ipv4Only>();
    let mut reader = Reader::new(Arc::clone(&into), elapsed);
    reader.read(&[&header(1), &records.concat()[..]].concat(), NOW).unwrap();
    let ages = known(&into, NOW)
        .get(&named(1))
        .map_or(Vec::new(), |torrent| torrent.peers.values().map(|peer| NOW.since(peer.seen)).collect());
    (ages, reader.counts().left_out.expired)
}

#[test]
fn who_is_older_than_peers_are_kept_is_left_out() {
    let record = || torrent(named(1), &[0, 1, 44, 45, 46, 255], 0);
    assert_eq!(ages(&[record()], 0), (vec![0, 1, 44, 45], 2));
    assert_eq!(ages(&[record()], 1), (vec![1, 2, 45], 3));
    assert_eq!(ages(&[record()], 44), (vec![44, 45], 4));
    assert_eq!(ages(&[record()], 45), (vec![45], 5));
    assert_eq!(ages(&[record()], 46), (vec![], 6));
    assert_eq!(ages(&[record()], u32::MAX), (vec![], 6));
}

#[test]
fn minutes_that_have_passed_for_the_writer_make_what_follows_younger_and_nobody_comes_from_the_future() {
    let record = || torrent(named(1), &[3], 0);
    assert_eq!(ages(&[vec![4, 10], record()], 10), (vec![3], 0));
    assert_eq!(ages(&[vec![4, 10], record()], 30), (vec![23], 0));
    assert_eq!(ages(&[vec![4, 10, 4, 20], record()], 30), (vec![3], 0));
    assert_eq!(ages(&[vec![4, 32], record()], 30), (vec![1], 0));
    assert_eq!(ages(&[vec![4, 255, 4, 255], record()], 30), (vec![0], 0));
    assert_eq!(ages(&[vec![4, 0], record()], 30), (vec![33], 0));
}

#[test]
fn a_torrent_without_peers_is_kept_for_a_day_in_all() {
    for (empty_for, elapsed, is_kept) in [
        (0, 0, true),
        (TORRENT_LIFETIME, 0, true),
        (TORRENT_LIFETIME, 1, false),
        (TORRENT_LIFETIME + 1, 0, false),
        (1, TORRENT_LIFETIME, false),
        (65_535, 0, false),
        (0, u32::MAX, false),
    ] {
        let into = reading::<Ipv4Only>();
        let mut reader = Reader::new(Arc::clone(&into), elapsed);
        let record = torrent(named(1), &[], u16::try_from(empty_for).unwrap());
        reader.read(&[header(1), record].concat(), NOW).unwrap();
        let since = known(&into, NOW).get(&named(1)).and_then(|torrent| torrent.empty_since);
        let expected = is_kept.then(|| Minute(NOW.0 - empty_for - elapsed));
        assert_eq!(since, expected, "{empty_for} minutes, and {elapsed}");
        assert_eq!(reader.counts().left_out.expired, u64::from(!is_kept));
    }
}

#[test]
fn a_torrent_of_whose_peers_none_is_kept_keeps_its_downloads_and_the_minute_of_its_last_peer() {
    let into = reading::<Ipv4Only>();
    let mut reader = Reader::new(Arc::clone(&into), 0);
    reader.read(&[header(1), torrent(named(1), &[200, 100, 255], 0)].concat(), NOW).unwrap();
    let torrent = known(&into, NOW).remove(&named(1)).unwrap();
    assert_eq!((torrent.downloaded, torrent.empty_since), (5, Some(Minute(NOW.0 - 100))));
    assert_eq!(reader.counts().left_out.expired, 3);
}

#[test]
fn a_stream_that_took_long_to_write_is_read_rightly_then_and_later() {
    let from = plain::<Ipv4Only>();
    for (torrent, peer) in (0..2000_u16).map(|n| (n, n % 100)) {
        announce(&from, named(torrent), peer, Event::Update, NOW + u32::from(peer % 10));
    }
    let mut now = NOW + 10;
    let mut writer = Writer::new(Arc::clone(&from), 1, now);
    let mut stream = Vec::new();
    let meanwhile = reading::<Ipv4Only>();
    let mut reader = Reader::new(Arc::clone(&meanwhile), 0);
    writer.portion_len = 100;
    let began = now;
    for n in 0_u32.. {
        let mut piece = Vec::new();
        let progress = writer.write_unchanged(now, &mut piece);
        reader.read(&piece, now).unwrap();
        stream.extend_from_slice(&piece);
        if progress == Progress::Done {
            break;
        }
        now = now + n % 2;
    }
    assert!((10..30).contains(&now.since(began)), "{} minutes", now.since(began));
    assert_eq!(known(&meanwhile, now), known(&from, now));
    // From memory, some time later.
    let (late, later) = (reading::<Ipv4Only>(), now + 5);
    let mut reader = Reader::new(Arc::clone(&late), later.since(began));
    reader.read(&stream, later).unwrap();
    assert!(reader.is_whole());
    assert_eq!(known(&late, later), known(&from, later));
}

#[test]
fn the_clocks_of_the_two_may_differ_by_any_time() {
    for (theirs, ours) in [(NOW, Minute(1000)), (Minute(1000), NOW), (Minute(60), Minute(u32::MAX))] {
        let from = plain::<Ipv4Only>();
        announce(&from, named(1), 1, Event::Completed, theirs);
        announce(&from, named(1), 2, Event::Update, theirs + 30);
        let into = reading::<Ipv4Only>();
        super::read(&into, &written(&from, theirs + 40), ours);
        let seen: Vec<_> = known(&into, ours)[&named(1)].peers.values().map(|peer| ours.since(peer.seen)).collect();
        assert_eq!(seen, [40, 10]);
    }
}

#[test]
fn a_minute_hand_that_goes_back_is_no_error() {
    let from = plain::<Ipv4Only>();
    announce(&from, named(1), 1, Event::Update, NOW);
    let (mut writer, mut stream) = (Writer::new(Arc::clone(&from), 1, NOW + 1), Vec::new());
    // The thread that writes has read its clock before the one that began.
    while writer.write_unchanged(NOW, &mut stream) == Progress::More {}
    let into = reading::<Ipv4Only>();
    super::read(&into, &stream, NOW + 1);
    assert_eq!(known(&into, NOW + 1), known(&from, NOW + 1));
}

#[test]
fn a_stream_of_nothing_is_whole() {
    let mut stream = header(3);
    end(&mut stream, Totals::default());
    let into = reading::<Ipv4Only>();
    super::read(&into, &stream, NOW);
    assert_eq!(known(&into, NOW).len(), 0);
}
