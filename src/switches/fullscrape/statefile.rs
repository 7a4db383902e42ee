//! The state file: a state dump that is read back at the start, so that download counts outlive a restart.
//!
//! The tracker does not write it. It may not be able to (it has given up its rights by then), and what is written at
//! the end is not there after a crash: `mode=statedump` is to be fetched now and then instead, and put in the file's
//! place when it is complete.

use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::path::Path;

use tracing::{info, warn};

use crate::input::{self, InputError};
use crate::server::StartError;
use crate::tracker::clock::TORRENT_LIFETIME;
use crate::tracker::{AnnounceError, Flavour, InfoHash, Minute, Tracker};

/// The key that names the file.
pub(super) const KEY: &str = "tracker.statefile";

/// Bytes that a line may have, its end included: nearly twice as many as any has.
const MAX_LINE: usize = 128;

/// Bad lines that are reported one by one.
const MAX_REPORTED: u64 = 10;

/// Restores the torrents of the file at `path`.
///
/// A file that is not there yet is no mistake: the first start has none, and all that is missing is counts. It is
/// warned of, as in the original.
///
/// # Errors
///
/// What is there cannot be read, or is no regular file.
pub(super) fn restore<F: Flavour>(path: &Path, tracker: &Tracker<F>, now: Minute) -> Result<(), StartError> {
    let name = path.display();
    let unreadable = |error| StartError::File { key: KEY, path: path.into(), error };
    let file = match input::open_regular(path) {
        Err(InputError::System(error)) if error.kind() == ErrorKind::NotFound => {
            warn!("{KEY}: there is no {name} yet; starting without the download counts of before");
            return Ok(());
        }
        opened => opened.map_err(|error| unreadable(io::Error::other(error)))?,
    };
    let report = |line: u64| warn!("{name}:{line}: skipped, it is not of the form INFO_HASH:MINUTE:DOWNLOADS");
    let LineCounts { restored, old, not_served, no_room, bad } =
        read(BufReader::new(file), tracker, now, report).map_err(unreadable)?;
    info!("{name}: {restored} torrents restored; {old} are forgotten by now, {not_served} are not served");
    if bad > MAX_REPORTED {
        warn!("{name}: {bad} lines are skipped in all, the first {MAX_REPORTED} are named above");
    }
    if no_room > 0 {
        warn!("{name}: there was no room for {no_room} torrents (limits.torrents)");
    }
    Ok(())
}

/// How many lines there were of each kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct LineCounts {
    restored: u64,
    /// Silent for longer than torrents are remembered, or never completed.
    old: u64,
    not_served: u64,
    no_room: u64,
    bad: u64,
}

/// Restores what is in `input`. Calls `report` with the numbers of the first bad lines, counted from 1.
fn read<F: Flavour>(
    mut input: impl BufRead,
    tracker: &Tracker<F>,
    now: Minute,
    mut report: impl FnMut(u64),
) -> io::Result<LineCounts> {
    let mut counts = LineCounts::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // What goes on behind the most that is read is not parsed, so it is no good line.
        let whole = line.len() < MAX_LINE || line.ends_with(b"\n") || input.skip_until(b'\n')? == 0;
        match Entry::parse(&line).filter(|_| whole) {
            None if whole && line.trim_ascii().is_empty() => (),
            None => {
                counts.bad += 1;
                if counts.bad <= MAX_REPORTED {
                    report(number);
                }
            }
            Some(Entry { downloaded, touched, .. }) if downloaded == 0 || now.since(touched) > TORRENT_LIFETIME => {
                counts.old += 1;
            }
            Some(Entry { info_hash, touched, downloaded }) => {
                match tracker.restore(&info_hash, downloaded, touched, now) {
                    Ok(()) => counts.restored += 1,
                    Err(AnnounceError::Full) => counts.no_room += 1,
                    Err(_) => counts.not_served += 1,
                }
            }
        }
    }
    Ok(counts)
}

/// A line of the file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    info_hash: InfoHash,
    touched: Minute,
    downloaded: u32,
}

impl Entry {
    /// Reads `INFO_HASH:MINUTE:DOWNLOADS`, with or without its end of line.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.trim_ascii_end().split(|&byte| byte == b':');
        let entry = Self {
            info_hash: InfoHash::from_hex(fields.next()?)?,
            touched: Minute(number(fields.next()?)?),
            downloaded: number(fields.next()?)?,
        };
        fields.next().is_none().then_some(entry)
    }
}

/// Reads a whole number. One that does not fit is the greatest that does: the original counts in 64 bits.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number: u32, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0'))))
}

