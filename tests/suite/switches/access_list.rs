//! What both access lists do: serve some torrents and refuse others, by a file that is read again upon SIGHUP.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::clients::http::get;
use crate::clients::udp::{self, Announce, COMPLETED, Client, ERROR, STARTED, STOPPED};
use crate::flavour::{has, hex, info_hash};
use crate::harness::{note, skip, tests};
use crate::http::{announce, announce_target, counts, scraped};
use crate::process::memory::resident;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    torrents_that_are_not_served_are_refused_and_unknown,
    unlisted_torrents_are_treated_as_the_kind_of_list_says,
    sighup_reads_the_list_again,
    every_line_is_understood_or_reported,
    a_wrong_file_does_not_fill_the_log,
    an_unreadable_list_leaves_the_old_one_in_force,
    an_unreadable_list_stops_the_start,
    lists_are_replaced_while_announces_flow,
];

/// What a client is told whose torrent is refused.
pub(super) const REFUSAL: &str = "Requested download is not authorized for use with this tracker.";

/// The key of the list that this build has, if it has one.
pub(super) fn key() -> Option<&'static str> {
    let keys = [("accesslist-white", "access.whitelist"), ("accesslist-black", "access.blacklist")];
    keys.into_iter().find_map(|(feature, key)| has(feature).then_some(key))
}

/// The test is for builds with an access list. Returns its key.
pub(crate) fn only_with_an_access_list() -> &'static str {
    key().unwrap_or_else(|| skip("this build has neither accesslist-white nor accesslist-black"))
}

/// A list for this build that makes it serve the first torrents and refuse the others.
pub(crate) fn list(served: &[u8], refused: &[u8]) -> String {
    let listed = if has("accesslist-white") { served } else { refused };
    listed.iter().map(|&n| hex(info_hash(n)) + "\n").collect()
}

/// The command line of a tracker with this list.
pub(super) fn listing(key: &str, text: &str) -> Start {
    let start = Start::loopback();
    fs::write(start.path("list"), text).unwrap();
    start.config(&format!("{key} list\nlisten.udp_connection_id_minutes 1440\n"))
}

/// Replaces the list at once, as one should: the file is never there in part.
pub(super) fn replace(tracker: &Tracker, text: &str) {
    fs::write(tracker.root().join("new"), text).unwrap();
    fs::rename(tracker.root().join("new"), tracker.root().join("list")).unwrap();
}

/// Sends SIGHUP, and returns the line of the log about the list that has been read.
pub(crate) fn reload(tracker: &Tracker) -> String {
    let said = |log: &str| {
        let mut lines = log.lines().filter(|line| line.contains("read in") || line.contains("the list in force stays"));
        (lines.clone().count(), lines.next_back().map(str::to_owned))
    };
    let (before, _) = said(&tracker.log());
    tracker.signal(Signal::SIGHUP);
    let line = wait_until(|| Some(said(&tracker.log())).filter(|(count, _)| *count > before)?.1);
    line.unwrap_or_else(|| panic!("nothing was read:\n{}", tracker.log()))
}

/// Whether the tracker serves a torrent. An announce over each protocol says so.
#[track_caller]
pub(crate) fn serves(tracker: &Tracker, n: u8) -> bool {
    let client = Client::new(tracker.udp());
    let served = is_served(&client, info_hash(n));
    let reply = get(tracker.http(), &announce_target(n, "port=1&left=1"));
    let over_http = !reply.text().contains("failure reason");
    assert_eq!(served, over_http, "{}", reply.text());
    served
}

/// [`serves`] over UDP. The reply is a refusal or a complete reply to an announce.
#[track_caller]
pub(crate) fn is_served(client: &Client, info_hash: [u8; 20]) -> bool {
    let transaction = client.next_transaction();
    let reply = client.exchange(&Announce::leecher(info_hash, 1).packet(client.id, transaction));
    if reply.starts_with(&ERROR.to_be_bytes()) {
        assert_eq!(udp::error(&reply, transaction), REFUSAL);
        return false;
    }
    udp::assert_header(&reply, udp::ANNOUNCE, transaction);
    assert!(reply.len() >= 20);
    true
}

fn torrents_that_are_not_served_are_refused_and_unknown() {
    let key = only_with_an_access_list();
    let tracker = listing(key, &list(&[1, 2], &[3, 4])).run();
    for (leechers, &server) in (1..).zip(tracker.udps()) {
        let client = Client::new(server);
        for event in [0, COMPLETED, STARTED, STOPPED] {
            assert_eq!(client.refusal(&Announce::seeder(info_hash(3), 1).event(event)), REFUSAL);
        }
        client.announce(&Announce::leecher(info_hash(1), 1));
        assert_eq!([1, 2, 3].map(|n| client.counts(info_hash(n))), [(0, 0, leechers), (0, 0, 0), (0, 0, 0)]);
    }
    for &server in tracker.https() {
        for event in ["", "&event=started", "&event=completed", "&event=stopped"] {
            let reply = get(server, &announce_target(4, &format!("port=2&left=0{event}")));
            assert_eq!(reply.refusal(), REFUSAL);
        }
        announce(server, 2, "port=2&left=0&event=completed");
        assert_eq!([3, 4].map(|n| scraped(server, n)), [(0, 0, 0); 2], "which says nothing of the list");
    }
    assert_eq!(get(tracker.http(), "/stats?mode=torr").text().lines().next(), Some("2"));
}

