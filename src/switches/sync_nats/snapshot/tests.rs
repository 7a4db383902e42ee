//! Joiners and donors at a real server.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::member::Shared;
use super::super::testing::NatsServer;
use super::message::{Message, WINDOW};
use super::party::Address;
use super::*;
use crate::cluster::snapshot::{Limits, Offer, SnapshotError, Snapshots};
use crate::tracker::testing::{TestFlavour, TestTracker};
use crate::tracker::{Capacity, Change, InfoHash, Ipv4Only, Minute, Origin, Second, TransportCounts};

const CLUSTER: &str = "test.cluster";
const NOW: Minute = Minute(1000);
const SECOND: Duration = Duration::from_secs(1);
/// For how long the test waits for what is to come, and a joiner for a snapshot.
const LONG: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits { wait: LONG, rate: u64::MAX, max: u64::MAX };

/// It is always the same time.
#[derive(Clone, Copy)]
struct Still;

impl Clock for Still {
    fn second(self) -> Second {
        Second(u64::from(NOW.0) * 60)
    }
}

type TestParty = Party<TestFlavour, Still>;

/// A tracker with so many peers, ten in each torrent, which has been up for so long.
async fn party(server: &NatsServer, number: u64, uptime: Duration, peers: u32, limits: Limits) -> Arc<TestParty> {
    let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, NOW);
    let changes: Vec<_> = (0..peers).map(change).collect();
    tracker.absorb_group(&changes, NOW, |_, outcome| assert!(outcome.is_ok()));
    let now = Instant::now();
    let (client, shared) = (server.connect().await, Arc::new(Shared::new(CLUSTER.into(), number, now)));
    Arc::new(Party::new(client, shared, Arc::new(tracker), Still, Snapshots::new(limits, now - uptime)))
}

fn change(peer: u32) -> Change {
    let [_, a, b, c] = peer.to_be_bytes();
    let mut info_hash = InfoHash([7; InfoHash::LEN]);
    info_hash.0[..4].copy_from_slice(&(peer / 10).to_be_bytes());
    Change {
        info_hash,
        endpoint: SocketAddr::from(([10, a, b, c], 6881)),
        seeder: peer % 3 == 0,
        completed: false,
        stopped: false,
        seen: NOW,
        origin: Origin::Client,
    }
}

impl TestParty {
    fn peers(&self) -> usize {
        self.tracker.store().census().peers.peers()
    }

    fn counts(&self) -> TransportCounts {
        self.shared.counters.counts()
    }

    /// Sends a message as somebody else.
    async fn say(&self, to: Address, message: Message<'_>) {
        self.send(to, message).await.unwrap();
        self.client.flush().await.unwrap();
    }
}

/// A donor with a connection, in a thread of its own. It ends with the value, and so does its connection.
struct Donor {
    party: Arc<TestParty>,
    end: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Donor {
    fn start(server: &NatsServer, number: u64, uptime: Duration, peers: u32, limits: Limits) -> Self {
        let (end, ended) = oneshot::channel();
        let (sender, started) = mpsc::channel();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = runtime();
                let (party, inbox) = runtime.block_on(async {
                    let party = party(server, number, uptime, peers, limits).await;
                    let inbox = give::listen(&party).await.unwrap();
                    // When this has come back the server knows that somebody listens.
                    let mut echo = party.client.subscribe("echo").await.unwrap();
                    party.client.publish("echo", "".into()).await.unwrap();
                    echo.next().await.unwrap();
                    (party, inbox)
                });
                let task = Arc::clone(&party);
                let thread = thread::spawn(move || {
                    runtime.block_on(async move {
                        let _ = select(pin!(give::serve(&task, inbox)), ended).await;
                    });
                });
                sender.send((party, thread)).unwrap();
            });
            thread.join().unwrap();
        });
        let (party, thread) = started.recv().unwrap();
        Self { party, end: Some((end, thread)) }
    }
}

impl Drop for Donor {
    fn drop(&mut self) {
        let (end, thread) = self.end.take().unwrap();
        let _ = end.send(());
        thread.join().unwrap();
    }
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Notes how many peers the tracker has when it is ready.
struct Unready(Arc<TestParty>, Arc<Mutex<Option<usize>>>);

impl Drop for Unready {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = Some(self.0.peers());
    }
}

/// Takes a snapshot. Returns how many peers there were when the tracker was ready.
async fn join(joiner: &Arc<TestParty>) -> usize {
    let ready = Arc::default();
    take(joiner, Unready(Arc::clone(joiner), Arc::clone(&ready))).await;
    // The event loop ends after it.
    joiner.client.flush().await.unwrap();
    let ready = ready.lock().unwrap();
    ready.unwrap()
}

