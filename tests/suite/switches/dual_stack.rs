//! `dual-stack`: the IPv4 and the IPv6 swarm of each torrent in one process.

use std::net::SocketAddr;

use crate::clients::udp::{Announce, Client, STOPPED, compact_ipv4, compact_ipv6};
use crate::flavour::{info_hash, loopbacks, only_with, wildcard};
use crate::harness::tests;
use crate::http::{announce, counts};
use crate::tracker::{Start, Tracker, unused_port};

tests![
    with_it_the_tracker_listens_on_both_families,
    over_udp_the_other_family_is_counted_and_not_handed_out,
    one_reply_over_http_carries_both_families,
    both_families_share_the_number_of_peers_wanted,
];

/// Starts a tracker with so many leechers of each family, on ports from 1 on. Returns a client of each family too.
fn with_leechers(ipv4: u16, ipv6: u16) -> (Tracker, [Client; 2]) {
    let tracker = Tracker::start(&[]);
    let [v4, v6] = tracker.udps() else { panic!("{:?}", tracker.udps()) };
    let clients = [Client::new(*v4), Client::new(*v6)];
    for (client, leechers) in clients.iter().zip([ipv4, ipv6]) {
        for port in 1..=leechers {
            client.announce(&Announce { num_want: 0, ..Announce::leecher(info_hash(0), port) });
        }
    }
    (tracker, clients)
}

/// How many IPv4 and IPv6 peers there are in the reply to an announce over HTTP.
fn shares(server: SocketAddr, wanted: u32) -> (usize, usize) {
    let answer = announce(server, 0, &format!("port=60000&left=0&numwant={wanted}"));
    (compact_ipv4(answer.text("peers")).len(), compact_ipv6(answer.text("peers6")).len())
}

fn with_it_the_tracker_listens_on_both_families() {
    only_with("dual-stack");
    let tracker = Tracker::start(&[]);
    for addresses in [tracker.udps(), tracker.https()] {
        let ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
        assert_eq!(ips, loopbacks());
    }
    // On the same port of both families: the IPv6 socket does not take IPv4.
    let port = unused_port();
    let words =
        loopbacks().iter().flat_map(|&ip| ["-i".into(), wildcard(ip).to_string(), "-P".into(), port.to_string()]);
    let _tracker = Start::minimal().args(words).run();
    for &ip in loopbacks() {
        Client::new(SocketAddr::new(ip, port)).connect();
    }
}

fn over_udp_the_other_family_is_counted_and_not_handed_out() {
    only_with("dual-stack");
    let (_tracker, clients) = with_leechers(3, 5);
    for (client, own) in clients.iter().zip([3, 5]) {
        let announced = client.announce(&Announce::seeder(info_hash(0), 60000));
        assert_eq!((announced.leechers, announced.peers.len()), (8, own));
        assert!(announced.peers.iter().all(|peer| peer.ip() == client.ip()));
        client.announce(&Announce::seeder(info_hash(0), 60000).event(STOPPED));
        assert_eq!(client.counts(info_hash(0)), (0, 0, 8));
    }
}

fn one_reply_over_http_carries_both_families() {
    only_with("dual-stack");
    let (tracker, [v4, v6]) = with_leechers(2, 1);
    for &server in tracker.https() {
        let answer = announce(server, 0, "port=60000&left=0");
        assert_eq!(compact_ipv6(answer.text("peers6")), [v6.endpoint(1)]);
        let mut peers = compact_ipv4(answer.text("peers"));
        peers.sort_unstable();
        assert_eq!(peers, [v4.endpoint(1), v4.endpoint(2)]);
        assert_eq!(counts(&announce(server, 0, "port=60000&event=stopped")), (0, 0, 3));
    }
}

fn both_families_share_the_number_of_peers_wanted() {
    only_with("dual-stack");
    let (tracker, _) = with_leechers(150, 50);
    for &server in tracker.https() {
        // Each family gets a quarter of 40. The other 20 are shared in proportion to the other peers, 140 and 40.
        let (ipv4, ipv6) = shares(server, 40);
        assert_eq!(ipv4 + ipv6, 40);
        assert!((25..=26).contains(&ipv4), "{ipv4} and {ipv6}");
        let (ipv4, ipv6) = shares(server, 200);
        assert_eq!(ipv4 + ipv6, 200, "all there are");
        assert_eq!(shares(server, 0), (0, 0));
    }
    let (tracker, _) = with_leechers(150, 3);
    assert_eq!(shares(tracker.http(), 40), (37, 3), "the few are not forgotten");
    let (tracker, _) = with_leechers(0, 150);
    assert_eq!(shares(tracker.http(), 40), (0, 40), "and one family may have all");
}
