//! Where it is said what changes: FIFOs and a socket in the file system, and whose they are.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::{Group, User, geteuid, mkfifo};

use super::{FEATURE, changeable, client, control, socket, wait_for_list, writer};
use crate::flavour::{BINARY, hex, info_hash, only_with};
use crate::harness::tests;
use crate::programs::{close_everywhere, output};
use crate::switches::access_list::{listing, only_with_an_access_list};
use crate::tracker::{Start, is_root, only_as_root};

tests![
    what_is_not_there_is_made_for_the_trackers_user_alone,
    a_group_can_be_let_in,
    fifos_that_are_there_are_used_as_they_are,
    what_is_no_fifo_stops_the_start,
    what_is_in_the_way_of_the_socket_stops_the_start,
    a_socket_that_nobody_answers_at_is_replaced,
    a_tracker_that_lives_keeps_its_socket,
    it_works_without_root_and_outside_the_root_directory,
    strangers_cannot_connect,
    a_path_of_the_original_is_named,
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn what_is_not_there_is_made_for_the_trackers_user_alone() {
    // Whatever the process keeps from files that it makes.
    for umask in ["000", "077", "377"] {
        let start = changeable().wrapped(&["sh", "-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
        let tracker = start.run();
        let user = if is_root() { User::from_name("nobody").unwrap().unwrap().uid } else { geteuid() };
        for name in ["add", "delete", "control"] {
            let path = tracker.root().join(name);
            let found = fs::metadata(&path).unwrap();
            assert!(found.file_type().is_fifo() || name == "control" && found.file_type().is_socket());
            assert_eq!((mode(&path), found.uid()), (0o600, user.as_raw()), "{name}");
        }
        assert!(!tracker.root().join("control.new").exists());
        tracker.stop();
    }
}

fn a_group_can_be_let_in() {
    only_as_root();
    let tracker = changeable().config("access.control_group daemon\n").with_binary_for_everybody().run();
    let group = Group::from_name("daemon").unwrap().unwrap().gid.as_raw();
    for (name, expected) in [("add", 0o620), ("delete", 0o620), ("control", 0o660)] {
        let path = tracker.root().join(name);
        assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (expected, group), "{name}");
    }
    let as_member = |uid: &str, gid: &str, groups: &str| {
        let binary = tracker.root().join("opentracker");
        let ids = [format!("--reuid={uid}"), format!("--regid={gid}"), groups.to_owned()];
        let said =
            output(Command::new("setpriv").args(ids).arg(binary).arg("--control").arg(socket(&tracker)).arg("count"));
        said.unwrap().status.code()
    };
    assert_eq!(as_member("1", "daemon", "--clear-groups"), Some(0));
    assert_eq!(as_member("4", "65534", "--groups=daemon"), Some(0), "it need not be the first of his groups");
    assert_eq!(as_member("4", "65534", "--clear-groups"), Some(1));
    tracker.stop();

    let tracker = changeable().config("access.control_group 3000001\n").run();
    assert_eq!(fs::metadata(tracker.root().join("control")).unwrap().gid(), 3_000_001, "no list has it");
    tracker.stop();

    let start = changeable().config("access.control_group no-such-group\n");
    start.finish().refuses(1, &["access.control_group", "no-such-group", "there is no such group"]);
}

fn fifos_that_are_there_are_used_as_they_are() {
    let start = changeable();
    let path = start.path("add");
    mkfifo(&start.path("elsewhere"), Mode::from_bits_truncate(0o600)).unwrap();
    fs::set_permissions(start.path("elsewhere"), fs::Permissions::from_mode(0o666)).unwrap();
    symlink("elsewhere", &path).unwrap();
    let tracker = start.run();
    assert_eq!(mode(&path), 0o666);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    super::write(&tracker, "add", &[5]);
    wait_for_list(&tracker, &[1, 5]);
    tracker.stop();
}

fn what_is_no_fifo_stops_the_start() {
    let refuses = |start: Start, key: &str, why: &str| start.finish().refuses(1, &[key, "cannot use ", why]);
    let start = changeable();
    fs::write(start.path("add"), "").unwrap();
    refuses(start, "access.fifo_add", "it is a file, and no FIFO");
    let start = changeable();
    fs::create_dir(start.path("delete")).unwrap();
    refuses(start, "access.fifo_delete", "it is a directory, and no FIFO");
    let start = changeable();
    let _socket = UnixListener::bind(start.path("add")).unwrap();
    refuses(start, "access.fifo_add", "no FIFO");
    let start = changeable();
    symlink("nowhere", start.path("add")).unwrap();
    refuses(start, "access.fifo_add", "No such file");
    refuses(
        changeable().config("access.fifo_add /nowhere/at/all\n"),
        "access.fifo_add",
        "cannot make it: No such file",
    );
    let start = changeable();
    symlink("add", start.path("delete")).unwrap();
    refuses(start, "access.fifo_delete", "it is access.fifo_add too");
}

fn what_is_in_the_way_of_the_socket_stops_the_start() {
    let refuses = |start: Start, why: &str| start.finish().refuses(1, &["access.control", "cannot use ", why]);
    let start = changeable();
    fs::write(start.path("control"), "precious").unwrap();
    refuses(start, "it is a file, and no socket");
    let start = changeable();
    fs::create_dir(start.path("control")).unwrap();
    refuses(start, "it is a directory, and no socket");
    let start = changeable();
    let _other = UnixDatagram::bind(start.path("control")).unwrap();
    refuses(start, "it is another program's socket");
    let start = changeable();
    fs::write(start.path("control.new"), "precious").unwrap();
    refuses(start, "control.new is in the way: it is a file, and no socket");
    let long = format!("access.control /{}\n", "x".repeat(107));
    refuses(changeable().config(&long), "the path is too long for a socket");
}

fn a_socket_that_nobody_answers_at_is_replaced() {
    let start = changeable();
    close_everywhere(UnixListener::bind(start.path("control")).unwrap());
    let tracker = start.run();
    assert_eq!(control(&tracker).say("count"), "ok 1");
    tracker.stop();
}

fn a_tracker_that_lives_keeps_its_socket() {
    let tracker = changeable().run();
    let start = listing(only_with_an_access_list(), "# nothing\n");
    let start = start.config(&format!("access.control {}\n", socket(&tracker).display()));
    start.finish().refuses(1, &["access.control", "another process answers there"]);
    assert_eq!(control(&tracker).say("count"), "ok 1");
    tracker.stop();
}

fn it_works_without_root_and_outside_the_root_directory() {
    only_with(FEATURE);
    // To keep from oneself what one makes is a matter of those alone who are not root.
    let start = changeable().started_by("daemon").wrapped(&["sh", "-c", "umask 377 && exec \"$0\" \"$@\""]);
    if is_root() {
        let daemon = User::from_name("daemon").unwrap().unwrap().uid;
        nix::unistd::chown(&start.path("."), Some(daemon), None).unwrap();
    }
    let tracker = start.run();
    assert_eq!(client(&tracker, &["add", &hex(info_hash(2))]), (0, "1".into(), String::new()));
    wait_for_list(&tracker, &[1, 2]);
    tracker.stop();

    let start = changeable();
    let inner = start.path("inner");
    fs::create_dir(&inner).unwrap();
    for file in ["list", "whitelist"] {
        let _ = fs::copy(start.path(file), inner.join(file));
    }
    let tracker = start.config(&format!("tracker.rootdir {}\n", inner.display())).run();
    super::write(&tracker, "add", &[3]);
    wait_for_list(&tracker, &[1, 3]);
    assert_eq!(control(&tracker).say("reload"), "ok 1");
    wait_for_list(&tracker, &[1]);
    tracker.stop();
}

fn strangers_cannot_connect() {
    only_as_root();
    let tracker = changeable().run();
    // Even if the file would let them in.
    fs::set_permissions(socket(&tracker), fs::Permissions::from_mode(0o666)).unwrap();
    let copy = tracker.root().join("client");
    assert!(output(Command::new("install").args(["-m", "755", BINARY.as_str()]).arg(&copy)).unwrap().status.success());
    let by = |user: &str| {
        let ids = [format!("--reuid={user}"), "--clear-groups".into()];
        output(Command::new("setpriv").args(ids).arg(&copy).arg("--control").arg(socket(&tracker)).arg("count"))
    };
    let stranger = by("daemon").unwrap();
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    assert_eq!(by("nobody").unwrap().status.code(), Some(0), "the tracker's user");
    drop(writer(&tracker, "add"));
    let log = tracker.stop();
    assert!(log.contains("access.control: a connection is closed: user 1 may not"), "{log}");
}

fn a_path_of_the_original_is_named() {
    only_as_root();
    let start = changeable();
    let inside = start.path("nowhere-else.fifo");
    mkfifo(&inside, Mode::from_bits_truncate(0o600)).unwrap();
    let start = start.config("access.fifo_add /nowhere-else.fifo\n");
    let said = format!("something at {}, where the original looks", inside.display());
    start.finish().refuses(1, &["access.fifo_add", &said]);
}
