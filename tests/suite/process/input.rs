//! What stands where the operator has named a file: what is no file is neither waited for nor read for ever.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::flavour::{has, only_with};
use crate::harness::{skip, tests};
use crate::tracker::Start;

tests![
    a_state_file_and_a_list_have_to_be_regular_files,
    a_state_file_may_be_empty,
    a_configuration_may_come_through_a_pipe,
    a_pipe_that_gives_no_configuration_is_refused,
    what_is_no_configuration_at_all_is_refused,
    a_configuration_has_a_greatest_size,
];

/// The options of this build that name a file other than the configuration, and their keys.
pub(super) fn options() -> Vec<(&'static str, &'static str)> {
    let all = [
        ("fullscrape", "-l", "tracker.statefile"),
        ("accesslist-white", "-w", "access.whitelist"),
        ("accesslist-black", "-b", "access.blacklist"),
    ];
    let of_build: Vec<_> = all.iter().filter(|(feature, ..)| has(feature)).map(|&(_, flag, key)| (flag, key)).collect();
    if of_build.is_empty() {
        skip("this build reads no file but the configuration");
    }
    of_build
}

pub(super) fn make_pipe(path: &Path) {
    mkfifo(path, Mode::from_bits_retain(0o644)).unwrap();
    // For the tracker's user, whatever this process keeps from those that it makes.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

fn a_state_file_and_a_list_have_to_be_regular_files() {
    for (option, key) in options() {
        let refuses = |start: Start, path: &str, what: &str| {
            let said = format!("opentracker: {key}: cannot read {path}: it is {what}, not a regular file");
            start.args([option, path]).finish().refuses(1, &[&said]);
        };
        let start = Start::loopback();
        make_pipe(&start.path("pipe"));
        refuses(start, "pipe", "a pipe");
        let start = Start::loopback();
        fs::create_dir(start.path("directory")).unwrap();
        refuses(start, "directory", "a directory");
        let start = Start::loopback();
        let _listener = UnixListener::bind(start.path("socket")).unwrap();
        refuses(start, "socket", "a socket");
        let mut start = Start::loopback().args(["-d", "/"]);
        if has("accesslist-white") {
            let list = start.path("whitelist");
            start = start.args(["-w".as_ref(), list.as_os_str()]);
        }
        refuses(start, "/dev/zero", "a character device");
    }
}

fn a_state_file_may_be_empty() {
    only_with("fullscrape");
    let start = Start::loopback();
    fs::write(start.path("dump"), "").unwrap();
    let log = start.args(["-l", "dump"]).run().stop();
    assert!(log.contains("dump: 0 torrents restored; 0 are forgotten by now, 0 are not served"), "{log}");
}

/// A check of the configuration that comes from the standard output of a command of the shell.
fn check_what_comes_from(command: &str) -> Start {
    let piped = format!("{command} | \"$0\" \"$@\"");
    Start::minimal().args(["--check-config", "-f", "/dev/stdin"]).wrapped(&["sh", "-c", &piped])
}

fn a_configuration_may_come_through_a_pipe() {
    check_what_comes_from("echo tracker.user a").finish().succeeds();
    check_what_comes_from("(echo tracker.user a; exec echo tracker.usr b)")
        .finish()
        .refuses(2, &["/dev/stdin: tracker.usr (line 2) is not a key"]);
    let substituted = r#""$0" "$@" -f <(echo tracker.usr a)"#;
    let start = Start::minimal().args(["--check-config"]).wrapped(&["bash", "-c", substituted]);
    start.finish().refuses(2, &["/dev/fd/", ": tracker.usr (line 1) is not a key"]);
    // Nothing at all, as it is usually written.
    Start::minimal().args(["--check-config", "-f", "/dev/null"]).finish().succeeds();
}

fn a_pipe_that_gives_no_configuration_is_refused() {
    let empty = "it is a pipe that is empty and that nobody writes to";
    check_what_comes_from("true").finish().refuses(2, &["/dev/stdin cannot be read: ", empty]);
    let start = Start::minimal().args(["--check-config"]);
    let path = start.path("pipe");
    make_pipe(&path);
    let said = format!("opentracker: {} cannot be read: {empty}", path.display());
    start.args([OsStr::new("-f"), path.as_os_str()]).finish().refuses(2, &[&said]);
}

fn what_is_no_configuration_at_all_is_refused() {
    for name in [".", "socket"] {
        let start = Start::minimal();
        let _listener = UnixListener::bind(start.path("socket")).unwrap();
        let path = start.path(name);
        let what = if name == "." { "a directory" } else { "a socket" };
        let said = format!("opentracker: {} cannot be read: it is {what}, not a regular file", path.display());
        start.args([OsStr::new("-f"), path.as_os_str()]).finish().refuses(2, &[&said]);
    }
}

fn a_configuration_has_a_greatest_size() {
    let largest = "#".repeat(1 << 20);
    Start::minimal().args(["--check-config"]).config(&largest).finish().succeeds();
    let too_large = "is larger than 1048576 bytes";
    let start = Start::minimal().args(["--check-config"]).config(&format!("{largest}\n"));
    start.finish().refuses(2, &[".conf ", too_large]);
    check_what_comes_from("yes '#'").finish().refuses(2, &["/dev/stdin ", too_large]);
    Start::minimal().args(["-f", "/dev/zero"]).finish().refuses(2, &["/dev/zero ", too_large]);
}
