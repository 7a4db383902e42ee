//! `handover`: a restart that loses no swarm.
//!
//! - [`successor`], [`predecessor`]: a new process takes over from the one that runs, over a Unix socket.
//! - [`message`]: what the two say to each other.
//! - [`path`]: where that socket is.
//! - [`life`]: how a process knows that the other one has died.
//! - [`descriptor_store`]: a service manager keeps sockets and swarms from the end of one process to the start of the
//!   next.

mod descriptor_store;
mod life;
mod message;
mod path;
mod predecessor;
mod successor;

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use crate::server::{
    Handing, Handover, Inheritance, InheritedSocket, ListeningSocket, MonotonicClock, PlugSocket, Receiving,
    ServiceManager, StartError, Step,
};
use crate::tracker::{Flavour, Tracker};

use descriptor_store::DescriptorStore;
use predecessor::Post;
use successor::{Given, Predecessor};

/// Takes over from the predecessor, and hands over to the successor.
pub struct Succession {
    store: DescriptorStore,
    /// The predecessor, until it has handed over.
    predecessor: Option<Predecessor>,
    /// Where a successor asks, if the configuration says where that is.
    post: Option<Post>,
}

impl Handover for Succession {
    fn receive(receiving: &mut Receiving<'_>) -> Result<(Self, Inheritance), StartError> {
        let (store, mut inheritance) = DescriptorStore::receive(receiving)?;
        let mut this = Self { store, predecessor: None, post: None };
        let Some(path) = &receiving.settings.tracker.handover else { return Ok((this, inheritance)) };
        let found = Predecessor::find(path, receiving.user)?;
        if found.is_none() {
            info!("no process answers at {}: there is nobody to take over from", path.display());
        }
        if let Some((predecessor, Given { inheritance: given, own_socket })) = found {
            this.predecessor = Some(predecessor);
            this.post = Some(Post::new(own_socket, path)?);
            inheritance.sockets.extend(given.sockets);
            inheritance.plug_sockets.extend(given.plug_sockets);
            inheritance.identity = given.identity;
        }
        Ok((this, inheritance))
    }

    fn discard(&mut self, receiving: &mut Receiving<'_>, unused: Vec<InheritedSocket>) -> Result<(), StartError> {
        self.store.discard(receiving, unused)
    }

    fn bound(
        &mut self,
        receiving: &mut Receiving<'_>,
        new: &[ListeningSocket<'_>],
        of_plugs: &[PlugSocket],
    ) -> Result<(), StartError> {
        self.store.bound(receiving, new, of_plugs);
        if let (None, Some(path)) = (&self.post, &receiving.settings.tracker.handover) {
            self.post = Some(Post::new(path::listen_at(path, receiving.user)?, path)?);
        }
        Ok(())
    }

    fn fill<F: Flavour>(
        &mut self,
        tracker: &Arc<Tracker<F>>,
        clock: MonotonicClock,
        manager: &ServiceManager,
    ) -> Result<bool, StartError> {
        let is_whole = self.store.fill(tracker, clock, manager);
        self.predecessor.take().map_or(Ok(is_whole), |predecessor| predecessor.fill(tracker, clock))
    }

    async fn next<F: Flavour>(&mut self, handing: &Handing<'_, F>) -> Step {
        match &mut self.post {
            Some(post) => post.next(handing).await,
            None => pending().await,
        }
    }

    fn leave<F: Flavour>(self, handing: &Handing<'_, F>, deadline: Instant) {
        // A successor that waits is not to wait for what comes now.
        drop(self.post);
        self.store.leave(handing, deadline);
    }
}
