//! Datagrams become their replies. No socket, no clock: whatever drives it passes both in.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fastrand::Rng;

use crate::stats::{Counter, Protocol, WorkerCounters};
use crate::tracker::clock::{INTERVAL, INTERVAL_SPREAD};
use crate::tracker::{
    AnnounceRequest, Flavour, GROUP, Minute, NetworkLog as _, PeerBuffer, PeerBuffers, PeerRequest, PendingAnnounce,
    PendingScrape, Tracker,
};

use super::connection_id::ConnectionIds;
use super::packet::{self, ANNOUNCE_REPLY_LEN, Action, AnnounceBody, Hashes, PEER_LEN, REPLY_HEADER_LEN, UdpRequest};

/// Peers in one reply at most: 1220 bytes, which every path takes that carries IPv6. The socket cuts it for others.
pub const MAX_PEERS_IPV4: usize = 200;
/// The same for IPv6: 1208 bytes.
pub const MAX_PEERS_IPV6: usize = 66;

/// The longest reply, in bytes.
pub const MAX_REPLY: usize = ANNOUNCE_REPLY_LEN + MAX_PEERS_IPV4 * PEER_LEN;

/// What a driver lends for a reply, in bytes: room for the longest, and for what is written behind its last peer.
pub const REPLY_BUFFER_LEN: usize = MAX_REPLY + PeerBuffer::SPARE;

const MISMATCH: &str = "Connection ID mismatch.";
const TRUNCATED: &str = "Announce is too short.";

/// A datagram, and its reply.
#[derive(Debug)]
pub struct Question<'a> {
    /// What came.
    pub datagram: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// Lent memory for the reply: [`REPLY_BUFFER_LEN`] bytes. In less, replies are shorter than they could be, or none.
    pub reply: &'a mut [u8],
    /// How many bytes of it are the reply; 0: there is none.
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

/// Answers datagrams; one for each worker.
pub struct Service<F: Flavour> {
    tracker: Arc<Tracker<F>>,
    ids: ConnectionIds,
    worker_counters: Arc<WorkerCounters>,
    rng: Rng,
}

impl<F: Flavour> Service<F> {
    /// `worker_counters` is this worker's alone.
    pub fn new(tracker: Arc<Tracker<F>>, ids: ConnectionIds, worker_counters: Arc<WorkerCounters>, rng: Rng) -> Self {
        Self { tracker, ids, worker_counters, rng }
    }

    /// Answers each question where it stands.
    ///
    /// What has not proved to come from its sender's address (everything before a right connection id) gets nothing
    /// that is longer than itself: a tracker is not to be an amplifier.
    pub fn answer(&mut self, questions: &mut [Question<'_>], now: Minute) {
        let mut questions = questions.iter_mut();
        let mut announces = [const { PendingAnnounce::VACANT }; GROUP];
        let mut lens = [const { None }; GROUP];
        loop {
            let mut many = 0;
            for (announce, len) in announces.iter_mut().zip(&mut lens) {
                let mut asked = questions.by_ref().filter_map(|question| self.answer_or_announce(question, now));
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
                **len = self.write_announced(pending);
            }
        }
    }

    /// Answers what takes no peers; of the rest, returns what is announced, and where the length of its reply goes.
    #[inline(always)] // Else what is announced is copied once more: 20 ns.
    fn answer_or_announce<'a>(
        &mut self,
        question: &'a mut Question<'_>,
        now: Minute,
    ) -> Option<(PendingAnnounce<'a>, &'a mut usize)> {
        let Question { datagram, from, reply, reply_len } = question;
        let Self { ids, worker_counters, .. } = self;
        let client = from.ip();
        worker_counters.count_from(Counter::UdpReceived, client);
        // Nobody can listen on port 0: an answer would only reach the next router.
        let request = if from.port() == 0 { None } else { packet::parse(datagram) };
        let Some(UdpRequest { connection_id, transaction_id, action }) = request else {
            *reply_len = 0;
            worker_counters.count_from(Counter::UdpDropped, client);
            return None;
        };
        *reply_len = if action == Action::Connect {
            worker_counters.count_from(Counter::UdpConnected, client);
            packet::write_connect(reply, transaction_id, ids.issue(client, now))
        } else if !ids.accepts(connection_id, client, now) {
            worker_counters.count_from(Counter::UdpMismatched, client);
            let room = datagram.len().saturating_sub(REPLY_HEADER_LEN);
            packet::write_error(reply, transaction_id, MISMATCH.get(..room).unwrap_or(MISMATCH))
        } else {
            match action {
                Action::Announce(body) => return Some((pending(&body, *from, transaction_id, reply), reply_len)),
                Action::Scrape(hashes) => self.scrape(hashes, client, now, transaction_id, reply),
                Action::Truncated | Action::Connect => {
                    worker_counters.count_from(Counter::UdpTruncated, client);
                    packet::write_error(reply, transaction_id, TRUNCATED)
                }
            }
        };
        None
    }

