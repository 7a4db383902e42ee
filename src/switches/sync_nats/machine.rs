//! What is said when, and what comes of what is heard. No connection and no clock: both are passed in.

mod now;
mod say;

use std::ops::Range;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::cluster::counts::TransportCounter;
use crate::cluster::inbox;
use crate::cluster::outbox::OutgoingPacket;
use crate::cluster::record::RecordKind;
use crate::log::Complaints;
use crate::tracker::{Cluster as _, Flavour, Minute};

use super::ask::{Ask, Echo};
use super::batch::{Batch, MAX_HEADER, ParseError, Sealed};
use super::journal::{Journal, Lost};
use super::member::{Member, Shared};
use super::republish::Walk;
use super::senders::{Before, Due, Senders, Verdict};
pub(super) use now::Now;
pub(super) use say::{Message, Topic};
use say::{OWN, changes, say_batch};

/// Batches that are sent before the first of them has surely gone out: a megabyte. More wait here.
pub(super) const WINDOW: u64 = 16;
/// After so long without an echo, what is sent counts as gone out: longer than it takes until a connection by which
/// nothing goes any more is cut.
const NO_ECHO: Duration = Duration::from_secs(30);
/// Batches that are sent again in one turn, for who has missed them.
const REPEATS: usize = 2;
/// Batches that one turn takes from the outbox at most.
const TAKEN: usize = 64;
/// A batch without records goes out after such a silence: it shows what was missed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long there is between two steps of a walk.
const STEP_PAUSE: Duration = Duration::from_millis(100);
/// How long there is at least between the beginnings of two walks.
const WALK_PAUSE: Duration = Duration::from_secs(10);
/// For so long after the first connection, who is heard for the first time has been there before. What he said until
/// then is known from a snapshot, if there is one and the tracker began no longer before that connection.
const STARTS: Duration = Duration::from_secs(15);
/// So many minutes before the tracker began is asked back for what others said: clocks and ages count whole minutes. As
/// far back goes what a predecessor may not have got out.
const RECENT: u32 = 2;
/// So long after a cut, who has not been heard again is not there any more.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// How much longer it takes at most until what he has said is asked for.
const GONE_JITTER: Duration = Duration::from_secs(10);

/// The part of one tracker in the exchange.
pub(super) struct Machine<'a, F: Flavour> {
    pub(super) member: Member<'a, F>,
    journal: Journal,
    senders: Senders,
    walk: Option<Walk>,
    /// What the next walk is to make up for.
    lost: Option<Lost>,
    /// When a walk may begin, and when it may go on.
    walk_at: Option<Instant>,
    step_at: Option<Instant>,
    /// The number of the connection; `None` while there is none.
    connection: Option<u64>,
    /// When there was one for the first time.
    since: Option<Instant>,
    /// Whether there was a snapshot, or one was searched for, at the last turn.
    had_snapshot: bool,
    /// Drawn for each connection.
    epoch: u64,
    /// No echo comes back by this connection: what is sent counts as gone out.
    is_deaf: bool,
    /// When an echo last came, or none was needed.
    proved: Option<Instant>,
    /// When a batch was last sent.
    spoke: Option<Instant>,
    /// When there was last a connection.
    connected: Option<Now>,
    /// Somebody else has asked for what those have said who are not there any more.
    gone_is_asked: bool,
    /// The end of the last connection, until it has been seen who was not heard again.
    cut: Option<(Now, Instant)>,
    rng: fastrand::Rng,
    lost_complaints: Complaints,
    echo_complaints: Complaints,
    refusals: Complaints,
}

impl<'a, F: Flavour> Machine<'a, F> {
    /// Makes one that has said and heard nothing.
    pub(super) fn new(member: Member<'a, F>) -> Self {
        // Random already: what several trackers do is spread in time.
        let mut rng = fastrand::Rng::with_seed(member.shared.sender);
        let senders = Senders::new(rng.u64(..));
        Self {
            member,
            journal: Journal::new(),
            senders,
            walk: None,
            lost: None,
            walk_at: None,
            step_at: None,
            connection: None,
            since: None,
            had_snapshot: false,
            epoch: rng.u64(..),
            is_deaf: false,
            proved: None,
            spoke: None,
            connected: None,
            gone_is_asked: false,
            cut: None,
            rng,
            lost_complaints: Complaints::default(),
            echo_complaints: Complaints::default(),
            refusals: Complaints::default(),
        }
    }

