//! `--health`: whether a tracker answers, for whoever watches it.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::flavour::{endpoint, loopbacks};
use crate::harness::tests;
use crate::tracker::{Exit, Start, Tracker, unused_port};
use crate::wait::wait_until;

tests![
    a_tracker_that_runs_answers,
    both_protocols_are_asked_at_one_address,
    a_tracker_that_hangs_does_not_answer,
    where_there_is_none_nobody_answers,
    what_is_no_address_is_a_mistake,
];

fn ask(at: &str) -> Exit {
    Start::without_options().args(["--health", at]).finish()
}

/// Asserts that it is said to answer: sooner or later, as a machine may be busy with something else for two seconds.
fn assert_answers(at: &str) {
    let answered = wait_until(|| Some(ask(at)).filter(|exit| exit.code == Some(0)));
    answered.unwrap_or_else(|| panic!("no answer at {at}")).succeeds();
}

/// Asserts that it says this in one line, sooner or later.
fn assert_fails(at: &str, reason: &str) {
    let failed = wait_until(|| Some(ask(at)).filter(|exit| exit.stderr.contains(reason)));
    let exit = failed.unwrap_or_else(|| panic!("it does not say {reason:?} of {at}"));
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(1), ""), "{exit:?}");
    assert!(exit.stderr.starts_with("opentracker: ") && exit.stderr.ends_with('\n'), "{exit:?}");
    assert_eq!(exit.stderr.lines().count(), 1, "{exit:?}");
}

fn a_tracker_that_runs_answers() {
    let tracker = Tracker::start(&[]);
    for address in tracker.https() {
        assert_answers(&format!("tcp:{address}"));
    }
    for address in tracker.udps() {
        assert_answers(&format!("udp:{address}"));
    }
    tracker.stop();
}

fn both_protocols_are_asked_at_one_address() {
    for &ip in loopbacks() {
        let address = SocketAddr::new(ip, unused_port());
        let listen = |protocol: &str| format!("listen.{protocol} {address}\n");
        let tracker = Start::minimal().config(&(listen("tcp") + &listen("udp"))).run();
        assert_answers(&address.to_string());
        tracker.stop();
        // The other protocol is missed.
        for (there, missing) in [("tcp", "UDP"), ("udp", "HTTP")] {
            let tracker = Start::minimal().config(&listen(there)).run();
            assert_fails(
                &address.to_string(),
                &format!("{address} does not answer over {missing}: Connection refused"),
            );
            assert_answers(&format!("{there}:{address}"));
            tracker.stop();
        }
    }
}

fn a_tracker_that_hangs_does_not_answer() {
    let tracker = Tracker::start(&[]);
    tracker.signal(Signal::SIGSTOP);
    for (protocol, over, address) in [("tcp", "HTTP", tracker.http()), ("udp", "UDP", tracker.udp())] {
        let expected = format!("{address} does not answer over {over}: nothing came within 2s");
        assert_fails(&format!("{protocol}:{address}"), &expected);
    }
    tracker.signal(Signal::SIGCONT);
    assert_answers(&format!("udp:{}", tracker.udp()));
    tracker.stop();
}

fn where_there_is_none_nobody_answers() {
    for &ip in loopbacks() {
        let address = endpoint(ip, unused_port());
        for protocol in ["", "tcp:", "udp:"] {
            assert_fails(&format!("{protocol}{address}"), &format!("opentracker: {address} does not answer over "));
        }
    }
}

fn what_is_no_address_is_a_mistake() {
    for at in ["localhost:6969", "127.0.0.1", "127.0.0.1:0", "http://127.0.0.1:6969/"] {
        ask(at).refuses(2, &["--health takes [udp:|tcp:][IP:PORT]", at]);
    }
}
