//! `--convert-config`: a configuration of the original, written as TOML.

use std::fs;

use crate::flavour::{endpoint, loopback, minimal_config};
use crate::harness::tests;
use crate::tracker::{Exit, Start, Tracker, unused_port};

tests![what_is_printed_serves_a_tracker, what_is_left_out_is_named, what_cannot_be_converted_is_refused,];

/// Has a text converted.
fn convert(text: &str) -> Exit {
    let start = Start::without_options();
    let path = start.path("old.conf");
    fs::write(&path, text).unwrap();
    start.args(["--convert-config".as_ref(), path.as_os_str()]).finish()
}

fn what_is_printed_serves_a_tracker() {
    let (tcp, udp) = (endpoint(loopback(), unused_port()), endpoint(loopback(), unused_port()));
    let start = Start::without_options();
    let needs = minimal_config(&start.path("."));
    let old = format!(
        "# I) Where it listens\nlisten.tcp {tcp} # one\nlisten.udp {udp}\nlisten.udp.workers 2\n\ntracker.rootdir {}\n",
        start.path(".").display()
    );
    let exit = convert(&old);
    exit.succeeds();
    assert!(exit.stdout.starts_with("# I) Where it listens\nlisten.tcp = ["), "{}", exit.stdout);
    assert!(exit.stdout.contains("\nlisten.udp_workers = 2\n\ntracker.rootdir = \""), "{}", exit.stdout);
    let tracker: Tracker = start.config(&needs).config(&exit.stdout).run();
    assert_eq!((tracker.http().to_string(), tracker.udp().to_string()), (tcp, udp));
    tracker.stop();
}

fn what_is_left_out_is_named() {
    let exit = convert("tracker.user nobody\n# why\ntracker.usr a\nlisten.tcp here\n");
    assert_eq!(exit.code, Some(2), "{exit:?}");
    let expected = "tracker.user = \"nobody\"\n# why\n# Left out: tracker.usr a\n# Left out: listen.tcp here\n";
    assert_eq!(exit.stdout, expected);
    let lines: Vec<_> = exit.stderr.lines().collect();
    let [first, second] = *lines else { panic!("{exit:?}") };
    assert!(first.starts_with("opentracker: ") && first.contains("tracker.usr (line 3) is not a key"), "{exit:?}");
    assert!(second.starts_with("opentracker: ") && second.contains("listen.tcp (line 4) takes an address"), "{exit:?}");
}

fn what_cannot_be_converted_is_refused() {
    convert("tracker.user = 'nobody'\n").refuses(2, &["old.conf is written in TOML already"]);
    let start = Start::without_options();
    start.args(["--convert-config", "/nowhere/old.conf"]).finish().refuses(2, &["/nowhere/old.conf cannot be read"]);
}
