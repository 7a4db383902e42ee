//! What the process could still do if it were broken into.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use landlock::{AccessFs, LandlockStatus, Ruleset, RulesetAttr as _};
use nix::fcntl::OFlag;
use nix::unistd::User;

use crate::directory::Directory;
use crate::flavour::{self, has, only_with, only_without};
use crate::harness::tests;
use crate::process::input::make_pipe;
use crate::switches::access_list::{list, only_with_an_access_list, reload, serves};
use crate::tracker::{Start, Tracker, is_root, only_as_root};

tests![
    descriptors_that_were_left_open_are_closed,
    a_running_tracker_has_nothing_open_that_it_did_not_open,
    every_thread_of_a_tracker_that_was_root_is_without_rights,
    every_thread_of_a_tracker_that_was_not_root_is_without_rights,
    rights_of_a_user_are_given_up_once_ports_are_open,
    where_the_bounding_set_cannot_be_emptied_a_line_says_so,
    the_top_directory_as_root_directory_is_warned_of,
    the_log_says_which_files_are_left,
    a_list_can_be_replaced_in_its_directory_and_nowhere_else,
    a_list_behind_links_can_be_replaced_beside_the_target_of_each,
    a_configured_file_in_the_top_directory_is_warned_of,
];

/// A tracker that is started with descriptors which it knows nothing of.
fn started_with_open(redirections: &str) -> Start {
    let script = format!("exec {redirections} && LISTEN_PID=$$ exec \"$0\" \"$@\"");
    Start::loopback().wrapped(&["sh", "-c", &script])
}

/// The end of a pipe that is read from.
struct Pipe {
    path: PathBuf,
    end: File,
    _directory: Directory,
}

impl Pipe {
    fn new() -> Self {
        let directory = Directory::new();
        let path = directory.0.join("pipe");
        make_pipe(&path);
        // Without waiting for whoever writes to it.
        let end = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).unwrap();
        Self { path, end, _directory: directory }
    }

    /// Whether anybody could still write to it.
    fn is_held(&mut self) -> bool {
        match self.end.read(&mut [0]) {
            Ok(0) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            other => panic!("{other:?}"),
        }
    }
}

fn descriptors_that_were_left_open_are_closed() {
    let mut pipes = [Pipe::new(), Pipe::new(), Pipe::new()];
    let [third, fourth, eighth] = pipes.each_ref().map(|pipe| pipe.path.display());
    let redirections = format!("3>'{third}' 4>'{fourth}' 8>'{eighth}'");
    let tracker = started_with_open(&redirections).run();
    assert_eq!(pipes.each_mut().map(Pipe::is_held), [false; 3]);
    tracker.stop();

    // What a service manager hands over is counted from 3, and looked at: no tracker can use a pipe.
    let start = started_with_open(&format!("{redirections} && export LISTEN_FDS=2 LISTEN_FDNAMES=one:two"));
    if has("handover") {
        let says = "one, which the service manager hands over, is neither a socket nor sealed memory";
        start.finish().refuses(1, &[says]);
    } else {
        let mut tracker = start.run_unnotified();
        tracker.wait_for_log("features: ");
        assert_eq!(pipes.each_mut().map(Pipe::is_held), [false; 3]);
        let log = tracker.stop();
        for name in ["one", "two"] {
            assert!(log.contains(&format!("WARN {name}, which the service manager hands over, is closed")), "{log}");
        }
    }
}

fn a_running_tracker_has_nothing_open_that_it_did_not_open() {
    only_as_root();
    let tracker = started_with_open("3</ 9</").run();
    let descriptors = format!("/proc/{}/fd", tracker.pid());
    let mut others = 0;
    for descriptor in fs::read_dir(descriptors).unwrap() {
        let descriptor = descriptor.unwrap();
        let number: i32 = descriptor.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(descriptor.path()).unwrap();
        let target = target.to_str().unwrap();
        let is_its_own = ["socket:[", "anon_inode:[event"].iter().any(|kind| target.starts_with(kind))
            // Where it reads how much memory it has.
            || has("dashboard") && target == format!("/proc/{}/status", tracker.pid());
        assert!(number < 3 || is_its_own, "{number} is {target}");
        others += u32::from(number > 2);
    }
    assert!(others > 3);
    tracker.stop();
}

/// The values of a field in `/proc/PID/status` of every thread, one after the other.
pub(crate) fn status(tracker: &Tracker, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", tracker.pid())).unwrap();
    let values: Vec<_> = threads
        .map(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            value.unwrap_or_else(|| panic!("no {field} in\n{status}")).trim().to_owned()
        })
        .collect();
    // The first, the log, and at least one each for UDP, HTTP and the sweep.
    assert!(values.len() >= 5, "{values:?}");
    values
}

