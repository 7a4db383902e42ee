//! `fullscrape` with so many torrents that a page is made in several walks, and that clients can stall.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bendy::decoding::Decoder;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::clients::http::{get, get_from, get_with, request};
use crate::clients::udp::{Announce, Client, STOPPED};
use crate::flavour::{FEATURES, client, coding_for_all, has, loopback, only_with, upper_hex};
use crate::harness::{skip, tests};
use crate::http::pressure::{assert_served, assert_served_at_once};
use crate::tracker::{Start, Tracker};
use crate::wait::{MAX_WAIT, wait_until};

tests![
    with_it_a_strict_reader_takes_the_page_of_many_torrents_while_announces_change_them,
    with_it_those_who_stall_do_not_keep_others_out,
    with_it_readers_who_are_slow_make_room_for_others,
    with_it_one_address_does_not_keep_others_from_the_page,
];

/// Torrents that come and go.
const GOING: u32 = 1000;

/// An info hash of nobody's choice, and another for each number.
fn nth(n: u32) -> [u8; 20] {
    let mut hash = [0; 20];
    fastrand::Rng::with_seed(n.into()).fill(&mut hash[..16]);
    hash[16..].copy_from_slice(&n.to_be_bytes());
    hash
}

/// A tracker that knows so many torrents from its state file, and serves [`GOING`] more.
fn tracker_of(torrents: u32) -> Tracker {
    started_with(Start::loopback(), torrents)
}

/// The same, of one that is configured already.
pub(crate) fn started_with(start: Start, torrents: u32) -> Tracker {
    let minute = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    let dump = (0..torrents).fold(String::new(), |mut dump, n| {
        writeln!(dump, "{}:{minute}:{}", upper_hex(nth(n)), 1 + n % 9).unwrap();
        dump
    });
    fs::write(start.path("dump"), dump).unwrap();
    if has("accesslist-white") {
        let list: String = (0..torrents + GOING).map(|n| upper_hex(nth(n)) + "\n").collect();
        OpenOptions::new().append(true).open(start.path("whitelist")).unwrap().write_all(list.as_bytes()).unwrap();
    }
    start.args(["-l", "dump"]).run()
}

/// The info hashes of a bencoded page, as bendy takes it: it refuses keys that are not sorted, or not each once.
#[track_caller]
fn strictly_read(page: &[u8]) -> Vec<[u8; 20]> {
    let (mut decoder, mut hashes) = (Decoder::new(page), Vec::new());
    {
        let mut root = decoder.next_object().unwrap().unwrap().try_into_dictionary().unwrap();
        {
            let (key, files) = root.next_pair().unwrap().unwrap();
            assert_eq!(key, b"files");
            let mut files = files.try_into_dictionary().unwrap();
            while let Some((hash, counts)) = files.next_pair().unwrap() {
                hashes.push(hash.try_into().unwrap());
                let mut counts = counts.try_into_dictionary().unwrap();
                for expected in [&b"complete"[..], b"downloaded", b"incomplete"] {
                    let (key, number) = counts.next_pair().unwrap().unwrap();
                    assert_eq!(key, expected);
                    number.try_into_integer().unwrap().parse::<u32>().unwrap();
                }
                assert!(counts.next_pair().unwrap().is_none());
            }
        }
        assert!(root.next_pair().unwrap().is_none());
    }
    assert!(decoder.next_object().unwrap().is_none());
    hashes
}

/// Says that all is over when it is dropped.
struct IsOver<'a>(&'a AtomicBool);

