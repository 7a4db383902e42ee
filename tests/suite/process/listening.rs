//! Where the tracker listens: the order of `-i`, `-p`, `-P` and `-f`, and the default.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use crate::clients::udp::Client;
use crate::flavour::{client, endpoint, loopback, loopbacks, wildcard};
use crate::harness::tests;
use crate::tracker::{Start, Tracker, only_as_root};

tests![
    an_address_holds_for_the_ports_after_it,
    ports_before_any_address_are_opened_on_every_address,
    a_configuration_file_may_stand_anywhere_on_the_command_line,
    later_settings_override_earlier_ones,
    without_configuration_the_tracker_listens_on_port_6969_of_every_address,
    a_port_that_is_taken_is_named,
    two_trackers_do_not_share_a_port,
    an_address_of_another_machine_is_named,
    one_address_is_not_opened_twice,
];

/// Two addresses of the first family, as text.
fn two() -> (String, String) {
    let one = loopback();
    let other = if one.is_ipv4() { client(one, 2) } else { wildcard(one) };
    (one.to_string(), other.to_string())
}

fn ips(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|address| address.ip().to_string()).collect()
}

/// The addresses for TCP, then those for UDP.
fn opened(tracker: &Tracker) -> (Vec<String>, Vec<String>) {
    (ips(tracker.https()), ips(tracker.udps()))
}

fn an_address_holds_for_the_ports_after_it() {
    let (one, other) = two();
    let (one, other) = (one.as_str(), other.as_str());
    let words = ["-i", one, "-P", "0", "-p", "0", "-i", other, "-P", "0", "-p", "0", "-P", "0"];
    let tracker = Start::minimal().args(words).run();
    assert_eq!(opened(&tracker), (vec![one.into(), other.into()], vec![one.into(), other.into(), other.into()]));
    let tracker = Start::minimal().args(["-i", one, "-P", "0", "-i", other]).run();
    assert_eq!(opened(&tracker), (vec![], vec![one.into()]));
}

fn ports_before_any_address_are_opened_on_every_address() {
    let tracker = Start::minimal().args(["-p", "0", "-P", "0", "-i", &loopback().to_string(), "-P", "0"]).run();
    let every: Vec<_> = loopbacks().iter().map(|&family| wildcard(family).to_string()).collect();
    let udp = [every.clone(), vec![loopback().to_string()]].concat();
    assert_eq!(opened(&tracker), (every, udp));
    for &server in &tracker.udps()[..loopbacks().len()] {
        let family = *loopbacks().iter().find(|ip| ip.is_ipv4() == server.is_ipv4()).unwrap();
        Client::new(SocketAddr::new(family, server.port()));
    }
}

fn a_configuration_file_may_stand_anywhere_on_the_command_line() {
    let (one, other) = two();
    let file = format!("listen.udp {}\nlisten.tcp_udp {}\n", with_port(&other), with_port(&one));
    let tracker = Start::minimal().args(["-i", &one, "-P", "0"]).config(&file).args(["-P", "0", "-p", "0"]).run();
    let udp = [&one, &other, &one, &one].map(String::clone);
    assert_eq!(opened(&tracker), (vec![one.clone(), one], udp.to_vec()));
}

fn with_port(ip: &str) -> String {
    endpoint(ip.parse().unwrap(), 0)
}

fn later_settings_override_earlier_ones() {
    only_as_root();
    let said = |start: Start, user: &str| start.finish().refuses(1, &[&format!("there is no user `{user}`")]);
    said(Start::loopback().args(["-u", "no-one", "-u", "no-two"]), "no-two");
    said(Start::loopback().config("tracker.user no-one\n").args(["-u", "no-two"]), "no-two");
    said(Start::loopback().args(["-u", "no-two"]).config("tracker.user no-one\n"), "no-one");
    said(Start::loopback().config("tracker.user no-one\n").config("[tracker]\nuser = 'no-two'\n"), "no-two");
}

fn without_configuration_the_tracker_listens_on_port_6969_of_every_address() {
    only_as_root();
    // The port may be taken on this machine, so it is opened in a network of its own.
    let alone = |start: Start| {
        let tracker = start.in_own_network().run();
        (tracker.https().to_vec(), tracker.udps().to_vec())
    };
    let on = |ips: &[IpAddr]| -> Vec<_> { ips.iter().map(|&ip| SocketAddr::new(ip, 6969)).collect() };
    let every = on(&loopbacks().iter().map(|&family| wildcard(family)).collect::<Vec<_>>());
    assert_eq!(alone(Start::minimal()), (every.clone(), every));

    let chosen = wildcard(loopback());
    let expected = on(&[chosen]);
    assert_eq!(alone(Start::minimal().args(["-i", &chosen.to_string()])), (expected.clone(), expected.clone()));
    assert_eq!(
        alone(Start::minimal().config(&format!("listen.tcp_udp {chosen}\n"))),
        (expected.clone(), expected.clone())
    );
    assert_eq!(
        alone(Start::minimal().config(&format!("listen.udp {chosen}\n"))),
        (vec![], expected),
        "only what is named"
    );
}

fn a_port_that_is_taken_is_named() {
    for &ip in loopbacks() {
        let taken = UdpSocket::bind((ip, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let words = ["-i".into(), ip.to_string(), "-P".into(), address.port().to_string()];
        Start::minimal().args(words).finish().refuses(1, &["opentracker: ", "udp", &address.to_string(), "in use"]);

        let taken = TcpListener::bind((ip, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let words = ["-i".into(), ip.to_string(), "-p".into(), address.port().to_string()];
        Start::minimal().args(words).finish().refuses(1, &["opentracker: ", "tcp", &address.to_string(), "in use"]);
    }
}

fn two_trackers_do_not_share_a_port() {
    let tracker = Tracker::start(&[]);
    let address = tracker.udp();
    let words = ["-i".into(), address.ip().to_string(), "-P".into(), address.port().to_string()];
    Start::minimal().args(words).finish().refuses(1, &[&address.to_string(), "in use"]);
}

fn an_address_of_another_machine_is_named() {
    let elsewhere: IpAddr = if loopback().is_ipv4() { "192.0.2.200" } else { "2001:db8::1" }.parse().unwrap();
    let address = endpoint(elsewhere, 0);
    let finished = Start::minimal().args(["-i", &elsewhere.to_string(), "-P", "0"]).finish();
    finished.refuses(1, &["cannot listen on udp", &address]);
}

fn one_address_is_not_opened_twice() {
    let ip = loopback().to_string();
    let finished = Start::minimal().args(["-i", &ip, "-p", "7000", "-P", "7000", "-p", "7000"]).finish();
    finished.refuses(2, &["listen.tcp", &endpoint(loopback(), 7000), "twice"]);
}
