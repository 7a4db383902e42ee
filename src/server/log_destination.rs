//! The plug point for where the log goes.

use crate::config::Settings;
use crate::log::{Describe, Destination};

/// Chooses where the log goes.
pub trait LogDestination {
    /// Opens it. Called once, while the process has all its rights and there is one thread; what is opened has to do
    /// without them. `None`: the log goes to standard error.
    fn open(settings: &Settings) -> Option<OpenedLog>;
}

/// Somebody who reads the log.
#[derive(Debug)]
pub struct OpenedLog {
    /// Takes the lines.
    pub destination: Box<dyn Destination>,
    /// Says what it wants to know beside them.
    pub describe: Describe,
}

/// The off twin: the log goes to standard error.
#[derive(Debug)]
pub struct StandardError;

impl LogDestination for StandardError {
    fn open(_: &Settings) -> Option<OpenedLog> {
        None
    }
}
