//! Snapshots by multicast and TCP: who asks, who answers, and the connection between the two.
//!
//! - [`wire`]: the packets and what a connection begins with.
//! - [`notices`]: what the thread that receives packets tells the one of this file.
//! - [`door`]: the TCP socket of donors.
//! - [`give`], [`take`]: the two sides.
//!
//! One thread does all of it: it asks and takes a snapshot at the start, and answers those who ask from then on.

mod desk;
mod door;
mod give;
mod notices;
mod take;
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::cluster::snapshot::Snapshots;
use crate::server::Joining;
use crate::stop::StopToken;
use crate::tracker::{Clock, Flavour, Tracker};

use super::shared::Shared;

use desk::Desk;
pub(super) use door::Door;
pub(super) use notices::Notices;
pub(super) use wire::{BodyError, Invitation, read_ask};

/// What the thread of snapshots does.
pub(super) struct Work {
    /// Where it gives them, if it does.
    pub(super) door: Option<Door>,
    /// It takes one first, and the tracker is not ready until then.
    pub(super) joining: Option<Joining>,
}

/// Gives and takes snapshots until `stop` is told.
pub(super) fn run<F: Flavour>(
    shared: Arc<Shared>,
    tracker: Arc<Tracker<F>>,
    snapshots: Arc<Snapshots>,
    clock: impl Clock + 'static,
    work: Work,
    stop: &StopToken,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return warn!("neither gives nor takes snapshots: cannot make an event loop: {error}"),
    };
    let desk = Rc::new(Desk { shared, tracker, snapshots, clock });
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        if let Some(door) = work.door {
            spawn_local(give::run(Rc::clone(&desk), door));
        }
        if let Some(joining) = work.joining {
            spawn_local(join(Rc::clone(&desk), joining));
        }
        stop.stopped().await;
    }));
}

/// Takes a snapshot, if one is needed. The tracker is ready when that is over, or the wait is.
async fn join<F: Flavour>(desk: Rc<Desk<F, impl Clock + 'static>>, joining: Joining) {
    let Some(unready) = joining.begin().await else { return };
    let wait = desk.snapshots.limits().wait;
    let waiting = spawn_local(async move {
        sleep(wait).await;
        info!("no snapshot is in after {} s: ready without", wait.as_secs());
        drop(unready);
    });
    take::run(desk).await;
    waiting.abort();
}
