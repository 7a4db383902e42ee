use super::*;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// More than any test waits.
const LONG: Duration = Duration::from_secs(3600);

/// A directory that is gone with its test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("opentracker-input-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn pipe(&self) -> PathBuf {
        let path = self.0.join("pipe");
        mkfifo(&path, Mode::from_bits_retain(0o600)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn opened(path: &Path) -> String {
    open_regular(path).expect_err("no regular file").to_string()
}

fn refused(path: &Path, patience: Duration) -> String {
    read_whole(path, 10, patience).expect_err("nothing to read").to_string()
}

/// Opens both ends of a pipe: that of writers alone would wait for a reader.
fn writer(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn what_is_no_regular_file_is_named_and_not_waited_for() {
    let directory = Directory::new();
    assert_eq!(opened(&directory.0), "it is a directory, not a regular file");
    assert_eq!(opened(&directory.pipe()), "it is a pipe, not a regular file");
    assert_eq!(opened(Path::new("/dev/zero")), "it is a character device, not a regular file");
    let socket = directory.0.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(opened(&socket), "it is a socket, not a regular file");
    assert!(opened(&directory.0.join("nothing")).starts_with("No such file"));
    let link = directory.0.join("link");
    std::os::unix::fs::symlink("pipe", &link).unwrap();
    assert_eq!(opened(&link), "it is a pipe, not a regular file");
    assert_eq!(refused(&directory.0, LONG), "it is a directory, not a regular file");
    assert_eq!(refused(&socket, LONG), "it is a socket, not a regular file");
}

#[test]
fn a_file_is_read_up_to_one_byte_more_than_it_may_have() {
    let directory = Directory::new();
    let path = directory.0.join("file");
    for (text, read) in [("", ""), ("0123456789", "0123456789"), ("0123456789abc", "0123456789a")] {
        fs::write(&path, text).unwrap();
        assert_eq!(read_whole(&path, 10, Duration::ZERO).unwrap(), read.as_bytes());
        let mut whole = String::new();
        open_regular(&path).unwrap().read_to_string(&mut whole).unwrap();
        assert_eq!(whole, text);
    }
    assert_eq!(read_whole(Path::new("/dev/zero"), 10, Duration::ZERO).unwrap(), [0; 11]);
    assert_eq!(read_whole(Path::new("/dev/null"), 10, Duration::ZERO).unwrap(), b"");
}

#[test]
fn a_pipe_is_read_to_its_end() {
    // As a shell does it for a process substitution.
    let (output, input) = nix::unistd::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", output.as_raw_fd()));
    let mut input = File::from(input);
    input.write_all(b"01").unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_whole(&path, 10, LONG).unwrap());
        input.write_all(b"23").unwrap();
        thread::yield_now();
        input.write_all(b"45").unwrap();
        drop(input);
        assert_eq!(reader.join().unwrap(), b"012345");
    });
    assert_eq!(refused(&path, LONG), "it is a pipe that is empty and that nobody writes to", "all has been read");
}

#[test]
fn a_pipe_that_nobody_ends_or_nobody_writes_to_is_refused() {
    let directory = Directory::new();
    let path = directory.pipe();
    assert_eq!(refused(&path, LONG), "it is a pipe that is empty and that nobody writes to");
    let mut held = writer(&path);
    for text in ["", "0123"] {
        held.write_all(text.as_bytes()).unwrap();
        assert_eq!(refused(&path, Duration::ZERO), "it is a pipe whose end did not come within 0ns");
        assert_eq!(refused(&path, Duration::from_millis(2)), "it is a pipe whose end did not come within 2ms");
    }
    held.write_all(b"0123456789abc").unwrap();
    assert_eq!(read_whole(&path, 10, Duration::ZERO).unwrap().len(), 11, "it is too large, whether it ends or not");
}
