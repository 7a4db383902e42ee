//! What the process could still do if it were broken into.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use nix::fcntl::OFlag;

use crate::directory::Directory;
use crate::harness::tests;
use crate::process::input::make_pipe;
use crate::tracker::{Start, Tracker, only_as_root};

tests![descriptors_that_were_left_open_are_closed, a_running_tracker_has_nothing_open_that_it_did_not_open,];

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
