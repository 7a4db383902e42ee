//! Several trackers behind one name: those with the same key accept each other's connection ids.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::clients::udp::{Announce, Client};
use crate::directory::Directory;
use crate::flavour::{info_hash, only_with};
use crate::harness::tests;
use crate::process::clocks::Clocks;
use crate::switches::handover_socket::{Post, ended};
use crate::tracker::{Start, Tracker};

tests![
    trackers_with_the_same_key_accept_each_others_ids,
    trackers_with_different_keys_or_none_do_not,
    clocks_may_differ_by_less_than_a_slot,
    a_clock_that_differs_by_more_is_told_by_the_tracker_that_is_behind,
    a_wall_clock_that_is_set_right_later_is_heeded,
    a_key_of_the_successor_counts_and_not_that_of_the_process_before,
    a_key_that_is_none_or_that_everybody_can_use_is_refused,
];

/// A directory with keys.
struct Keys(Directory);

impl Keys {
    fn new() -> Self {
        Self(Directory::new())
    }

    /// Makes a key that consists of this byte, for its owner alone.
    fn make(&self, byte: u8) -> PathBuf {
        self.file(byte, 32, 0o600)
    }

    fn file(&self, byte: u8, len: usize, mode: u32) -> PathBuf {
        let path = self.0.0.join(format!("{byte}-{len}-{mode:o}"));
        fs::write(&path, vec![byte; len]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

/// Configures a key.
fn with(key: &Path, start: Start) -> Start {
    start.config(&format!("listen.udp_connection_id_key_file {}\n", key.display()))
}

/// The same client, with the same id, as it asks another tracker.
fn at(other: &Tracker, client: &Client) -> Client {
    let mut there = Client::unconnected(client.ip(), other.udp());
    there.id = client.id;
    there
}

#[track_caller]
fn assert_accepted(client: &Client) {
    assert_eq!(client.counts(info_hash(200)), (0, 0, 0));
    assert!(client.announce(&Announce::leecher(info_hash(0), 1)).leechers >= 1);
}

#[track_caller]
fn assert_refused(client: &Client) {
    assert_eq!(client.refusal(&Announce::leecher(info_hash(0), 1)), "Connection ID missmatch.\0");
}

fn trackers_with_the_same_key_accept_each_others_ids() {
    let keys = Keys::new();
    let key = keys.make(7);
    // Also another file with the same bytes.
    let copy = keys.0.0.join("copy");
    fs::copy(&key, &copy).unwrap();
    let [one, other] = [&key, &copy].map(|key| with(key, Start::loopback()).run());
    for (from, to) in [(&one, &other), (&other, &one)] {
        for (udp, there) in from.udps().iter().zip(to.udps()) {
            let client = Client::new(*udp);
            let mut moved = Client::unconnected(client.ip(), *there);
            moved.id = client.id;
            assert_accepted(&client);
            assert_accepted(&moved);
            moved.id ^= 1;
            assert_refused(&moved);
        }
    }
    for log in [one.stop(), other.stop()] {
        assert!(log.contains("UDP connection ids are those of listen.udp_connection_id_key_file"), "{log}");
        assert!(!log.contains("the process before") && !log.contains("ahead"), "{log}");
    }
}

fn trackers_with_different_keys_or_none_do_not() {
    let keys = Keys::new();
    let starts = [with(&keys.make(7), Start::loopback()), with(&keys.make(8), Start::loopback()), Start::loopback()];
    let trackers = starts.map(Start::run);
    for from in &trackers {
        let client = Client::new(from.udp());
        for to in trackers.iter().filter(|to| to.udp() != from.udp()) {
            let mut moved = at(to, &client);
            assert_refused(&moved);
            moved.id = moved.connect();
            assert_accepted(&moved);
        }
    }
    let logs = trackers.map(Tracker::stop);
    assert!(!logs[2].contains("connection ids are those of"), "{}", logs[2]);
}

/// Two trackers with the same key, the wall clock of one of them ahead by so many seconds; and the clocks of that one.
fn apart(keys: &Keys, seconds: i64) -> (Tracker, Tracker, Clocks) {
    let key = keys.make(7);
    let (clocks, start) = Clocks::of(with(&key, Start::loopback()));
    clocks.set_wall_clock(seconds);
    (with(&key, Start::loopback()).run(), start.run(), clocks)
}

fn clocks_may_differ_by_less_than_a_slot() {
    let keys = Keys::new();
    for minutes in [-59, 59] {
        let (right, wrong, _clocks) = apart(&keys, 60 * minutes);
        for (from, to) in [(&right, &wrong), (&wrong, &right)] {
            let client = Client::new(from.udp());
            assert_accepted(&client);
            assert_accepted(&at(to, &client));
        }
        for log in [right.stop(), wrong.stop()] {
            assert!(!log.contains("ahead"), "{minutes}: {log}");
        }
    }
}

fn a_clock_that_differs_by_more_is_told_by_the_tracker_that_is_behind() {
    let keys = Keys::new();
    let (right, mut wrong, _clocks) = apart(&keys, -3 * 60 * 60);
    let client = Client::new(right.udp());
    assert_refused(&at(&wrong, &client));
    wrong.wait_for_log("is more than 120 minutes ahead of this machine's");
    assert_refused(&at(&right, &Client::new(wrong.udp())));
    let log = right.stop();
    assert!(!log.contains("ahead"), "an id of the past may be of a client that is late: {log}");
    wrong.stop();
}

fn a_wall_clock_that_is_set_right_later_is_heeded() {
    let keys = Keys::new();
    // As that of a machine that begins with 1970, or with the date of its system.
    for seconds in [-400 * 24 * 60 * 60, 7 * 60 * 60] {
        let (right, wrong, clocks) = apart(&keys, seconds);
        let (client, early) = (Client::new(right.udp()), Client::new(wrong.udp()));
        assert_refused(&at(&wrong, &client));
        assert_refused(&at(&right, &early));
        clocks.set_wall_clock(0);
        // It looks once a minute.
        clocks.sleep(60);
        assert_accepted(&at(&wrong, &client));
        assert_refused(&early);
        assert_accepted(&at(&right, &Client::new(wrong.udp())));
        right.stop();
        wrong.stop();
    }
}

fn a_key_of_the_successor_counts_and_not_that_of_the_process_before() {
    only_with("handover");
    const OTHERS: &str = "the process before had others: its clients are refused once over UDP, and connect anew";
    let keys = Keys::new();
    let (post, key, other) = (Post::new(), keys.make(7), keys.make(8));
    let elsewhere = with(&key, Start::loopback()).run();
    let first = post.start().run();
    let mut client = Client::new(first.udp());

    let second = with(&key, post.start()).run();
    ended(first);
    assert_refused(&client);
    client.id = client.connect();
    assert_accepted(&client);
    assert_accepted(&at(&elsewhere, &client));
    assert!(second.log().contains(OTHERS), "{}", second.log());

    let third = with(&key, post.start()).run();
    ended(second);
    assert_accepted(&client);
    assert!(!third.log().contains(OTHERS), "{}", third.log());

    let fourth = with(&other, post.start()).run();
    ended(third);
    assert_refused(&client);
    client.id = client.connect();
    assert!(fourth.log().contains(OTHERS), "{}", fourth.log());

    // One without a key goes on with what it gets.
    let last = post.start().run();
    ended(fourth);
    assert_accepted(&client);
    last.stop();
    elsewhere.stop();
}

fn a_key_that_is_none_or_that_everybody_can_use_is_refused() {
    let keys = Keys::new();
    let directory = keys.0.0.join("directory");
    fs::create_dir(&directory).unwrap();
    for (path, reason) in [
        (keys.file(1, 31, 0o600), "it has 31 bytes, and a key has 32 at least: opentracker --new-key makes one"),
        (keys.file(1, 0, 0o600), "it has 0 bytes, and a key has 32 at least"),
        (keys.file(1, 4097, 0o600), "it has more than 4096 bytes"),
        (keys.file(1, 32, 0o604), "every user of this machine can use it (mode 0604): chmod o= takes that away"),
        (keys.file(1, 32, 0o602), "every user of this machine can use it (mode 0602)"),
        (directory, "it is a directory, not a regular file"),
        ("/dev/zero".into(), "it is a character device, not a regular file"),
        ("/nowhere/key".into(), "No such file or directory"),
    ] {
        let said = format!("opentracker: listen.udp_connection_id_key_file: cannot use {}: {reason}", path.display());
        with(&path, Start::loopback()).finish().refuses(1, &[&said]);
    }
    for (len, mode) in [(4096, 0o600), (32, 0o400), (32, 0o640)] {
        with(&keys.file(2, len, mode), Start::loopback()).run().stop();
    }
}
