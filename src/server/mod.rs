//! Start-up and shutdown. Each stage is a type, and only the stage before can make it:
//!
//! [`Settings`] -> [`Bound`] (sockets and plugs opened, privileged ports included) -> [`Jailed`] (root given up, for
//! good) -> [`Confined`] (only what is needed is left) -> [`Running`] (threads started). What must happen as root
//! cannot be forgotten, and what must not cannot happen.

mod account;
mod answering;
mod bound;
mod clock;
mod confined;
mod error;
mod handover;
pub mod health;
pub mod heap;
mod inherited;
mod inheriting;
mod inside;
mod interruptible;
mod jailed;
pub mod key_file;
mod limits;
mod listening;
mod log_destination;
mod memory;
mod needs;
mod notify;
mod plug;
mod plug_sockets;
mod random;
mod readiness;
mod running;
mod sight;
mod sweeping;
mod system_calls;
mod threads;
mod wildcards;

use crate::config::Settings;
use crate::log::Log;

pub use account::Account;
pub use bound::Bound;
pub use clock::{ClockReading, MonotonicClock};
pub use confined::Confined;
pub use error::StartError;
pub use handover::{
    Handing, Handover, Identity, Inheritance, InheritedSocket, ListeningSocket, NoHandover, Provider, Receiving, Step,
};
pub use inheriting::{Inheriting, Joining};
pub use interruptible::Interruptible;
pub use jailed::Jailed;
pub use log_destination::{LogDestination, OpenedLog, StandardError};
pub use needs::Needs;
pub use notify::{PROBE, ServiceManager, StoreSize};
pub use plug::{Beginning, Build, Opening, Plug};
pub(crate) use plug::{opens_nothing, plugs};
pub use plug_sockets::{PlugSocket, PlugSockets};
pub use random::{new_hash_key, random_words};
pub use readiness::{Readiness, Unready};
pub use running::Running;
pub use system_calls::{ProcessFlavour, SystemCallFilter, Unfiltered};
pub use threads::{Threads, new_runtime};

/// Runs a tracker of the build `B` until SIGTERM or SIGINT, which may come while it starts.
///
/// # Errors
///
/// What keeps it from starting. Once it runs, nothing ends it but a signal.
pub fn run<B: Build>(settings: Settings, interruptible: Interruptible, log: &'static Log) -> Result<(), StartError> {
    heap::return_large_pieces();
    Bound::<B>::open(settings.resolved(&B::facts()), interruptible)?.jail()?.confine()?.start(log)?.wait();
    Ok(())
}
