//! Turns datagrams into replies. Has no socket and no clock: the driver passes datagrams and the time in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fastrand::Rng;

use crate::log;
use crate::stats::{Counter, Protocol, WorkerCounters};
use crate::tracker::{
    AnnounceError, AnnounceRequest, Clients as _, Event, Flavour, GROUP, Minute, NetworkLog as _, PeerBuffer,
    PeerBuffers, PeerRequest, PendingAnnounce, PendingScrape, RefusalTerms, ScrapeCounts, Second, Tracker, WantedLog,
    WorkerWanted as _,
};

use super::connection_id::{ConnectionIds, Slot};
use super::error_limit::ErrorLimit;
use super::packet::{self, ANNOUNCE_REPLY_LEN, Action, AnnounceBody, Hashes, PEER_LEN, REPLY_HEADER_LEN, UdpRequest};

/// Most IPv4 peers in one reply. They make it 1220 bytes long, which fits every path that carries IPv6; for a narrower
/// path the driver cuts it.
pub const MAX_PEERS_IPV4: usize = 200;
/// Most IPv6 peers in one reply, which is then 1208 bytes long.
pub const MAX_PEERS_IPV6: usize = 66;

/// The longest reply, in bytes.
pub const MAX_REPLY: usize = ANNOUNCE_REPLY_LEN + MAX_PEERS_IPV4 * PEER_LEN;

/// Bytes that a driver lends for each reply: those of the longest, and those that are overwritten behind its last peer.
pub const REPLY_BUFFER_LEN: usize = MAX_REPLY + PeerBuffer::SPARE;

/// What the original answers, with its spelling and the NUL at its end: programs compare it, and connect anew after
/// exactly this.
const MISMATCH: &str = "Connection ID missmatch.\0";
const TRUNCATED: &str = "Announce is too short.";

/// A datagram, and its reply.
#[derive(Debug)]
pub struct Question<'a> {
    /// What was received.
    pub datagram: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// Lent memory for the reply, [`REPLY_BUFFER_LEN`] bytes. With less, a reply has fewer peers, or there is none.
    pub reply: &'a mut [u8],
    /// Length of the reply in bytes; 0 if there is none.
    pub reply_len: usize,
}

impl<'a> Question<'a> {
    /// A question that has not been answered.
    #[inline]
    pub fn new(datagram: &'a [u8], from: SocketAddr, reply: &'a mut [u8]) -> Self {
        Self { datagram, from, reply, reply_len: 0 }
    }

    /// Returns the reply; empty if there is none.
    pub fn answer(&self) -> &[u8] {
        self.reply.get(..self.reply_len).unwrap_or_default()
    }
}

/// Answers the datagrams of one worker.
pub struct Service<F: Flavour> {
    tracker: Arc<Tracker<F>>,
    ids: ConnectionIds,
    /// Of the errors to those who have not proved themselves; `None`: there is no limit.
    error_limit: Option<Arc<ErrorLimit>>,
    worker_counters: Arc<WorkerCounters>,
    wanted: <F::WantedLog as WantedLog>::OfWorker,
    rng: Rng,
}

impl<F: Flavour> Service<F> {
    /// Makes the service of one worker, which alone writes `worker_counters`.
    pub fn new(tracker: Arc<Tracker<F>>, ids: ConnectionIds, worker_counters: Arc<WorkerCounters>, rng: Rng) -> Self {
        let wanted = tracker.flavour().wanted_log().for_worker();
        Self { tracker, ids, error_limit: None, worker_counters, wanted, rng }
    }

    /// Limits the errors to those who have not proved themselves, as all workers that have the same limit send them.
    #[must_use]
    pub fn with_error_limit(self, limit: Option<Arc<ErrorLimit>>) -> Self {
        Self { error_limit: limit, ..self }
    }

