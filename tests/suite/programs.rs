//! Other programs. A child has all that this process has open until it runs its program, and what is passed to one
//! child for as long as it runs: to other tests a socket would seem open that is closed.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    program.spawn()
}

/// Runs a program. Returns what it prints.
pub(crate) fn output(program: &mut Command) -> io::Result<Output> {
    start(program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()
}
