//! `accesslist-dynamic`: torrents are put on the list and taken off it at once, by two FIFOs or commands at a socket.

pub(crate) mod many;
pub(crate) mod places;
pub(crate) mod successions;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;

use super::access_list::{is_served, list, listing, only_with_an_access_list, reload, replace};
use super::refuses_key;
use crate::clients::control::Control;
use crate::clients::udp::Client;
use crate::flavour::{BINARY, has, hex, info_hash, only_with, only_without};
use crate::harness::tests;
use crate::programs::{output, start};
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_it_nothing_changes_a_list,
    lines_in_the_fifos_take_effect_at_once,
    writers_come_and_go_and_lines_come_in_pieces,
    bad_lines_are_counted_and_do_not_fill_the_log,
    sighup_forgets_what_was_said_before,
    commands_are_answered,
    what_makes_no_sense_is_answered_too,
    the_client_says_commands_and_its_exit_code_tells_what_came_of_them,
    the_client_reads_hashes_from_its_standard_input,
    there_is_room_for_so_many_changes,
    a_reload_is_answered_when_it_is_over,
    many_reloads_at_once_are_all_answered,
    connections_are_few_and_the_idlest_makes_room,
];

pub(super) const FEATURE: &str = "accesslist-dynamic";

/// Adds FIFOs and a socket in the directory of a tracker.
pub(super) fn with_changes(start: Start) -> Start {
    let [add, delete, control] = ["add", "delete", "control"].map(|name| start.path(name).display().to_string());
    start.config(&format!("access.fifo_add {add}\naccess.fifo_delete {delete}\naccess.control {control}\n"))
}

/// A tracker whose list has torrent 1 and can be changed.
pub(super) fn changeable() -> Start {
    only_with(FEATURE);
    with_changes(listing(only_with_an_access_list(), &(hex(info_hash(1)) + "\n")))
}

pub(super) fn socket(tracker: &Tracker) -> PathBuf {
    tracker.root().join("control")
}

pub(super) fn control(tracker: &Tracker) -> Control {
    Control::connect(&socket(tracker))
}

/// A command about torrents.
pub(super) fn about(command: &str, torrents: &[u8]) -> String {
    torrents.iter().fold(command.to_owned(), |line, n| format!("{line} {}", hex(info_hash(*n))))
}

/// Opens one of the FIFOs to write to it.
#[track_caller]
pub(super) fn writer(tracker: &Tracker, name: &str) -> File {
    OpenOptions::new().write(true).open(tracker.root().join(name)).unwrap()
}

#[track_caller]
fn write(tracker: &Tracker, name: &str, torrents: &[u8]) {
    let text: String = torrents.iter().map(|n| hex(info_hash(*n)) + "\n").collect();
    writer(tracker, name).write_all(text.as_bytes()).unwrap();
}

/// Waits until of the torrents 0 to 9 these are on the list. Clients of all families and the socket say so.
#[track_caller]
pub(super) fn wait_for_list(tracker: &Tracker, expected: &[u8]) {
    let clients: Vec<_> = tracker.udps().iter().map(|udp| Client::new(*udp)).collect();
    let mut control = control(tracker);
    let mut listed = || -> Vec<u8> { (0..10).filter(|n| control.say(&about("has", &[*n])) == "ok yes").collect() };
    let found = wait_until(|| (listed() == expected).then_some(()));
    assert!(found.is_some(), "{:?} instead of {expected:?}\n{}", listed(), tracker.log());
    for client in clients {
        let served: Vec<u8> = (0..10).filter(|n| is_served(&client, info_hash(*n))).collect();
        let all: Vec<u8> = (0..10).filter(|n| has("accesslist-white") == expected.contains(n)).collect();
        assert_eq!(served, all);
    }
}

fn without_it_nothing_changes_a_list() {
    only_without(FEATURE);
    for key in ["access.fifo_add", "access.fifo_delete", "access.dynamic_max", "access.control", "access.control_group"]
    {
        refuses_key(FEATURE, key, "5");
    }
    let said = format!("--control needs a build with the feature {FEATURE}");
    Start::without_options().args(["--control", "/nowhere/socket", "count"]).finish().refuses(2, &[&said]);
}

