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

use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use nix::libc;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local};

use crate::cluster::snapshot::{Snapshots, ready_by};
use crate::config::Settings;
use crate::server::{Beginning, Joining, Opening, StartError, new_runtime};
use crate::stop::StopToken;
use crate::tracker::{Clock, Flavour, Tracker};

use super::link::Link;
use super::shared::Shared;

use desk::Desk;
pub(super) use door::Door;
pub(super) use notices::Notices;
pub(super) use wire::{BodyError, Invitation, read_ask};

/// Opens where snapshots are given, and says what it takes to take one. Who believes nobody does neither.
pub(super) fn open(link: &Link, opening: &mut Opening<'_>) -> Option<Door> {
    let Settings { livesync, sync, .. } = opening.settings;
    if livesync.node_ip.is_empty() {
        return None;
    }
    let port = link.group.port();
    if sync.snapshot_wait > 0 && sync.snapshot_max > 0 {
        opening.needs.connects_tcp(port);
        // From the interface's address, and whatever port.
        opening.needs.binds_tcp(0);
    }
    if sync.snapshot_rate == 0 {
        return None;
    }
    let door = Door::new(SocketAddrV4::new(link.interface, port))?;
    if door.is_taken() {
        opening.needs.binds_tcp(port);
        opening.needs.system_calls(&[libc::SYS_bind, libc::SYS_listen]);
    }
    Some(door)
}

/// Starts the thread of snapshots, if it has anything to do.
pub(super) fn begin<F: Flavour>(shared: &Arc<Shared>, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
    let joining = if shared.inbox.trust.is_empty() { None } else { beginning.joining() };
    let Beginning { tracker, clock, threads, snapshots, .. } = beginning;
    let door = shared.door.lock().unwrap_or_else(PoisonError::into_inner).take();
    if door.is_none() && joining.is_none() {
        return Ok(());
    }
    door.iter().for_each(Door::log);
    let (runtime, work) = (new_runtime()?, Work { door, joining });
    let (shared, tracker, snapshots, clock) = (Arc::clone(shared), Arc::clone(tracker), Arc::clone(snapshots), *clock);
    threads.spawn("sync-snapshot", move |stop| run(&runtime, shared, tracker, snapshots, clock, work, &stop))
}

/// What the thread of snapshots does.
struct Work {
    /// Where it gives them, if it does.
    door: Option<Door>,
    /// It takes one first, and the tracker is not ready until then.
    joining: Option<Joining>,
}

/// Gives and takes snapshots until `stop` is told.
fn run<F: Flavour>(
    runtime: &Runtime,
    shared: Arc<Shared>,
    tracker: Arc<Tracker<F>>,
    snapshots: Arc<Snapshots>,
    clock: impl Clock + 'static,
    work: Work,
    stop: &StopToken,
) {
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
    ready_by(desk.snapshots.limits().wait, unready, "TCP", take::run(desk)).await;
}