    /// Writes the reply to each question into the question's memory, and sets its length.
    ///
    /// A datagram without a valid connection id has not proved that it comes from its sender's address. It gets no
    /// reply longer than itself, so that the tracker cannot be used as an amplifier; and there is a limit to the errors
    /// that are sent to one address, so that it cannot be used to flood another.
    pub fn answer(&mut self, questions: &mut [Question<'_>], second: Second) {
        let now = second.minute();
        let slot = self.ids.slot(second);
        let mut questions = questions.iter_mut();
        let mut announces = [const { PendingAnnounce::VACANT }; GROUP];
        let mut lens = [const { None }; GROUP];
        loop {
            let mut many = 0;
            for (announce, len) in announces.iter_mut().zip(&mut lens) {
                let mut asked =
                    questions.by_ref().filter_map(|question| self.answer_or_announce(question, &slot, second));
                let Some((pending, reply_len)) = asked.next() else { break };
                *announce = pending;
                *len = Some(reply_len);
                many += 1;
            }
            let group = announces.get_mut(..many).unwrap_or_default();
            if group.is_empty() {
                return;
            }
            self.tracker.announce_group(group, now, &mut self.rng);
            for (pending, len) in group.iter_mut().zip(lens.iter_mut().flatten()) {
                **len = self.write_outcome(pending);
            }
        }
    }

    /// Answers everything but an announce. Returns an announce, prepared for [`Tracker::announce_group`], with the
    /// place where the length of its reply goes.
    #[inline(always)] // Else the announce is copied once more: 20 ns.
    fn answer_or_announce<'a>(
        &mut self,
        question: &'a mut Question<'_>,
        slot: &Slot,
        second: Second,
    ) -> Option<(PendingAnnounce<'a>, &'a mut usize)> {
        let Question { datagram, from, reply, reply_len } = question;
        let Self { worker_counters, .. } = self;
        let client = from.ip();
        worker_counters.count_from(Counter::UdpReceived, client);
        // Nobody can receive on port 0: a reply would get no further than the next router.
        let request = if from.port() == 0 { None } else { packet::parse(datagram) };
        let Some(UdpRequest { connection_id, transaction_id, action }) = request else {
            *reply_len = 0;
            worker_counters.count_from(Counter::UdpDropped, client);
            return None;
        };
        *reply_len = if action == Action::Connect {
            worker_counters.count_from(Counter::UdpConnected, client);
            packet::write_connect(reply, transaction_id, slot.issue(client))
        } else if !slot.accepts(connection_id, client) && !self.ids.accepts_from_ahead(connection_id, client, second) {
            self.refuse_unproved(datagram.len(), client, second, transaction_id, reply)
        } else {
            match action {
                Action::Announce(body) => {
                    // A negative number is no number, but a wish for as many as there are (BEP 15).
                    self.wanted.count(usize::try_from(body.num_want).unwrap_or(usize::MAX));
                    if self.serves_client(body.event, datagram) {
                        return Some((prepare_announce(&body, *from, transaction_id, reply), reply_len));
                    }
                    self.refuse_client(client, second.minute(), transaction_id, reply)
                }
                Action::Scrape(hashes) => self.scrape(hashes, client, second.minute(), transaction_id, reply),
                Action::Truncated | Action::Connect => {
                    self.worker_counters.count_from(Counter::UdpTruncated, client);
                    packet::write_error(reply, transaction_id, TRUNCATED)
                }
            }
        };
        None
    }

    /// Answers a datagram of `len` bytes with a wrong connection id by an error that is no longer, unless the address
    /// has been sent enough of them. Returns its length.
    #[cold]
    fn refuse_unproved(
        &self,
        len: usize,
        client: IpAddr,
        second: Second,
        transaction_id: u32,
        reply: &mut [u8],
    ) -> usize {
        self.worker_counters.count_from(Counter::UdpMismatched, client);
        if self.error_limit.as_ref().is_some_and(|limit| !limit.allows(client, second)) {
            self.worker_counters.count_from(Counter::UdpWithheld, client);
            return 0;
        }
        let room = len.saturating_sub(REPLY_HEADER_LEN);
        packet::write_error(reply, transaction_id, MISMATCH.get(..room).unwrap_or(MISMATCH))
    }

    /// Returns whether the client is served that sent this announce. One that leaves is heard in any case.
    #[inline(always)] // Gone where every client is served.
    fn serves_client(&self, event: Event, announce: &[u8]) -> bool {
        !F::Clients::RESTRICTS
            || event == Event::Stopped
            || self.tracker.flavour().clients().serves(packet::peer_id(announce))
    }

