//! The descriptors that the process was started with.
//!
//! Whoever starts it may have left files open in it by mistake. A directory among them leads out of any root directory.

use std::env;
use std::fs;
use std::ops::Range;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{close, getpid};

/// The first descriptor behind the standard streams. A service manager hands over its sockets from here on.
const FIRST: RawFd = 3;

/// Descriptors that are looked at one by one where the system does not say which are open.
const MAX_TRIED: RawFd = 1 << 16;

/// Closes every descriptor but the standard streams and those that a service manager hands over (`LISTEN_FDS` of
/// `sd_listen_fds`, if `LISTEN_PID` is this process).
///
/// To be called when the process has opened none itself that it still needs: nothing else knows whose they are.
pub fn close_inherited() {
    let handed_over =
        handed_over(env::var("LISTEN_PID").ok().as_deref(), env::var("LISTEN_FDS").ok().as_deref(), getpid().as_raw());
    for descriptor in open().into_iter().filter(|one| *one >= FIRST && !handed_over.contains(one)) {
        // Some are not open any more: that by which they were listed is one of them.
        let _ = close(descriptor);
    }
}

/// Returns what a service manager has handed over to the process with this id.
fn handed_over(listen_pid: Option<&str>, listen_fds: Option<&str>, own: i32) -> Range<RawFd> {
    let is_ours = listen_pid.and_then(|pid| pid.parse().ok()) == Some(own);
    let count = listen_fds.filter(|_| is_ours).and_then(|fds| fds.parse::<u16>().ok()).unwrap_or(0);
    FIRST..FIRST + RawFd::from(count)
}

/// Returns at least those that are open.
fn open() -> Vec<RawFd> {
    let listed = fs::read_dir("/proc/self/fd").map(|entries| {
        let number = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        entries.filter_map(number).collect()
    });
    listed.unwrap_or_else(|_| {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        (0..RawFd::try_from(limit).unwrap_or(MAX_TRIED).min(MAX_TRIED)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn what_a_service_manager_hands_over_is_counted_from_3_if_it_is_meant_for_this_process() {
        assert_eq!(handed_over(Some("7"), Some("2"), 7), 3..5);
        for (pid, fds) in [
            (None, None),
            (Some("7"), None),
            (None, Some("2")),
            (Some("8"), Some("2")),
            (Some("7"), Some("0")),
            (Some("7"), Some("-1")),
            (Some("7"), Some("70000")),
            (Some("x"), Some("2")),
        ] {
            assert!(handed_over(pid, fds, 7).is_empty(), "{pid:?} {fds:?}");
        }
    }

    #[test]
    fn an_open_file_is_among_those_that_are_open() {
        let file = File::open("/").unwrap();
        assert!(open().contains(&file.as_raw_fd()));
    }
}