fn unlisted_torrents_are_treated_as_the_kind_of_list_says() {
    let key = only_with_an_access_list();
    let tracker = listing(key, &list(&[1], &[2])).run();
    assert_eq!(serves(&tracker, 3), has("accesslist-black"));
    replace(&tracker, "# nothing\n");
    assert!(reload(&tracker).contains("0 torrents on the list"));
    for n in 1..4 {
        assert_eq!(serves(&tracker, n), has("accesslist-black"));
    }
}

fn sighup_reads_the_list_again() {
    let key = only_with_an_access_list();
    let tracker = listing(key, &list(&[1, 2, 3], &[4])).run();
    for &server in tracker.https() {
        announce(server, 1, "port=1&left=1");
        announce(server, 2, "port=1&left=1");
    }
    replace(&tracker, &list(&[2, 4], &[1, 3]));
    assert!(serves(&tracker, 1) && !serves(&tracker, 4), "nobody has asked to read it");
    let said = reload(&tracker);
    assert!(said.contains(key) && said.contains("2 good lines, 0 bad ones, 2 torrents on the list"), "{said}");
    assert_eq!([1, 2, 3, 4].map(|n| serves(&tracker, n)), [false, true, false, true]);
    assert_eq!(scraped(tracker.http(), 1), (0, 0, 0));
    let kept = announce(tracker.http(), 2, "port=1&left=1");
    assert!(counts(&kept).2 > 0, "{kept:?}");

    replace(&tracker, &list(&[1, 3], &[2, 4]));
    reload(&tracker);
    assert_eq!([1, 2, 3, 4].map(|n| serves(&tracker, n)), [true, false, true, false]);
}

fn every_line_is_understood_or_reported() {
    let key = only_with_an_access_list();
    let one = |n| hex(info_hash(n));
    let text = format!(
        "# a list\r\n\r\n{}\r\n  {} a comment\n{}:7:9\nnonsense\n{}0\n\x1b[2J\n{}",
        one(1).to_uppercase(),
        one(2),
        one(3),
        one(5),
        one(4)
    );
    let tracker = listing(key, &text).run();
    let served = has("accesslist-white");
    assert_eq!([1, 2, 3, 4, 5].map(|n| serves(&tracker, n)), [served, served, served, served, !served]);
    let log = tracker.stop();
    for said in ["line 6 is not", "\"nonsense\"", "line 7 is not", "line 8 is not", r#""\x1b[2J""#] {
        assert!(log.contains(said), "{said}:\n{log}");
    }
    assert!(log.contains(&format!("{key}: list: 4 good lines, 3 bad ones, 4 torrents on the list, read in ")), "{log}");
}

fn a_wrong_file_does_not_fill_the_log() {
    let key = only_with_an_access_list();
    let tracker = listing(key, &(list(&[1], &[2]) + &"<p>\n".repeat(10_000))).run();
    let log = tracker.stop();
    assert!(log.contains("1 good lines, 10000 bad ones, 1 torrents"), "{log}");
    assert!(log.lines().count() < 40, "{log}");
}

fn an_unreadable_list_leaves_the_old_one_in_force() {
    let key = only_with_an_access_list();
    let tracker = listing(key, &list(&[1], &[2])).run();
    let path = tracker.root().join("list");
    let other = list(&[2], &[1]);
    let stays = |why: &str| {
        let said = reload(&tracker);
        assert!(said.contains(&format!("{key}: cannot read list: ")) && said.contains(why), "{why}: {said}");
        assert_eq!([1, 2].map(|n| serves(&tracker, n)), [true, false], "{why}");
    };
    fs::remove_file(&path).unwrap();
    stays("No such file");
    fs::create_dir(&path).unwrap();
    stays("is a directory");
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_retain(0o644)).unwrap();
    stays("not a regular file");
    fs::remove_file(&path).unwrap();
    fs::write(&path, &other).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    stays("Permission denied");
    fs::remove_file(&path).unwrap();
    // Files as they look while they are written in place.
    fs::write(&path, "").unwrap();
    stays("it is empty");
    fs::write(&path, &other[..17]).unwrap();
    stays("its last line, 1, is cut off after 17 of 40 digits");
    fs::write(&path, "<html>\n").unwrap();
    stays("none of its 1 lines is an info hash");

    fs::write(&path, &other).unwrap();
    reload(&tracker);
    assert_eq!([1, 2].map(|n| serves(&tracker, n)), [false, true]);
}

