//! `handover`: a restart that loses no swarm.

mod store;

use std::sync::Arc;
use std::time::Instant;

use crate::server::{
    Handing, Handover, Inheritance, InheritedSocket, ListeningSocket, MonotonicClock, Receiving, StartError, Step,
};
use crate::tracker::{Flavour, Tracker};

use store::Store;

/// Takes over from the process before, and hands over to the one after.
#[derive(Debug)]
pub struct Succession {
    store: Store,
}

impl Handover for Succession {
    fn receive(receiving: &mut Receiving<'_>) -> Result<(Self, Inheritance), StartError> {
        let (store, inheritance) = Store::receive(receiving)?;
        Ok((Self { store }, inheritance))
    }

    fn bound(
        &mut self,
        receiving: &mut Receiving<'_>,
        new: &[ListeningSocket<'_>],
        unused: Vec<InheritedSocket>,
    ) -> Result<(), StartError> {
        self.store.bound(receiving, new, unused)
    }

    fn fill<F: Flavour>(&mut self, tracker: &Arc<Tracker<F>>, clock: MonotonicClock) -> Result<(), StartError> {
        self.store.fill(tracker, clock);
        Ok(())
    }

    async fn next<F: Flavour>(&mut self, _: &Handing<'_, F>) -> Step {
        std::future::pending().await
    }

    fn leave<F: Flavour>(self, handing: &Handing<'_, F>, deadline: Instant) {
        self.store.leave(handing, deadline);
    }
}