#[test]
fn a_joiner_has_all_that_the_donor_has_before_it_is_ready() {
    let Some(server) = NatsServer::start("") else { return };
    let donor = Donor::start(&server, 1, 100 * SECOND, 30_000, LIMITS);
    runtime().block_on(async {
        let joiner = party(&server, 2, SECOND, 0, LIMITS).await;
        assert_eq!(join(&joiner).await, 30_000);
        assert_eq!(joiner.counts().snapshots_taken, 1);
        // What the donor counts it may count a moment later.
        assert!(joiner.counts().bytes_received > 240_000 && joiner.counts().packets_refused == 0);
    });
    let given = wait_until(|| donor.party.counts().snapshots_given == 1);
    assert!(given && donor.party.counts().bytes_sent > 240_000);
}

fn wait_until(holds: impl Fn() -> bool) -> bool {
    let until = Instant::now() + LONG;
    while !holds() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    holds()
}

#[test]
fn the_longest_running_donor_is_asked_and_when_it_dies_the_next() {
    let Some(server) = NatsServer::start("") else { return };
    // Nine pieces, one each second.
    let slow = Limits { rate: 5_000, ..LIMITS };
    let first = Donor::start(&server, 1, 900 * SECOND, 3_000, slow);
    let second = Donor::start(&server, 2, 800 * SECOND, 5_000, LIMITS);
    let _young = Donor::start(&server, 3, 700 * SECOND, 6_000, LIMITS);
    let joined = runtime().block_on(async {
        let joiner = party(&server, 4, SECOND, 0, LIMITS).await;
        let dying = Arc::clone(&joiner);
        let death = thread::spawn(move || {
            assert!(wait_until(|| dying.peers() > 0), "the first gives something");
            drop(first);
            dying.peers()
        });
        let ready = join(&joiner).await;
        assert!(death.join().unwrap() < 3_000, "it was in the middle");
        assert_eq!(joiner.counts().snapshots_taken, 1);
        (ready, joiner.peers())
    });
    assert_eq!(joined, (5_000, 5_000));
    assert!(wait_until(|| second.party.counts().snapshots_given == 1));
}

#[test]
fn without_others_a_joiner_is_ready_and_so_it_is_when_the_wait_is_over() {
    let Some(server) = NatsServer::start("") else { return };
    runtime().block_on(async {
        let alone = party(&server, 1, SECOND, 5, Limits { wait: SECOND, ..LIMITS }).await;
        let (unready, ready) = oneshot::channel::<()>();
        // It is still asked for others that may come, at last.
        assert!(matches!(select(pin!(take(&alone, unready)), ready).await, Either::Right(_)));
        let late = async { Donor::start(&server, 4, 100 * SECOND, 7, LIMITS) };
        let (_late, ()) = futures_util::future::join(late, take(&alone, ())).await;
        assert_eq!((alone.peers(), alone.counts().snapshots_taken), (7, 1));
    });
    // The second piece comes after a second, when the tracker has said that it is ready.
    let _donor = Donor::start(&server, 2, 100 * SECOND, 1_000, Limits { rate: 8_000, ..LIMITS });
    runtime().block_on(async {
        let joiner = party(&server, 3, SECOND, 0, Limits { wait: SECOND * 3 / 2, ..LIMITS }).await;
        assert!(join(&joiner).await < 1_000);
        assert_eq!(joiner.peers(), 1_000, "it is taken all the same");
    });
}

#[test]
fn who_is_to_take_none_asks_nobody_and_who_is_to_give_none_answers_nobody() {
    let Some(server) = NatsServer::start("") else { return };
    runtime().block_on(async {
        let listener = party(&server, 1, SECOND, 0, LIMITS).await;
        let mut heard = listener.client.subscribe(format!("{CLUSTER}.>")).await.unwrap();
        listener.client.flush().await.unwrap();
        for limits in [Limits { wait: Duration::ZERO, ..LIMITS }, Limits { max: 0, ..LIMITS }] {
            let joiner = party(&server, 2, SECOND, 0, limits).await;
            join(&joiner).await;
        }
        let stingy = party(&server, 3, SECOND, 0, Limits { rate: 0, ..LIMITS }).await;
        give(&stingy).await.unwrap();
        // What it hears now is the first that was said.
        listener.say(Address::Donor(7), Message::End { joiner: 8, snapshot: 9 }).await;
        assert!(heard.next().await.unwrap().subject.ends_with("donor.0000000000000007"));
    });
}

/// Pieces with their numbers.
type Pieces = Vec<(u32, Vec<u8>)>;

