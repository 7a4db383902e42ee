//! Start, signals and stop.

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixDatagram};

use nix::sys::signal::Signal;

use crate::clients::udp::{Announce, Client};
use crate::flavour::info_hash;
use crate::harness::tests;
use crate::tracker::{Start, Tracker};
use crate::wait::{MAX_WAIT, retry_interrupted};

tests![
    sigterm_and_sigint_stop_the_tracker,
    sigterm_stops_the_tracker_under_load,
    sighup_does_not_stop_the_tracker,
    the_service_manager_hears_of_start_and_stop,
    a_service_manager_may_have_an_abstract_name,
    the_tracker_runs_without_a_service_manager,
];

fn sigterm_and_sigint_stop_the_tracker() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let tracker = Tracker::start(&[]);
        Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(0), 1));
        let log = tracker.stop_by(signal);
        assert!(log.contains(&format!("{signal}: stopping")), "{log}");
    }
}

fn sigterm_stops_the_tracker_under_load() {
    let tracker = Start::loopback().config("listen.udp.workers 4\n").run();
    let clients: Vec<_> = (0..20).map(|_| Client::new(tracker.udp())).collect();
    for port in 1..=20 {
        for client in &clients {
            client.send(&Announce::leecher(info_hash(0), port).packet(client.id, 1));
        }
    }
    tracker.stop();
}

fn sighup_does_not_stop_the_tracker() {
    // The original dies of SIGHUP when there are workers for UDP.
    for config in ["", "listen.udp.workers 2\n"] {
        let tracker = Start::loopback().config(config).run();
        let client = Client::new(tracker.udp());
        client.announce(&Announce::leecher(info_hash(0), 1));
        for _ in 0..5 {
            tracker.signal(Signal::SIGHUP);
            assert_eq!(client.counts(info_hash(0)), (0, 0, 1), "and nobody is forgotten");
        }
        tracker.stop();
    }
}

fn the_service_manager_hears_of_start_and_stop() {
    let mut tracker = Tracker::start(&[]);
    // `run` has waited for READY=1.
    tracker.signal(Signal::SIGTERM);
    assert_eq!(tracker.next_notification().as_deref(), Some("STOPPING=1"));
    assert_eq!(tracker.next_notification(), None);
}

fn a_service_manager_may_have_an_abstract_name() {
    let name = format!("opentracker-suite-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(&net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    manager.set_read_timeout(Some(MAX_WAIT)).unwrap();
    let tracker = Start::loopback().env("NOTIFY_SOCKET", format!("@{name}")).run_unnotified();
    let mut message = [0; 64];
    let len = retry_interrupted(|| manager.recv(&mut message)).unwrap();
    assert_eq!(&message[..len], b"READY=1");
    tracker.stop();
}

fn the_tracker_runs_without_a_service_manager() {
    for manager in [None, Some(""), Some("/nowhere/notify")] {
        let start = manager.iter().fold(Start::loopback(), |start, name| start.env("NOTIFY_SOCKET", *name));
        let mut tracker = start.run_unnotified();
        tracker.wait_for_log("features: ");
        let complains = tracker.log().contains("WARN cannot tell the service manager");
        assert_eq!(complains, manager == Some("/nowhere/notify"));
        let log = tracker.log();
        let line = log.lines().find_map(|line| line.split_once("listening on udp ")).unwrap();
        Client::new(line.1.parse::<SocketAddr>().unwrap());
        tracker.stop();
    }
}
