//! The tracker under test: the real program in a directory of its own, on ports that the system chooses.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::group::Group;
use crate::{Result, TRACKER};

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// It is ended when it goes out of scope, and its directory removed.
pub struct Tracker {
    child: Child,
    directory: PathBuf,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
    pub at_start: Use,
    /// Bytes of the log that the start takes.
    said_at_start: usize,
}

/// What it uses.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// Bytes in memory, now and at most.
    pub memory: u64,
    pub peak: u64,
    pub threads: u64,
    /// Open files.
    pub files: usize,
}

impl Tracker {
    /// Starts it with this configuration, in the group if there is one, and waits until it answers. `prepare` is given
    /// its directory before.
    pub fn start(binary: &Path, config: &str, group: Option<&Group>, prepare: impl FnOnce(&Path)) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("opentracker-endurance-{}-{n}", std::process::id()));
        fs::create_dir(&directory)?;
        // It is not root any more when it reads its files.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        prepare(&directory);
        fs::write(directory.join("conf"), config)?;
        let mut command = match group {
            None => Command::new(binary),
            Some(group) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(group.processes()).arg(binary);
                shell
            }
        };
        command.arg("-d").arg(&directory).arg("-f").arg(directory.join("conf"));
        command.args(["-i", &TRACKER.to_string(), "-p", "0", "-P", "0"]);
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(File::create(directory.join("log"))?).spawn()?;
        let nowhere = SocketAddr::from((TRACKER, 0));
        let at_start = Use { memory: 0, peak: 0, threads: 0, files: 0 };
        let mut tracker = Self { child, directory, udp: nowhere, tcp: nowhere, at_start, said_at_start: 0 };
        let begun = Instant::now();
        while !tracker.log().contains("features: ") {
            if tracker.ended()?.is_some() || begun.elapsed() > PATIENCE {
                return Err(format!("it does not start:\n{}", tracker.log()).into());
            }
            sleep(Duration::from_millis(5));
        }
        (tracker.udp, tracker.tcp) = (tracker.listening_on("udp")?, tracker.listening_on("tcp")?);
        // The first datagram is answered: all threads are there.
        crate::udp::Client::connect(crate::GOOD, tracker.udp)?;
        tracker.at_start = tracker.uses()?;
        tracker.said_at_start = tracker.log().len();
        Ok(tracker)
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Has it read its lists again.
    pub fn reload(&self) -> Result<()> {
        Ok(kill(self.pid(), Signal::SIGHUP)?)
    }

    pub fn uses(&self) -> Result<Use> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(proc.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.ok_or_else(|| format!("no {name} in /proc"))
        };
        Ok(Use {
            memory: field("VmRSS")? << 10,
            peak: field("VmHWM")? << 10,
            threads: field("Threads")?,
            files: fs::read_dir(proc.join("fd"))?.count(),
        })
    }

    /// Ends it with SIGTERM, upon which it has to end with code 0 in its own time. Returns its log since the
    /// start.
    pub fn stop(mut self) -> Result<String> {
        if let Some(status) = self.ended()? {
            return Err(format!("it ended by itself: {}", told(status)).into());
        }
        kill(self.pid(), Signal::SIGTERM)?;
        let begun = Instant::now();
        let status = loop {
            match self.ended()? {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => return Err("SIGTERM does not end it".into()),
                None => sleep(Duration::from_millis(5)),
            }
        };
        if status.success() {
            Ok(self.log().split_off(self.said_at_start))
        } else {
            Err(format!("after SIGTERM: {}", told(status)).into())
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn listening_on(&self, protocol: &str) -> Result<SocketAddr> {
        let mark = format!("listening on {protocol} ");
        let log = self.log();
        let address = log.lines().find_map(|line| line.split_once(&mark)?.1.parse().ok());
        address.ok_or_else(|| format!("no {protocol} address in the log:\n{log}").into())
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// How a process ended, in words.
fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(9)) => "killed, as the kernel does when memory runs out".into(),
        (_, signal) => format!("signal {}", signal.unwrap_or(0)),
    }
}

/// The lines of a log that no load should cause: errors, panics, control characters; and warnings but for those of
/// which one of these texts is a part.
pub fn unexpected(log: &str, expected: &[&str]) -> Vec<String> {
    let is_bad = |line: &&str| {
        let warns = line.contains("WARN") && !expected.iter().any(|text| line.contains(text));
        warns || line.contains("ERROR") || line.contains("panicked") || line.contains(char::is_control)
    };
    log.lines().filter(is_bad).map(|line| line.escape_debug().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_load_causes_may_be_in_the_log() {
        let log = "INFO listening\nWARN all 2 TCP connections are in use\nWARN odd\nERROR connections\nINFO a\u{1b}b\n";
        assert_eq!(unexpected(log, &["connections"]), ["WARN odd", "ERROR connections", "INFO a\\u{1b}b"]);
    }
}
