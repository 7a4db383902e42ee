//! Any state file: the torrents that come of it are those that its lines name, and come back from a dump of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{MAX_LINE, Minute, TORRENT_LIFETIME, read};
use crate::tracker::store::Cursor;
use crate::tracker::testing::TestTracker;
use crate::tracker::{Capacity, InfoHash};

const NOW: Minute = Minute(29_000_000);

/// Reads the bytes as a file.
pub(in crate::switches) fn any_state(bytes: &[u8]) {
    let (tracker, counts) = restored(bytes);
    let lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
    let (mut expected, mut not_blank) = (BTreeMap::new(), 0);
    for (n, line) in (1..).zip(&lines) {
        let is_whole = line.len() < MAX_LINE || n == lines.len() && line.len() == MAX_LINE;
        not_blank += u64::from(!is_whole || !line.trim_ascii().is_empty());
        let Some((hash, minute, downloads)) = entry(line).filter(|_| is_whole) else { continue };
        let is_old = u128::from(NOW.0).saturating_sub(minute) > u128::from(TORRENT_LIFETIME);
        if downloads > 0 && !is_old {
            expected.entry(hash).or_insert_with(|| u32::try_from(downloads).unwrap_or(u32::MAX));
        }
    }
    assert_eq!(contents(&tracker), expected);
    assert!(counts.restored >= expected.len() as u64);
    assert_eq!((counts.no_room, counts.not_served), (0, 0));
    assert_eq!(counts.restored + counts.old + counts.bad, not_blank);

    // What is dumped is read back.
    let mut dump = String::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = tracker.store().walk(from, 64, |torrent| {
            torrent.info_hash.0.iter().for_each(|byte| write!(dump, "{byte:02X}").expect("into memory"));
            writeln!(dump, ":{}:{}", torrent.peers.empty_since().unwrap_or(NOW).0, torrent.downloaded)
                .expect("into memory");
        });
    }
    let (again, counts) = restored(dump.as_bytes());
    assert_eq!((contents(&again), counts.restored, counts.bad), (expected.clone(), expected.len() as u64, 0));
}

fn restored(bytes: &[u8]) -> (TestTracker, super::LineCounts) {
    let tracker = TestTracker::plain(Capacity::NONE, NOW);
    let (mut reported, mut last) = (0, 0);
    let counts = read(bytes, &tracker, NOW, |line| {
        assert!(line > last);
        (reported, last) = (reported + 1, line);
    })
    .expect("memory can be read");
    assert_eq!(reported, counts.bad.min(super::MAX_REPORTED));
    (tracker, counts)
}

fn contents(tracker: &TestTracker) -> BTreeMap<InfoHash, u32> {
    let (mut found, mut cursor) = (BTreeMap::new(), Some(Cursor::default()));
    while let Some(from) = cursor {
        cursor = tracker.store().walk(from, 64, |torrent| {
            assert_eq!(found.insert(torrent.info_hash, torrent.downloaded), None);
        });
    }
    found
}

/// Reads a line as text: hash, minute and downloads, the numbers as large as they are.
fn entry(line: &[u8]) -> Option<(InfoHash, u128, u128)> {
    let text = std::str::from_utf8(line.trim_ascii_end()).ok()?;
    let [hash, minute, downloads] = *text.split(':').collect::<Vec<_>>() else { return None };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().unwrap_or(u128::MAX))
    };
    if hash.len() != 40 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Vec<_> =
        (0..20).map(|n| u8::from_str_radix(&hash[2 * n..2 * n + 2], 16)).collect::<Result<_, _>>().ok()?;
    Some((InfoHash(bytes.try_into().ok()?), number(minute)?, number(downloads)?))
}
