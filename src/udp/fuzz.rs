//! Any datagram, and any conversation of clients that have connected.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use fastrand::Rng;

use crate::fuzz::Choices;
use crate::tracker::model::{ModelTorrent, check_selection, model_announce, model_sweep};
use crate::tracker::testing::{Ipv6Only, TestFlavour, TestTracker};
use crate::tracker::{
    AddressFamilies, AnnounceRequest, Capacity, Event, InfoHash, Intervals, Ipv4Only, Minute, ScrapeCounts,
};

use super::ConnectionIds;
use super::service::{MAX_PEERS_IPV4, MAX_PEERS_IPV6, MAX_REPLY, Question, REPLY_BUFFER_LEN, Service};

const START: Minute = Minute(29_000_191);
const TRANSACTION: [u8; 4] = *b"fuzz";

type Tested<F> = Service<TestFlavour<F>>;

fn ids() -> ConnectionIds {
    ConnectionIds::new((1, 2), NonZeroU16::MAX)
}

fn service<F: AddressFamilies>() -> (Arc<TestTracker<F>>, Tested<F>) {
    let tracker = Arc::new(TestTracker::<F>::plain(Capacity::NONE, START));
    (Arc::clone(&tracker), Service::new(tracker, ids(), Arc::default(), Rng::with_seed(1)))
}

fn ask<F: AddressFamilies>(service: &mut Tested<F>, datagram: &[u8], from: SocketAddr, now: Minute) -> Vec<u8> {
    let mut reply = [0xff; REPLY_BUFFER_LEN];
    let mut questions = [Question::new(datagram, from, &mut reply)];
    service.answer(&mut questions, now.into());
    questions[0].answer().to_vec()
}

/// One datagram, first as it is and then with a connection id that is right. The first byte says who sends it.
pub(crate) fn any_datagram(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let who = choices.byte();
    let port = if who & 1 == 0 { 6881 } else { u16::from(who >> 2) };
    if who & 2 == 0 {
        datagram_from::<Ipv4Only>(choices.0, (Ipv4Addr::new(192, 0, 2, 1), port).into());
        // In a tracker of the other family.
        datagram_from::<Ipv6Only>(choices.0, (Ipv4Addr::new(192, 0, 2, 1), port).into());
    } else {
        datagram_from::<Ipv6Only>(choices.0, (Ipv6Addr::LOCALHOST, port).into());
    }
}

fn datagram_from<F: AddressFamilies>(datagram: &[u8], from: SocketAddr) {
    let (tracker, mut service) = service::<F>();
    let reply = ask(&mut service, datagram, from, START);
    let slot = ids().slot(START.into());
    let is_proved = datagram.first_chunk().is_some_and(|id| slot.accepts(u64::from_be_bytes(*id), from.ip()));
    if !is_proved {
        assert!(reply.len() <= datagram.len(), "{} bytes for {}", reply.len(), datagram.len());
        assert_eq!(tracker.store().census().torrents, 0);
        // Sent in the name of another tracker, it does not make two trackers talk to each other.
        assert_eq!(ask(&mut service, &reply, from, START), [0; 0]);
    }
    let Some((_, rest)) = datagram.split_first_chunk::<8>() else { return };
    let proved = [&slot.issue(from.ip()).to_be_bytes()[..], rest].concat();
    let mut reply = ask(&mut service, &proved, from, START);
    assert!(reply.len() <= MAX_REPLY && (from.port() > 0 || reply.is_empty()));
    if let Some(transaction) = reply.get(4..8) {
        assert_eq!(Some(transaction), proved.get(12..16), "the transaction id is the client's");
    }
    for _ in 0..3 {
        reply = ask(&mut service, &reply, from, START);
    }
    assert_eq!(reply, [0; 0], "two trackers go on answering each other");
}

/// Announces, scrapes and sweeps over three torrents, as the bytes choose them; the model knows each reply.
pub(crate) fn conversation(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    if choices.byte() & 1 == 0 {
        Conversation::<Ipv4Only>::new()
            .hold(choices, |n| (Ipv4Addr::new(10, 0, (n >> 10) as u8, (n >> 2) as u8), 1000 + n % 4).into());
    } else {
        Conversation::<Ipv6Only>::new()
            .hold(choices, |n| (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n >> 2), 1000 + n % 4).into());
    }
}

struct Conversation<F: AddressFamilies> {
    tracker: Arc<TestTracker<F>>,
    service: Tested<F>,
    model: BTreeMap<u8, ModelTorrent>,
    now: Minute,
}

/// An announce of a batch.
struct Said {
    torrent: u8,
    announce: AnnounceRequest,
    wanted: usize,
    from: SocketAddr,
    datagram: Vec<u8>,
}

impl<F: AddressFamilies> Conversation<F> {
    fn new() -> Self {
        let (tracker, service) = service();
        Self { tracker, service, model: BTreeMap::new(), now: START }
    }