/// Asserts that no thread has a capability or can get one, and that nobody but root can look into the process.
fn assert_without_rights(tracker: &Tracker) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status(tracker, set).iter().all(|set| set == "0000000000000000"), "{set}");
    }
    assert!(status(tracker, "NoNewPrivs").iter().all(|flag| flag == "1"));
    // What there is to see of a process that is not dumpable belongs to root.
    assert_eq!(fs::metadata(format!("/proc/{}/fd", tracker.pid())).unwrap().uid(), 0);
}

/// Has root start it as the user `daemon`; whoever else runs the tests starts it as himself.
fn without_root(start: Start, capabilities: &[&str]) -> Start {
    if !is_root() {
        return start;
    }
    let user = User::from_name("daemon").unwrap().unwrap();
    let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
    // This user may not be allowed to reach the binary where it was built.
    let start = start.with_binary_for_everybody();
    start.wrapped(&[&["setpriv", &uid, &gid, "--clear-groups"], capabilities].concat())
}

fn every_thread_of_a_tracker_that_was_root_is_without_rights() {
    only_as_root();
    let tracker = Tracker::start(&[]);
    assert_without_rights(&tracker);
    assert!(status(&tracker, "CapBnd").iter().all(|set| set == "0000000000000000"));
    assert!(status(&tracker, "Groups").iter().all(String::is_empty));
    tracker.stop();
}

fn every_thread_of_a_tracker_that_was_not_root_is_without_rights() {
    let tracker = without_root(Start::loopback(), &["--inh-caps=-all"]).run();
    assert_without_rights(&tracker);
    tracker.stop();
}

fn rights_of_a_user_are_given_up_once_ports_are_open() {
    only_as_root();
    let ip = flavour::wildcard(flavour::loopback()).to_string();
    let start = Start::minimal().args(["-i", &ip, "-p", "80", "-P", "80"]);
    let right = ["--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service"];
    let tracker = without_root(start, &right).in_own_network().run();
    assert_eq!(tracker.udp().port(), 80);
    assert_without_rights(&tracker);
    tracker.stop();
}

fn where_the_bounding_set_cannot_be_emptied_a_line_says_so() {
    only_as_root();
    let tracker = Start::loopback().wrapped(&["setpriv", "--bounding-set=-setpcap", "--inh-caps=-setpcap"]).run();
    assert_without_rights(&tracker);
    assert!(status(&tracker, "CapBnd").iter().all(|set| set != "0000000000000000"), "the test tests nothing");
    let log = tracker.stop();
    assert_eq!(log.matches("cannot empty the bounding set of capabilities").count(), 1, "{log}");
}

fn the_top_directory_as_root_directory_is_warned_of() {
    only_as_root();
    let warning = "the root directory is /, where every file of the system is: that is no jail";
    let start = Start::without_options();
    let needs = flavour::minimal_config(&start.path("."));
    let absolute = needs.replace("access.whitelist ", &format!("access.whitelist {}/", start.path(".").display()));
    let tracker = start.config(&absolute).listen(flavour::loopback()).args(["-d", "/"]).run();
    assert_without_rights(&tracker);
    let log = tracker.stop();
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    let log = Tracker::start(&[]).stop();
    assert!(!log.contains(warning), "{log}");
}

/// Whether the kernel has Landlock. A thread that ends at once asks it.
fn has_landlock() -> bool {
    let ask = || Ruleset::default().handle_access(AccessFs::Execute)?.create()?.restrict_self();
    let status = thread::spawn(ask).join().unwrap().unwrap();
    matches!(status.landlock, LandlockStatus::Available { .. })
}

/// What the log says of Landlock; empty if it says nothing.
fn said_of_landlock(log: &str) -> &str {
    let lines: Vec<_> = log.lines().filter(|line| line.contains("confined by Landlock")).collect();
    assert!(lines.len() <= 1, "{log}");
    lines.first().map_or("", |line| line.split_once("  INFO ").or(line.split_once("  WARN ")).unwrap().1)
}

fn the_log_says_which_files_are_left() {
    let on = |config: &str| {
        let start = Start::loopback();
        fs::create_dir(start.path("files")).unwrap();
        fs::write(start.path("files/file"), "").unwrap();
        let config = config.replace('=', &format!(" {}", start.path("files/file").display()));
        start.config(&config).run()
    };
    let files = |tracker: &Tracker| {
        if is_root() { Path::new("/").to_owned() } else { tracker.root().to_owned() }
            .join("files")
            .display()
            .to_string()
    };
    let none = "not confined by Landlock: this kernel does not have it";
    if !has("accesslist-white") {
        let expected = if has_landlock() { "confined by Landlock to no file" } else { none };
        assert_eq!(said_of_landlock(&on("").stop()), expected);
    }
    let keys = [("accesslist-white", "access.whitelist"), ("accesslist-black", "access.blacklist")];
    let keys = keys.into_iter().chain([("fullscrape", "tracker.statefile")]).filter(|(feature, _)| has(feature));
    for (_, key) in keys.filter(|(feature, _)| *feature != "fullscrape" || !has("accesslist-white")) {
        let tracker = on(&format!("{key}=\n"));
        let files = files(&tracker);
        let inside = if is_root() { ", inside the root directory" } else { "" };
        let expected = format!("confined by Landlock to what is in {files}{inside}");
        assert_eq!(said_of_landlock(&tracker.stop()), if has_landlock() { &expected } else { none });
    }
    assert_eq!(said_of_landlock(&on("tracker.landlock false\n").stop()), "");
}