/// A liar: offers a snapshot of a tracker that has been up for longer than all others, and answers each demand.
async fn lie(liar: &TestParty, joiner: u64, mut answer: impl FnMut(u64, u32) -> Pieces) {
    let mut asked = liar.subscribe(Address::Donors).await.unwrap();
    let mut demands = liar.subscribe(Address::Donor(liar.number())).await.unwrap();
    liar.client.flush().await.unwrap();
    loop {
        match select(asked.next(), demands.next()).await {
            Either::Left(_) => {
                let offer = Offer { id: liar.number(), uptime_seconds: u32::MAX, torrents: u64::MAX, peers: 0 };
                liar.say(Address::Joiner(joiner, 0), Message::Offer(offer)).await;
            }
            Either::Right((message, _)) => {
                let message = message.unwrap();
                if let Some(Message::Demand { snapshot, taken, .. }) = liar.read(&message) {
                    for (number, bytes) in answer(snapshot, taken) {
                        let piece = Message::Piece { snapshot, number, bytes: &bytes };
                        liar.say(Address::Joiner(joiner, snapshot), piece).await;
                    }
                }
            }
        }
    }
}

#[test]
fn a_snapshot_that_makes_no_sense_is_given_up_and_the_next_donor_asked() {
    let Some(server) = NatsServer::start("") else { return };
    let header = [b"otswarms\x00\x01\x01".as_slice(), &[0; 12]].concat();
    let cut = header.len() / 2;
    let answers: [(&str, Pieces); 4] = [
        ("these are not the swarms", vec![(0, vec![b'x'; 100])]),
        ("it stopped in the middle", vec![(0, header[..cut].into()), (2, header[cut..].into())]),
        ("no record begins with 77", vec![(0, header.clone()), (0, vec![1]), (0, vec![77; 9]), (1, vec![77])]),
        ("it stopped in the middle", vec![(1, header.clone())]),
    ];
    let donor = Donor::start(&server, 1, 100 * SECOND, 100, LIMITS);
    for (number, (reason, pieces)) in (10..).zip(answers) {
        runtime().block_on(async {
            let liar = party(&server, 100 + number, SECOND, 0, LIMITS).await;
            let joiner = party(&server, number, SECOND, 0, LIMITS).await;
            let mut has_lied = false;
            let lying = lie(&liar, number, |_, taken| {
                has_lied = true;
                if taken == 0 { pieces.clone() } else { Vec::new() }
            });
            assert!(matches!(select(pin!(lying), pin!(join(&joiner))).await, Either::Right((100, _))), "{reason}");
            assert_eq!(joiner.counts().snapshots_taken, 1, "{reason}");
            assert!(has_lied, "{reason}");
        });
    }
    assert!(wait_until(|| donor.party.counts().snapshots_given == 4));
}

#[test]
fn a_snapshot_without_end_is_given_up_and_no_other_asked_for() {
    let Some(server) = NatsServer::start("") else { return };
    let donor = Donor::start(&server, 1, 100 * SECOND, 100, LIMITS);
    runtime().block_on(async {
        let liar = party(&server, 3, SECOND, 0, LIMITS).await;
        let joiner = party(&server, 2, SECOND, 0, Limits { max: 50_000, ..LIMITS }).await;
        let header = [b"otswarms\x00\x01\x01".as_slice(), &[0; 12]].concat();
        // Minutes pass, for ever.
        let minutes = [4, 0].repeat(5_000);
        let lying = lie(&liar, 2, |_, taken| {
            let piece = |number| if number == 0 { header.clone() } else { minutes.clone() };
            (taken..taken + 4).map(|number| (number, piece(number))).collect()
        });
        assert!(matches!(select(pin!(lying), pin!(join(&joiner))).await, Either::Right((0, _))));
        assert_eq!(joiner.counts().snapshots_taken, 0);
        assert!(joiner.counts().bytes_received < 150_000);
    });
    assert_eq!(donor.party.counts().snapshots_given, 0);
}

