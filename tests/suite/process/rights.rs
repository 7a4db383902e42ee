//! What the tracker gives up when it is started as root, and how it runs when it is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::{User, geteuid};

use crate::clients::udp::Client;
use crate::flavour::{self, has, info_hash, loopback, only_with, upper_hex};
use crate::harness::tests;
use crate::tracker::{Start, Tracker, is_root, only_as_root};

tests![
    root_is_given_up_for_the_user_nobody_for_good,
    the_user_and_the_directory_can_be_chosen,
    the_directory_is_the_current_one_unless_chosen,
    a_directory_that_cannot_be_entered_is_named,
    unsuitable_users_are_named,
    without_root_the_tracker_changes_its_directory_and_keeps_its_user,
    ports_below_1024_are_opened_before_root_is_given_up,
    a_path_seen_from_outside_the_root_directory_is_understood,
];

fn proc(tracker: &Tracker, name: &str) -> PathBuf {
    Path::new("/proc").join(tracker.pid().to_string()).join(name)
}

/// Asserts that every thread has only the rights of this user and of the user's own group.
fn assert_rights_of(tracker: &Tracker, name: &str) {
    let user = User::from_name(name).unwrap().unwrap();
    let mut threads = 0;
    for thread in fs::read_dir(proc(tracker, "task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid"), vec![user.uid.to_string(); 4]);
        assert_eq!(field("Gid"), vec![user.gid.to_string(); 4]);
        assert_eq!(field("Groups"), Vec::<String>::new());
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(field(set), ["0000000000000000"]);
        }
        threads += 1;
    }
    assert!(threads > 1);
}

fn root_is_given_up_for_the_user_nobody_for_good() {
    only_as_root();
    let tracker = Tracker::start(&[]);
    assert_rights_of(&tracker, "nobody");
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), tracker.root());
    assert_eq!(fs::read_link(proc(&tracker, "cwd")).unwrap(), tracker.root());
    Client::new(tracker.udp());
    tracker.stop();
}

fn the_user_and_the_directory_can_be_chosen() {
    only_as_root();
    let start = Start::loopback();
    let inner = start.path("inner");
    fs::create_dir(&inner).unwrap();
    if has("accesslist-white") {
        fs::copy(start.path("whitelist"), inner.join("whitelist")).unwrap();
    }
    let tracker = start.config(&format!("tracker.user daemon\ntracker.rootdir {}\n", inner.display())).run();
    assert_rights_of(&tracker, "daemon");
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), inner);
    tracker.stop();
}

fn the_directory_is_the_current_one_unless_chosen() {
    let start = Start::without_options();
    let directory = start.path(".");
    let needs = flavour::minimal_config(&directory);
    let there = format!("cd '{}' && exec \"$0\" \"$@\"", directory.display());
    let tracker = start.config(&needs).listen(loopback()).wrapped(&["sh", "-c", &there]).run();
    let root = if is_root() { directory.clone() } else { "/".into() };
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), root);
    assert_eq!(fs::read_link(proc(&tracker, "cwd")).unwrap(), directory);
    tracker.stop();
}

fn a_directory_that_cannot_be_entered_is_named() {
    let start = Start::loopback();
    let file = start.path("file");
    fs::write(&file, "").unwrap();
    start
        .args(["-d".as_ref(), file.as_os_str()])
        .finish()
        .refuses(1, &["tracker.rootdir", &file.display().to_string()]);
    Start::loopback().args(["-d", "/nowhere/at/all"]).finish().refuses(1, &["tracker.rootdir", "/nowhere/at/all"]);
}

fn unsuitable_users_are_named() {
    only_as_root();
    Start::loopback().args(["-u", "nobody-at-all"]).finish().refuses(1, &["tracker.user", "`nobody-at-all`"]);
    let finished = Start::loopback().args(["-u", "root"]).finish();
    finished.refuses(1, &["tracker.user", "`root` has root's rights"]);
}

fn without_root_the_tracker_changes_its_directory_and_keeps_its_user() {
    let start = Start::loopback().args(["-u", "nobody-at-all"]);
    let directory = start.path(".");
    let tracker = if is_root() {
        let user = User::from_name("daemon").unwrap().unwrap();
        let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
        // This user may not be allowed to reach the binary where it was built.
        let start = start.with_binary_for_everybody();
        start.wrapped(&["setpriv", &uid, &gid, "--clear-groups", "--inh-caps=-all"]).run()
    } else {
        start.run()
    };
    assert_eq!(fs::read_link(proc(&tracker, "cwd")).unwrap(), directory);
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), Path::new("/"));
    if is_root() {
        assert_rights_of(&tracker, "daemon");
    } else {
        let status = fs::read_to_string(proc(&tracker, "status")).unwrap();
        assert!(status.contains(&format!("\nUid:\t{}\t", geteuid())));
    }
    Client::new(tracker.udp());
    tracker.stop();
}

fn ports_below_1024_are_opened_before_root_is_given_up() {
    only_as_root();
    let ip = flavour::wildcard(loopback()).to_string();
    let start = Start::minimal().args(["-i", &ip, "-p", "80", "-P", "80"]).in_own_network();
    let tracker = start.run();
    assert_eq!(tracker.udp().port(), 80);
    assert_rights_of(&tracker, "nobody");
    tracker.stop();
}

fn a_path_seen_from_outside_the_root_directory_is_understood() {
    only_as_root();
    only_with("fullscrape");
    let start = Start::loopback();
    let dump = start.path("dump");
    let minute = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60;
    fs::write(&dump, format!("{}:{minute}:7\n", upper_hex(info_hash(0)))).unwrap();
    let tracker = start.args(["-l".as_ref(), dump.as_os_str()]).run();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(0)), (0, 7, 0), "what the file says is known");
    let log = tracker.stop();
    assert!(log.contains(&format!("{} is /dump inside the root directory", dump.display())), "{log}");
}
