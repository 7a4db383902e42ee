//! `v6`: a tracker for IPv6 alone.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};

use super::needs_a_build_with;
use crate::clients::udp::{CONNECT, Client, MAGIC, header};
use crate::flavour::{has, loopback, only_with, only_without};
use crate::harness::tests;
use crate::tracker::{Start, Tracker, unused_port};
use crate::wait::{MAX_WAIT, retry_interrupted};

tests![
    without_it_ipv6_addresses_are_refused,
    with_it_alone_ipv4_addresses_are_refused,
    with_it_alone_ipv4_clients_are_not_heard,
    the_first_family_is_ipv6_only_in_a_build_for_ipv6_alone,
];

fn without_it_ipv6_addresses_are_refused() {
    only_without("v6");
    let said = needs_a_build_with("v6 or dual-stack").replacen("needs", "names ::1, but an IPv6 address needs", 1);
    Start::minimal().args(["-i", "::1", "-p", "0"]).finish().refuses(2, &["-p: listen.tcp ", &said]);
    Start::minimal().args(["-i", "[::1]", "-P", "0"]).finish().refuses(2, &["-P: listen.udp ", &said]);
    Start::minimal().args(["-i", "::1"]).finish().refuses(2, &["-i ", &said]);
    for key in ["listen.tcp", "listen.udp", "listen.tcp_udp"] {
        let text = format!("\n{key} [::1]:0\n");
        Start::minimal().config(&text).finish().refuses(2, &[&format!("2.conf: {key} (line 2) {said}")]);
    }
}

fn with_it_alone_ipv4_addresses_are_refused() {
    only_with("v6");
    only_without("dual-stack");
    let said = "names 127.0.0.1, but this build has the feature v6 and serves IPv6 only; dual-stack serves both";
    for ip in ["127.0.0.1", "::ffff:127.0.0.1"] {
        Start::minimal().args(["-i", ip, "-p", "0"]).finish().refuses(2, &["-p: listen.tcp ", said]);
        Start::minimal().args(["-i", ip]).finish().refuses(2, &["-i ", said]);
        Start::minimal()
            .config(&format!("listen.udp {ip}\n"))
            .finish()
            .refuses(2, &["2.conf: listen.udp (line 1) ", said]);
    }
}

/// Its sockets accept no IPv4 clients: they would appear with addresses at which no peer can be reached.
fn with_it_alone_ipv4_clients_are_not_heard() {
    only_with("v6");
    only_without("dual-stack");
    let port = unused_port();
    let tracker = Start::minimal().args(["-i", "::", "-p", &port.to_string(), "-P", &port.to_string()]).run();
    let error = TcpStream::connect((Ipv4Addr::LOCALHOST, tracker.http().port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(MAX_WAIT)).unwrap();
    client.connect((Ipv4Addr::LOCALHOST, tracker.udp().port())).unwrap();
    client.send(&header(MAGIC, CONNECT, 1)).unwrap();
    assert_eq!(retry_interrupted(|| client.recv(&mut [0; 16])).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    TcpStream::connect((Ipv6Addr::LOCALHOST, tracker.http().port())).unwrap();
}

fn the_first_family_is_ipv6_only_in_a_build_for_ipv6_alone() {
    let tracker = Tracker::start(&[]);
    assert_eq!(tracker.udp().is_ipv6(), has("v6") && !has("dual-stack"));
    assert_eq!(Client::new(tracker.udp()).ip(), loopback());
}
