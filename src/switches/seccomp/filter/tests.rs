use super::*;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, dup, getpid};

const SEALABLE: MFdFlags = MFdFlags::MFD_CLOEXEC.union(MFdFlags::MFD_ALLOW_SEALING);

/// Calls `act` in a thread that is filtered, with what plugs need.
fn filtered<T: Send>(needs: &Needs, refuses: bool, act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let act = || {
            assert!(apply(needs, refuses).unwrap() > 30);
            act()
        };
        scope.spawn(act).join().unwrap()
    })
}

/// Returns whether the call has failed as if the kernel did not have it.
fn is_refused<T, E: Into<io::Error>>(result: Result<T, E>) -> bool {
    result.is_err_and(|error| error.into().raw_os_error() == Some(libc::ENOSYS))
}

fn reading() -> Needs {
    let mut needs = Needs::default();
    needs.reads("access.whitelist");
    needs
}

#[test]
fn what_a_tracker_does_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    filtered(&reading(), true, || {
        let (connection, _) = listener.accept().unwrap();
        connection.set_nodelay(true).unwrap();
        connection.set_nonblocking(true).unwrap();
        socket.send_to(b"x", other.local_addr().unwrap()).unwrap();
        other.recv_from(&mut [0; 8]).unwrap();
        UnixStream::pair().unwrap();
        File::open("/").unwrap().metadata().unwrap();
        fs::metadata("/").unwrap();
        // A thread of its own, more memory than is there, time, random numbers.
        thread::Builder::new().name("thread".into()).spawn(|| vec![1_u8; 64 << 20].len()).unwrap().join().unwrap();
        let (sender, receiver) = mpsc::channel::<()>();
        receiver.recv_timeout(std::time::Duration::from_millis(1)).unwrap_err();
        drop(sender);
        getrandom::fill(&mut [0; 8]).unwrap();
        getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(1)).await });
    });
    drop(client);
}

#[test]
fn a_thread_is_sent_the_signal_that_interrupts_it_and_no_other() {
    let arrives = |signal| {
        // The signal waits in the thread for whoever reads it there.
        SigSet::from(signal).thread_block().unwrap();
        let arrived = SignalFd::with_flags(&SigSet::from(signal), SfdFlags::SFD_NONBLOCK).unwrap();
        assert!(apply(&reading(), true).unwrap() > 30);
        let _ = pthread_kill(pthread_self(), signal);
        arrived.read_signal().unwrap().is_some()
    };
    for (signal, is_allowed) in [(Signal::SIGURG, true), (Signal::SIGWINCH, false), (Signal::SIGTERM, false)] {
        assert_eq!(thread::scope(|scope| scope.spawn(|| arrives(signal)).join().unwrap()), is_allowed, "{signal}");
    }
}

#[test]
fn what_no_tracker_does_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let temporary = std::env::temp_dir().join(format!("opentracker-seccomp-{}", std::process::id()));
    let limit = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let refused = filtered(&reading(), true, || {
        [
            ("a program", is_refused(Command::new("/bin/true").status())),
            ("a signal", is_refused(kill(getpid(), None::<Signal>))),
            ("a signal to another", is_refused(kill(Pid::from_raw(1), None::<Signal>))),
            ("a UDP socket", is_refused(UdpSocket::bind("127.0.0.1:0"))),
            ("a connection", is_refused(TcpStream::connect(address))),
            ("a file to write", is_refused(File::create(&temporary))),
            ("a directory", is_refused(fs::create_dir(&temporary))),
            ("a link", is_refused(std::os::unix::fs::symlink("x", &temporary))),
            ("a name", is_refused(fs::rename(&temporary, &temporary))),
            ("a list of files", is_refused(fs::read_dir("/").and_then(|mut entries| entries.next().transpose()))),
            ("a limit", is_refused(setrlimit(Resource::RLIMIT_NOFILE, limit.0, limit.1))),
            ("a memory that is shown", is_refused(prctl::set_dumpable(true))),
            ("a root directory", is_refused(nix::unistd::chroot("/"))),
            ("a copy of a descriptor", is_refused(dup(&listener))),
            ("memory for others", is_refused(memfd_create("x", SEALABLE))),
            ("a seal", is_refused(fcntl(&listener, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)))),
        ]
        .into_iter()
        .filter(|(_, is_refused)| !is_refused)
        .map(|(what, _)| what)
        .collect::<Vec<_>>()
    });
    assert_eq!(refused, [] as [&str; 0], "these are possible");
}

#[test]
fn what_plugs_need_is_possible_beside_and_nothing_is_where_only_the_log_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let directory = std::env::temp_dir().join(format!("opentracker-seccomp-writes-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let mut needs = Needs::default();
    needs.writes("tracker.statefile");
    needs.connects_udp();
    needs.system_calls(&[libc::SYS_dup]);
    filtered(&needs, true, || {
        let (new, file) = (directory.join("new"), directory.join("file"));
        fs::write(&new, "text").unwrap();
        File::open(&new).unwrap().sync_all().unwrap();
        fs::rename(&new, &file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"text");
        fs::remove_file(&file).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", address).unwrap();
        TcpStream::connect(address).unwrap();
        dup(&listener).unwrap();
        assert!(is_refused(Command::new("/bin/true").status()));
    });
    fs::remove_dir(&directory).unwrap();
    // Memory for another process can be made and sealed, and is no program.
    let mut needs = Needs::default();
    needs.leaves_memory();
    filtered(&needs, true, || {
        let memory = memfd_create("x", SEALABLE).unwrap();
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
        assert!(is_refused(memfd_create("x", MFdFlags::from_bits_retain(libc::MFD_CLOEXEC | libc::MFD_EXEC))));
    });
    // Connections, and a directory that is listed; both alone.
    let mut needs = Needs::default();
    needs.connects_tcp(address.port());
    needs.reads_directory("/".into());
    needs.system_calls(&[libc::SYS_getdents64]);
    filtered(&needs, true, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(tokio::net::TcpStream::connect(address)).unwrap();
        connection.set_nodelay(true).unwrap();
        assert!(fs::read_dir("/").unwrap().all(|entry| entry.unwrap().path().metadata().is_ok()));
        assert!(is_refused(UnixStream::connect("/nowhere")));
        assert!(is_refused(File::create(directory.join("new"))));
    });
    // Without a file to be read, none is opened.
    assert!(filtered(&Needs::default(), true, || is_refused(File::open("/"))));
    assert!(filtered(&Needs::default(), false, || Command::new("/bin/true").status().unwrap().success()));
}

#[test]
fn nothing_ends_the_process() {
    for otherwise in [SeccompAction::Errno(REFUSAL), SeccompAction::Log] {
        let program = program(rules(&reading()).unwrap(), otherwise.clone()).unwrap();
        let ends: Vec<_> = program.iter().filter(|one| u32::from(one.code) == RETURN).map(|one| one.k).collect();
        let expected = [u32::from(otherwise), libc::SECCOMP_RET_ALLOW];
        assert!(ends.len() > 60 && ends.iter().all(|end| expected.contains(end)), "{ends:x?}");
    }
}

#[test]
fn what_is_allowed_once_as_it_comes_is_not_narrowed_by_another_list() {
    let mut needs = reading();
    needs.system_calls(&[libc::SYS_openat, libc::SYS_mmap]);
    let rules = rules(&needs).unwrap();
    assert!(rules[&libc::SYS_openat].is_empty() && rules[&libc::SYS_mmap].is_empty());
    assert_eq!((rules[&libc::SYS_mprotect].len(), rules[&libc::SYS_prctl].len()), (1, 3));
}
