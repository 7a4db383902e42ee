//! Real processes that end in the midst of a handover, and starts that fail.

use std::net::UdpSocket;

use nix::sys::signal::{self, Signal};

use super::{Post, Swarms, ended};
use crate::clients::udp::{Announce, CONNECT, Client, MAGIC, header};
use crate::flavour::{IPV4, info_hash, loopback, only_with};
use crate::harness::tests;
use crate::tracker::{Start, Tracker, only_as_root};
use crate::wait::wait_until;

tests![
    a_new_process_that_is_killed_leaves_the_old_one_serving,
    an_old_process_that_is_killed_leaves_the_new_one_serving,
    a_start_that_fails_leaves_the_old_one_serving,
    a_user_who_does_not_exist_leaves_the_old_one_alone,
    both_can_be_told_to_end_meanwhile,
];

/// Enough that the stream of them does not fit into what the system holds of a socket.
pub(crate) const PEERS: u16 = 50_000;

/// A tracker with so many peers that it takes some time to hand them over. They are of torrents from 200 on.
pub(crate) fn large(start: Start) -> Tracker {
    let tracker = start.config("listen.udp.workers 1\n").run();
    let client = Client::new(tracker.udp());
    // So many are on their way at a time.
    const WINDOW: u16 = 50;
    for port in 1..=PEERS {
        let announce = Announce::leecher(torrent_of(port), port);
        client.send(&Announce { num_want: 0, ..announce }.packet(client.id, u32::from(port)));
        if port % WINDOW == 0 {
            (0..WINDOW).for_each(|_| drop(client.receive()));
        }
    }
    tracker
}

fn torrent_of(port: u16) -> [u8; 20] {
    info_hash(200 + u8::try_from(port % 50).unwrap())
}

/// How many of its peers there are.
pub(crate) fn peers_of_large(tracker: &Tracker) -> u32 {
    let client = Client::new(tracker.udp());
    (0..50).map(|port| client.counts(torrent_of(port)).2).sum()
}

/// Whether a tracker answers after its successor was killed; if not, it ends.
fn goes_on(old: &mut Tracker) -> bool {
    let client = UdpSocket::bind((old.udp().ip(), 0)).unwrap();
    client.set_nonblocking(true).unwrap();
    client.connect(old.udp()).unwrap();
    client.send(&header(MAGIC, CONNECT, 1)).unwrap();
    let found =
        wait_until(|| if old.has_ended() { Some(false) } else { client.recv(&mut [0; 16]).is_ok().then_some(true) });
    found.expect("it neither answers nor ends")
}

/// Lets some time pass in which a tracker answers so many questions.
fn ask(client: &Client, times: u32) {
    (0..times).for_each(|_| assert_eq!(client.counts(info_hash(199)), (0, 0, 0)));
}

fn a_new_process_that_is_killed_leaves_the_old_one_serving() {
    only_with("handover");
    let post = Post::new();
    let mut old = large(post.start());
    for moment in 0..10 {
        let mut new = post.start().begin();
        if moment > 0 {
            new.wait_for_log("taking over from the process that answers at");
            ask(&Client::new(old.udp()), (moment - 1) * 10);
        }
        let process = new.pid();
        new.interrupt(process, Signal::SIGKILL);
        // The last moments may be after the handover.
        if !goes_on(&mut old) {
            ended(std::mem::replace(&mut old, large(post.start())));
        }
        assert_eq!(peers_of_large(&old), u32::from(PEERS), "{moment}");
    }
    let new = post.start().run();
    ended(old);
    assert_eq!(peers_of_large(&new), u32::from(PEERS));
    new.stop();
}

fn an_old_process_that_is_killed_leaves_the_new_one_serving() {
    only_with("handover");
    for moment in 0..5 {
        let post = Post::new();
        let old = large(post.start());
        let client = Client::new(old.udp());
        let mut new = post.start().begin();
        if moment > 0 {
            new.wait_for_log("taking over from the process that answers at");
            ask(&client, (moment - 1) * 20);
        }
        // The last moments may be after the handover: it has ended by itself, and nobody has asked how.
        signal::kill(old.pid(), Signal::SIGKILL).unwrap();
        assert!([None, Some(0)].contains(&old.end().code));
        let new = new.ready();
        assert!(peers_of_large(&new) <= u32::from(PEERS));
        let swarms = Swarms::announced(&new);
        let next = post.start().run();
        ended(new);
        swarms.assert_served(&next);
        next.stop();
    }
}

fn a_start_that_fails_leaves_the_old_one_serving() {
    only_with("handover");
    let post = Post::new();
    let mut old = post.start().run();
    let swarms = Swarms::announced(&old);
    let bad = post.start().config("tracker.interval many\n").finish();
    bad.refuses(2, &["tracker.interval"]);
    post.start().args(["--check-config"]).finish().succeeds();
    swarms.assert_served(&old);
    assert!(!old.log().contains("another process"), "it has been asked for nothing: {}", old.log());

    let elsewhere = if loopback() == IPV4 { "192.0.2.200" } else { "2001:db8::1" };
    let start = post.start().args(["-i", elsewhere, "-P", "0"]);
    start.finish().refuses(1, &["cannot listen on udp", elsewhere]);
    old.wait_for_log("a process that was to take over does not: it has ended; going on");
    swarms.assert_served(&old);

    post.start().args(["-d", "/nowhere/at/all"]).finish().refuses(1, &["tracker.rootdir"]);
    swarms.assert_served(&old);
    let new = post.start().run();
    ended(old);
    swarms.assert_served(&new);
    new.stop();
}

fn a_user_who_does_not_exist_leaves_the_old_one_alone() {
    only_with("handover");
    only_as_root();
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    post.start().args(["-u", "nobody-at-all"]).finish().refuses(1, &["`nobody-at-all`"]);
    swarms.assert_served(&old);
    assert!(!old.stop().contains("another process"), "it has been asked for nothing");
}

fn both_can_be_told_to_end_meanwhile() {
    only_with("handover");
    let post = Post::new();
    let old = large(post.start());
    let mut new = post.start().begin();
    new.wait_for_log("taking over from the process that answers at");
    old.signal(Signal::SIGTERM);
    let exit = old.end();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    // Whatever has come, or nothing.
    let new = new.ready();
    Client::new(new.udp());
    new.stop();
}
