//! SIGTERM and SIGINT while the tracker starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::StartError;

/// The exit code of a tracker that is told to end, whether it has started by then or not.
const TOLD_TO_END: i32 = 0;

/// While it is there, SIGTERM and SIGINT end the process at once, with exit code 0: inside the signal's handler, so
/// whatever the process does or waits for, such as a file on a server that does not answer. There is nothing to finish
/// before anybody has been answered.
///
/// What a signal does by default is no substitute: process 1 of a container is spared it.
#[derive(Debug)]
pub(super) struct Interruptible(Arc<AtomicBool>);

impl Interruptible {
    /// Heeds signals from now on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn begin() -> Result<Self, StartError> {
        let is_starting = Arc::new(AtomicBool::new(true));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, TOLD_TO_END, Arc::clone(&is_starting))
                .map_err(StartError::system("heed signals"))?;
        }
        Ok(Self(is_starting))
    }
}

/// From then on these signals do nothing, but for those who listen for them.
impl Drop for Interruptible {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
