//! `fulllog-networks` (`WANT_FULLLOG_NETWORKS`): keeps whole requests over HTTP from the networks in
//! `access.log_networks`, for `/stats?mode=fulllog`, which gives them out once.
//!
//! It stores what people do. So there are no networks unless somebody configures them, nothing that comes over the
//! network changes that, and only who may read the statistics reads it: the feature implies `restrict-stats`.
//!
//! What is kept takes `limits.full_log` bytes at most, however much comes: the oldest requests make room. It is given
//! out piece by piece, and each piece is kept no longer once it is made.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tracing::warn;

use crate::config::Settings;
use crate::http::flavour::RequestLog;
use crate::server::{Plug, StartError, opens_nothing};
use crate::tracker::Second;

/// What an entry takes beside its text: its place among the others and a vacant one, and what an allocator adds.
const ENTRY_OVERHEAD: usize = 2 * size_of::<Box<str>>() + 16;

/// Places that may be vacant beside those that are counted.
const SPARE_PLACES: usize = 64;

/// Bytes after which a piece of the page ends; the last entry in it can be longer.
const PIECE: usize = 16 * 1024;

/// The requests that have been kept since somebody read them.
#[derive(Debug)]
pub struct FullLog {
    networks: Vec<IpNet>,
    /// Locked to append an entry or to take a piece of them, not while one is written.
    entries: Mutex<Entries>,
}

/// Entries, the oldest first.
#[derive(Debug)]
struct Entries {
    all: VecDeque<Box<str>>,
    /// How many were removed before the first of them.
    removed: u64,
    /// What they take.
    bytes: usize,
    /// What they may take.
    max_bytes: usize,
}

impl Plug for FullLog {
    opens_nothing!();

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        let networks = settings.access.log_networks.clone();
        if !networks.is_empty() {
            warn!("whole requests from the networks in access.log_networks are kept, for mode=fulllog");
        }
        let max_bytes = usize::try_from(settings.limits.full_log).unwrap_or(usize::MAX);
        Ok(Self { networks, entries: Mutex::new(Entries { all: VecDeque::new(), removed: 0, bytes: 0, max_bytes }) })
    }
}

impl RequestLog for FullLog {
    const LISTENS: bool = true;

    fn is_on(&self) -> bool {
        !self.networks.is_empty()
    }

    fn keeps(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.networks.iter().any(|network| network.contains(&client))
    }

    fn keep(&self, client: IpAddr, now: Second, head: &[u8]) {
        let entry = entry(client.to_canonical(), now, head).into_boxed_str();
        self.entries().append(entry);
    }

    fn end(&self) -> u64 {
        self.entries().end()
    }

    fn take(&self, end: u64, out: &mut Vec<u8>) -> bool {
        self.entries().take(end, out)
    }
}

impl FullLog {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Appends an entry. The oldest make room for it; one for which there can be no room is left out.
    fn append(&mut self, entry: Box<str>) {
        let wanted = taken(&entry);
        if wanted > self.max_bytes {
            return;
        }
        while self.bytes + wanted > self.max_bytes {
            if self.remove_oldest().is_none() {
                break;
            }
        }
        self.bytes += wanted;
        if self.all.len() == self.all.capacity() {
            // By a quarter: by itself it would double.
            self.all.reserve_exact(self.all.len() / 4 + 16);
        }
        self.all.push_back(entry);
        self.give_back_places();
    }

    /// Removes the oldest entry.
    fn remove_oldest(&mut self) -> Option<Box<str>> {
        let oldest = self.all.pop_front()?;
        self.removed += 1;
        self.bytes = self.bytes.saturating_sub(taken(&oldest));
        Some(oldest)
    }

    /// Returns how many entries there have ever been.
    fn end(&self) -> u64 {
        self.removed + self.all.len() as u64
    }

    /// Moves the oldest entries of those before `end` to `out`, as many as are a piece. Returns whether there are more.
    fn take(&mut self, end: u64, out: &mut Vec<u8>) -> bool {
        let full = out.len() + PIECE;
        while self.removed < end && out.len() < full {
            let Some(entry) = self.remove_oldest() else { break };
            out.extend_from_slice(entry.as_bytes());
        }
        self.give_back_places();
        self.removed < end
    }