fn lines_in_the_fifos_take_effect_at_once() {
    let tracker = changeable().run();
    wait_for_list(&tracker, &[1]);
    write(&tracker, "add", &[2, 3]);
    wait_for_list(&tracker, &[1, 2, 3]);
    write(&tracker, "delete", &[1, 3]);
    wait_for_list(&tracker, &[2]);
    write(&tracker, "add", &[1]);
    wait_for_list(&tracker, &[1, 2]);
    tracker.stop();
}

fn writers_come_and_go_and_lines_come_in_pieces() {
    let tracker = changeable().run();
    let line = hex(info_hash(2));
    // This one never writes anything, and nobody waits for it.
    let _silent = writer(&tracker, "add");
    let mut half = writer(&tracker, "add");
    half.write_all(&line.as_bytes()[..20]).unwrap();
    drop(half);
    write(&tracker, "delete", &[1]);
    wait_for_list(&tracker, &[]);
    writer(&tracker, "add").write_all(format!("{}\r\n", &line[20..].to_uppercase()).as_bytes()).unwrap();
    wait_for_list(&tracker, &[2]);
    for n in 3..10 {
        write(&tracker, "add", &[n]);
    }
    wait_for_list(&tracker, &[2, 3, 4, 5, 6, 7, 8, 9]);
    // Half a line at the end is never one.
    writer(&tracker, "delete").write_all(line.as_bytes()).unwrap();
    tracker.stop();
}

fn bad_lines_are_counted_and_do_not_fill_the_log() {
    let tracker = changeable().run();
    let line = hex(info_hash(2));
    let text = format!("{}# a comment\n\n{line} and more\n{line}0\n\x1b[2J\n", "nonsense\n".repeat(1000));
    writer(&tracker, "add").write_all(text.as_bytes()).unwrap();
    wait_for_list(&tracker, &[1, 2]);
    let mut endless = writer(&tracker, "add");
    for _ in 0..50 {
        endless.write_all(&[b'a'; 10_000]).unwrap();
    }
    endless.write_all(format!("\n{}\n", hex(info_hash(3))).as_bytes()).unwrap();
    wait_for_list(&tracker, &[1, 2, 3]);
    let stats = control(&tracker).say("stats");
    assert!(stats.contains(" bad_lines=1003 "), "{stats}");
    let log = tracker.stop();
    assert!(log.contains("access.fifo_add: line 1 is not an info hash"), "{log}");
    assert!(log.lines().count() < 40, "{log}");
}

fn sighup_forgets_what_was_said_before() {
    let tracker = changeable().run();
    assert_eq!(control(&tracker).say(&about("add", &[2, 3])), "ok 2");
    assert_eq!(control(&tracker).say(&about("delete", &[1])), "ok 1");
    wait_for_list(&tracker, &[2, 3]);
    reload(&tracker);
    wait_for_list(&tracker, &[1]);
    replace(&tracker, "no list\n");
    assert_eq!(control(&tracker).say(&about("add", &[4])), "ok 1");
    let said = reload(&tracker);
    assert!(said.contains("the list in force stays"), "{said}");
    wait_for_list(&tracker, &[1, 4]);
    tracker.stop();
}

