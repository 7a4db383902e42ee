//! What both sides of a snapshot need: who they are, and how they talk.

use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;

use async_nats::{Client, PublishError, StatusCode, SubscribeError, Subscriber};
use tokio::time::timeout;
use tracing::debug;

use crate::cluster::counts::TransportCounter;
use crate::cluster::snapshot::{PATIENCE, SnapshotError, Snapshots};
use crate::log::Complaints;
use crate::tracker::{Clock, Flavour, Tracker};

use super::super::member::Shared;
use super::message::{self, Message};

/// A tracker that takes a snapshot from the others of its cluster, or gives snapshots to them.
pub(in super::super) struct Party<F: Flavour, C: Clock> {
    pub(super) client: Client,
    pub(super) shared: Arc<Shared>,
    pub(super) tracker: Arc<Tracker<F>>,
    pub(super) clock: C,
    pub(super) snapshots: Arc<Snapshots>,
    refusals: Complaints,
}

/// To whom a message goes, and who subscribes to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Address {
    /// All donors.
    Donors,
    /// The donor of this number.
    Donor(u64),
    /// The joiner of this number, about the snapshot of this number, or about none with 0.
    Joiner(u64, u64),
}

impl Address {
    pub(super) fn subject(self, cluster: &str) -> String {
        match self {
            Self::Donors => format!("{cluster}.snapshot"),
            Self::Donor(number) => format!("{cluster}.snapshot.donor.{number:016x}"),
            Self::Joiner(number, snapshot) => format!("{cluster}.snapshot.joiner.{number:016x}.{snapshot}"),
        }
    }

    /// Returns what a joiner subscribes to.
    pub(super) fn all_of_joiner(number: u64, cluster: &str) -> String {
        format!("{cluster}.snapshot.joiner.{number:016x}.*")
    }
}

/// The number of a tracker, as the log names it.
pub(super) struct Named(pub(super) u64);

impl Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tracker {:016x} over NATS", self.0)
    }
}

impl<F: Flavour, C: Clock> Party<F, C> {
    pub(in super::super) fn new(
        client: Client,
        shared: Arc<Shared>,
        tracker: Arc<Tracker<F>>,
        clock: C,
        snapshots: Arc<Snapshots>,
    ) -> Self {
        Self { client, shared, tracker, clock, snapshots, refusals: Complaints::default() }
    }

    /// Returns by which number others know this tracker.
    pub(super) fn number(&self) -> u64 {
        self.shared.sender
    }

    pub(super) async fn subscribe(&self, address: Address) -> Result<Subscriber, SubscribeError> {
        self.client.subscribe(address.subject(&self.shared.cluster)).await
    }

    /// Sends a message. Waits while there is no room for it, as when there is no connection.
    pub(super) async fn send(&self, to: Address, message: Message<'_>) -> Result<(), SnapshotError> {
        self.count_sent(message, |bytes| self.client.publish(to.subject(&self.shared.cluster), bytes.into())).await
    }

    /// Sends a message. If nobody is there to receive it, the server says so to `from`.
    pub(super) async fn send_from(
        &self,
        from: Address,
        to: Address,
        message: Message<'_>,
    ) -> Result<(), SnapshotError> {
        let subject = |address: Address| address.subject(&self.shared.cluster);
        self.count_sent(message, |bytes| self.client.publish_with_reply(subject(to), subject(from), bytes.into())).await
    }

    async fn count_sent<S: Future<Output = Result<(), PublishError>>>(
        &self,
        message: Message<'_>,
        send: impl FnOnce(Vec<u8>) -> S,
    ) -> Result<(), SnapshotError> {
        let bytes = message.to_bytes(&self.shared.cluster);
        let len = bytes.len();
        let sent = timeout(PATIENCE, send(bytes)).await;
        sent.map_err(|_| SnapshotError::Silent)?.map_err(io::Error::other)?;
        self.shared.counters.count(TransportCounter::PacketsSent);
        self.shared.counters.add(TransportCounter::BytesSent, len);
        Ok(())
    }

    /// Reads a message and counts it; `None` if it is refused, or the server's own.
    pub(super) fn read<'a>(&self, message: &'a async_nats::Message) -> Option<Message<'a>> {
        if message.status.is_some() {
            return None;
        }
        match Message::parse(&message.payload, &self.shared.cluster) {
            Ok(read) => {
                self.shared.counters.count(TransportCounter::PacketsReceived);
                self.shared.counters.add(TransportCounter::BytesReceived, message.payload.len());
                Some(read)
            }
            Err(error) => {
                self.shared.counters.count(TransportCounter::PacketsRefused);
                self.refusals.say(|| debug!("a message on {} is refused: {error}", message.subject));
                None
            }
        }
    }

    /// Returns the room for a piece in a message that the server takes.
    pub(super) fn piece_len(&self) -> usize {
        self.client.max_payload().saturating_sub(message::MAX_OVERHEAD).max(1)
    }
}

/// Returns whether it is the server's answer to a message from `address` that nobody has received.
pub(super) fn says_nobody_is_there(message: &async_nats::Message, address: Address, cluster: &str) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS) && message.subject.as_str() == address.subject(cluster)
}

/// Returns the error of a client that has come to its end.
pub(super) fn ended() -> SnapshotError {
    SnapshotError::Io(io::ErrorKind::NotConnected.into())
}
