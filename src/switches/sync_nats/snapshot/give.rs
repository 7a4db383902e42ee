//! The side of the donors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{SubscribeError, Subscriber};
use fastrand::Rng;
use futures_util::StreamExt as _;
use futures_util::stream::{Select, select};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::debug;

use crate::cluster::snapshot::{Giver, PATIENCE, SnapshotError};
use crate::tracker::{Clock, Flavour};

use super::message::{Message, WINDOW};
use super::party::{Address, Named, Party};

/// Most questions of joiners that are answered in a second. They ask again.
const MAX_ANSWERS: u32 = 10;
/// Within this time donors answer, each at a moment of its own.
pub(super) const MAX_JITTER: Duration = Duration::from_millis(500);

/// What joiners say: to all donors, and to this one.
type Inbox = Select<Subscriber, Subscriber>;

/// A snapshot that is being given.
struct Giving {
    /// The joiner's number, and its own.
    id: (u64, u64),
    /// How many pieces of it have been taken. The task that gives them listens.
    taken: watch::Sender<u32>,
}

/// How many questions have been answered in the present second.
struct Answers {
    since: Instant,
    given: u32,
}

/// Answers joiners and gives them snapshots, each in a task of its own, for as long as the client is there. Does
/// nothing where no snapshots are given.
///
/// # Errors
///
/// The client has come to its end.
pub(super) async fn give<F: Flavour, C: Clock>(party: &Arc<Party<F, C>>) -> Result<(), SubscribeError> {
    if party.snapshots.gives() {
        let inbox = listen(party).await?;
        serve(party, inbox).await;
    }
    Ok(())
}

/// Subscribes to what joiners say.
pub(super) async fn listen<F: Flavour, C: Clock>(party: &Party<F, C>) -> Result<Inbox, SubscribeError> {
    let questions = party.subscribe(Address::Donors).await?;
    let demands = party.subscribe(Address::Donor(party.number())).await?;
    Ok(select(questions, demands))
}

/// Answers what joiners say until the client has come to its end.
pub(super) async fn serve<F: Flavour, C: Clock>(party: &Arc<Party<F, C>>, mut inbox: Inbox) {
    let mut given: Vec<Giving> = Vec::new();
    let mut answers = Answers { since: Instant::now(), given: 0 };
    while let Some(message) = inbox.next().await {
        given.retain(|giving| !giving.taken.is_closed());
        match party.read(&message) {
            Some(Message::Question { joiner }) if joiner != party.number() && answers.may(Instant::now()) => {
                let party = Arc::clone(party);
                tokio::spawn(async move { party.answer(joiner).await });
            }
            Some(Message::Demand { joiner, snapshot, taken }) => {
                if let Some(giving) = given.iter().find(|giving| giving.id == (joiner, snapshot)) {
                    giving.taken.send_if_modified(|known| {
                        let is_more = taken > *known;
                        *known = taken.max(*known);
                        is_more
                    });
                } else if let Some(taken) = party.begin(joiner, snapshot, taken) {
                    given.push(Giving { id: (joiner, snapshot), taken });
                } else {
                    party.refuse(joiner, snapshot).await;
                }
            }
            Some(Message::End { joiner, snapshot }) => given.retain(|giving| giving.id != (joiner, snapshot)),
            _ => {}
        }
    }
}

impl Answers {
    /// Returns whether one more may be given, and counts it.
    fn may(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, given: 0 };
        }
        self.given += 1;
        self.given <= MAX_ANSWERS
    }
}

impl<F: Flavour, C: Clock> Party<F, C> {
    /// Tells a joiner what can be given, after a moment of which it knows nothing.
    async fn answer(&self, joiner: u64) {
        sleep(MAX_JITTER.mul_f64(Rng::with_seed(self.number() ^ joiner).f64())).await;
        let now = Instant::now();
        let message = match self.snapshots.offer(self.number(), &self.tracker, now) {
            Some(offer) => Message::Offer(offer),
            None if self.snapshots.gives() && !self.snapshots.waits(now) => Message::Presence,
            None => return,
        };
        if let Err(error) = self.send(Address::Joiner(joiner, 0), message).await {
            debug!("cannot answer {}: {error}", Named(joiner));
        }
    }

    /// Begins a snapshot of which nothing has been taken yet, if one can be given.
    fn begin(self: &Arc<Self>, joiner: u64, snapshot: u64, taken: u32) -> Option<watch::Sender<u32>> {
        let now = Instant::now();
        if taken > 0 || self.snapshots.waits(now) {
            return None;
        }
        let mut giver = Giver::begin(&self.snapshots, Arc::clone(&self.tracker), self.clock.now(), now)?;
        let (sender, taken) = watch::channel(0);
        let party = Arc::clone(self);
        tokio::spawn(async move {
            match party.give_pieces(joiner, snapshot, &mut giver, taken).await {
                Ok(()) => giver.finish(&Named(joiner), Instant::now(), &party.shared.counters),
                Err(error) => {
                    giver.give_up(&Named(joiner), Instant::now(), &error);
                    party.refuse(joiner, snapshot).await;
                }
            }
        });
        Some(sender)
    }

    /// Sends all pieces, and waits until they have been taken.
    async fn give_pieces(
        &self,
        joiner: u64,
        snapshot: u64,
        giver: &mut Giver<F>,
        mut taken: watch::Receiver<u32>,
    ) -> Result<(), SnapshotError> {
        let mut number: u32 = 0;
        while let Some(piece) = giver.next(self.clock.now(), Instant::now())? {
            yield_now().await;
            for bytes in piece.bytes.chunks(self.piece_len()) {
                wait_for(&mut taken, number.saturating_sub(WINDOW - 1)).await?;
                sleep_until(piece.due.into()).await;
                self.send(Address::Joiner(joiner, snapshot), Message::Piece { snapshot, number, bytes }).await?;
                number += 1;
            }
        }
        wait_for(&mut taken, number).await
    }

    async fn refuse(&self, joiner: u64, snapshot: u64) {
        // One that does not hear of it waits in vain, and asks the next donor.
        if let Err(error) = self.send(Address::Joiner(joiner, snapshot), Message::Refusal { snapshot }).await {
            debug!("cannot refuse {} a snapshot: {error}", Named(joiner));
        }
    }
}

/// Waits until so many pieces have been taken.
async fn wait_for(taken: &mut watch::Receiver<u32>, wanted: u32) -> Result<(), SnapshotError> {
    let reached = timeout(PATIENCE, taken.wait_for(|taken| *taken >= wanted)).await;
    reached.map_err(|_| SnapshotError::Silent)?.map_err(|_| SnapshotError::Cut)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_questions_are_answered_in_a_second() {
        let start = Instant::now();
        let mut answers = Answers { since: start, given: 0 };
        let mut may = |milliseconds| answers.may(start + Duration::from_millis(milliseconds));
        assert_eq!((0..100).filter(|_| may(0)).count(), 10);
        assert!(!may(999));
        assert_eq!((0..100).filter(|_| may(1000)).count(), 10);
    }
}
