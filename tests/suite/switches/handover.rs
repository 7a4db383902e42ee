//! `handover`: a restart that loses no swarm.

use super::refuses_key;
use crate::clients::http::get;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, only_with, only_without};
use crate::harness::tests;
use crate::tracker::Start;

tests![
    without_it_its_key_is_refused,
    the_path_of_its_socket_may_stand_in_both_syntaxes,
    what_is_no_path_is_refused,
    to_check_the_configuration_makes_no_socket,
    where_there_is_nobody_to_take_over_from_it_starts_from_nothing,
];

fn without_it_its_key_is_refused() {
    only_without("handover");
    refuses_key("handover", "tracker.handover", "handover.sock");
}

fn check(text: &str) -> Start {
    Start::minimal().args(["--check-config"]).config(text)
}

fn the_path_of_its_socket_may_stand_in_both_syntaxes() {
    only_with("handover");
    for text in [
        "tracker.handover /run/opentracker/handover.sock\n",
        "tracker.handover = \"/run/opentracker/handover.sock\"\n",
        "[tracker]\nhandover = 'handover.sock'\n",
    ] {
        check(text).finish().succeeds();
    }
}

fn what_is_no_path_is_refused() {
    only_with("handover");
    for (text, said) in [
        ("tracker.handover\n", "tracker.handover (line 1) has no value; it takes the path of a Unix socket"),
        ("\ntracker.handover = ''\n", "tracker.handover (line 2) takes the path of a Unix socket, not \"\""),
        ("tracker.handover = true\n", "tracker.handover (line 1) takes the path of a Unix socket, not true"),
        ("tracker.handover = ['a']\n", "tracker.handover (line 1) takes the path of a Unix socket, not a list"),
    ] {
        check(text).finish().refuses(2, &[said]);
    }
}

fn to_check_the_configuration_makes_no_socket() {
    only_with("handover");
    let start = Start::minimal().args(["--check-config"]);
    let socket = start.path("handover.sock");
    let exit = start.config(&format!("tracker.handover {}\n", socket.display())).finish();
    exit.succeeds();
    assert!(!socket.exists());
}

fn where_there_is_nobody_to_take_over_from_it_starts_from_nothing() {
    only_with("handover");
    let start = Start::loopback();
    let config = format!("tracker.handover {}\n", start.path("handover.sock").display());
    let tracker = start.config(&config).run();
    assert_eq!(Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(0), 1)).leechers, 1);
    assert!(get(tracker.http(), "/stats").status < 500);
    tracker.stop();
}
