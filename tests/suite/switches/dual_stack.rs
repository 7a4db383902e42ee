//! `dual-stack`: the IPv4 and the IPv6 swarm of each torrent in one process.

use std::net::SocketAddr;

use crate::clients::udp::{Announce, Client, STOPPED, compact_ipv4, compact_ipv6};
use crate::flavour::{info_hash, loopbacks, only_with, wildcard};
use crate::harness::tests;
use crate::http::{announce, counts};
use crate::tracker::{Start, Tracker, only_as_root, unused_port};

tests![
    with_it_the_tracker_listens_on_both_families,
    the_wildcard_of_ipv6_opens_both_families,
    the_wildcard_of_ipv6_alone_opens_the_default_port_of_both_families,
    the_wildcard_of_ipv6_on_any_port_opens_one_port_of_both_families,
    an_ipv4_address_on_the_same_port_stands_for_its_family,
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

/// The addresses for TCP, then those for UDP.
fn opened(tracker: &Tracker) -> [Vec<String>; 2] {
    [tracker.https(), tracker.udps()].map(|addresses| addresses.iter().map(ToString::to_string).collect())
}

/// Asserts that clients of both families are answered on this port.
fn serves_both_families(port: u16) {
    for &ip in loopbacks() {
        let client = Client::new(SocketAddr::new(ip, port));
        client.announce(&Announce::leecher(info_hash(1), 1));
    }
}

fn the_wildcard_of_ipv6_opens_both_families() {
    only_with("dual-stack");
    let port = unused_port();
    let both = vec![format!("[::]:{port}"), format!("0.0.0.0:{port}")];
    let option = port.to_string();
    for (start, expected) in [
        (Start::minimal().args(["-i", "::", "-p", &option, "-P", &option]), [both.clone(), both.clone()]),
        (Start::minimal().config(&format!("listen.tcp_udp [::]:{port}\n")), [both.clone(), both.clone()]),
        (Start::minimal().config(&format!("listen.tcp [::]:{port}\n")), [both.clone(), vec![]]),
        (Start::minimal().config(&format!("[listen]\nudp = ['[::]:{port}']\n")), [vec![], both.clone()]),
    ] {
        let tracker = start.run();
        assert_eq!(opened(&tracker), expected);
        for (protocol, addresses) in ["tcp", "udp"].iter().zip(&expected) {
            let said =
                format!("{protocol} [::]:{port} means both families in this build: 0.0.0.0:{port} is opened too");
            assert_eq!(tracker.log().contains(&said), !addresses.is_empty(), "{}", tracker.log());
        }
        if !expected[1].is_empty() {
            serves_both_families(port);
        }
        for &ip in loopbacks().iter().filter(|_| !expected[0].is_empty()) {
            assert_eq!(counts(&announce(SocketAddr::new(ip, port), 3, "port=1&left=1")).2, 1, "{ip}");
            announce(SocketAddr::new(ip, port), 3, "port=1&event=stopped");
        }
        tracker.stop();
    }
}

fn the_wildcard_of_ipv6_alone_opens_the_default_port_of_both_families() {
    only_with("dual-stack");
    only_as_root();
    // The port may be taken on this machine, so it is opened in a network of its own.
    let both = ["[::]:6969", "0.0.0.0:6969"].map(str::to_owned).to_vec();
    for start in [Start::minimal().args(["-i", "::"]), Start::minimal().config("listen.tcp_udp ::\n")] {
        let tracker = start.in_own_network().run();
        assert_eq!(opened(&tracker), [both.clone(), both.clone()]);
        tracker.stop();
    }
}

fn the_wildcard_of_ipv6_on_any_port_opens_one_port_of_both_families() {
    only_with("dual-stack");
    for start in [Start::minimal().args(["-i", "::", "-P", "0"]), Start::minimal().args(["-P", "0"])] {
        let tracker = start.run();
        let [one, other] = tracker.udps() else { panic!("{}", tracker.log()) };
        assert_eq!((one.port(), one.is_ipv4()), (other.port(), !other.is_ipv4()));
        serves_both_families(one.port());
    }
}

fn an_ipv4_address_on_the_same_port_stands_for_its_family() {
    only_with("dual-stack");
    let port = unused_port();
    let wildcard = format!("[::]:{port}");
    for ipv4 in ["0.0.0.0", "127.0.0.1"] {
        let ipv4 = format!("{ipv4}:{port}");
        let tracker = Start::minimal().config(&format!("listen.udp {wildcard}\nlisten.udp {ipv4}\n")).run();
        assert_eq!(opened(&tracker), [vec![], vec![wildcard.clone(), ipv4]]);
        assert!(!tracker.log().contains("means both families"), "{}", tracker.log());
        serves_both_families(port);
        tracker.stop();
    }
    // What is configured for one protocol says nothing of the other.
    let tracker = Start::minimal().config(&format!("listen.tcp_udp {wildcard}\nlisten.tcp 127.0.0.1:{port}\n")).run();
    let tcp = vec![wildcard.clone(), format!("127.0.0.1:{port}")];
    assert_eq!(opened(&tracker), [tcp, vec![wildcard, format!("0.0.0.0:{port}")]]);
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
