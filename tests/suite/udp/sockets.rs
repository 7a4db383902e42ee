//! Several addresses, several workers, and addresses that stand for every address.

use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;

use crate::clients::udp::{Announce, Client};
use crate::flavour::{client, info_hash, loopbacks, wildcard};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    a_reply_comes_from_the_address_that_was_asked,
    all_addresses_serve_the_same_swarms,
    every_worker_answers,
    a_client_is_answered_while_others_send_malformed_datagrams,
];

/// Addresses of this machine that a loopback client can reach: some of 127/8, or all of IPv6 that are not link-local.
fn own_addresses(family: IpAddr) -> Vec<IpAddr> {
    if family.is_ipv4() {
        return (1..=5).map(|n| client(family, n)).collect();
    }
    let interfaces = getifaddrs().unwrap().filter_map(|interface| interface.address);
    let ips = interfaces.filter_map(|address| Some(address.as_sockaddr_in6()?.ip()));
    ips.filter(|ip| !ip.is_unicast_link_local()).map(IpAddr::from).collect()
}

fn a_reply_comes_from_the_address_that_was_asked() {
    for &family in loopbacks() {
        let tracker = Start::minimal().listen(wildcard(family)).run();
        let own = own_addresses(family);
        assert!(own.contains(&family), "{own:?}");
        for ip in own {
            let client = Client::unconnected(client(family, 1), SocketAddr::new(ip, tracker.udp().port()));
            // `connect` checks where the reply comes from.
            for _ in 0..20 {
                client.connect();
            }
        }
    }
}

fn all_addresses_serve_the_same_swarms() {
    for &ip in loopbacks() {
        let tracker = Start::minimal().listen(ip).listen(ip).run();
        let [one, other] = tracker.udps() else { panic!("{:?}", tracker.udps()) };
        assert_ne!(one, other);
        Client::new(*one).announce(&Announce::leecher(info_hash(0), 1));
        let client = Client::new(*other);
        assert_eq!(client.announce(&Announce::leecher(info_hash(0), 2)).peers, [client.endpoint(1)]);
    }
}

fn every_worker_answers() {
    let tracker = Start::loopback().config("listen.udp.workers 3\n").run();
    // The system chooses the worker by the client's port; all workers serve the same torrents.
    for n in 1..=40 {
        let client = Client::new(tracker.udp());
        let announced = client.announce(&Announce::leecher(info_hash(0), n));
        assert_eq!(announced.leechers, u32::from(n));
    }
}

fn a_client_is_answered_while_others_send_malformed_datagrams() {
    let tracker = Tracker::start(&[]);
    let client = Client::new(tracker.udp());
    for round in 0..50 {
        let noise = Client::unconnected(client.ip(), tracker.udp());
        for len in 0..16 {
            noise.send(&vec![0xff; len]);
        }
        assert_eq!(client.announce(&Announce::leecher(info_hash(0), 1)).leechers, 1, "{round}");
    }
}
