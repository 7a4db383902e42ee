//! What becomes of FIFOs and the socket when another process takes over.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{User, chown};

use super::{FEATURE, about, changeable, socket, wait_for_list, write};
use crate::clients::control::{Control, is_refused};
use crate::clients::handover::{PAUSE, READY, Speaker};
use crate::flavour::{hex, info_hash, only_with};
use crate::harness::tests;
use crate::programs::close_everywhere;
use crate::service_manager::ServiceManager;
use crate::switches::access_list::{listing, only_with_an_access_list};
use crate::switches::handover_socket::{Post, assert_untroubled, ended};
use crate::tracker::{Start, is_root};
use crate::wait::{MAX_WAIT, wait_until};

tests![
    the_socket_and_the_fifos_go_on_with_the_new_process,
    a_service_manager_keeps_the_socket,
    a_socket_that_is_no_longer_configured_is_closed,
    a_handover_that_fails_leaves_everything_to_the_old_process,
    nothing_is_heard_while_another_process_takes_over,
    a_socket_that_the_path_does_not_lead_to_any_more_is_replaced,
];

/// A tracker whose list has torrent 1, with FIFOs and a socket in a directory of others.
fn changeable_at(place: &Path) -> Start {
    let start = listing(only_with_an_access_list(), &(hex(info_hash(1)) + "\n"));
    let [add, delete, control] = ["add", "delete", "control"].map(|name| place.join(name).display().to_string());
    start.config(&format!("access.fifo_add {add}\naccess.fifo_delete {delete}\naccess.control {control}\n"))
}

/// Which file this is: another one has another number, or is newer.
fn identity(path: &Path) -> (u64, i64, i64) {
    let found = fs::metadata(path).unwrap();
    (found.ino(), found.ctime(), found.ctime_nsec())
}

fn the_socket_and_the_fifos_go_on_with_the_new_process() {
    only_with(FEATURE);
    only_with("handover");
    let post = Post::new();
    let place = post.path().parent().unwrap().to_owned();
    let old = post.add_to(changeable_at(&place)).run();
    let before = ["add", "delete", "control"].map(|name| identity(&place.join(name)));
    let mut connected = Control::connect(&place.join("control"));
    assert_eq!(connected.say(&about("add", &[2])), "ok 1");
    let new = post.add_to(changeable_at(&place)).run();
    assert!(new.log().contains("goes on from the process before"), "{}", new.log());
    assert_untroubled(&ended(old));
    assert_eq!(connected.answer(), "", "the old process has ended");
    assert_eq!(["add", "delete", "control"].map(|name| identity(&place.join(name))), before);
    let mut control = Control::connect(&place.join("control"));
    // The file is assumed to have what was said to the old process.
    assert_eq!(control.say(&about("has", &[2])), "ok no");
    assert_eq!(control.say(&about("add", &[3])), "ok 1");
    fs::write(place.join("add"), hex(info_hash(4)) + "\n").unwrap();
    fs::write(place.join("delete"), hex(info_hash(1)) + "\n").unwrap();
    let known = wait_until(|| {
        let answers = [4, 1].map(|n| control.say(&about("has", &[n])));
        (answers == ["ok yes", "ok no"]).then_some(())
    });
    assert!(known.is_some(), "{}", new.log());
    new.stop();
}

fn a_service_manager_keeps_the_socket() {
    only_with(FEATURE);
    only_with("handover");
    let post = Post::new();
    let place = post.path().parent().unwrap().to_owned();
    let manager = ServiceManager::new(512);
    manager.start(changeable_at(&place)).stop();
    assert!(manager.kept().contains(&"unix/access.control".to_owned()), "{:?}", manager.kept());
    let before = identity(&place.join("control"));
    // Whoever connects meanwhile waits.
    let mut waiting = Control::connect(&place.join("control"));
    waiting.send(b"count\n").unwrap();
    let tracker = manager.start(changeable_at(&place));
    assert_eq!(waiting.answer(), "ok 1");
    assert_eq!(identity(&place.join("control")), before);
    tracker.stop();
    assert_eq!(manager.kept().iter().filter(|name| name.starts_with("unix/")).count(), 1);
}

