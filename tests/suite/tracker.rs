//! The tracker under test: the real binary in a directory of its own, on ports that the system chooses.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{mem, thread};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, User, close, geteuid};

use crate::directory::Directory;
use crate::flavour::{self, BINARY};
use crate::harness::{note, skip};
use crate::programs::{none_starts, output, spawn};
use crate::wait::wait_until;

/// Only root can give up rights, change its root directory, or make a network of its own.
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

/// The command line of a tracker that is about to be started. Options take effect in the order in which they are added.
pub(crate) struct Start {
    directory: Directory,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Where its log goes, if not to the file that [`Tracker::log`] reads.
    stderr: Option<Stdio>,
    /// How many configuration files there are.
    files: u32,
    /// What it is started with, beside the standard streams.
    passed: Vec<OwnedFd>,
}

/// Descriptors that are passed to a tracker have numbers from here on, until its shell gives them those from 3 on.
const FIRST_PASSED: RawFd = 200;

impl Start {
    /// With no options at all.
    pub(crate) fn without_options() -> Self {
        let command = vec![BINARY.as_str().into()];
        Self {
            directory: Directory::new(),
            command,
            environment: Vec::new(),
            stderr: None,
            files: 0,
            passed: Vec::new(),
        }
    }

    /// In its own directory, with the configuration that most tests need; without addresses.
    pub(crate) fn minimal() -> Self {
        Self::configured(flavour::minimal_config)
    }

    /// In its own directory, with the configuration that this build does not start without; without addresses.
    pub(crate) fn needed() -> Self {
        Self::configured(flavour::needed_config)
    }

    /// In its own directory, with a configuration that is told that directory.
    pub(crate) fn configured(config: impl FnOnce(&Path) -> String) -> Self {
        let start = Self::without_options();
        let root = start.path(".");
        let config = config(&root);
        start.args(["-d".as_ref(), root.as_os_str()]).config(&config)
    }

    /// [`Self::minimal`], on a free port of each protocol on the loopback addresses of this build.
    pub(crate) fn loopback() -> Self {
        Self::minimal().on_loopback()
    }

    /// On a free port of each protocol on the loopback addresses of this build.
    pub(crate) fn on_loopback(self) -> Self {
        flavour::loopbacks().iter().fold(self, |start, ip| start.listen(*ip))
    }

    /// Listens on a free port of each protocol.
    pub(crate) fn listen(self, ip: IpAddr) -> Self {
        self.args(["-i", &ip.to_string(), "-p", "0", "-P", "0"])
    }