fn an_unreadable_list_stops_the_start() {
    let key = only_with_an_access_list();
    let config = format!("{key} other\n");
    let refuses = |start: Start, why: &str| start.finish().refuses(1, &[key, "cannot read other", why]);
    let written = |text: &str| {
        let start = Start::loopback().config(&config);
        fs::write(start.path("other"), text).unwrap();
        start
    };
    refuses(Start::loopback().config(&config), "No such file");
    refuses(written("0123"), "cut off after 4 of 40 digits");
    refuses(written("<html>\n"), "none of its 1 lines is an info hash");
    let start = written(&list(&[1], &[2]));
    fs::set_permissions(start.path("other"), fs::Permissions::from_mode(0o000)).unwrap();
    refuses(start, "Permission denied (os error 13) (it is read with the rights of user ");
    let start = Start::loopback().config(&config);
    fs::create_dir(start.path("other")).unwrap();
    refuses(start, "is a directory");
    // Not at the start: nobody writes the file then, and a list may be empty.
    written("").run().stop();
}

/// How many torrents are on each of the two lists, and how often one replaces the other. A debug build takes some
/// seconds to read a million.
const LOAD: (usize, u32) = if cfg!(debug_assertions) { (20_000, 40) } else { (1_000_000, 200) };

fn lists_are_replaced_while_announces_flow() {
    let key = only_with_an_access_list();
    // Both serve torrent 0; torrent 1 is served by the first alone, torrent 2 by the second.
    let lists = [list(&[0, 1], &[2]), list(&[0, 2], &[1])];
    let tracker = listing(key, &lists[0]).run();
    let paths = ["first", "second"].map(|name| tracker.root().join(name));
    for (seed, (list, path)) in lists.iter().zip(&paths).enumerate() {
        write_many(list, seed as u64, path);
    }
    // Twice the number of replacements that are done, and one more while a list is being replaced.
    let stage = AtomicU32::new(0);
    let mut memory = Vec::new();
    let (answered, slowest) = thread::scope(|scope| {
        let announce = |server: SocketAddr| {
            let (stage, client) = (&stage, Client::new(server));
            move || announce_until_over(&client, stage)
        };
        let announcers: Vec<_> = tracker.udps().iter().map(|udp| announce(*udp)).collect();
        let announcers: Vec<_> = announcers.into_iter().map(|announcer| scope.spawn(announcer)).collect();
        for n in 1..=LOAD.1 {
            fs::hard_link(&paths[n as usize % 2], tracker.root().join("new")).unwrap();
            stage.store(2 * n - 1, Ordering::SeqCst);
            fs::rename(tracker.root().join("new"), tracker.root().join("list")).unwrap();
            let said = reload(&tracker);
            stage.store(2 * n, Ordering::SeqCst);
            let torrents = LOAD.0 + lists[0].lines().count();
            assert!(said.contains(&format!("{torrents} torrents on the list")), "{said}");
            memory.push(resident(&tracker) / 1024);
        }
        stage.store(OVER, Ordering::SeqCst);
        let announcers = announcers.into_iter().map(|announcer| announcer.join().unwrap());
        announcers.fold((0, Duration::ZERO), |(sum, slowest), (answered, took)| (sum + answered, slowest.max(took)))
    });
    note(&format!("{answered} announces answered, the slowest in {slowest:?}; kilobytes resident: {memory:?}"));
    assert!(answered > LOAD.1, "{answered}");
    let (early, late) = (memory[memory.len() / 10], *memory.last().unwrap());
    assert!(late < early + 4096, "{memory:?}");

    // It has to stop while it reads a list.
    tracker.signal(Signal::SIGHUP);
    tracker.stop();
}

const OVER: u32 = u32::MAX;

/// Announces until the end. Returns the number of replies, and how long the slowest one took.
fn announce_until_over(client: &Client, stage: &AtomicU32) -> (u32, Duration) {
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    loop {
        for torrent in 0..3 {
            let before = stage.load(Ordering::SeqCst);
            if before == OVER {
                return (answered, slowest);
            }
            let asked = Instant::now();
            let served = is_served(client, info_hash(torrent));
            (answered, slowest) = (answered + 1, slowest.max(asked.elapsed()));
            let after = stage.load(Ordering::SeqCst);
            if torrent == 0 {
                assert!(served, "both lists serve it");
            } else if before == after && before % 2 == 0 {
                let in_force = before / 2 % 2;
                assert_eq!(served, u32::from(torrent) == in_force + 1, "torrent {torrent} by list {in_force}");
            }
        }
    }
}

/// Writes the list, and [`LOAD`] torrents that nobody asks for.
fn write_many(list: &str, seed: u64, path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(list.as_bytes()).unwrap();
    let mut rng = Rng::with_seed(seed);
    for _ in 0..LOAD.0 {
        writeln!(file, "{:032x}{:08x}", rng.u128(..), rng.u32(..)).unwrap();
    }
    file.flush().unwrap();
}
