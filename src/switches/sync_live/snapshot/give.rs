//! The donor's side: answers who asks, and gives.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{sleep, sleep_until};
use tracing::{debug, warn};

use crate::cluster::snapshot::{Giver, SnapshotError};
use crate::log::Complaints;
use crate::tracker::{Clock, Flavour};

use super::super::packet::{self, OFFER};
use super::desk::{Desk, patiently};
use super::door::{Door, TRY_AGAIN};
use super::wire::{BUSY, GIVES, Greeting, Invitation, greeting};

/// An offer is made at any moment of this time after the question, so that a hundred donors do not answer at once.
const MAX_HESITATION: Duration = Duration::from_millis(500);
/// The time from one offer to the next question that is answered.
const PAUSE: Duration = Duration::from_millis(300);
/// How long to wait after an error that is no connection's own, such as a machine without memory.
const TROUBLE: Duration = Duration::from_millis(100);
/// Most connections at a time, whatever they are about.
const MAX_CONNECTIONS: usize = 8;

/// Lets in who connects, once the door can be opened, and tells who asks.
pub(super) async fn run<F: Flavour, C: Clock + 'static>(desk: Rc<Desk<F, C>>, mut door: Door) {
    if door.is_taken() {
        loop {
            sleep(TRY_AGAIN).await;
            match door.try_open() {
                Ok(()) => break door.log(),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return warn!("gives no snapshots: {error}"),
            }
        }
    }
    let port = door.port();
    match TcpListener::from_std(door.listener()) {
        Ok(listener) => {
            spawn_local(answer(Rc::clone(&desk), port));
            accept(desk, listener).await;
        }
        Err(error) => warn!("gives no snapshots: {error}"),
    }
}

/// Makes an offer to those who ask: to all at once, and to all again only after a while.
async fn answer<F: Flavour, C: Clock>(desk: Rc<Desk<F, C>>, port: u16) {
    let complaints = Complaints::default();
    let mut rng = Rng::with_seed(desk.id().number().into());
    loop {
        desk.shared.notices.asked().await;
        let hesitation = rng.u64(0..=u64::try_from(MAX_HESITATION.as_millis()).unwrap_or(0));
        sleep(Duration::from_millis(hesitation)).await;
        if let Some(invitation) = invitation(&desk, port, Instant::now()) {
            let packet = packet::write(desk.id(), OFFER, &invitation.write());
            if let Err(error) = desk.shared.send_packet(&packet, 0) {
                complaints.say(|| warn!("cannot offer a snapshot: {error}"));
            }
        }
        sleep(PAUSE).await;
    }
}

/// Returns what is answered; `None` if nothing is, as this tracker waits for a snapshot itself.
fn invitation<F: Flavour, C>(desk: &Desk<F, C>, port: u16, now: Instant) -> Option<Invitation> {
    if desk.snapshots.waits(now) {
        return None;
    }
    let id = desk.id().number().into();
    let offer = desk.snapshots.offer(id, &desk.tracker, now);
    Some(offer.map_or_else(|| Invitation::busy(id), |offer| Invitation { port, offer }))
}

async fn accept<F: Flavour, C: Clock + 'static>(desk: Rc<Desk<F, C>>, listener: TcpListener) {
    let complaints = Complaints::default();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let desk = Rc::clone(&desk);
                spawn_local(async move {
                    if let Err(error) = serve(&desk, stream, from.ip()).await {
                        debug!("a connection from {} for a snapshot is closed: {error}", from.ip());
                    }
                    drop(place);
                });
            }
            Err(error) => {
                complaints.say(|| warn!("cannot let in who asks for a snapshot: {error}; trying again"));
                sleep(TROUBLE).await;
            }
        }
    }
}

/// Gives a snapshot to who has connected. What goes wrong before it begins is an error.
async fn serve<F: Flavour, C: Clock>(
    desk: &Desk<F, C>,
    mut stream: TcpStream,
    from: IpAddr,
) -> Result<(), SnapshotError> {
    if !desk.shared.inbox.trust.believes(from) {
        debug!("{from} asks for a snapshot, and livesync.cluster.node_ip does not name it");
        return Ok(());
    }
    let mut said = Greeting::default();
    patiently(stream.read_exact(&mut said)).await?;
    if said != greeting(desk.id().0) {
        debug!("{from} asks for a snapshot of another tracker, or in another version");
        return Ok(());
    }
    let begun = Giver::begin(&desk.snapshots, Arc::clone(&desk.tracker), desk.clock.now(), Instant::now());
    let Some(mut giver) = begun else {
        return patiently(stream.write_all(&[BUSY])).await;
    };
    let given = give(desk, &mut giver, &mut stream).await;
    match given {
        Ok(()) => giver.finish(&from, Instant::now(), &desk.shared.counters),
        Err(error) => giver.give_up(&from, Instant::now(), &error),
    }
    Ok(())
}

/// Sends the snapshot, and waits until the joiner, which then has it all, closes the connection.
async fn give<F: Flavour, C: Clock>(
    desk: &Desk<F, C>,
    giver: &mut Giver<F>,
    stream: &mut TcpStream,
) -> Result<(), SnapshotError> {
    patiently(stream.write_all(&[GIVES])).await?;
    while let Some(piece) = giver.next(desk.clock.now(), Instant::now())? {
        if piece.bytes.is_empty() {
            // Others have their turn.
            yield_now().await;
            continue;
        }
        sleep_until(piece.due.into()).await;
        patiently(stream.write_all(&piece.bytes)).await?;
    }
    patiently(stream.shutdown()).await?;
    let more = patiently(stream.read(&mut [0])).await?;
    if more == 0 { Ok(()) } else { Err(SnapshotError::Cut) }
}