fn commands_are_answered() {
    let tracker = changeable().run();
    let mut control = control(&tracker);
    assert_eq!(control.say("count"), "ok 1");
    assert_eq!(control.say(&about("add", &[1, 2, 3, 3])), "ok 2");
    assert_eq!(control.say(&about("delete", &[1, 9])), "ok 1");
    assert_eq!(control.say("count"), "ok 2");
    assert_eq!([1, 2].map(|n| control.say(&about("has", &[n]))), ["ok no", "ok yes"]);
    assert_eq!(control.say(&about("has", &[2]).to_uppercase().replace("HAS", "has")), "ok yes");
    // Several at once, in pieces.
    let [first, second] = [about("add", &[4]), about("has", &[4])];
    control.send(&first.as_bytes()[..10]).unwrap();
    control.send(format!("{}\r\n{second}\ncount\n", &first[10..]).as_bytes()).unwrap();
    assert_eq!([(); 3].map(|()| control.answer()), ["ok 1", "ok yes", "ok 3"]);
    let stats = control.say("stats");
    let (name, numbers) = stats.split_once(" last_reload=").unwrap();
    assert_eq!(name, "ok torrents=3 difference=4 max=1000000 added=3 deleted=1 refused=0 bad_lines=0");
    assert!(numbers.ends_with(" failed_reloads=0"), "{stats}");
    wait_for_list(&tracker, &[2, 3, 4]);
    tracker.stop();
}

fn what_makes_no_sense_is_answered_too() {
    let tracker = changeable().run();
    let mut control = control(&tracker);
    for (command, said) in [
        ("", "error there is no command"),
        ("sing", "error there is no command \"sing\""),
        ("add", "error there is no info hash"),
        ("add 1234", "error \"1234\" is not an info hash of 40 hexadecimal digits"),
        (&format!("{} x", about("add", &[5])), "error \"x\" is not an info hash"),
        ("count 1", "error"),
        ("\u{1b}[2J", "error there is no command \"\\x1b[2J\""),
    ] {
        let answer = control.say(command);
        assert!(answer.starts_with(said), "{command}: {answer}");
    }
    assert_eq!(control.say(&about("has", &[5])), "ok no", "a command is done whole or not at all");
    // As long as one may be, and longer.
    let torrents: Vec<_> = (0..=249).cycle().take(1598).collect();
    let long = about("delete", &torrents);
    assert!(long.len() > 65_000 && long.len() <= 65_536);
    assert_eq!(control.say(&long), "ok 1");
    let _ = control.send(&[b'x'; 70_000]);
    assert_eq!(control.answer(), "error a command has 65536 bytes at most");
    assert_eq!(control.answer(), "", "it is closed");
    tracker.stop();
}