    pub(crate) fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds a configuration file with this text: `1.conf`, `2.conf` and so on.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.files += 1;
        let path = self.path(&format!("{}.conf", self.files));
        fs::write(&path, text).unwrap();
        self.args(["-f".as_ref(), path.as_os_str()])
    }

    /// Starts it by the program `wrapper`, which replaces itself with the command behind its arguments.
    pub(crate) fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.command.splice(0..0, wrapper.iter().map(OsString::from));
        self
    }

    /// Starts a copy of the binary in the tracker's directory, which every user may run.
    pub(crate) fn with_binary_for_everybody(mut self) -> Self {
        let copy = self.path("opentracker");
        // By another process: were the copy written here, a child that another test starts meanwhile would hold it
        // open, and what is open for writing cannot be run.
        let copied = output(Command::new("install").args(["-m", "755", BINARY.as_str()]).arg(&copy)).unwrap();
        assert!(copied.status.success());
        self.command[0] = copy.into();
        self
    }

    /// Has root start it as this user, with no rights but the user's. Whoever else runs the tests starts it as himself.
    pub(crate) fn started_by(self, name: &str) -> Self {
        if !is_root() {
            return self;
        }
        let user = User::from_name(name).unwrap().unwrap();
        let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
        // The user may not be allowed to reach the binary where it was built.
        self.with_binary_for_everybody().wrapped(&["setpriv", &uid, &gid, "--clear-groups", "--inh-caps=-all"])
    }

    /// In a network of its own, where every port is free.
    pub(crate) fn in_own_network(self) -> Self {
        if flavour::has("sync-live") {
            // It needs an interface that is up.
            self.wrapped(&["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        } else {
            self.wrapped(&["unshare", "--net"])
        }
    }

    /// With this limit on open files, which it cannot raise.
    pub(crate) fn with_open_files(self, max: u32) -> Self {
        self.wrapped(&["sh", "-c", &format!("ulimit -n {max} && exec \"$0\" \"$@\"")])
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With these descriptors, from 3 on, and what this shell command does: it can set what only the process knows.
    pub(crate) fn passing(mut self, descriptors: Vec<OwnedFd>, command: &str) -> Self {
        self.passed = descriptors;
        // The end of its input says that these tests have them open no more.
        let waits = "read -r; exec </dev/null";
        let moves = "to=3; for from in $PASSED; do eval \"exec $to<&$from $from<&-\"; to=$((to + 1)); done";
        // Other shells know descriptors up to 9 alone.
        self.wrapped(&["bash", "-c", &format!("{waits}\n{moves}\n{command}\nexec \"$@\""), "bash"])
    }

    /// With a log that goes there. What it says is unknown to the [`Tracker`], and so are its addresses.
    pub(crate) fn logging_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// A path in the tracker's directory, seen from outside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name == "." { self.directory.0.clone() } else { self.directory.0.join(name) }
    }

    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn run(self) -> Tracker {
        self.begin().ready()
    }

    /// Starts it, and leaves it to [`Tracker::ready`] to wait.
    pub(crate) fn begin(self) -> Tracker {
        let notify = self.path("notify");
        let manager = UnixDatagram::bind(&notify).unwrap();
        // Some trackers are started without root's rights.
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777)).unwrap();
        self.env("NOTIFY_SOCKET", notify).spawn(Some(manager))
    }

    /// Starts it without a service manager, and does not wait.
    pub(crate) fn run_unnotified(self) -> Tracker {
        self.spawn(None)
    }

    /// Starts it, and waits until it ends by itself.
    pub(crate) fn finish(self) -> Exit {
        self.spawn(None).end()
    }

    fn spawn(mut self, notified: Option<UnixDatagram>) -> Tracker {
        let passed = mem::take(&mut self.passed);
        let file = |name: &str| File::create(self.path(name)).unwrap();
        let log = file("log");
        let (program, args) = self.command.split_first().unwrap();
        let _no_other = none_starts();
        let numbers: Vec<_> = passed.iter().map(|one| fcntl(one, FcntlArg::F_DUPFD(FIRST_PASSED)).unwrap()).collect();
        drop(passed);
        let stdin = if numbers.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut command = Command::new(program);
        command
            .args(args)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("FDSTORE")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PASSED", numbers.iter().map(|number| format!("{number} ")).collect::<String>())
            .stdin(stdin)
            .stdout(file("stdout"))
            .stderr(self.stderr.unwrap_or_else(|| log.into()));
        let mut child = spawn(&mut command).unwrap();
        numbers.into_iter().for_each(|number| close(number).unwrap());
        drop(child.stdin.take());
        Tracker { child, ended: None, directory: Some(self.directory), notified, tcp: Vec::new(), udp: Vec::new() }
    }
}

/// A running tracker. It is stopped when it goes out of scope, and has to end with code 0 and without a panic.
pub(crate) struct Tracker {
    child: Child,
    ended: Option<ExitStatus>,
    directory: Option<Directory>,
    /// The service manager's end of its notifications.
    notified: Option<UnixDatagram>,
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
}

impl Tracker {
    /// Starts [`Start::loopback`] with these options.
    pub(crate) fn start(args: &[&str]) -> Self {
        Start::loopback().args(args).run()
    }

