//! The plug point for what limits the system calls of the process.

use crate::config::SystemCallRule;

use super::handover::Handover;
use super::log_destination::LogDestination;
use super::needs::Needs;

/// The plug points of the process itself.
pub trait ProcessFlavour {
    /// What limits its system calls.
    type SystemCallFilter: SystemCallFilter;
    /// What takes over from the predecessor, and hands over to the successor.
    type Handover: Handover;
    /// What chooses where the log goes.
    type LogDestination: LogDestination;
}

/// Limits which system calls the process can make.
pub trait SystemCallFilter {
    /// Leaves this thread, and those that it starts from now on, the system calls of every tracker and those that plugs
    /// need. The kernel refuses others with an error or, as the rule says, logs them. Called once, while there is one
    /// thread. A system that cannot do it is no error: the log says so.
    fn enforce(rule: SystemCallRule, needs: &Needs);
}

/// The off twin: all system calls are possible.
#[derive(Debug)]
pub struct Unfiltered;

impl SystemCallFilter for Unfiltered {
    fn enforce(_: SystemCallRule, _: &Needs) {}
}
