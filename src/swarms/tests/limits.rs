//! What a reader has no room for, and what it does not serve.

use std::sync::Arc;

use super::{announce, named, plain, read, written};
use crate::swarms::fuzz::{Families, NOW};
use crate::swarms::model::known;
use crate::tracker::testing::{Ipv6Only, NotThatOne, THAT_ONE, TestTracker};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Event, Ipv4Only, LeftOut, MergeCounts, Open, PeerRequest, Standalone,
};

fn limited(capacity: Capacity) -> Arc<TestTracker> {
    Arc::new(TestTracker::plain(capacity, NOW))
}

#[test]
fn there_are_never_more_torrents_than_the_limit() {
    let from = plain::<Ipv4Only>();
    (0..100).for_each(|torrent| _ = announce(&from, named(torrent), 1, Event::Completed, NOW));
    (90..100).for_each(|torrent| _ = announce(&from, named(torrent), 1, Event::Stopped, NOW));
    let into = limited(Capacity { torrents: 20, ..Capacity::NONE });
    (95..100).for_each(|torrent| _ = announce(&into, named(torrent), 2, Event::Update, NOW));
    let counts = read(&into, &written(&from, NOW), NOW);
    assert_eq!((into.store().census().torrents, counts.torrents), (20, 15));
    assert_eq!(counts.left_out, LeftOut { no_room: 80, ..LeftOut::default() });
    // Those that were known already have got their downloads.
    let known = known(&into, NOW);
    assert!((95..100).all(|torrent| known[&named(torrent)].downloaded == 1));
    assert_eq!(counts.downloads, 20);
}

#[test]
fn there_are_never_more_peers_than_the_limit_and_who_is_known_is_refreshed_all_the_same() {
    let from = plain::<Ipv4Only>();
    (0..100).for_each(|peer| _ = announce(&from, named(1), peer, Event::Update, NOW + 5));
    let into = limited(Capacity { peers: 20, ..Capacity::NONE });
    (0..10).for_each(|peer| _ = announce(&into, named(1), peer, Event::Update, NOW));
    let counts = read(&into, &written(&from, NOW + 5), NOW + 5);
    assert_eq!(into.store().census().peers.peers(), 20);
    let left_out = LeftOut { no_room: 80, ..LeftOut::default() };
    assert_eq!(counts, MergeCounts { peers: 10, refreshed: 10, left_out, ..MergeCounts::default() });
    assert!(known(&into, NOW + 5)[&named(1)].peers.values().all(|peer| peer.seen == NOW + 5));
}

#[test]
fn one_address_has_no_more_peers_of_a_swarm_than_it_may_and_the_youngest_stay() {
    let (from, capacity) = (plain::<Ipv4Only>(), Capacity { peers_per_address: 3, ..Capacity::NONE });
    for port in 1..=8 {
        let endpoint = ([10, 0, 0, 1], port).into();
        let announce =
            AnnounceRequest { info_hash: named(1), endpoint, seeder: false, uploaded: false, event: Event::Update };
        let now = NOW + u32::from(port);
        from.announce(&announce, now, &mut fastrand::Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    }
    let into = limited(capacity);
    let counts = read(&into, &written(&from, NOW + 8), NOW + 8);
    assert_eq!(into.store().census().peers.peers(), 3);
    assert_eq!((counts.peers, counts.displaced, counts.left_out.total()), (8, 5, 0));
}

#[test]
fn what_is_not_served_is_left_out_and_counted_by_reason() {
    let from = plain::<Families>();
    for torrent in [named(1), named(2), THAT_ONE] {
        (0..30).for_each(|peer| _ = announce(&from, torrent, peer, Event::Completed, NOW));
    }
    let stream = written(&from, NOW);
    let into = Arc::new(TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, NotThatOne, Standalone));
    let counts = read(&into, &stream, NOW);
    let ipv4 = if !Families::IPV4 {
        0
    } else if Families::IPV6 {
        20
    } else {
        30
    };
    let left_out = LeftOut { not_admitted: 30, family_not_served: 60 - 2 * ipv4, ..LeftOut::default() };
    let expected = MergeCounts { torrents: 2, peers: 2 * ipv4, downloads: 60, left_out, ..MergeCounts::default() };
    assert_eq!(counts, expected);
    // A torrent whose peers are all of the other family keeps its downloads.
    let known = known(&into, NOW);
    assert!(known.len() == 2 && known.values().all(|torrent| torrent.downloaded == 30));

    let other = Arc::new(TestTracker::<Ipv6Only, _, _>::with_plugs(Capacity::NONE, NOW, Open, Standalone));
    assert_eq!(read(&other, &stream, NOW).peers, 3 * (30 - ipv4));
}