    /// The first address that it listens on for HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        *self.tcp.first().unwrap_or_else(|| panic!("no HTTP address in the log:\n{}", self.log()))
    }

    /// The first address that it listens on for UDP.
    pub(crate) fn udp(&self) -> SocketAddr {
        *self.udp.first().unwrap_or_else(|| panic!("no UDP address in the log:\n{}", self.log()))
    }

    /// Every address that it listens on for HTTP, in the order of the log.
    pub(crate) fn https(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Every address that it listens on for UDP, in the order of the log.
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

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.read("log")
    }

    /// Waits until the log has a line with this text.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let found = wait_until(|| (self.log().contains(text) || self.has_ended()).then_some(()));
        assert!(found.is_some() && self.log().contains(text), "no {text:?} in the log:\n{}", self.log());
    }

    /// Waits until somebody else has heard that it is ready.
    pub(crate) fn await_ready(&mut self, is_heard: impl Fn() -> bool) {
        wait_until(|| (is_heard() || self.has_ended()).then_some(()));
        assert!(is_heard(), "{}", self.log());
        self.tcp = self.listening_on("tcp");
        self.udp = self.listening_on("udp");
    }

    /// Waits for its next message to the service manager; none if it ends first, or takes too long.
    pub(crate) fn next_notification(&mut self) -> Option<String> {
        let mut message = [0; 256];
        wait_until(|| {
            // Checked first, so that a message from before the end is not missed.
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

    /// Stops it with SIGTERM, upon which it has to end with code 0. Returns its log.
    pub(crate) fn stop(self) -> String {
        self.stop_by(Signal::SIGTERM)
    }

    /// The same with another signal.
    pub(crate) fn stop_by(mut self, signal: Signal) -> String {
        self.signal(signal);
        let status = self.exit_status();
        let log = self.log();
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{signal}, {status:?}:\n{log}");
        log
    }

    /// Sends a process a signal, upon which the tracker has to end: it itself, or one that starts it. Returns how.
    pub(crate) fn interrupt(mut self, process: Pid, signal: Signal) -> Exit {
        assert!(!self.has_ended(), "its process id may be another's by now");
        signal::kill(process, signal).unwrap();
        self.end()
    }

    /// Waits until it says that it is ready.
    pub(crate) fn ready(mut self) -> Self {
        assert_eq!(self.next_notification().as_deref(), Some("READY=1"), "{}", self.log());
        // The addresses are in the log before it says that it is ready.
        self.tcp = self.listening_on("tcp");
        self.udp = self.listening_on("udp");
        self
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Exit {
        let status = self.exit_status();
        let code = status.unwrap_or_else(|| panic!("it runs on:\n{}", self.log())).code();
        Exit { code, stdout: self.read("stdout"), stderr: self.log(), directory: self.abandon() }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_some()
    }

    /// Waits for its end; none if it runs on.
    fn exit_status(&mut self) -> Option<ExitStatus> {
        wait_until(|| self.has_ended().then_some(()));
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

    /// Ends the supervision, and returns its directory.
    fn abandon(mut self) -> Directory {
        self.directory.take().unwrap()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let by_itself = self.has_ended();
        if !by_itself {
            let _ = signal::kill(self.pid(), Signal::SIGTERM);
            if self.exit_status().is_none() {
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
                assert!(!log.contains("thread udp does not end"), "{log}");
            }
            None => (),
        }
    }
}

/// How a tracker ended by itself.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    directory: Directory,
}

impl Exit {
    /// Asserts that it refused to start with this code, and that its last line has all these texts.
    #[track_caller]
    pub(crate) fn refuses(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        for text in said {
            assert!(last.contains(text), "{text:?} is not in {last:?}");
        }
    }

    /// Asserts that it ended with code 0 and an empty log.
    #[track_caller]
    pub(crate) fn succeeds(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
    }

    /// A path in the tracker's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }
}

/// A port below those that the system hands out, which nobody has, and another one for each process of these tests and
/// for each call.
pub(crate) fn unused_port() -> u16 {
    /// More than there are calls.
    const EACH: u32 = 160;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < EACH, "another process may use the next port");
        let port = u16::try_from(10_000 + process::id() % 140 * EACH + tried).unwrap();
        let _in_no_child = none_starts();
        let taken = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(|ip| {
            let errors = (UdpSocket::bind((ip, port)).err(), TcpListener::bind((ip, port)).err());
            [errors.0, errors.1].into_iter().flatten().any(|error| error.kind() == ErrorKind::AddrInUse)
        });
        if taken == [false; 2] {
            return port;
        }
    }
}