#[test]
fn a_donor_sends_no_more_than_the_window_and_no_more_than_the_server_takes() {
    let Some(server) = NatsServer::start("max_payload: 600") else { return };
    let donor = Donor::start(&server, 1, 100 * SECOND, 2_000, LIMITS);
    runtime().block_on(async {
        let joiner = party(&server, 2, SECOND, 0, LIMITS).await;
        let mut inbox = joiner.client.subscribe(Address::all_of_joiner(2, CLUSTER)).await.unwrap();
        let demand = |taken| joiner.say(Address::Donor(1), Message::Demand { joiner: 2, snapshot: 5, taken });
        demand(0).await;
        let mut next = 0;
        for (taken, expected) in [(0, WINDOW), (4, WINDOW + 4), (4, WINDOW + 4), (WINDOW, 2 * WINDOW)] {
            demand(taken).await;
            while next < expected {
                let message = inbox.next().await.unwrap();
                let read = joiner.read(&message);
                assert!(matches!(read, Some(Message::Piece { snapshot: 5, number, .. }) if number == next), "{read:?}");
                assert!(message.payload.len() <= 600);
                next += 1;
            }
            assert!(timeout(SECOND / 5, inbox.next()).await.is_err(), "{next}");
        }
        // What is not known of is refused, as is what has been ended.
        joiner.say(Address::Donor(1), Message::Demand { joiner: 2, snapshot: 6, taken: 1 }).await;
        let message = inbox.next().await.unwrap();
        assert_eq!(joiner.read(&message), Some(Message::Refusal { snapshot: 6 }));
        joiner.say(Address::Donor(1), Message::End { joiner: 2, snapshot: 5 }).await;
        let message = inbox.next().await.unwrap();
        assert_eq!(joiner.read(&message), Some(Message::Refusal { snapshot: 5 }));
        assert_eq!(donor.party.counts().snapshots_given, 0);
        assert_eq!(join(&joiner).await, 2_000, "its seat is free again");
    });
}

#[test]
fn a_donor_whose_seats_are_taken_says_that_it_is_there_and_bad_messages_are_counted() {
    let Some(server) = NatsServer::start("") else { return };
    let donor = Donor::start(&server, 1, 100 * SECOND, 10, Limits { rate: 1, ..LIMITS });
    runtime().block_on(async {
        let joiner = party(&server, 2, SECOND, 0, LIMITS).await;
        let mut inbox = joiner.client.subscribe(Address::all_of_joiner(2, CLUSTER)).await.unwrap();
        let foreign = Message::Question { joiner: 2 }.to_bytes("another.cluster");
        joiner.client.publish(Address::Donors.subject(CLUSTER), foreign.into()).await.unwrap();
        joiner.client.publish(Address::Donors.subject(CLUSTER), "hello".into()).await.unwrap();
        for snapshot in [1, 2, 3] {
            joiner.say(Address::Donor(1), Message::Demand { joiner: 2, snapshot, taken: 0 }).await;
        }
        joiner.say(Address::Donors, Message::Question { joiner: 2 }).await;
        let (mut is_refused, mut is_there) = (false, false);
        while !is_refused || !is_there {
            let message = inbox.next().await.unwrap();
            match joiner.read(&message).unwrap() {
                Message::Piece { snapshot: 1 | 2, .. } => {}
                Message::Refusal { snapshot: 3 } => is_refused = true,
                Message::Presence => is_there = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(donor.party.counts().packets_refused, 2);
    });
}

#[test]
fn a_donor_that_waits_for_a_snapshot_itself_gives_none() {
    let Some(server) = NatsServer::start("") else { return };
    let donor = Donor::start(&server, 1, SECOND, 10, LIMITS);
    let _search = crate::cluster::snapshot::Search::<()>::new(&donor.party.snapshots, Instant::now());
    runtime().block_on(async {
        let joiner = party(&server, 2, SECOND, 0, LIMITS).await;
        let mut inbox = joiner.client.subscribe(Address::all_of_joiner(2, CLUSTER)).await.unwrap();
        joiner.say(Address::Donors, Message::Question { joiner: 2 }).await;
        joiner.say(Address::Donor(1), Message::Demand { joiner: 2, snapshot: 3, taken: 0 }).await;
        let message = inbox.next().await.unwrap();
        assert_eq!(joiner.read(&message), Some(Message::Refusal { snapshot: 3 }));
        assert!(timeout(give::MAX_JITTER, inbox.next()).await.is_err());
    });
}

#[test]
fn a_donor_that_is_silent_is_given_up_although_others_talk_all_the_time() {
    let Some(server) = NatsServer::start("") else { return };
    runtime().block_on(async {
        let joiner = party(&server, 2, SECOND, 0, LIMITS).await;
        let mut inbox = joiner.client.subscribe(Address::all_of_joiner(2, CLUSTER)).await.unwrap();
        let other = party(&server, 1, SECOND, 0, LIMITS).await;
        let mut silent = other.subscribe(Address::Donor(1)).await.unwrap();
        // When this has come back the server knows that somebody listens.
        other.say(Address::Donor(1), Message::Presence).await;
        silent.next().await.unwrap();
        let talk = tokio::spawn(async move {
            loop {
                other.say(Address::Joiner(2, 0), Message::Presence).await;
            }
        });
        let taken = timeout(60 * SECOND, joiner.take_from(&mut inbox, 1, 1)).await;
        talk.abort();
        assert!(matches!(taken, Ok(Err(SnapshotError::Silent))), "{taken:?}");
    });
}
