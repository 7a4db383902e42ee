//! The tracker under test: the real binary in a directory of its own, on ports that the system chooses.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, geteuid};

use crate::directory::Directory;
use crate::flavour::{self, BINARY};
use crate::harness::{note, skip};

/// How long anything may take. No test waits that long unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Only root can give rights up, change its root, or make a network of its own.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// The test needs root. This is no failure in CI either: one of its jobs runs as root, and fails if it does not, and
/// the other runs as an ordinary user.
pub(crate) fn only_as_root() {
    if !is_root() {
        skip("this needs root");
    }
}

/// A tracker that is about to be started. Options work in the order in which they are added.
pub(crate) struct Start {
    directory: Directory,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    files: u32,
}

impl Start {
    /// No options at all.
    pub(crate) fn plain() -> Self {
        Self { directory: Directory::new(), command: vec![BINARY.as_str().into()], environment: Vec::new(), files: 0 }
    }

    /// In its own directory, with what this build does not start without; no addresses yet.
    pub(crate) fn bare() -> Self {
        let start = Self::plain();
        let (root, needs) = (start.path("."), flavour::needs(&start.path(".")));
        start.args(["-d".as_ref(), root.as_os_str()]).config(&needs)
    }

    /// [`Self::bare`], on a free port of each protocol on the loopback addresses of this build.
    pub(crate) fn loopback() -> Self {
        flavour::loopbacks().iter().fold(Self::bare(), |start, ip| start.listen(*ip))
    }

    /// On a free port of each protocol.
    pub(crate) fn listen(self, ip: IpAddr) -> Self {
        self.args(["-i", &ip.to_string(), "-p", "0", "-P", "0"])
    }

    pub(crate) fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// `-f` with a file of this text.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.files += 1;
        let path = self.path(&format!("{}.conf", self.files));
        fs::write(&path, text).unwrap();
        self.args(["-f".as_ref(), path.as_os_str()])
    }

    /// The program `wrapper`, which starts what stands behind its own arguments in its own place.
    pub(crate) fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.command.splice(0..0, wrapper.iter().map(OsString::from));
        self
    }

    /// A copy of the binary, in the tracker's directory, where everybody may run it.
    pub(crate) fn with_binary_for_everybody(mut self) -> Self {
        let copy = self.path("opentracker");
        // By another process: were the copy written here, a child that another test starts meanwhile would hold it
        // open, and what is open for writing cannot be run.
        let copied = Command::new("install").args(["-m", "755", BINARY.as_str()]).arg(&copy).status().unwrap();
        assert!(copied.success());
        self.command[0] = copy.into();
        self
    }

    /// In a network of its own, where every port is free.
    pub(crate) fn alone(self) -> Self {
        if flavour::has("sync-live") {
            // It needs an interface that is up.
            self.wrapped(&["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        } else {
            self.wrapped(&["unshare", "--net"])
        }
    }

    /// With no more than so many open files, for good.
    pub(crate) fn with_open_files(self, most: u32) -> Self {
        self.wrapped(&["sh", "-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\"")])
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A path in the tracker's directory, seen from outside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name == "." { self.directory.0.clone() } else { self.directory.0.join(name) }
    }

    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn run(self) -> Tracker {
        let notify = self.path("notify");
        let told = UnixDatagram::bind(&notify).unwrap();
        // Some trackers are not root's from the beginning.
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777)).unwrap();
        let mut tracker = self.env("NOTIFY_SOCKET", notify).spawn(Some(told));
        assert_eq!(tracker.next_notification().as_deref(), Some("READY=1"), "{}", tracker.log());
        // They are in the log before it says that it is ready.
        tracker.tcp = tracker.listening_on("tcp");
        tracker.udp = tracker.listening_on("udp");
        tracker
    }

    /// Starts it without a service manager. Whether it is ready is not known.
    pub(crate) fn run_unnotified(self) -> Tracker {
        self.spawn(None)
    }

    /// Runs it to its end: it is expected to end by itself.
    pub(crate) fn finish(self) -> Finished {
        let mut tracker = self.spawn(None);
        let status = tracker.ended_within(PATIENCE);
        let code = status.unwrap_or_else(|| panic!("it runs on:\n{}", tracker.log())).code();
        Finished { code, stdout: tracker.read("stdout"), stderr: tracker.log(), directory: tracker.abandon() }
    }

    fn spawn(self, notified: Option<UnixDatagram>) -> Tracker {
        let file = |name: &str| File::create(self.path(name)).unwrap();
        let (program, args) = self.command.split_first().unwrap();
        let child = Command::new(program)
            .args(args)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("log"))
            .spawn()
            .unwrap();
        Tracker { child, ended: None, directory: Some(self.directory), notified, tcp: Vec::new(), udp: Vec::new() }
    }
}