#[cfg(any(test, fuzzing))]
pub(in crate::switches) mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::switches::fullscrape::tests::{NOW, limited, tracker};
    use crate::tracker::ScrapeCounts;
    use crate::tracker::testing::TestTracker;

    const HASH: &str = "00112233445566778899AABBCCDDEEFF00112233";

    fn read_text(text: impl AsRef<[u8]>, tracker: &TestTracker) -> (LineCounts, Vec<u64>) {
        let mut reported = Vec::new();
        let counts = read(text.as_ref(), tracker, NOW, |line| reported.push(line)).unwrap();
        (counts, reported)
    }

    fn downloaded(tracker: &TestTracker, hash: &str) -> Option<u32> {
        let counts = tracker.scrape(&InfoHash::from_hex(hash.as_bytes()).unwrap())?;
        assert_eq!((counts.seeders, counts.leechers), (0, 0));
        Some(counts.downloaded)
    }

    #[test]
    fn counts_are_restored_until_they_would_have_been_forgotten() {
        let tracker = tracker();
        let long_ago = NOW.0 - TORRENT_LIFETIME - 1;
        let text = format!(
            "{HASH}:{now}:7\n{one}:{}:8\r\n{two}:{long_ago}:9\n{three}:{now}:0\n\n{four}:99999999999:18446744073709551615",
            long_ago + 1,
            now = NOW.0,
            one = "0".repeat(40),
            two = "1".repeat(40),
            three = "2".repeat(40),
            four = "ab".repeat(20),
        );
        let (counts, reported) = read_text(text, &tracker);
        assert_eq!(counts, LineCounts { restored: 3, old: 2, ..LineCounts::default() });
        assert!(reported.is_empty());
        let restored = |hash: &str| downloaded(&tracker, hash);
        assert_eq!(restored(HASH), Some(7));
        assert_eq!(restored(&"0".repeat(40)), Some(8));
        assert_eq!(restored(&"AB".repeat(20)), Some(u32::MAX));
        assert_eq!(tracker.store().census().torrents, 3);
        tracker.sweep(NOW + 1, || ());
        assert_eq!(restored(&"0".repeat(40)), None, "its time goes on where it was");
        tracker.sweep(NOW + TORRENT_LIFETIME, || ());
        assert_eq!(restored(&"AB".repeat(20)), Some(u32::MAX), "from the future counts as from now");
        tracker.sweep(NOW + TORRENT_LIFETIME + 1, || ());
        assert_eq!(tracker.store().census().torrents, 0);
    }

    #[test]
    fn bad_lines_are_skipped_and_the_first_ten_reported() {
        let tracker = tracker();
        let long = "1".repeat(300);
        let bad = [
            "x".into(),
            HASH.into(),
            format!("{HASH}:1"),
            format!("{HASH}::1"),
            format!("{HASH}:1:"),
            format!("{HASH}:-1:1"),
            format!("{HASH}:1:+1"),
            format!("{HASH}:1:1:1"),
            format!("{}:1:1", &HASH[1..]),
            format!(" {HASH}:1:1"),
            format!("{HASH}:1:{long}"),
            format!("{HASH}:{}:5{}x", NOW.0, " ".repeat(200)),
            "\0\u{ff}".into(),
        ];
        let text = format!("\n{}\n{HASH}:{}:6\n{long}", bad.join("\n"), NOW.0);
        let (counts, reported) = read_text(text, &tracker);
        assert_eq!(counts, LineCounts { restored: 1, bad: 14, ..LineCounts::default() });
        assert_eq!(reported, (2..=11).collect::<Vec<_>>());
        assert_eq!(downloaded(&tracker, HASH), Some(6));
    }

    #[test]
    fn a_line_of_the_greatest_length_is_whole() {
        let tracker = tracker();
        for spaces in [MAX_LINE - 1, MAX_LINE] {
            let line = format!("{HASH}:{}:6", NOW.0);
            let text = format!("{line:spaces$}");
            assert_eq!(read_text(&text, &tracker).0.restored, 1);
            assert_eq!(read_text(format!("{text}\n{text}\n"), &tracker).0.bad, 2 * u64::from(spaces == MAX_LINE));
        }
    }

    #[test]
    fn what_is_known_stays_and_what_has_no_room_is_counted() {
        let tracker = limited(2);
        let text = |downloaded: u32| -> String {
            (1..=3).map(|n: u32| format!("{}:{}:{downloaded}\n", n.to_string().repeat(40), NOW.0)).collect()
        };
        let (counts, _) = read_text(text(5), &tracker);
        assert_eq!(counts, LineCounts { restored: 2, no_room: 1, ..LineCounts::default() });
        read_text(text(6), &tracker);
        let total: u32 = scrapes(&tracker).map(|counts| counts.downloaded).sum();
        assert_eq!(total, 10);
    }

    fn scrapes(tracker: &TestTracker) -> impl Iterator<Item = ScrapeCounts> {
        (1..=3).filter_map(|n: u32| tracker.scrape(&InfoHash::from_hex(n.to_string().repeat(40).as_bytes()).unwrap()))
    }

    #[test]
    fn a_file_that_is_not_there_is_no_error_and_one_that_cannot_be_read_is() {
        let tracker = tracker();
        restore(Path::new("/nowhere/at/all"), &tracker, NOW).unwrap();
        for (path, what) in [("/", "a directory"), ("/dev/zero", "a character device")] {
            let error = restore(Path::new(path), &tracker, NOW).unwrap_err().to_string();
            assert_eq!(error, format!("tracker.statefile: cannot read {path}: it is {what}, not a regular file"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, hash: [u8; 20], minute: u32, downloaded: u32) {
            let _ = Entry::parse(&bytes);
            let info_hash = InfoHash(hash);
            let line = format!("{info_hash}:{minute}:{downloaded}\n");
            let entry = Entry { info_hash, touched: Minute(minute), downloaded };
            prop_assert_eq!(Entry::parse(line.as_bytes()), Some(entry));
            read_text([&bytes[..], b"\n", line.as_bytes()].concat(), &tracker());
        }
    }
}