    /// Refuses the announce of a client that is not served. Returns the length of the reply.
    #[cold]
    fn refuse_client(&mut self, client: IpAddr, now: Minute, transaction_id: u32, reply: &mut [u8]) -> usize {
        self.tracker.flavour().network_log().record(client, now, &mut self.rng);
        packet::begin_announce(reply, transaction_id);
        let mut buffer = PeerBuffer::behind(reply, ANNOUNCE_REPLY_LEN);
        self.refuse(AnnounceError::ClientNotServed, client, &mut buffer)
    }

    /// Completes the reply to an announce that has been run. Returns its length.
    #[inline]
    fn write_outcome(&mut self, pending: &mut PendingAnnounce<'_>) -> usize {
        let client = pending.announce.endpoint.ip();
        let (PeerBuffers::Ipv4(buffer) | PeerBuffers::Ipv6(buffer)) = &mut pending.peers.into else { return 0 };
        match pending.outcome {
            Some(Ok(outcome)) => {
                let interval = self.tracker.intervals().draw(&mut self.rng);
                packet::end_announce(buffer.bytes(), interval, outcome.counts);
                self.worker_counters.count_announce(Counter::UdpAnnounced, client, &outcome);
                if outcome.counted_download {
                    log::completed(pending.announce.info_hash, pending.announce.endpoint);
                }
                buffer.written().len()
            }
            Some(Err(reason)) => self.refuse(reason, client, buffer),
            None => {
                debug_assert!(false, "every announce of a group is run");
                0
            }
        }
    }

    /// Completes the reply to an announce that is refused, which has been begun in `buffer`. Returns its length.
    fn refuse(&self, reason: AnnounceError, client: IpAddr, buffer: &mut PeerBuffer<'_>) -> usize {
        self.worker_counters.count_refusal(Protocol::Udp, reason, client);
        match self.tracker.refusal_terms(reason) {
            Some(RefusalTerms { retry, as_empty: true }) => {
                packet::end_announce(buffer.bytes(), retry.interval(), ScrapeCounts::default());
                buffer.written().len()
            }
            _ => packet::refuse_announce(buffer.bytes(), &reason.to_string()),
        }
    }

    /// Answers a scrape. Returns the length of the reply.
    fn scrape(
        &mut self,
        hashes: Hashes<'_>,
        client: IpAddr,
        now: Minute,
        transaction_id: u32,
        reply: &mut [u8],
    ) -> usize {
        self.tracker.flavour().network_log().record(client, now, &mut self.rng);
        let mut len = packet::begin_scrape(reply, transaction_id);
        let mut hashes = hashes.iter();
        let mut group = [PendingScrape::default(); GROUP];
        loop {
            let asked = group.iter_mut().zip(&mut hashes).map(|(one, info_hash)| one.info_hash = info_hash).count();
            let group = group.get_mut(..asked).unwrap_or_default();
            self.tracker.scrape_group(group);
            for one in &*group {
                len = packet::add_scraped(reply, len, one.counts.unwrap_or_default());
            }
            if asked < GROUP {
                break;
            }
        }
        self.worker_counters.count_from(Counter::UdpScraped, client);
        len
    }
}

/// Begins the reply to an announce, and prepares the announce itself. Peers will be written straight into it;
/// [`Service::write_outcome`] adds the counts.
#[inline(always)] // As above.
fn prepare_announce<'a>(
    body: &AnnounceBody,
    from: SocketAddr,
    transaction_id: u32,
    reply: &'a mut [u8],
) -> PendingAnnounce<'a> {
    packet::begin_announce(reply, transaction_id);
    let peers = PeerBuffer::behind(reply, ANNOUNCE_REPLY_LEN);
    let (most, into) = match from {
        SocketAddr::V4(_) => (MAX_PEERS_IPV4, PeerBuffers::Ipv4(peers)),
        SocketAddr::V6(_) => (MAX_PEERS_IPV6, PeerBuffers::Ipv6(peers)),
    };
    let wanted = usize::try_from(body.num_want).map_or(most, |wanted| wanted.min(most));
    let announce = AnnounceRequest {
        info_hash: body.info_hash,
        endpoint: SocketAddr::new(from.ip(), body.port),
        seeder: body.left == 0,
        uploaded: body.uploaded > 0,
        event: body.event,
    };
    PendingAnnounce::new(announce, PeerRequest { wanted, into })
}

#[cfg(test)]
mod tests;