    /// Completes the reply to an announce that has been carried out, and returns its length.
    #[inline]
    fn write_announced(&mut self, pending: &mut PendingAnnounce<'_>) -> usize {
        let client = pending.announce.endpoint.ip();
        let (PeerBuffers::Ipv4(buffer) | PeerBuffers::Ipv6(buffer)) = &mut pending.peers.into else { return 0 };
        match pending.outcome {
            Some(Ok(outcome)) => {
                let interval = self.rng.u32(INTERVAL - INTERVAL_SPREAD..=INTERVAL + INTERVAL_SPREAD);
                packet::end_announce(buffer.bytes(), interval, outcome.counts);
                self.worker_counters.announced(Counter::UdpAnnounced, client, &outcome);
                buffer.len()
            }
            Some(Err(refusal)) => {
                self.worker_counters.refused(Protocol::Udp, refusal, client);
                packet::refuse_announce(buffer.bytes(), &refusal.to_string())
            }
            None => {
                debug_assert!(false, "every announce of a group is carried out");
                0
            }
        }
    }

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

/// The peers are written straight into the reply. Its numbers are filled in afterwards.
#[inline(always)] // As above.
fn pending<'a>(body: &AnnounceBody, from: SocketAddr, transaction_id: u32, reply: &'a mut [u8]) -> PendingAnnounce<'a> {
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
        event: body.event,
    };
    PendingAnnounce::new(announce, PeerRequest { wanted, into })
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{announce_body, request};
    use super::super::packet::{ANNOUNCE_LEN, PROTOCOL_ID};
    use super::*;
    use crate::stats::{AddressFamily, Counters};
    use crate::tracker::flavour::Standalone;
    use crate::tracker::testing::{NotThatOne, THAT_ONE, TestFlavour, TestTracker};
    use crate::tracker::{AnnounceError, Capacity, Event, InfoHash, Ipv4Only};
    use fastrand::Rng;
    use proptest::prelude::*;
    use std::num::NonZeroU16;

    const NOW: Minute = Minute(1000);

    fn ids() -> ConnectionIds {
        ConnectionIds::new((1, 2), NonZeroU16::new(2).unwrap())
    }

    type TestService = Service<TestFlavour<Ipv4Only, NotThatOne>>;

    fn service() -> TestService {
        let tracker = TestTracker::with_plugs(Capacity::NONE, NOW, NotThatOne, Standalone);
        Service::new(Arc::new(tracker), ids(), Arc::default(), Rng::with_seed(1))
    }

    fn client(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 40_000))
    }

    fn ask(service: &mut TestService, datagram: &[u8], from: SocketAddr) -> Vec<u8> {
        let mut reply = [0xff; REPLY_BUFFER_LEN];
        let mut questions = [Question::new(datagram, from, &mut reply)];
        service.answer(&mut questions, NOW);
        questions[0].answer().to_vec()
    }

    fn announcing(from: SocketAddr, announce: AnnounceBody, event: u32) -> Vec<u8> {
        request(ids().issue(from.ip(), NOW), 1, 77, &announce_body(&announce, event))
    }

    fn leecher() -> AnnounceBody {
        AnnounceBody { info_hash: InfoHash([7; 20]), left: 9, event: Event::Update, num_want: -1, port: 6881 }
    }

    #[test]
    fn connect_announce_scrape() {
        let mut service = service();
        let connected = ask(&mut service, &request(PROTOCOL_ID, 0, 5, &[]), client(1));
        assert_eq!(connected[..8], [0, 0, 0, 0, 0, 0, 0, 5]);
        let id = u64::from_be_bytes(connected[8..].try_into().unwrap());

        let datagram = request(id, 1, 77, &announce_body(&leecher(), 2));
        let reply = ask(&mut service, &datagram, client(1));
        assert_eq!((&reply[..8], &reply[12..]), (&[0, 0, 0, 1, 0, 0, 0, 77][..], &[0, 0, 0, 1, 0, 0, 0, 0][..]));
        let interval = u32::from_be_bytes(reply[8..12].try_into().unwrap());
        assert!((1620..=1980).contains(&interval));

        let seeder = AnnounceBody { left: 0, port: 80, ..leecher() };
        let reply = ask(&mut service, &announcing(client(2), seeder, 1), client(2));
        assert_eq!(reply[12..20], [0, 0, 0, 1, 0, 0, 0, 1], "one leecher, one seeder");
        assert_eq!(reply[20..], [192, 0, 2, 1, 0x1a, 0xe1], "the leecher, by the address that it came from");

        let datagram = request(id, 2, 78, &[[7; 20], [8; 20]].concat());
        let reply = ask(&mut service, &datagram, client(1));
        let expected = [[0, 0, 0, 2], [0, 0, 0, 78], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]].concat();
        assert_eq!(reply, [expected, vec![0; 12]].concat());

        let reply = ask(&mut service, &announcing(client(2), seeder, 3), client(2));
        assert_eq!(reply[12..], [0, 0, 0, 1, 0, 0, 0, 0], "who stops is given no peers");
    }

    #[test]
    fn each_of_many_gets_its_own_reply() {
        let mut service = service();
        let connect = request(PROTOCOL_ID, 0, 5, &[]);
        let refused = announcing(client(3), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, 0);
        let scrape = request(ids().issue(client(4).ip(), NOW), 2, 78, &[7; 20]);
        let announces = (10..40).map(|n| (announcing(client(n), leecher(), 0), client(n)));
        let others = [(connect, client(1)), (vec![1; 15], client(2)), (refused, client(3)), (scrape, client(4))];
        let datagrams: Vec<_> = others.into_iter().chain(announces).collect();
        let mut buffers = vec![[0xff; REPLY_BUFFER_LEN]; datagrams.len()];
        let mut questions: Vec<_> = datagrams
            .iter()
            .zip(&mut buffers)
            .map(|((datagram, from), buffer)| Question::new(datagram, *from, buffer))
            .collect();
        service.answer(&mut questions, NOW);
        let replies: Vec<_> = questions.iter().map(Question::answer).collect();
        let begins: Vec<_> = replies.iter().map(|reply| reply.get(..8).unwrap_or_default()).collect();
        let header = |action, transaction_id| [0, 0, 0, action, 0, 0, 0, transaction_id];
        assert_eq!(begins[..4], [&header(0, 5)[..], &[], &header(3, 77), &header(2, 78)]);
        for (known, reply) in replies[4..].iter().enumerate() {
            assert_eq!(reply[..8], header(1, 77));
            assert_eq!(reply[12..20], [0, 0, 0, known as u8 + 1, 0, 0, 0, 0]);
            assert_eq!((reply.len() - 20) / 6, known, "all who came before");
        }
    }

    #[test]
    fn left_is_read_whole() {
        let mut service = service();
        let announce = AnnounceBody { left: 1 << 32, ..leecher() };
        let reply = ask(&mut service, &announcing(client(1), announce, 0), client(1));
        assert_eq!(reply[12..20], [0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn as_many_peers_as_wanted_and_at_most_200() {
        let mut service = service();
        for port in 1..=300 {
            let datagram = announcing(client(1), AnnounceBody { port, ..leecher() }, 0);
            ask(&mut service, &datagram, client(1));
        }
        for (num_want, expected) in [(-1, 200), (i32::MIN, 200), (i32::MAX, 200), (0, 0), (1, 1), (50, 50), (201, 200)]
        {
            let datagram = announcing(client(2), AnnounceBody { num_want, ..leecher() }, 0);
            let reply = ask(&mut service, &datagram, client(2));
            assert_eq!((reply.len() - 20) / 6, expected, "{num_want}");
        }
    }

    #[test]
    fn refusals_are_error_packets() {
        let mut service = service();
        let error = |text: &str| [&[0, 0, 0, 3, 0, 0, 0, 77], text.as_bytes()].concat();
        let datagram = announcing(client(1), AnnounceBody { info_hash: THAT_ONE, ..leecher() }, 0);
        let refused = "Requested download is not authorized for use with this tracker.";
        assert_eq!(ask(&mut service, &datagram, client(1)), error(refused));
        let datagram = announcing(client(1), AnnounceBody { port: 0, ..leecher() }, 0);
        let reply = ask(&mut service, &datagram, client(1));
        assert!(reply.starts_with(&error("Your client announced port 0")));
        let datagram = announcing(client(1), leecher(), 0);
        assert_eq!(ask(&mut service, &datagram[..ANNOUNCE_LEN - 1], client(1)), error("Announce is too short."));
        assert_eq!(service.tracker.store().census().torrents, 0);
    }

    #[test]
    fn a_scrape_tells_nothing_of_what_is_not_served() {
        let mut service = service();
        let datagram = request(ids().issue(client(1).ip(), NOW), 2, 78, &THAT_ONE.0);
        assert_eq!(ask(&mut service, &datagram, client(1))[8..], [0; 12]);
    }

    #[test]
    fn a_wrong_connection_id_is_an_error_that_is_no_longer_than_the_question() {
        let mut service = service();
        for (action, body) in [(1, announce_body(&leecher(), 0)), (2, vec![7; 20]), (2, vec![]), (1, vec![7; 3])] {
            let datagram = request(ids().issue(client(2).ip(), NOW), action, 77, &body);
            let reply = ask(&mut service, &datagram, client(1));
            assert_eq!(reply[..8], [0, 0, 0, 3, 0, 0, 0, 77]);
            assert!(reply.len() <= datagram.len());
            assert!(MISMATCH.as_bytes().starts_with(&reply[8..]) && reply.len() > 8);
        }
        assert_eq!(service.tracker.store().census().torrents, 0);
    }

    #[test]
    fn what_comes_from_port_0_is_dropped() {
        let from = SocketAddr::from(([192, 0, 2, 1], 0));
        assert_eq!(ask(&mut service(), &request(PROTOCOL_ID, 0, 5, &[]), from), []);
    }

    #[test]
    fn what_is_not_served_is_counted_by_its_reason() {
        let counters = Counters::default();
        let mut service = Service { worker_counters: counters.for_worker(), ..service() };
        let at = |n: u8| request(ids().issue(client(n).ip(), NOW), 2, 77, &[7; 20]);
        let announces = [AnnounceBody { info_hash: THAT_ONE, ..leecher() }, AnnounceBody { port: 0, ..leecher() }];
        for announce in announces {
            ask(&mut service, &announcing(client(1), announce, 0), client(1));
        }
        ask(&mut service, &announcing(client(1), leecher(), 0)[..ANNOUNCE_LEN - 1], client(1));
        ask(&mut service, &at(2), client(1));
        ask(&mut service, &at(1)[..15], client(1));
        ask(&mut service, &at(1), SocketAddr::from(([192, 0, 2, 1], 0)));
        let ipv6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 40_000));
        ask(&mut service, &announcing(ipv6, leecher(), 0), ipv6);
        for (count, expected) in [
            (Counter::UdpReceived, (6, 1)),
            (Counter::UdpTruncated, (1, 0)),
            (Counter::UdpMismatched, (1, 0)),
            (Counter::UdpDropped, (2, 0)),
            (Counter::UdpAnnounced, (0, 0)),
            (Counter::UdpScraped, (0, 0)),
        ] {
            assert_eq!(
                (counters.of(count, AddressFamily::Ipv4), counters.of(count, AddressFamily::Ipv6)),
                expected,
                "{count:?}"
            );
        }
        for (refusal, expected) in AnnounceError::ALL.into_iter().zip([(1, 0), (1, 0), (0, 1), (0, 0)]) {
            let of = |family| counters.refused(Protocol::Udp, refusal, family);
            assert_eq!((of(AddressFamily::Ipv4), of(AddressFamily::Ipv6)), expected, "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn nobody_unproved_gets_more_than_he_sent(body in prop::collection::vec(any::<u8>(), 0..2000), action in 0..4_u32,
                                                  id in prop_oneof![Just(PROTOCOL_ID), any::<u64>()]) {
            let mut service = service();
            for datagram in [request(id, action, 1, &body), body] {
                let reply = ask(&mut service, &datagram, client(1));
                prop_assert!(reply.len() <= datagram.len());
            }
        }

        #[test]
        fn whoever_has_proved_himself_may_send_anything(body in prop::collection::vec(any::<u8>(), 0..2000),
                                                        action in 0..4_u32) {
            let datagram = request(ids().issue(client(1).ip(), NOW), action, 1, &body);
            prop_assert!(ask(&mut service(), &datagram, client(1)).len() <= MAX_REPLY);
        }
    }
}