    /// Has a turn, over the connection of this number, if there is one. Appends to `out` what is to be said.
    pub(super) fn turn(&mut self, connection: Option<u64>, now: Now, out: &mut Vec<Message>) {
        self.see_connection(connection, now);
        self.take_changes(now);
        let has_snapshot = self.member.shared.has_snapshot();
        if std::mem::replace(&mut self.had_snapshot, has_snapshot) && !has_snapshot {
            self.senders.miss_snapshot(now.instant);
        }
        if connection.is_none() {
            return;
        }
        self.connected = Some(now);
        self.send_batches(WINDOW, now, out);
        self.send_missed(now, out);
        self.go_on_walking(now, out);
        self.ask(now, out);
        let silent = self.spoke.is_none_or(|spoke| now.instant.saturating_duration_since(spoke) >= KEEP_ALIVE);
        if silent {
            self.keep_alive(now, out);
        }
    }

    /// Notes which connection there is. Whatever did not surely go out by another one goes out by this one again.
    pub(super) fn see_connection(&mut self, connection: Option<u64>, now: Now) {
        if connection == self.connection {
            return;
        }
        if self.connection.take().is_some() {
            self.begin_again(now);
            let lost_at = self.connected.unwrap_or(now);
            self.cut = self.cut.or(Some((lost_at, now.instant + GONE_AFTER)));
            self.gone_is_asked = false;
        }
        let Some(connection) = connection else { return };
        if self.since.is_some() {
            self.member.shared.counters.count(TransportCounter::Reconnects);
        } else if self.member.inherits {
            let since = Minute(now.minute.0.saturating_sub(RECENT));
            self.lose(Some(Lost { from: self.journal.next(), since }));
        }
        self.since = self.since.or(Some(now.instant));
        // Others were cut off at the same time: the first one asks for all.
        let asks_at = now.instant + GONE_AFTER + GONE_JITTER.mul_f64(self.rng.f64());
        self.cut = self.cut.map(|(cut, _)| (cut, asks_at));
        self.connection = Some(connection);
    }

    /// Notes how many bytes of a message the server takes.
    pub(super) fn set_max_payload(&mut self, bytes: usize) {
        self.journal.set_max_len(bytes.saturating_sub(MAX_HEADER));
    }

    /// Notes that something that was to be said may not have been.
    pub(super) fn begin_again(&mut self, now: Now) {
        self.epoch = self.rng.u64(..);
        self.journal.begin_again();
        (self.is_deaf, self.proved, self.spoke) = (false, Some(now.instant), None);
    }

    /// Takes all that wait for others, whether they are due or not. Returns whether anything is left that has not
    /// surely gone out.
    pub(super) fn finish(&mut self, connection: Option<u64>, now: Now, out: &mut Vec<Message>) -> bool {
        self.see_connection(connection, now);
        while let Some(packet) = self.member.shared.outbox.take_any() {
            self.note_packet(packet, now);
        }
        if connection.is_some() {
            self.send_batches(u64::MAX, now, out);
        }
        !self.journal.is_proven()
    }

    /// Returns how many batches did not surely go out yet.
    pub(super) fn unproven(&self) -> u64 {
        self.journal.next() - 1 - self.journal.proven()
    }

    /// Hears a message.
    pub(super) fn hear(&mut self, topic: Topic, payload: &[u8], now: Now) {
        let heard = match topic {
            Topic::Changes => self.hear_batch(payload, now),
            Topic::Ask => Ask::parse(payload, &self.member.shared.cluster).map(|ask| self.hear_ask(&ask, now)),
            Topic::Echo => {
                self.hear_echo(payload, now);
                Ok(())
            }
        };
        if let Err(error) = heard {
            self.member.shared.counters.count(TransportCounter::PacketsRefused);
            self.refusals.say(|| debug!("a message from NATS is refused: {error}"));
        }
    }

    fn hear_batch(&mut self, payload: &[u8], now: Now) -> Result<(), ParseError> {
        let Member { shared, tracker, worker_counters, .. } = self.member;
        let batch = Batch::parse(payload, &shared.cluster)?;
        if batch.sender == shared.sender {
            // NATS brings to a tracker what it says itself.
            return Ok(());
        }
        shared.counters.note_member(u32::from_be_bytes(batch.member), now.instant);
        let verdict = self.senders.note(&batch, self.before(now), now.instant);
        if let Verdict::New { gap: true } | Verdict::Known { gap: true } = verdict {
            shared.counters.count(TransportCounter::Gaps);
        }
        // What comes again or late does not show that what is new has been told.
        let is_news = match verdict {
            Verdict::New { .. } => true,
            Verdict::Known { .. } => batch.records.is_empty(),
            Verdict::Late | Verdict::Refused => false,
        };
        if F::Cluster::BRIDGES && is_news {
            shared.members.hear(u32::from_be_bytes(batch.member), now.instant);
        }
        match verdict {
            Verdict::Refused => shared.counters.count(TransportCounter::PacketsRefused),
            Verdict::Known { .. } => {}
            Verdict::New { .. } | Verdict::Late => {
                shared.counters.add(TransportCounter::BytesReceived, payload.len());
                let changes: Vec<_> = batch.changes(now.minute, verdict == Verdict::Late).flatten().collect();
                inbox::absorb(tracker, &changes, batch.count(), now.minute, &shared.counters, |change, outcome| {
                    // A completed download is one wherever it was announced: each tracker of a cluster counts it, once.
                    worker_counters.count_outcome(change.endpoint.ip(), outcome);
                });
            }
        }
        Ok(())
    }