/// A tracker whose list is `lists/list`, and which serves torrent 1 and not torrent 2.
fn listing(config: &str) -> (Start, &'static str) {
    let key = only_with_an_access_list();
    let start = Start::loopback().config(&format!("{key} lists/list\n{config}"));
    for name in ["lists", "elsewhere"] {
        fs::create_dir(start.path(name)).unwrap();
    }
    fs::write(start.path("lists/list"), list(&[1], &[2])).unwrap();
    fs::write(start.path("elsewhere/list"), list(&[2], &[1])).unwrap();
    (start, key)
}

fn a_list_can_be_replaced_in_its_directory_and_nowhere_else() {
    for landlock in [true, false] {
        let (start, key) = listing(&format!("tracker.landlock {landlock}\n"));
        let tracker = start.run();
        let replace_by_link = |target: &str| {
            symlink(target, tracker.root().join("lists/new")).unwrap();
            fs::rename(tracker.root().join("lists/new"), tracker.root().join("lists/list")).unwrap();
            reload(&tracker)
        };
        assert_eq!([1, 2].map(|n| serves(&tracker, n)), [true, false]);
        let said = replace_by_link("../elsewhere/list");
        let is_kept_away = landlock && has_landlock();
        if is_kept_away {
            assert!(said.contains(&format!("{key}: cannot read lists/list: Permission denied")), "{said}");
            assert!(said.contains("and with tracker.landlock only where it was at the start)"), "{said}");
            assert!(said.ends_with("; the list in force stays"), "{said}");
        } else {
            assert!(said.contains("1 good lines"), "{said}");
        }
        assert_eq!([1, 2].map(|n| serves(&tracker, n)), [is_kept_away, !is_kept_away]);
        // Beside the old one, as a link and as a file.
        fs::write(tracker.root().join("lists/other"), list(&[2], &[1])).unwrap();
        assert!(replace_by_link("other").contains("1 good lines"));
        assert_eq!([1, 2].map(|n| serves(&tracker, n)), [false, true]);
        fs::write(tracker.root().join("lists/new"), list(&[1], &[2])).unwrap();
        fs::rename(tracker.root().join("lists/new"), tracker.root().join("lists/list")).unwrap();
        assert!(reload(&tracker).contains("1 good lines"));
        assert_eq!([1, 2].map(|n| serves(&tracker, n)), [true, false]);
        tracker.stop();
    }
}

fn a_list_behind_links_can_be_replaced_beside_the_target_of_each() {
    let (start, _) = listing("");
    // lists/list leads to current/list, and current to releases/1.
    for (release, served, refused) in [("1", 1, 2), ("2", 2, 1)] {
        let directory = start.path("releases").join(release);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("list"), list(&[served], &[refused])).unwrap();
    }
    fs::remove_file(start.path("lists/list")).unwrap();
    symlink("../current/list", start.path("lists/list")).unwrap();
    symlink("releases/1", start.path("current")).unwrap();
    let tracker = start.run();
    assert_eq!([1, 2].map(|n| serves(&tracker, n)), [true, false]);
    symlink("releases/2", tracker.root().join("new")).unwrap();
    fs::rename(tracker.root().join("new"), tracker.root().join("current")).unwrap();
    assert!(reload(&tracker).contains("1 good lines"));
    assert_eq!([1, 2].map(|n| serves(&tracker, n)), [false, true]);
    tracker.stop();
}

fn a_configured_file_in_the_top_directory_is_warned_of() {
    only_with("fullscrape");
    only_without("accesslist-white");
    let warning = "a configured file is in /: Landlock permits every file of the system to be read";
    // It is not there, and none is made there.
    let start = |config: &str| {
        let config = format!("{}tracker.statefile {config}\n", flavour::minimal_config(Path::new("/nowhere")));
        Start::without_options().config(&config).listen(flavour::loopback())
    };
    let name = format!("/opentracker-suite-no-such-file-{}", std::process::id());
    for (path, is_warned) in [(name.clone(), true), (format!("/proc{name}"), false)] {
        let log = start(&path).args(["-d", "/"]).run().stop();
        assert_eq!(log.contains(warning), is_warned && has_landlock(), "{log}");
    }
}