fn a_socket_that_is_no_longer_configured_is_closed() {
    only_with(FEATURE);
    only_with("handover");
    let post = Post::new();
    let place = post.path().parent().unwrap().to_owned();
    let manager = ServiceManager::new(512);
    manager.start(changeable_at(&place)).stop();
    let tracker = manager.start(listing(only_with_an_access_list(), "# nothing\n"));
    // The manager has another copy for a moment.
    let refused = wait_until(|| is_refused(&place.join("control")).then_some(()));
    assert!(refused.is_some(), "it listens and nobody answers");
    assert!(!manager.kept().iter().any(|name| name.starts_with("unix/")), "{:?}", manager.kept());
    tracker.stop();
    let other = Post::new();
    manager.start(changeable_at(&place)).stop();
    let tracker = manager.start(changeable_at(other.path().parent().unwrap()));
    assert_eq!(Control::connect(&other.named("control")).say("count"), "ok 1");
    tracker.stop();
    assert_eq!(manager.kept().iter().filter(|name| name.starts_with("unix/")).count(), 1);
}

/// A successor that has asked and been given everything, and has the old process answer nobody until it is dropped.
fn that_pauses(post: &Post) -> Speaker {
    let successor = Speaker::connect(&post.path());
    successor.ask();
    successor.say(READY, b"");
    successor.take_once();
    successor.say(PAUSE, b"");
    // What comes now is sent by a process that answers nobody any more.
    successor.hear();
    successor
}

fn a_handover_that_fails_leaves_everything_to_the_old_process() {
    only_with(FEATURE);
    only_with("handover");
    let post = Post::new();
    let mut old = post.add_to(changeable()).run();
    // And is gone.
    drop(that_pauses(&post));
    old.wait_for_log("a process that was to take over does not");
    write(&old, "add", &[2]);
    wait_for_list(&old, &[1, 2]);
    old.stop();
}

fn nothing_is_heard_while_another_process_takes_over() {
    only_with(FEATURE);
    only_with("handover");
    let post = Post::new();
    let old = post.add_to(changeable()).run();
    let mut connected = UnixStream::connect(socket(&old)).unwrap();
    connected.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 16];
    {
        let _successor = that_pauses(&post);
        write(&old, "add", &[2]);
        connected.write_all(b"count\n").unwrap();
        let error = connected.read(&mut answer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "it is the successor's to answer");
        let mut options = fs::File::options();
        let options = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let mut fifo = options.open(old.root().join("add")).unwrap();
        let mut line = [0; 41];
        fifo.read_exact(&mut line).expect("it is the successor's to read");
    }
    connected.set_read_timeout(Some(MAX_WAIT)).unwrap();
    let read = connected.read(&mut answer).unwrap();
    assert_eq!(&answer[..read], b"ok 1\n");
    write(&old, "add", &[3]);
    wait_for_list(&old, &[1, 3]);
    old.stop();
}

fn a_socket_that_the_path_does_not_lead_to_any_more_is_replaced() {
    only_with(FEATURE);
    only_with("handover");
    let post = Post::new();
    let place = post.path().parent().unwrap().to_owned();
    let old = post.add_to(changeable_at(&place)).run();
    // As a successor would leave it that has opened its own, and then failed.
    let other = place.join("other");
    close_everywhere(UnixListener::bind(&other).unwrap());
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        chown(&other, Some(nobody.uid), Some(nobody.gid)).unwrap();
    }
    fs::rename(&other, place.join("control")).unwrap();
    let new = post.add_to(changeable_at(&place)).run();
    assert_untroubled(&ended(old));
    assert_eq!(Control::connect(&place.join("control")).say("count"), "ok 1");
    new.stop();
}
