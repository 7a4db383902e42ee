//! Other programs. A child has all that this process has open until it runs its program, and what is passed to one
//! child for as long as it runs: to other tests a socket would seem open that is closed.

use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::close;

static STARTING: Mutex<()> = Mutex::new(());

/// Keeps programs from being started: what is closed meanwhile is closed everywhere.
pub(crate) fn none_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes something, and no program that is being started has it open any more.
pub(crate) fn close_everywhere<T>(open: T) {
    let _none = none_starts();
    drop(open);
}

/// Starts a program.
pub(crate) fn start(program: &mut Command) -> io::Result<Child> {
    let _none = none_starts();
    spawn(program)
}

/// The same, for whoever has seen to it that no other one starts.
#[expect(unsafe_code, reason = "a child closes descriptors by their numbers")]
pub(crate) fn spawn(program: &mut Command) -> io::Result<Child> {
    // What other threads open meanwhile takes the lowest free numbers, a few at most.
    let last = open_descriptors().max().unwrap_or(0) + 64;
    let close_sockets = move || {
        // The kernel would close them as well, but at a time when whoever has started the program already goes on.
        (FIRST..last).filter(|number| is_own_socket(*number)).for_each(|number| {
            let _ = close(number);
        });
        Ok(())
    };
    // SAFETY: it makes system calls, and nothing else.
    unsafe { program.pre_exec(close_sockets) }.spawn()
}

/// The first descriptor behind the standard streams.
const FIRST: RawFd = 3;

fn open_descriptors() -> impl Iterator<Item = RawFd> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

/// Whether it is a socket that is not passed to a program.
#[expect(unsafe_code, reason = "a number is looked at, whatever it is")]
fn is_own_socket(number: RawFd) -> bool {
    // SAFETY: it is borrowed for as long as this takes, in a child that has one thread.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let is_socket = fstat(descriptor)
        .is_ok_and(|it| SFlag::from_bits_truncate(it.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFSOCK);
    is_socket
        && fcntl(descriptor, FcntlArg::F_GETFD)
            .is_ok_and(|flags| FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC))
}

/// Runs a program. Returns what it prints.
pub(crate) fn output(program: &mut Command) -> io::Result<Output> {
    start(program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()
}
