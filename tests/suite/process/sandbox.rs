//! What the process could still do if it were broken into.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::unistd::User;

use crate::directory::Directory;
use crate::flavour;
use crate::harness::tests;
use crate::process::input::make_pipe;
use crate::tracker::{Start, Tracker, is_root, only_as_root};

tests![
    descriptors_that_were_left_open_are_closed,
    a_running_tracker_has_nothing_open_that_it_did_not_open,
    every_thread_of_a_tracker_that_was_root_is_without_rights,
    every_thread_of_a_tracker_that_was_not_root_is_without_rights,
    rights_of_a_user_are_given_up_once_ports_are_open,
    where_the_bounding_set_cannot_be_emptied_a_line_says_so,
    the_top_directory_as_root_directory_is_warned_of,
];

/// A tracker that is started with descriptors which it knows nothing of.
fn started_with_open(redirections: &str) -> Tracker {
    let script = format!("exec {redirections} && LISTEN_PID=$$ exec \"$0\" \"$@\"");
    Start::loopback().wrapped(&["sh", "-c", &script]).run()
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
    let tracker = started_with_open(&redirections);
    assert_eq!(pipes.each_mut().map(Pipe::is_held), [false; 3]);
    tracker.stop();

    // What a service manager hands over is counted from 3.
    let [third, fourth, eighth] = pipes.each_ref().map(|pipe| pipe.path.display());
    let tracker = started_with_open(&format!("3>'{third}' 4>'{fourth}' 8>'{eighth}' && export LISTEN_FDS=2"));
    assert_eq!(pipes.each_mut().map(Pipe::is_held), [true, true, false]);
    tracker.stop();
    assert_eq!(pipes.each_mut().map(Pipe::is_held), [false; 3]);
}

fn a_running_tracker_has_nothing_open_that_it_did_not_open() {
    only_as_root();
    let tracker = started_with_open("3</ 9</");
    let descriptors = format!("/proc/{}/fd", tracker.pid());
    let mut others = 0;
    for descriptor in fs::read_dir(descriptors).unwrap() {
        let descriptor = descriptor.unwrap();
        let number: i32 = descriptor.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(descriptor.path()).unwrap();
        let target = target.to_str().unwrap();
        let is_its_own = ["socket:[", "anon_inode:[event"].iter().any(|kind| target.starts_with(kind));
        assert!(number < 3 || is_its_own, "{number} is {target}");
        others += u32::from(number > 2);
    }
    assert!(others > 3);
    tracker.stop();
}

/// The values of a field in `/proc/PID/status` of every thread, one after the other.
fn status(tracker: &Tracker, field: &str) -> Vec<String> {
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
