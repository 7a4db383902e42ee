//! The locking of groups: who waits has nothing locked, so no two threads wait for each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use fastrand::Rng;

use crate::in_many_orders;
use crate::tracker::testing::TestTracker;
use crate::tracker::{
    AnnounceRequest, Capacity, Event, InfoHash, Ipv4Only, Minute, PeerRequest, PendingAnnounce, PendingScrape,
    ScrapeCounts,
};

const NOW: Minute = Minute(29_000_000);

fn announces<'a>(torrents: &[u8], who: u8, event: Event) -> Vec<PendingAnnounce<'a>> {
    let announce = |&torrent: &u8| {
        let endpoint = SocketAddr::from(([10, 0, 0, who], 6881));
        let (info_hash, seeder) = (InfoHash([torrent; 20]), who & 1 == 1);
        let request = AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event };
        PendingAnnounce::new(request, PeerRequest::none())
    };
    torrents.iter().map(announce).collect()
}

fn announce(tracker: &TestTracker, torrents: &[u8], who: u8, event: Event) {
    let mut group = announces(torrents, who, event);
    tracker.announce_group(&mut group, NOW, &mut Rng::with_seed(1));
    assert!(group.iter().all(|pending| matches!(pending.outcome, Some(Ok(_)))), "every announce of a group is run");
}

fn scrape(tracker: &TestTracker, torrents: &[u8]) -> Vec<Option<ScrapeCounts>> {
    let one = |&torrent: &u8| PendingScrape { info_hash: InfoHash([torrent; 20]), ..PendingScrape::default() };
    let mut group: Vec<_> = torrents.iter().map(one).collect();
    tracker.scrape_group(&mut group);
    group.iter().map(|pending| pending.counts).collect()
}

/// Each of these announces a group, in a thread of its own; others sweep, count and scrape meanwhile.
fn at_once(groups: &'static [&'static [u8]]) {
    in_many_orders(400, move || {
        let capacity = Capacity { torrents: 9, peers: 90, ..Capacity::NONE };
        let tracker = Arc::new(TestTracker::<Ipv4Only>::plain(capacity, NOW));
        let announcing = groups.iter().zip(1_u8..).map(|(torrents, who)| {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || announce(&tracker, torrents, who, Event::Completed))
        });
        let mut threads: Vec<_> = announcing.collect();
        let scraping = Arc::clone(&tracker);
        threads.push(thread::spawn(move || drop(scrape(&scraping, groups[0]))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for torrent in 0..5_u8 {
            let who = groups.iter().zip(1_u32..).filter(|(torrents, _)| torrents.contains(&torrent));
            let (seeders, leechers): (Vec<_>, Vec<_>) = who.map(|(_, who)| who).partition(|who| who & 1 == 1);
            let [seeders, leechers] = [seeders, leechers].map(|peers| peers.len() as u32);
            let expected = ScrapeCounts { seeders, leechers, downloaded: seeders };
            assert_eq!(scrape(&tracker, &[torrent])[0].unwrap_or_default(), expected, "torrent {torrent}");
        }
    });
}

pub fn groups_that_meet_in_opposite_orders_end() {
    at_once(&[&[0, 1, 2, 3], &[3, 2, 1, 0]]);
}

pub fn groups_in_a_circle_end() {
    at_once(&[&[0, 1], &[1, 2], &[2, 0]]);
}

pub fn a_group_that_names_a_torrent_twice_ends() {
    at_once(&[&[0, 0, 1, 0], &[1, 0, 1, 1]]);
}

pub fn a_sweep_and_a_census_go_between_the_announces_of_a_group() {
    // A sweep locks each of 1,024 shards.
    in_many_orders(40, || {
        let tracker = Arc::new(TestTracker::<Ipv4Only>::plain(Capacity::NONE, NOW));
        let (announcing, sweeping) = (Arc::clone(&tracker), Arc::clone(&tracker));
        let announcing = thread::spawn(move || {
            announce(&announcing, &[0, 1, 2], 1, Event::Update);
            announce(&announcing, &[2, 1, 0], 1, Event::Stopped);
            announce(&announcing, &[1, 2, 3], 2, Event::Update);
        });
        let sweeping = thread::spawn(move || sweeping.sweep(NOW, || ()));
        assert!(tracker.store().census().torrents <= 4);
        announcing.join().unwrap();
        sweeping.join().unwrap();
        let census = tracker.store().census();
        assert_eq!((census.torrents, census.peers.leechers, census.peers.seeders), (3, 3, 0));
    });
}
