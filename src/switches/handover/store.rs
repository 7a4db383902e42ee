//! Under a service manager: its file descriptor store keeps sockets and swarms between two processes.

use std::sync::Arc;
use std::time::Instant;

use crate::server::{Handing, Inheritance, InheritedSocket, ListeningSocket, MonotonicClock, Receiving, ServiceManager, StartError};
use crate::tracker::{Flavour, Tracker};

/// What this process has in the store.
#[derive(Debug)]
pub(super) struct Store;

impl Store {
    pub(super) fn receive(_: &mut Receiving<'_>) -> Result<(Self, Inheritance), StartError> {
        Ok((Self, Inheritance::default()))
    }

    pub(super) fn discard(&mut self, _: &mut Receiving<'_>, _: Vec<InheritedSocket>) -> Result<(), StartError> {
        Ok(())
    }

    pub(super) fn bound(&mut self, _: &mut Receiving<'_>, _: &[ListeningSocket<'_>]) {}

    pub(super) fn fill<F: Flavour>(&mut self, _: &Arc<Tracker<F>>, _: MonotonicClock, _: &ServiceManager) {}

    pub(super) fn leave<F: Flavour>(self, _: &Handing<'_, F>, _: Instant) {}
}