    /// Returns what is known of what another said before it is heard for the first time.
    fn before(&self, now: Now) -> Before {
        let since = self.since.unwrap_or(now.instant);
        let shared = self.member.shared;
        // After a cut, who is heard for the first time may have begun while nothing was heard.
        if self.cut.is_some() || now.instant.saturating_duration_since(since) >= STARTS {
            Before::Missed
        } else if shared.has_snapshot() && since.saturating_duration_since(shared.began) < STARTS {
            Before::Known
        } else {
            Before::OldKnown
        }
    }

    /// Returns for how many minutes back is asked what others said before they were heard for the first time.
    fn recent(&self, now: Now) -> u64 {
        now.instant.saturating_duration_since(self.member.shared.began).as_secs() / 60 + u64::from(RECENT)
    }

    fn hear_ask(&mut self, ask: &Ask, now: Now) {
        let own = self.member.shared.sender;
        if ask.asker == own {
            return;
        }
        if let Some((cut, _)) = self.cut.filter(|_| ask.missed.is_empty()) {
            self.gone_is_asked |= ask.minutes >= minutes_since(cut, now);
        }
        if ask.sender != own {
            return self.senders.heard_ask(ask, self.recent(now), now.instant);
        }
        let minutes = u32::try_from(ask.minutes).unwrap_or(u32::MAX);
        let recent = Lost { from: self.journal.next(), since: Minute(now.minute.0.saturating_sub(minutes)) };
        let lost = if ask.missed.is_empty() {
            Some(recent)
        } else if minutes > 0 {
            let (first, is_whole) = self.journal.recent(recent.since);
            self.journal.ask(&(ask.missed.start.max(first)..ask.missed.end), now.instant);
            (!is_whole && ask.missed.start < first).then_some(recent)
        } else {
            // The walk under way makes up for some.
            let walked = self.walk.as_ref().map(|walk| &walk.made_up).filter(|made| made.contains(&ask.missed.start));
            let missed = walked.map_or(ask.missed.start, |made_up| made_up.end)..ask.missed.end;
            self.journal.ask(&missed, now.instant)
        };
        self.lose(lost);
    }

    fn hear_echo(&mut self, payload: &[u8], now: Now) {
        if let Some(Echo { sequence, .. }) = Echo::parse(payload).filter(|echo| echo.epoch == self.epoch) {
            self.journal.prove(sequence);
            (self.is_deaf, self.proved) = (false, Some(now.instant));
        }
    }

    /// Takes what the workers have added, and forgets what there is no room for.
    fn take_changes(&mut self, now: Now) {
        let Member { shared, tracker, .. } = self.member;
        shared.outbox.set_forwarding(tracker.flavour().cluster().forwards(), now.instant);
        for _ in 0..TAKEN {
            let Some(packet) = shared.outbox.take_due(now.instant) else { break };
            self.note_packet(packet, now);
        }
        shared.counters.add(TransportCounter::PacketsLost, shared.outbox.take_lost());
        if shared.take_refused() {
            // They are published when their peers next announce themselves, or by a walk if that is earlier.
            let since = self.connected.map_or(now.minute, |connected| connected.minute).min(now.minute);
            self.lose(Some(Lost { from: self.journal.next(), since: Minute(since.0.saturating_sub(2)) }));
            self.lost_complaints.say(|| warn!("changes come faster than NATS takes them: some are published later"));
        }
        let (count, lost) = self.journal.forget(now.minute);
        self.lose(lost);
        if count > 0 {
            shared.counters.add(TransportCounter::PacketsLost, count);
            self.lost_complaints.say(|| {
                warn!(
                    "NATS has not taken {count} batches of changes for too long: their peers are published anew later"
                );
            });
        }
    }

    fn note_packet(&mut self, packet: OutgoingPacket, now: Now) {
        match Sealed::new(packet.kind, packet.bytes, now.fresh, now.instant) {
            Some(sealed) => self.journal.push(sealed, false),
            None => self.member.shared.counters.count(TransportCounter::PacketsLost),
        }
    }

    fn lose(&mut self, lost: Option<Lost>) {
        self.lost = lost.map(|lost| lost.and(self.lost)).or(self.lost);
    }