/// Runs the client. Returns its exit code, what it prints, and what it complains of.
pub(super) fn client(tracker: &Tracker, words: &[&str]) -> (i32, String, String) {
    let output = output(Command::new(&*BINARY).arg("--control").arg(socket(tracker)).args(words)).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn the_client_says_commands_and_its_exit_code_tells_what_came_of_them() {
    let tracker = changeable().run();
    let [two, three] = [2, 3].map(|n| hex(info_hash(n)));
    for (words, expected) in [
        (&["count"][..], "1"),
        (&["add", &two, &three], "2"),
        (&["add", &two], "0"),
        (&["delete", &three], "1"),
        (&["has", &two], "yes"),
        (&["has", &three], "no"),
        (&["reload"], "1"),
        (&["has", &two], "no"),
    ] {
        assert_eq!(client(&tracker, words), (0, expected.into(), String::new()), "{words:?}");
    }
    let (code, stats, _) = client(&tracker, &["stats"]);
    assert!(code == 0 && stats.starts_with("torrents=1 difference=0 "), "{stats}");
    for (words, said) in [
        (&["sing"][..], "there is no command \"sing\""),
        (&["add"], "there is no info hash"),
        (&["add", "12"], "\"12\" is not an info hash"),
        (&["has", &two, &three], "has takes one info hash"),
        (&["has", "-"], "- is what add or delete take"),
        (&["add", &two, "-"], "- is what add or delete take"),
    ] {
        let (code, out, error) = client(&tracker, words);
        assert!(code == 2 && out.is_empty() && error.starts_with("opentracker: --control: "), "{code} {error}");
        assert!(error.contains(said), "{error}");
    }
    replace(&tracker, "no list\n");
    let (code, _, error) = client(&tracker, &["reload"]);
    assert!(code == 1 && error.contains("none of its 1 lines is an info hash"), "{code} {error}");
    let finished = Start::without_options().args(["--control", "/nowhere/socket", "count"]).finish();
    finished.refuses(1, &["cannot connect to /nowhere/socket"]);
    tracker.stop();
}

fn the_client_reads_hashes_from_its_standard_input() {
    let tracker = changeable().run();
    let say = |command: &str, text: &str| {
        let mut child = start(
            Command::new(&*BINARY)
                .arg("--control")
                .arg(socket(&tracker))
                .args([command, "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )
        .unwrap();
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text.trim_end().to_owned())
    };
    let many: String = (0..5000).map(|n| format!("{n:040x}\n")).collect();
    assert_eq!(say("add", &format!("# some\n\n{many}{}", list(&[2], &[2]))), (Some(0), "5001".into()));
    assert_eq!(control(&tracker).say("count"), "ok 5002");
    assert_eq!(say("delete", &many), (Some(0), "5000".into()));
    assert_eq!(say("add", ""), (Some(0), "0".into()));
    let (code, said) = say("add", &format!("{many}nonsense\n"));
    assert!(code == Some(1) && said.contains("line 5001 is not an info hash"), "{said}");
    tracker.stop();
}

fn there_is_room_for_so_many_changes() {
    let tracker = changeable().config("access.dynamic_max 3\n").run();
    let mut control = control(&tracker);
    assert_eq!(control.say(&about("add", &[2, 3])), "ok 2");
    let answer = control.say(&about("add", &[4, 5, 6]));
    assert!(answer.starts_with("error access.dynamic_max: no room for 2 of 3, 1 were changed"), "{answer}");
    assert!(control.say(&about("delete", &[1])).starts_with("error access.dynamic_max"));
    write(&tracker, "add", &[7, 8]);
    let known = wait_until(|| control.say("stats").contains(" refused=5 ").then_some(()));
    assert!(known.is_some(), "{}", control.say("stats"));
    write(&tracker, "delete", &[2]);
    wait_for_list(&tracker, &[1, 3, 4]);
    assert_eq!(control.say(&about("delete", &[1])), "ok 1", "what was taken back makes room");
    let log = tracker.stop();
    assert_eq!(log.matches("access.dynamic_max: the list differs").count(), 1, "{log}");
}

fn a_reload_is_answered_when_it_is_over() {
    let tracker = changeable().run();
    let mut control = control(&tracker);
    for n in 2..9 {
        replace(&tracker, &[1, n].map(|n| hex(info_hash(n)) + "\n").concat());
        assert_eq!(control.say("reload"), "ok 2");
        assert_eq!(control.say(&about("has", &[n])), "ok yes");
    }
    replace(&tracker, "");
    let answer = control.say("reload");
    assert!(answer.starts_with("error it is empty"), "{answer}");
    assert_eq!(control.say("count"), "ok 2");
    tracker.stop();
}

fn many_reloads_at_once_are_all_answered() {
    let tracker = changeable().run();
    thread::scope(|scope| {
        for _ in 0..8 {
            let mut control = control(&tracker);
            scope.spawn(move || (0..250).for_each(|_| assert_eq!(control.say("reload"), "ok 1")));
        }
        let mut control = control(&tracker);
        for _ in 0..100 {
            tracker.signal(Signal::SIGHUP);
            assert_eq!(control.say("count"), "ok 1");
        }
    });
    tracker.stop();
}

fn connections_are_few_and_the_idlest_makes_room() {
    let tracker = changeable().run();
    let mut connections: Vec<_> = (0..16).map(|_| control(&tracker)).collect();
    for connection in connections.iter_mut().rev() {
        assert_eq!(connection.say("count"), "ok 1");
    }
    assert_eq!(control(&tracker).say("count"), "ok 1");
    let mut idlest = connections.pop().unwrap();
    assert_eq!(idlest.answer(), "", "it is closed");
    for connection in &mut connections {
        assert_eq!(connection.say("count"), "ok 1");
    }
    tracker.stop();
}