impl Drop for IsOver<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn with_it_a_strict_reader_takes_the_page_of_many_torrents_while_announces_change_them() {
    only_with("fullscrape");
    // In every build there is one walk or more; in one build a million torrents take several.
    let torrents = if *FEATURES == ["fullscrape"] { 1_000_000 } else { 10_000 };
    let tracker = tracker_of(torrents);
    let (has_changed, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let change = || {
        let mut client = Client::new(tracker.udp());
        client.id = client.connect();
        for n in (0..u32::MAX).take_while(|_| !is_over.load(Ordering::Relaxed)) {
            // One that stays gets a peer; others come, and go when as many have come.
            client.announce(&Announce::leecher(nth(n % torrents), 1 + (n % 7) as u16));
            let going = Announce::seeder(nth(torrents + n % GOING), 1);
            client.announce(&if n / GOING % 2 == 0 { going } else { going.event(STOPPED) });
            has_changed.fetch_or(n > GOING / 2, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        scope.spawn(change);
        // If an assertion fails as well: else the changes, and this test, would never end.
        let over = IsOver(&is_over);
        wait_until(|| has_changed.load(Ordering::Relaxed).then_some(())).expect("announces");
        let pages = ["/scrape", "/stats?mode=tpbs"].map(|target| get(tracker.http(), target).content());
        drop(over);
        let staying: BTreeSet<_> = (0..torrents).map(nth).collect();
        for page in pages {
            let named = strictly_read(&page);
            assert!(named.len() <= (torrents + GOING) as usize);
            let mut named = named.iter();
            // Both are sorted.
            assert!(staying.iter().all(|hash| named.any(|other| other == hash)), "one that stays is not there");
        }
    });
}

/// Asks for a page from an address, and takes no more of it than the status.
#[track_caller]
fn begin(tracker: &Tracker, from: IpAddr, target: &str) -> TcpStream {
    let socket = Socket::new(Domain::for_address(tracker.http()), Type::STREAM, None).unwrap();
    // The less the system takes in for it, the sooner it stalls.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0))).unwrap();
    socket.connect(&SockAddr::from(tracker.http())).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(request(target, "").as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// Full scrapes that there may be at a time.
fn seats() -> usize {
    if coding_for_all().is_some() { 16 } else { 64 }
}

fn with_it_those_who_stall_do_not_keep_others_out() {
    only_with("fullscrape");
    let tracker = tracker_of(100_000);
    let (sorted, unsorted) = ("/scrape", "/stats?mode=tpbs&format=txt");
    // As many of each as there may be.
    let targets = [(sorted, 8), (unsorted, seats() - 8)].map(|(target, many)| vec![target; many]).concat();
    let _stalled: Vec<_> = targets.into_iter().map(|target| begin(&tracker, loopback(), target)).collect();
    for target in [sorted, unsorted] {
        let page = wait_until(|| {
            let reply = get_with(tracker.http(), target, "");
            if reply.status == 200 {
                return Some(reply);
            }
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{}", reply.text());
            assert!(reply.text().contains("too many full scrapes are under way"), "{}", reply.text());
            None
        });
        let page = page.expect("a seat");
        if target == sorted {
            assert_eq!(strictly_read(&page.content()).len(), 100_000);
        } else {
            assert_eq!(page.content().split(|&byte| byte == b'\n').count(), 100_001);
        }
    }
}

const UNSORTED: &str = "/stats?mode=tpbs&format=txt";

fn with_it_readers_who_are_slow_make_room_for_others() {
    only_with("fullscrape");
    // Of one address, a request that has come in part says less than a reader who takes something.
    let assert_served = if loopback().is_ipv4() { assert_served } else { assert_served_at_once };
    // Each is to have a seat.
    let places = seats().min(20);
    let start = Start::loopback().config(&format!("limits.connections {places}\nlisten.tcp_workers 2\n"));
    let tracker = started_with(start, 40_000);
    let server = tracker.http();
    let mut readers: Vec<_> = (0..places).map(|_| begin(&tracker, client(server.ip(), 7), UNSORTED)).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = IsOver(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // So slowly that none comes to its end, and each goes on now and then.
                for reader in &mut readers {
                    let _ = reader.read(&mut [0; 512]);
                }
                thread::yield_now();
            }
        });
        for _ in 0..5 {
            assert_served(server, client(server.ip(), 9));
        }
        drop(over);
    });
}

fn with_it_one_address_does_not_keep_others_from_the_page() {
    only_with("fullscrape");
    if !loopback().is_ipv4() {
        skip("there is one IPv6 loopback address");
    }
    let tracker = tracker_of(40_000);
    let server = tracker.http();
    let (has_all, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (hog, other) = (client(server.ip(), 7), client(server.ip(), 9));
    thread::scope(|scope| {
        let over = IsOver(&is_over);
        scope.spawn(|| {
            // All go on all the time, so that none stalls.
            let mut readers: Vec<_> = (0..seats()).map(|_| begin(&tracker, hog, UNSORTED)).collect();
            has_all.store(true, Ordering::Relaxed);
            while !is_over.load(Ordering::Relaxed) {
                for reader in &mut readers {
                    reader.set_nonblocking(true).unwrap();
                    let _ = reader.read(&mut [0; 4096]);
                }
            }
        });
        wait_until(|| has_all.load(Ordering::Relaxed).then_some(())).expect("all seats");
        let reply = get_from(other, server, UNSORTED, "");
        drop(over);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.content().split(|&byte| byte == b'\n').count(), 40_001);
    });
}
