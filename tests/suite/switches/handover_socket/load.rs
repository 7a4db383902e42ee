//! Handovers while clients ask without a pause, and what there is to do when nobody asks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Post, Swarms, ended};
use crate::clients::http::get;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, loopbacks, only_with};
use crate::harness::tests;
use crate::http::{announce_target, counts, scraped};
use crate::tracker::Tracker;

tests![clients_that_ask_without_a_pause_notice_nothing, when_the_old_process_has_ended_the_new_one_is_idle];

/// The peers that clients over UDP, and over HTTP, announce again and again.
const PEERS: u16 = 20;

/// Tells the clients to end when it is dropped, also by a test that fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn clients_that_ask_without_a_pause_notice_nothing() {
    only_with("handover");
    let post = Post::new();
    let mut tracker = post.start().run();
    let swarms = Swarms::announced(&tracker);
    let (udps, http) = (tracker.udps().to_vec(), tracker.http());
    let is_over = AtomicBool::new(false);
    let (over_udp, over_http) = thread::scope(|scope| {
        let udp = || {
            let clients: Vec<_> = udps.iter().map(|address| Client::new(*address)).collect();
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                for client in &clients {
                    for port in 1..=PEERS {
                        let reply = client.announce(&Announce::leecher(info_hash(50), port));
                        if rounds > 0 {
                            assert_eq!(reply.leechers, u32::from(PEERS) * u32::try_from(clients.len()).unwrap());
                            assert_eq!(reply.peers.len(), usize::from(PEERS) - 1);
                        }
                    }
                    assert_eq!(client.counts(info_hash(1)).1, u32::try_from(clients.len()).unwrap());
                }
                rounds += 1;
            }
            rounds
        };
        let http = || {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                for port in 1..=PEERS {
                    let reply = get(http, &announce_target(51, &format!("port={port}&left=0"))).bencode();
                    let seeders = if rounds == 0 { i64::from(port) } else { i64::from(PEERS) };
                    assert_eq!(counts(&reply), (seeders, 0, 0));
                }
                assert_eq!(scraped(http, 51), (i64::from(PEERS), 0, 0));
                rounds += 1;
            }
            rounds
        };
        let (udp, http) = (scope.spawn(udp), scope.spawn(http));
        let end = End(&is_over);
        for _ in 0..10 {
            let next = post.start().run();
            ended(std::mem::replace(&mut tracker, next));
        }
        drop(end);
        (udp.join(), http.join())
    });
    assert!(over_udp.expect("over UDP") > 0 && over_http.expect("over HTTP") > 0);
    swarms.assert_served(&tracker);
    tracker.stop();
}

/// What a thread does at present, and how often it has been given the processor, by its number.
fn threads(tracker: &Tracker) -> BTreeMap<u32, (char, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", tracker.pid())).unwrap().map(Result::unwrap);
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim();
            let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
                .map(|name| field(name).parse::<u64>().unwrap());
            let state = field("State:").chars().next().unwrap();
            (task.file_name().to_str().unwrap().parse().unwrap(), (state, switches.iter().sum()))
        })
        .collect()
}

fn when_the_old_process_has_ended_the_new_one_is_idle() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().config("listen.udp.workers 3\n").run();
    let swarms = Swarms::announced(&old);
    let new = post.start().config("listen.udp.workers 3\n").run();
    ended(old);
    swarms.assert_served(&new);
    // Meanwhile another tracker is asked, so that some time passes.
    let other = Tracker::start(&[]);
    let before = threads(&new);
    assert!(before.len() > 4 + loopbacks().len());
    let mut busy = BTreeMap::new();
    const SAMPLES: u32 = 200;
    for _ in 0..SAMPLES {
        Swarms::announced(&other);
        for (thread, (state, _)) in threads(&new) {
            *busy.entry(thread).or_insert(0) += u32::from(state == 'R');
        }
    }
    for (thread, (_, switches)) in threads(&new) {
        // One that reads without end is always busy, and one that is woken without end changes places without end.
        assert!(busy[&thread] < SAMPLES / 2, "{busy:?}");
        let more = switches - before[&thread].1;
        assert!(more < 10_000, "thread {thread} was given the processor {more} times");
    }
    other.stop();
    new.stop();
}
