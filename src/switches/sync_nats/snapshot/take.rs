//! The side of the joiner.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use async_nats::connection::State;
use futures_util::StreamExt as _;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout_at};
use tracing::warn;

use crate::cluster::snapshot::{End, Next, Search, SnapshotError, Taker, ready_by};
use crate::tracker::{Clock, Flavour};

use super::message::{Message, WINDOW};
use super::party::{Address, Named, Party, ended, says_nobody_is_there};

/// The donor hears after so many pieces that they have been taken: long before it has to wait for that.
const DEMAND_EVERY: u32 = WINDOW / 4;
/// How long a donor may send nothing. It sends a piece every second, if it gives to two every other.
const SILENCE: Duration = Duration::from_secs(5);
/// After this time without a piece the joiner repeats its demand, and hears if the donor is gone.
const REPEAT: Duration = Duration::from_secs(1);
/// When the server has just started, others may need longer than this tracker to connect to it: for so long is asked
/// again now and then.
const LATE: Duration = Duration::from_secs(60);
/// How long it waits before it asks again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often is looked whether there is a connection.
const TICK: Duration = Duration::from_millis(50);

/// Takes a snapshot from another tracker of the cluster, if one gives it. Waits for a connection first. Logs what came
/// of it. Drops `unready` when it has come, or nobody is there, and after `sync.snapshot_wait` at the latest; goes on
/// nevertheless.
pub(super) async fn take<F: Flavour, C: Clock>(party: &Party<F, C>, unready: impl Send) {
    if !party.snapshots.asks() {
        return;
    }
    let mut found = ready_by(party.snapshots.limits().wait, unready, "NATS", party.search()).await;
    let began = Instant::now();
    let mut said = None;
    loop {
        match found {
            Ok(end) if said == Some(end) => {}
            Ok(end) => end.log(),
            Err(error) => {
                party.shared.set_snapshot(false);
                return warn!("cannot take a snapshot over NATS: {error}");
            }
        }
        said = found.ok();
        party.shared.set_snapshot(matches!(said, Some(End::Taken | End::TakenElsewhere)));
        if said != Some(End::Alone) || began.elapsed() >= LATE {
            return;
        }
        sleep(AGAIN).await;
        found = party.search().await;
    }
}

impl<F: Flavour, C: Clock> Party<F, C> {
    async fn search(&self) -> Result<End, SnapshotError> {
        let subject = Address::all_of_joiner(self.number(), &self.shared.cluster);
        let mut inbox = self.client.subscribe(subject).await.map_err(io::Error::other)?;
        while self.client.connection_state() != State::Connected {
            sleep(TICK).await;
        }
        let mut snapshot = 0;
        let mut search = Search::new(&self.snapshots, Instant::now());
        loop {
            match search.next(Instant::now()) {
                Next::Ask => match self.send(Address::Donors, Message::Question { joiner: self.number() }).await {
                    // There is no connection, at present.
                    Ok(()) | Err(SnapshotError::Silent) => {}
                    Err(error) => return Err(error),
                },
                Next::Wait(until) => {
                    let Ok(message) = timeout_at(until.into(), inbox.next()).await else { continue };
                    match self.read(&message.ok_or_else(ended)?) {
                        Some(Message::Offer(offer)) => search.offered(offer, (), Instant::now()),
                        Some(Message::Presence) => search.heard(),
                        _ => {}
                    }
                }
                Next::Take(candidate) => {
                    snapshot += 1;
                    match self.take_from(&mut inbox, candidate.offer.id, snapshot).await {
                        Ok(()) => search.taken(candidate),
                        Err(error) => search.failed(candidate, &error),
                    }
                }
                Next::Over(end) => return Ok(end),
            }
        }
    }

    /// Takes the snapshot of one donor. Logs what came of it.
    pub(super) async fn take_from(
        &self,
        inbox: &mut Subscriber,
        donor: u64,
        snapshot: u64,
    ) -> Result<(), SnapshotError> {
        let mut taker = Taker::new(Arc::clone(&self.tracker), self.snapshots.limits().max, Instant::now());
        let taken = self.take_pieces(inbox, donor, snapshot, &mut taker).await;
        match &taken {
            Ok(()) => taker.finish(&Named(donor), Instant::now(), &self.shared.counters),
            Err(SnapshotError::Busy) => {}
            Err(error) => {
                taker.give_up(&Named(donor), error);
                // Else the donor finds out by itself.
                let _ = self.send(Address::Donor(donor), Message::End { joiner: self.number(), snapshot }).await;
            }
        }
        taken
    }

    async fn take_pieces(
        &self,
        inbox: &mut Subscriber,
        donor: u64,
        snapshot: u64,
        taker: &mut Taker<F>,
    ) -> Result<(), SnapshotError> {
        let (from, to) = (Address::Joiner(self.number(), snapshot), Address::Donor(donor));
        let demand = |taken| self.send_from(from, to, Message::Demand { joiner: self.number(), snapshot, taken });
        demand(0).await?;
        let mut taken = 0;
        // Whatever else comes, it is this snapshot that is waited for.
        let (mut heard, mut demanded) = (Instant::now(), Instant::now());
        loop {
            let until = (heard + SILENCE).min(demanded + REPEAT);
            let message = timeout_at(until.into(), inbox.next()).await;
            // Looked at whatever has come: it may be anything but a piece, for ever.
            if heard.elapsed() >= SILENCE {
                return Err(SnapshotError::Silent);
            }
            if demanded.elapsed() >= REPEAT {
                demanded = Instant::now();
                demand(taken).await?;
            }
            let Ok(message) = message else { continue };
            let message = message.ok_or_else(ended)?;
            if says_nobody_is_there(&message, from, &self.shared.cluster) {
                return Err(SnapshotError::Cut);
            }
            let (number, bytes) = match self.read(&message) {
                Some(Message::Piece { snapshot: of, number, bytes }) if of == snapshot => (number, bytes),
                Some(Message::Refusal { snapshot: of }) if of == snapshot => {
                    return Err(if taken == 0 { SnapshotError::Busy } else { SnapshotError::Cut });
                }
                _ => continue,
            };
            if number < taken {
                continue;
            }
            if number > taken {
                return Err(SnapshotError::Cut);
            }
            let now = Instant::now();
            let is_whole = taker.take(bytes, self.clock.now(), now)?;
            taken += 1;
            (heard, demanded) = (now, now);
            if is_whole {
                // A donor that does not hear of it counts it as one that was given up.
                let _ = demand(taken).await;
                return Ok(());
            }
            if taken % DEMAND_EVERY == 0 {
                demand(taken).await?;
            }
            yield_now().await;
        }
    }
}
