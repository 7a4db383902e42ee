//! SIGTERM and SIGINT until the tracker answers.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::StartError;

/// The exit code of a tracker that is told to end, whether it has started by then or not.
const TOLD_TO_END: c_int = 0;

/// What shells add a signal's number to, to report what it has ended. While only the configuration is read: an
/// interrupted check is not a passed one.
const ENDED_BY_SIGNAL: c_int = 128;

/// While it is there, SIGTERM and SIGINT end the process at once: inside the signal's handler, so whatever the process
/// does or waits for, such as a file on a server that does not answer. There is nothing to finish before anybody has
/// been answered.
///
/// What a signal does by default is no substitute: process 1 of a container is spared it.
#[derive(Debug)]
pub struct Interruptible {
    /// The exit code is 128 and the signal's number.
    is_reading: Arc<AtomicBool>,
    /// The exit code is 0.
    is_starting: Arc<AtomicBool>,
}

impl Interruptible {
    /// Heeds signals from now on, while the configuration is read. The exit code is then 143 or 130.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn begin() -> Result<Self, StartError> {
        let [is_reading, is_starting] = [true, false].map(AtomicBool::new).map(Arc::new);
        // A signal that comes before all is registered waits: there is a moment in between when nobody would heed it.
        let mut all = SigSet::empty();
        all.add(Signal::SIGTERM);
        all.add(Signal::SIGINT);
        let system = |error: Errno| StartError::system("heed signals")(error);
        let before = all.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(system)?;
        for signal in [SIGTERM, SIGINT] {
            for (code, condition) in [(ENDED_BY_SIGNAL + signal, &is_reading), (TOLD_TO_END, &is_starting)] {
                flag::register_conditional_shutdown(signal, code, Arc::clone(condition))
                    .map_err(StartError::system("heed signals"))?;
            }
        }
        before.thread_set_mask().map_err(system)?;
        Ok(Self { is_reading, is_starting })
    }

    /// From now on the tracker starts, and the exit code is 0.
    pub(super) fn start(&self) {
        // In this order: at no moment does nobody heed a signal.
        self.is_starting.store(true, Ordering::SeqCst);
        self.is_reading.store(false, Ordering::SeqCst);
    }
}

/// From then on these signals do nothing, but for those who listen for them.
impl Drop for Interruptible {
    fn drop(&mut self) {
        self.is_reading.store(false, Ordering::SeqCst);
        self.is_starting.store(false, Ordering::SeqCst);
    }
}