    /// Sends what has not been sent by this connection, as long as fewer than `window` batches have not surely gone
    /// out.
    fn send_batches(&mut self, window: u64, now: Now, out: &mut Vec<Message>) {
        if self.journal.in_flight() == 0 {
            self.proved = Some(now.instant);
        } else if self.proved.is_none_or(|proved| now.instant.saturating_duration_since(proved) >= NO_ECHO) {
            self.is_deaf = true;
            let Shared { cluster, sender, .. } = self.member.shared;
            self.echo_complaints.say(|| {
                warn!("NATS does not bring {cluster}.echo.{sender:016x} back: is it slow, or is that not permitted?");
            });
        }
        if self.is_deaf {
            self.journal.prove(self.journal.sent());
        }
        for _ in 0..WINDOW {
            if self.journal.in_flight() >= window && !self.is_deaf {
                break;
            }
            let made_up = self.made_up();
            let Some((entry, again)) = self.journal.send_next(now.instant) else { break };
            let sequence = entry.sequence;
            say_batch(&self.member, entry, again || entry.repeats, made_up, now, out);
            out.push(Message { topic: Topic::Echo, payload: Echo { epoch: self.epoch, sequence }.write() });
            self.spoke = Some(now.instant);
        }
    }

    /// Sends again what others have missed.
    fn send_missed(&mut self, now: Now, out: &mut Vec<Message>) {
        for _ in 0..REPEATS {
            let made_up = self.made_up();
            let Some(entry) = self.journal.send_asked(now.instant) else { break };
            say_batch(&self.member, entry, true, made_up, now, out);
        }
    }

    /// Returns the sequence numbers that the walk under way makes up for.
    fn made_up(&self) -> Range<u64> {
        self.walk.as_ref().map_or(0..0, |walk| walk.made_up.clone())
    }

    fn go_on_walking(&mut self, now: Now, out: &mut Vec<Message>) {
        let is_due = |at: Option<Instant>| at.is_none_or(|at| now.instant >= at);
        if self.walk.is_none() && is_due(self.walk_at) {
            let Some(Lost { from, since }) = self.lost.take() else { return };
            let since = since.min(self.journal.since(from).unwrap_or(since));
            debug!("publishing anew whoever was seen in the last {} minutes", now.minute.since(since));
            self.walk = Some(Walk::new(since, from..self.journal.first().max(from)));
            self.walk_at = Some(now.instant + WALK_PAUSE);
        }
        // What is new goes first.
        if self.journal.in_flight() >= WINDOW / 2 || !is_due(self.step_at) {
            return;
        }
        let Some(walk) = &mut self.walk else { return };
        self.step_at = Some(now.instant + STEP_PAUSE);
        for sealed in walk.step(self.member.tracker, now.minute, now.instant) {
            self.journal.push(sealed, true);
        }
        let is_over = walk.is_over();
        self.send_batches(WINDOW, now, out);
        if is_over {
            // Whoever waits for the walk hears that it was there, also if it found nobody.
            self.keep_alive(now, out);
            self.walk = None;
        }
    }

    fn ask(&mut self, now: Now, out: &mut Vec<Message>) {
        let asker = self.member.shared.sender;
        let recent = self.recent(now);
        let minutes = |is_recent| if is_recent { recent } else { 0 };
        let due = self.senders.due(now.instant).into_iter();
        let mut due: Vec<_> =
            due.map(|Due { sender, missed, is_recent }| (sender, missed, minutes(is_recent))).collect();
        if let Some((cut, _)) = self.cut.take_if(|(_, at)| now.instant >= *at) {
            // What those have said last who are not there any more, the others know.
            if !self.gone_is_asked && self.senders.has_lost_any(cut.instant, 2 * GONE_AFTER) {
                let minutes = minutes_since(cut, now);
                due.extend(self.senders.any(now.instant).map(|sender| (sender, 0..0, minutes)));
            }
        }
        for (sender, missed, minutes) in due {
            let payload = Ask { asker, sender, missed, minutes }.write(&self.member.shared.cluster);
            out.push(Message { topic: Topic::Ask, payload });
        }
    }

    fn keep_alive(&mut self, now: Now, out: &mut Vec<Message>) {
        let sequence = self.journal.sent();
        let (kind, made_up) = (RecordKind::Ipv4, self.made_up());
        out.push(changes(&self.member, Batch { sequence, made_up, waited: 0, kind, records: &[], ..OWN }));
        if self.journal.in_flight() > 0 {
            out.push(Message { topic: Topic::Echo, payload: Echo { epoch: self.epoch, sequence }.write() });
        }
        self.spoke = Some(now.instant);
    }
}

/// Returns for how many minutes back is asked after a cut.
fn minutes_since(cut: Now, now: Now) -> u64 {
    u64::from(now.minute.since(cut.minute) + RECENT)
}

#[cfg(test)]
mod tests;