    fn hold(mut self, mut choices: Choices<'_>, endpoint: impl Fn(u16) -> SocketAddr) {
        while choices.are_left() {
            match choices.byte() {
                step @ 0..220 => {
                    let batch: Vec<_> = (0..=step % 12).map(|_| announce(&mut choices, &endpoint, self.now)).collect();
                    self.announce(&batch);
                }
                // Many peers at once, so that a few bytes make a swarm of every form.
                step @ 220..240 => {
                    let (first, event) = (choices.number() % 3000, choices.byte());
                    let count = u16::from(step - 219) * 8;
                    let choice = |n: u16| [0, event, 3, (n >> 8) as u8, n as u8];
                    let batch: Vec<_> = (first..first + count)
                        .map(|n| announce(&mut Choices(&choice(n)), &endpoint, self.now))
                        .collect();
                    self.announce(&batch);
                }
                240..250 => self.scrape(choices.byte() % 4),
                step @ 250..=255 => {
                    self.now.0 += [1, 7, 31, 44, 60, 1500][usize::from(step - 250)];
                    self.tracker.sweep(self.now, || {});
                    model_sweep(&mut self.model, self.now.0, Intervals::default().peer_lifetime());
                }
            }
        }
        let census = self.tracker.store().census();
        assert_eq!(census.torrents, self.model.len());
        let peers = |torrent: &ModelTorrent| torrent.counts().peers();
        assert_eq!(census.peers.peers(), self.model.values().map(peers).sum::<usize>());
        (0..4).for_each(|torrent| self.scrape(torrent));
    }

    fn announce(&mut self, batch: &[Said]) {
        let mut buffers = vec![[0xff; REPLY_BUFFER_LEN]; batch.len()];
        let said = batch.iter().zip(&mut buffers);
        let mut questions: Vec<_> = said.map(|(said, reply)| Question::new(&said.datagram, said.from, reply)).collect();
        self.service.answer(&mut questions, self.now.into());
        for (n, (said, question)) in batch.iter().zip(&questions).enumerate() {
            let reply = question.answer();
            let expected = model_announce(&mut self.model, said.torrent, &said.announce, self.now.0).counts;
            assert_eq!((&reply[..4], &reply[4..8]), (&[0, 0, 0, 1][..], &TRANSACTION[..]));
            let counts = [expected.leechers, expected.seeders].map(u32::to_be_bytes).concat();
            assert_eq!(reply[12..20], counts);
            let peers = if F::IPV6 { [&[][..], &reply[20..]] } else { [&reply[20..], &[]] };
            // To look at all peers for each of many would take most of the time.
            if n < 12 {
                check_selection(self.model.get(&said.torrent), &said.announce, said.wanted, peers);
            }
        }
    }

    fn scrape(&mut self, torrent: u8) {
        let from = if F::IPV6 { SocketAddr::from((Ipv6Addr::LOCALHOST, 9)) } else { ([192, 0, 2, 9], 9).into() };
        let datagram = datagram(from, self.now, 2, &[torrent; 20]);
        let reply = ask(&mut self.service, &datagram, from, self.now);
        let known = self.model.get(&torrent).map(ModelTorrent::scrape_counts).unwrap_or_default();
        let ScrapeCounts { seeders, leechers, downloaded } = known;
        let counts = [seeders, downloaded, leechers].map(u32::to_be_bytes).concat();
        assert_eq!(reply, [&[0, 0, 0, 2][..], &TRANSACTION, &counts].concat());
    }
}

/// Makes an announce of the choices: how it says `event`, `left` and `uploaded`, how many peers it wants, and whose it
/// is.
fn announce(choices: &mut Choices<'_>, endpoint: impl Fn(u16) -> SocketAddr, now: Minute) -> Said {
    let (torrent, how, want) = (choices.byte() % 3, choices.byte(), choices.byte());
    let mut endpoint = endpoint(choices.number() % 4096);
    let from = endpoint;
    if how >> 5 == 7 {
        endpoint.set_port(0);
    }
    let (event, code) = match how & 7 {
        0..4 => (Event::Update, u32::from(how & 3 == 2) * 2),
        4 | 5 => (Event::Completed, 1),
        6 => (Event::Stopped, 3),
        _ => (Event::Update, 77),
    };
    let (seeder, uploaded) = (how & 8 != 0, how & 16 != 0);
    let most = if from.is_ipv4() { MAX_PEERS_IPV4 } else { MAX_PEERS_IPV6 };
    let num_want = if want == 255 { -1 } else { i32::from(want) };
    let mut body = vec![torrent; 20];
    body.extend([0xaa; 28]);
    body.extend(u64::from(!seeder).to_be_bytes());
    body.extend(u64::from(uploaded).to_be_bytes());
    body.extend(code.to_be_bytes());
    body.extend([9; 8]);
    body.extend(num_want.to_be_bytes());
    body.extend(endpoint.port().to_be_bytes());
    let announce = AnnounceRequest { info_hash: InfoHash([torrent; 20]), endpoint, seeder, uploaded, event };
    let wanted = usize::try_from(num_want).map_or(most, |wanted| wanted.min(most));
    Said { torrent, announce, wanted, from, datagram: datagram(from, now, 1, &body) }
}

/// Makes a datagram of a client that has connected.
fn datagram(from: SocketAddr, now: Minute, action: u32, body: &[u8]) -> Vec<u8> {
    let id = ids().slot(now.into()).issue(from.ip());
    [&id.to_be_bytes()[..], &action.to_be_bytes(), &TRANSACTION, body].concat()
}