/// A tracker that runs. It is stopped when it goes out of scope, and has to end well.
pub(crate) struct Tracker {
    child: Child,
    ended: Option<ExitStatus>,
    directory: Option<Directory>,
    notified: Option<UnixDatagram>,
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
}

impl Tracker {
    /// [`Start::loopback`], with these options behind.
    pub(crate) fn start(args: &[&str]) -> Self {
        Start::loopback().args(args).run()
    }

    /// The first address that answers HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        *self.tcp.first().unwrap_or_else(|| panic!("no HTTP address in the log:\n{}", self.log()))
    }

    /// The first address that answers UDP.
    pub(crate) fn udp(&self) -> SocketAddr {
        *self.udp.first().unwrap_or_else(|| panic!("no UDP address in the log:\n{}", self.log()))
    }

    /// Every address that answers HTTP, in the order of the log.
    pub(crate) fn https(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Every address that answers UDP, in the order of the log.
    pub(crate) fn udps(&self) -> &[SocketAddr] {
        &self.udp
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "its process id may be another's by now");
        signal::kill(self.pid(), signal).unwrap();
    }

    /// Its directory, seen from outside.
    pub(crate) fn root(&self) -> &Path {
        &self.directory.as_ref().unwrap().0
    }

    /// All that it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.read("log")
    }

    /// Waits until the log has a line with this text.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let found = until(PATIENCE, || (self.log().contains(text) || self.has_ended()).then_some(()));
        assert!(found.is_some() && self.log().contains(text), "no {text:?} in the log:\n{}", self.log());
    }

    /// What it says next to the service manager; none if it ends first, or takes too long.
    pub(crate) fn next_notification(&mut self) -> Option<String> {
        let mut message = [0; 256];
        until(PATIENCE, || {
            // Asked first, so that what was said before the end is heard after it.
            let ended = self.has_ended();
            let notified = self.notified.as_ref().expect("started with a service manager");
            notified.set_nonblocking(true).unwrap();
            match notified.recv(&mut message) {
                Ok(len) => Some(Some(String::from_utf8_lossy(&message[..len]).into_owned())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ended.then_some(None),
                Err(error) => panic!("{error}"),
            }
        })
        .flatten()
    }

    /// Ends it with SIGTERM. It has to end with code 0 and without a panic. Gives its log.
    pub(crate) fn stop(self) -> String {
        self.stop_by(Signal::SIGTERM)
    }

    /// The same with another signal.
    pub(crate) fn stop_by(mut self, signal: Signal) -> String {
        self.signal(signal);
        let status = self.ended_within(PATIENCE);
        let log = self.log();
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{signal}, {status:?}:\n{log}");
        log
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_some()
    }

    fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        until(patience, || self.has_ended().then_some(()));
        self.ended
    }

    fn listening_on(&self, protocol: &str) -> Vec<SocketAddr> {
        let mark = format!("listening on {protocol} ");
        let log = self.log();
        log.lines().filter_map(|line| line.split_once(&mark)).map(|(_, address)| address.parse().unwrap()).collect()
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.root().join(name)).unwrap()).into_owned()
    }

    /// Lets go of its directory.
    fn abandon(mut self) -> Directory {
        self.directory.take().unwrap()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let by_itself = self.has_ended();
        if !by_itself {
            let _ = signal::kill(self.pid(), Signal::SIGTERM);
            if self.ended_within(PATIENCE).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        let log = self.directory.is_some().then(|| self.log());
        match log {
            Some(log) if thread::panicking() => note(&format!("--- the tracker's log\n{log}---")),
            Some(log) => {
                assert!(self.ended.is_some_and(|status| status.success()), "{:?}:\n{log}", self.ended);
                assert!(!log.contains("panicked at"), "{log}");
            }
            None => (),
        }
    }
}

/// A process that has ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    directory: Directory,
}

impl Finished {
    /// It refused to start, with this code, and said all of this in one line.
    #[track_caller]
    pub(crate) fn refuses(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        for text in said {
            assert!(last.contains(text), "{text:?} is not in {last:?}");
        }
    }

    /// It did as told and said nothing to complain of.
    #[track_caller]
    pub(crate) fn succeeds(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }
}

/// Waits for a socket. A machine that is put to sleep and woken up interrupts the wait; that is nobody's fault.
pub(crate) fn waiting<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            result => return result,
        }
    }
}

/// A port that the system gives nobody who does not ask for it, and that no other process of these tests asks for.
pub(crate) fn unasked_port() -> u16 {
    10_000 + (process::id() % 20_000) as u16
}

/// Asks again and again until there is an answer, and gives up after a while.
pub(crate) fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            answer => return answer,
        }
    }
}
