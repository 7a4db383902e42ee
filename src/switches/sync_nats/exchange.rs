//! What a tracker says to the others of its cluster over NATS, and what it hears from them.
//!
//! Each batch has a number, so whoever has missed one sees it by the next, and asks the sender for it; a tracker that
//! is silent says its last number every few seconds. Behind each batch a tracker sends an echo to itself: what comes
//! before one that is back has surely gone out. Whatever has not is sent again by the next connection. All this comes
//! out of the [journal](super::journal); what that has no room for is made up for by a [walk](super::republish) over
//! all peers.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Message as NatsMessage, Statistics, Subject, Subscriber};
use futures_util::StreamExt as _;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::cluster::counts::TransportCounter;
use crate::cluster::watch::Watch;
use crate::log::Complaints;
use crate::stop::StopToken;
use crate::tracker::{Clock, Flavour};

use super::machine::{Machine, Message, Now, Topic};
use super::member::Shared;

/// How long there is between two turns of the thread.
const TURN: Duration = Duration::from_millis(50);

/// How long the client may take to take a message.
const MAX_SAY: Duration = Duration::from_secs(1);

/// How long the last batches may take to reach the server.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Tells the cluster what happens here, and takes over what it tells, until `stop` is told; then sends what is left,
/// and waits until the server has it, for [`LAST_WAIT`] at most.
///
/// Counts reconnects by the client's statistics, and sets what [`Shared::is_connected`] returns. Wants a client that
/// connects again by itself, for ever.
///
/// # Errors
///
/// The client has come to its end. All that did not surely go out does so by the next one, with the same `machine`.
pub(super) async fn run<F: Flavour>(
    client: &Client,
    machine: &mut Machine<'_, F>,
    clock: impl Clock,
    stop: &StopToken,
) -> Result<(), async_nats::Error> {
    let shared = machine.member.shared;
    let now = || Now::new(Instant::now(), clock.second());
    let ended = async {
        let mut line = Line::open(client, shared).await?;
        let mut out = Vec::new();
        let mut watch = Watch::new(Instant::now());
        while !stop.is_stopped() {
            match line.next(stop).await {
                Event::Turn => {
                    let connection = line.connection();
                    if connection.is_some() {
                        machine.set_max_payload(client.max_payload());
                    }
                    machine.turn(connection, now(), &mut out);
                }
                Event::Heard(topic, message) => {
                    machine.see_connection(line.connection(), now());
                    machine.hear(topic, &message.payload, now());
                }
                Event::Stopped => break,
                Event::Closed => return Err("the connection is closed".into()),
            }
            shared.set_connected(line.connection().is_some());
            if let Some(summary) = watch.look(Instant::now(), || shared.status(Instant::now())) {
                warn!("{summary}");
            }
            if !line.say(&mut out).await {
                machine.begin_again(now());
            }
        }
        let deadline = Instant::now() + LAST_WAIT;
        while machine.finish(line.connection(), now(), &mut out) && Instant::now() < deadline {
            if !line.say(&mut out).await {
                machine.begin_again(now());
            }
            if let Event::Heard(topic, message) = line.next(&StopToken::default()).await {
                machine.hear(topic, &message.payload, now());
            }
        }
        match machine.unproven() {
            0 => {}
            batches => warn!("the last {batches} batches of changes may not have reached the cluster over NATS"),
        }
        Ok(())
    }
    .await;
    shared.set_connected(false);
    // Another client counts its connections anew.
    machine.see_connection(None, now());
    ended
}

/// The connection, with what is subscribed to.
struct Line<'a> {
    client: &'a Client,
    shared: &'a Shared,
    statistics: Arc<Statistics>,
    subscriptions: [(Topic, Subject, Subscriber); 3],
    turns: Interval,
    complaints: Complaints,
    too_large: Complaints,
}

/// What the exchange waits for.
enum Event {
    Turn,
    Heard(Topic, NatsMessage),
    Stopped,
    Closed,
}

impl<'a> Line<'a> {
    /// Subscribes to what is said in the cluster.
    async fn open(client: &'a Client, shared: &'a Shared) -> Result<Self, async_nats::Error> {
        let Shared { cluster, sender, .. } = shared;
        let subscribe = async |topic, subject: String| {
            let subject = Subject::from(subject);
            client.subscribe(subject.clone()).await.map(|subscriber| (topic, subject, subscriber))
        };
        let subscriptions = [
            subscribe(Topic::Echo, format!("{cluster}.echo.{sender:016x}")).await?,
            subscribe(Topic::Ask, format!("{cluster}.ask")).await?,
            subscribe(Topic::Changes, format!("{cluster}.changes")).await?,
        ];
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (complaints, too_large) = (Complaints::default(), Complaints::default());
        Ok(Self { client, shared, statistics: client.statistics(), subscriptions, turns, complaints, too_large })
    }

    /// Returns the number of the connection; `None` while there is none. Counted by the client before it sends anything
    /// by that connection.
    fn connection(&self) -> Option<u64> {
        let is_connected = self.client.connection_state() == State::Connected;
        is_connected.then(|| self.statistics.connects.load(Ordering::Relaxed))
    }

    /// Waits for what comes next.
    async fn next(&mut self, stop: &StopToken) -> Event {
        let Self { subscriptions, turns, .. } = self;
        let mut stopped = pin!(stop.stopped());
        poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Stopped);
            }
            if turns.poll_tick(context).is_ready() {
                return Poll::Ready(Event::Turn);
            }
            for (topic, _, subscriber) in &mut *subscriptions {
                match subscriber.poll_next_unpin(context) {
                    Poll::Ready(Some(message)) => return Poll::Ready(Event::Heard(*topic, message)),
                    Poll::Ready(None) => return Poll::Ready(Event::Closed),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Says what is to be said. Returns false if some of it could not be: then the rest is not said either.
    async fn say(&self, out: &mut Vec<Message>) -> bool {
        for Message { topic, payload } in out.drain(..) {
            let Some((_, subject, _)) = self.subscriptions.iter().find(|(of, ..)| *of == topic) else { continue };
            let (len, max) = (payload.len(), self.client.max_payload());
            if len > max && self.connection().is_some() {
                // Batches are made to fit: a server before this one may have taken more.
                self.shared.counters.count(TransportCounter::PacketsLost);
                self.too_large.say(|| {
                    warn!(
                        "the server of NATS takes {max} bytes at most, too few for a message of {len}: it is left out"
                    );
                });
                continue;
            }
            let said = timeout(MAX_SAY, self.client.publish(subject.clone(), payload.into())).await;
            match said {
                Ok(Ok(())) => {}
                // It waits for the server, which may come back.
                Err(_) => return false,
                Ok(Err(error)) => {
                    self.complaints.say(|| warn!("the server of NATS does not take what is told: {error}"));
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
