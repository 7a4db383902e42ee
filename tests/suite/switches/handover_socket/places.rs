//! Where the socket is, and what else may be there.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use nix::unistd::User;

use super::{Post, Swarms, ended};
use crate::clients::udp::Announce;
use crate::clients::udp::Client;
use crate::flavour::{info_hash, loopback, only_with};
use crate::harness::tests;
use crate::programs::close_everywhere;
use crate::tracker::{Start, only_as_root, unused_port};
use crate::wait::wait_until;

tests![
    what_is_no_socket_of_a_tracker_is_left_alone_and_named,
    a_socket_that_nobody_answers_at_is_replaced,
    what_is_no_socket_and_has_the_name_of_one_to_be_is_left_alone_too,
    a_path_that_cannot_be_is_named,
    a_relative_path_begins_where_the_tracker_is_started,
    a_link_to_the_socket_leads_to_it,
    somebody_elses_socket_is_left_alone_and_named,
    of_two_that_start_at_once_one_serves,
    of_two_that_take_over_at_once_one_serves,
    another_path_is_another_trackers,
];

/// A tracker that hands over at this path.
fn at(path: &Path) -> Start {
    Start::loopback().config(&format!("tracker.handover {}\n", path.display()))
}

/// Asserts that a tracker does not start at this path, and says this of it.
#[track_caller]
fn assert_refused(path: &Path, said: &str) {
    let start = at(path);
    start.finish().refuses(1, &["opentracker: tracker.handover: ", path.to_str().unwrap(), said]);
}

fn what_is_no_socket_of_a_tracker_is_left_alone_and_named() {
    only_with("handover");
    let post = Post::new();
    fs::write(post.named("file"), "kept").unwrap();
    fs::create_dir(post.named("directory")).unwrap();
    let _stream = UnixListener::bind(post.named("stream")).unwrap();
    let _datagram = UnixDatagram::bind(post.named("datagram")).unwrap();
    symlink(post.named("file"), post.named("link")).unwrap();
    symlink(post.named("circle"), post.named("circle")).unwrap();
    assert_refused(&post.named("file"), "it is a file, and no socket");
    assert_refused(&post.named("link"), "it is a file, and no socket");
    assert_refused(&post.named("directory"), "it is a directory, and no socket");
    assert_refused(&post.named("stream"), "it is another program's socket");
    assert_refused(&post.named("datagram"), "it is another program's socket");
    // "Too many levels of symbolic links", or "Symbolic link loop": each C library has its own words.
    assert_refused(&post.named("circle"), "ymbolic link");
    assert_refused(&post.named("file").join("below"), "Not a directory");
    assert_eq!(fs::read_to_string(post.named("file")).unwrap(), "kept");
    assert_eq!(fs::read_dir(post.named(".")).unwrap().count(), 6);
}

fn a_socket_that_nobody_answers_at_is_replaced() {
    only_with("handover");
    let post = Post::new();
    let tracker = post.start().run();
    Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(0), 1));
    // It cannot remove what is outside of its root directory.
    tracker.stop();
    let before = fs::symlink_metadata(post.path()).unwrap();
    assert!(before.file_type().is_socket());
    // What another start has left behind is no obstacle either.
    close_everywhere(UnixListener::bind(post.named("handover.sock.new")).unwrap());
    let tracker = post.start().run();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(0)), (0, 0, 0));
    let after = fs::symlink_metadata(post.path()).unwrap();
    assert_eq!((after.permissions().mode() & 0o777, after.uid()), (0o600, before.uid()));
    assert!(!post.named("handover.sock.new").exists());
    let swarms = Swarms::announced(&tracker);
    let new = post.start().run();
    ended(tracker);
    swarms.assert_served(&new);
    new.stop();
}

fn what_is_no_socket_and_has_the_name_of_one_to_be_is_left_alone_too() {
    only_with("handover");
    let post = Post::new();
    let unfinished = post.named("handover.sock.new");
    fs::write(&unfinished, "kept").unwrap();
    assert_refused(&post.path(), "handover.sock.new is in the way: it is a file, and no socket");
    assert_eq!(fs::read_to_string(&unfinished).unwrap(), "kept");
    fs::remove_file(&unfinished).unwrap();
    fs::create_dir(&unfinished).unwrap();
    assert_refused(&post.path(), "handover.sock.new is in the way: it is a directory, and no socket");
    fs::remove_dir(&unfinished).unwrap();
    // A link is not followed.
    fs::write(post.named("target"), "kept").unwrap();
    symlink(post.named("target"), &unfinished).unwrap();
    post.start().run().stop();
    assert_eq!(fs::read_to_string(post.named("target")).unwrap(), "kept");
    assert_eq!(fs::read_dir(post.named(".")).unwrap().count(), 2);
}