    /// Sees that no more places are vacant than are counted.
    fn give_back_places(&mut self) {
        let len = self.all.len();
        if self.all.capacity() > 2 * len + SPARE_PLACES {
            self.all.shrink_to(len + len / 4);
        }
    }
}

/// Returns what an entry takes.
fn taken(entry: &str) -> usize {
    entry.len() + ENTRY_OVERHEAD
}

/// Returns an entry in the original's form: seconds since the Unix epoch and the address, the request, a star, and an
/// empty line. The request is one line here, whatever is in it: what is not printable ASCII is escaped, and so is a
/// backslash, so that nobody can write an entry of somebody else.
fn entry(client: IpAddr, now: Second, head: &[u8]) -> String {
    let mut entry = String::with_capacity(head.len() + 64);
    // Writing to a string does not fail.
    let _ = writeln!(entry, "{:08}: {client}", now.0);
    for &byte in head {
        match byte {
            b'\'' | b'"' => entry.push(char::from(byte)),
            _ => entry.extend(byte.escape_ascii().map(char::from)),
        }
    }
    entry.push_str("\n*\n\n");
    entry
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const NOW: Second = Second(1_740_000_000);

    fn log(networks: &[&str], max_bytes: u64) -> FullLog {
        let mut settings = Settings::default();
        settings.access.log_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        settings.limits.full_log = max_bytes;
        FullLog::plug((), &settings).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// All pieces of a page.
    fn read(log: &FullLog) -> String {
        let (end, mut out) = (log.end(), Vec::new());
        while log.take(end, &mut out) {}
        String::from_utf8(out).unwrap()
    }

    /// The request that an entry's line of it stands for.
    fn unescaped(line: &str) -> Vec<u8> {
        let mut bytes = line.bytes();
        let mut head = Vec::new();
        while let Some(byte) = bytes.next() {
            head.push(match byte {
                b'\\' => match bytes.next().unwrap() {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'\\' => b'\\',
                    b'x' => {
                        let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                    }
                    other => panic!("{other} in {line}"),
                },
                byte => byte,
            });
        }
        head
    }

    #[test]
    fn requests_of_the_configured_networks_alone_are_kept() {
        let networks = ["192.0.2.0/25", "2001:db8:1::/48"];
        for (client, kept) in [
            ("192.0.2.0", true),
            ("192.0.2.127", true),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:1::9", true),
            ("192.0.2.128", false),
            ("::192.0.2.1", false),
            ("2001:db8:2::9", false),
        ] {
            assert_eq!(log(&networks, 1000).keeps(ip(client)), kept, "{client}");
            assert!(!log(&[], 1000).keeps(ip(client)), "nobody is kept without networks");
        }
    }

    #[test]
    fn a_page_has_what_came_since_the_last_one() {
        let log = log(&["0.0.0.0/0"], 1_000_000);
        assert_eq!(read(&log), "");
        log.keep(ip("192.0.2.1"), NOW, b"GET /scrape?info_hash=%01\x02\xff\\n HTTP/1.1\r\nA: \"b'\r\n\r\n");
        log.keep(ip("::ffff:192.0.2.2"), Second(7), b"GET / HTTP/1.0\n\n");
        log.keep(ip("2001:db8::1"), Second(100_000_000_000), b"");
        let expected = "1740000000: 192.0.2.1\nGET /scrape?info_hash=%01\\x02\\xff\\\\n HTTP/1.1\\r\\nA: \"b'\\r\\n\\r\\n\n*\n\n\
                        00000007: 192.0.2.2\nGET / HTTP/1.0\\n\\n\n*\n\n\
                        100000000000: 2001:db8::1\n\n*\n\n";
        assert_eq!(read(&log), expected);
        assert_eq!(read(&log), "");
    }

    #[test]
    fn when_there_is_no_room_the_oldest_go() {
        let text = |n: u64| format!("GET /{n:03} HTTP/1.1\r\n\r\n");
        let one = entry(ip("192.0.2.1"), NOW, text(0).as_bytes()).len() + ENTRY_OVERHEAD;
        let log = log(&["0.0.0.0/0"], (10 * one + one / 2) as u64);
        let keep = |n| log.keep(ip("192.0.2.1"), NOW, text(n).as_bytes());
        let kept = |page: &str| page.matches("GET /").count();
        (0..10).for_each(keep);
        assert_eq!(kept(&read(&log)), 10);
        (0..1000).for_each(keep);
        let page = read(&log);
        assert_eq!(kept(&page), 10);
        assert!(page.contains("GET /990 ") && page.contains("GET /999 "), "{page}");
        // One that takes the room of two; and one that there will never be room for.
        (0..10).for_each(keep);
        log.keep(ip("192.0.2.1"), NOW, &vec![b'a'; one + one / 2]);
        log.keep(ip("192.0.2.1"), NOW, &vec![b'\0'; 11 * one]);
        let page = read(&log);
        assert_eq!(
            (kept(&page), page.contains("GET /002 "), page.contains("aaa"), page.contains("x00")),
            (8, true, true, false)
        );
    }

    #[test]
    fn a_page_comes_in_pieces_and_what_a_reader_has_not_come_to_stays() {
        let log = log(&["0.0.0.0/0"], 1_000_000);
        let keep = |n: u32| log.keep(ip("192.0.2.1"), NOW, format!("GET /{n:03} {}", "a".repeat(1000)).as_bytes());
        (0..100).for_each(keep);
        let (end, mut piece) = (log.end(), Vec::new());
        assert!(log.take(end, &mut piece));
        assert!((PIECE..PIECE + 1100).contains(&piece.len()), "{}", piece.len());
        // The reader is gone; of two that come, neither is given what came later, nor what the other has.
        keep(100);
        let pieces = String::from_utf8(piece).unwrap() + &read(&log);
        let numbers = |text: &str| text.matches("GET /").count();
        assert_eq!(numbers(&pieces), 101);
        (0..30).for_each(keep);
        let (end, mut first, mut second) = (log.end(), Vec::new(), Vec::new());
        keep(30);
        while log.take(end, &mut first) | log.take(end, &mut second) {}
        assert_eq!(numbers(&String::from_utf8([first, second].concat()).unwrap()), 30);
        assert_eq!(numbers(&read(&log)), 1);
        assert!(log.entries().all.capacity() <= SPARE_PLACES);
    }

    #[test]
    fn threads_append_side_by_side_while_somebody_reads() {
        let log = log(&["0.0.0.0/0"], 1_000_000);
        let pages = thread::scope(|scope| {
            for n in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    (0..500).for_each(|_| log.keep([192, 0, 2, n].into(), NOW, b"GET / HTTP/1.1\r\n\r\n"))
                });
            }
            (0..50).map(|_| read(&log)).collect::<String>()
        }) + &read(&log);
        assert_eq!(pages.matches("\n*\n\n").count(), 2000);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_bounded_and_the_newest_can_be_read_back(
            heads in prop::collection::vec((any::<IpAddr>(), prop::collection::vec(any::<u8>(), 0..300)), 1..60),
            max_bytes in 1500_u64..9000,
        ) {
            let log = log(&["0.0.0.0/0"], max_bytes);
            for (client, head) in &heads {
                log.keep(*client, NOW, head);
                let entries = log.entries();
                let taken: usize = entries.all.iter().map(|entry| entry.len() + ENTRY_OVERHEAD).sum();
                prop_assert_eq!(taken, entries.bytes);
                prop_assert!(entries.all.capacity() <= 2 * entries.all.len() + SPARE_PLACES);
                prop_assert!(taken as u64 <= max_bytes);
            }
            let page = read(&log);
            let lines: Vec<_> = page.split('\n').collect();
            let kept = lines.len() / 4;
            prop_assert_eq!(lines.len(), 4 * kept + 1, "{}", page);
            prop_assert!(kept > 0 && kept <= heads.len());
            for (entry, (client, head)) in lines.chunks(4).zip(&heads[heads.len() - kept..]) {
                prop_assert_eq!(entry[0], format!("{:08}: {}", NOW.0, client.to_canonical()));
                prop_assert_eq!(&unescaped(entry[1]), head);
                prop_assert_eq!(&entry[2..], ["*", ""]);
            }
        }
    }
}
