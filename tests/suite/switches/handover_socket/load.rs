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
    let clients: Vec<_> = udps.iter().map(|address| Client::new(*address)).collect();
    let over_http = |port: u16| get(http, &announce_target(51, &format!("port={port}&left=0"))).bencode();
    for port in 1..=PEERS {
        clients.iter().for_each(|client| drop(client.announce(&Announce::leecher(info_hash(50), port))));
        over_http(port);
    }
    let families = u32::try_from(clients.len()).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let udp = move || {
            while !is_over.load(Ordering::Relaxed) {
                for client in &clients {
                    for port in 1..=PEERS {
                        let reply = client.announce(&Announce::leecher(info_hash(50), port));
                        assert_eq!(reply.leechers, u32::from(PEERS) * families);
                        assert_eq!(reply.peers.len(), usize::from(PEERS) - 1);
                    }
                    assert_eq!(client.counts(info_hash(1)).1, families);
                }
            }
        };
        let http = || {
            while !is_over.load(Ordering::Relaxed) {
                for port in 1..=PEERS {
                    assert_eq!(counts(&over_http(port)), (i64::from(PEERS), 0, 0));
                }
                assert_eq!(scraped(http, 51), (i64::from(PEERS), 0, 0));
            }
        };
        let (udp, http) = (scope.spawn(udp), scope.spawn(http));
        let end = End(is_over);
        for _ in 0..10 {
            let next = post.start().run();
            ended(std::mem::replace(&mut tracker, next));
        }
        drop(end);
        udp.join().expect("over UDP");
        http.join().expect("over HTTP");
    });
    swarms.assert_served(&tracker);
    tracker.stop();
}

/// What a thread does at present, and how often it has been given the processor, by its number.
fn threads(tracker: &Tracker) -> BTreeMap<u32, (char, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", tracker.pid())).unwrap().map(Result::unwrap);
    tasks
        .filter_map(|task| {
            // It may have ended meanwhile.
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim();
            let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
                .map(|name| field(name).parse::<u64>().unwrap());
            let state = field("State:").chars().next().unwrap();
            Some((task.file_name().to_str().unwrap().parse().unwrap(), (state, switches.iter().sum())))
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
    const SAMPLES: u32 = 100;
    for _ in 0..SAMPLES {
        Swarms::announced(&other);
        for (thread, (state, _)) in threads(&new) {
            *busy.entry(thread).or_insert(0) += u32::from(state == 'R');
        }
    }
    // One that reads without end is always busy, and one that is woken without end changes places without end.
    assert!(busy.values().all(|samples| *samples < SAMPLES / 2), "{busy:?}");
    for (thread, (_, switches)) in threads(&new) {
        let more = switches - before.get(&thread).map_or(0, |before| before.1);
        assert!(more < 10_000, "thread {thread} was given the processor {more} times");
    }
    other.stop();
    new.stop();
}