fn a_path_that_cannot_be_is_named() {
    only_with("handover");
    let post = Post::new();
    // A path of a socket has 107 bytes at most, and this one is longer only until the socket has its name.
    for len in [200, 108, 107, 104] {
        let name = "x".repeat(len - post.named("").as_os_str().len());
        assert_refused(&post.named(&name), "the path is too long for a socket: it may have 103 bytes");
    }
    let longest = post.named(&"x".repeat(103 - post.named("").as_os_str().len()));
    let old = at(&longest).run();
    let new = at(&longest).run();
    ended(old);
    new.stop();
    fs::remove_file(longest).unwrap();
    assert_refused(&post.named("missing/handover.sock"), "No such file or directory");
    assert_eq!(fs::read_dir(post.named(".")).unwrap().count(), 0);
}

fn a_relative_path_begins_where_the_tracker_is_started() {
    only_with("handover");
    let post = Post::new();
    let there = format!("cd '{}' && exec \"$0\" \"$@\"", post.named(".").display());
    let start = || {
        let start = Start::loopback();
        // The others of its paths begin in its own directory, which it names.
        start.config("tracker.handover = 'here.sock'\n").wrapped(&["sh", "-c", &there])
    };
    let old = start().run();
    assert!(fs::symlink_metadata(post.named("here.sock")).unwrap().file_type().is_socket());
    let swarms = Swarms::announced(&old);
    let new = start().run();
    ended(old);
    swarms.assert_served(&new);
    new.stop();
}

fn a_link_to_the_socket_leads_to_it() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    symlink("handover.sock", post.named("link")).unwrap();
    let new = at(&post.named("link")).run();
    ended(old);
    let newer = post.start().run();
    ended(new);
    swarms.assert_served(&newer);
    newer.stop();
}

fn somebody_elses_socket_is_left_alone_and_named() {
    only_with("handover");
    only_as_root();
    let post = Post::of("daemon");
    let uid = User::from_name("daemon").unwrap().unwrap().uid;
    let other = post.start().started_by("daemon").run();
    let swarms = Swarms::announced(&other);
    assert_refused(&post.path(), &format!("user {uid} answers there, who is neither root nor the tracker's user"));
    swarms.assert_served(&other);
    // Whose tracker it is can take over, and so can root who becomes that user.
    let next = post.start().config("tracker.user daemon\n").run();
    ended(other);
    swarms.assert_served(&next);
    let last = post.start().started_by("daemon").run();
    ended(next);
    swarms.assert_served(&last);
    last.stop();
    assert_refused(&post.path(), &format!("it is a socket of user {uid}, who is neither root nor the tracker's user"));
    assert!(fs::symlink_metadata(post.path()).unwrap().file_type().is_socket());
}

/// Starts two, and returns the one of them that runs on; the other has ended.
fn race(start: impl Fn() -> Start) -> (crate::tracker::Tracker, crate::tracker::Exit) {
    let mut one = start().begin();
    let mut other = start().begin();
    one.next_notification();
    other.next_notification();
    wait_until(|| (one.has_ended() || other.has_ended()).then_some(())).expect("one of them ends");
    if one.has_ended() { (other, one.end()) } else { (one, other.end()) }
}

fn of_two_that_start_at_once_one_serves() {
    only_with("handover");
    let post = Post::new();
    let port = unused_port().to_string();
    let start = || post.add_to(Start::minimal().args(["-i", &loopback().to_string(), "-p", &port, "-P", &port]));
    let (mut runs, exit) = race(start);
    match exit.code {
        Some(0) => assert!(exit.stderr.contains("another process has taken over"), "{}", exit.stderr),
        // It found nobody, and then the port taken.
        _ => exit.refuses(1, &["in use"]),
    }
    runs.wait_for_log("listening on tcp");
    let client = Client::new((loopback(), port.parse().unwrap()).into());
    client.announce(&Announce::leecher(info_hash(0), 1));
    let next = start().run();
    ended(runs);
    assert_eq!(client.counts(info_hash(0)), (0, 0, 1));
    next.stop();
}

fn of_two_that_take_over_at_once_one_serves() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    let (udp, http) = (old.udp(), old.http());
    let (runs, exit) = race(|| post.start());
    ended(old);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("another process has taken over"), "{}", exit.stderr);
    let next = post.start().run();
    ended(runs);
    assert_eq!((next.udp(), next.http()), (udp, http));
    swarms.assert_served(&next);
    next.stop();
}

fn another_path_is_another_trackers() {
    only_with("handover");
    let post = Post::new();
    let one = post.start().run();
    let swarms = Swarms::announced(&one);
    let other = at(&post.named("other.sock")).run();
    assert_ne!((one.udp(), one.http()), (other.udp(), other.http()));
    assert_eq!(Client::new(other.udp()).counts(info_hash(1)), (0, 0, 0));
    other.stop();
    swarms.assert_served(&one);
    one.stop();
}
