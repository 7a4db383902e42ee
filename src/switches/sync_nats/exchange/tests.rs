//! Three trackers and a real server, which is killed and comes back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use async_nats::ConnectOptions;
use fastrand::Rng;
use futures_util::future::join;

use super::super::batch::NAME;
use super::super::member::Member;
use super::super::testing::NatsServer;
use super::*;
use crate::stats::Counters;
use crate::tracker::store::Cursor;
use crate::tracker::testing::TestTracker;
use crate::tracker::{
    AnnounceRequest, Capacity, Change, Cluster, Event as Happens, InfoHash, Ipv4Only, Minute, Open, Origin,
    PeerRequest, Second,
};

const NODES: u8 = 3;
const NOW: Minute = Minute(29_000_191);

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until there is something.
fn wait_for<T>(mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The clock of a tracker, which is so many seconds ahead of others, and stands still.
#[derive(Clone, Copy)]
struct Ahead(u64);

impl Clock for Ahead {
    fn second(self) -> Second {
        Second(Second::from(NOW).0 + self.0)
    }
}

struct Plug(Arc<Shared>);

impl Cluster for Plug {
    const LISTENS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin.is_by(NAME)
    }

    fn publish(&self, change: &Change) -> bool {
        self.0.publish(change, Instant::now())
    }
}

struct Node {
    shared: Arc<Shared>,
    tracker: TestTracker<Ipv4Only, Open, Plug>,
    clock: Ahead,
}

impl Node {
    fn new(n: u8) -> Self {
        let shared = Arc::new(Shared::new("a.test".into(), u64::from(n) + 1, Instant::now()));
        let clock = Ahead(u64::from(n) * 3700);
        let tracker = TestTracker::with_plugs(Capacity::NONE, clock.now(), Open, Plug(Arc::clone(&shared)));
        Self { shared, tracker, clock }
    }

    fn announce(&self, peer: u8, event: Happens) {
        let endpoint = ([192, 0, 2, peer], 6881).into();
        let seeder = event == Happens::Completed;
        let announce = AnnounceRequest { info_hash: InfoHash([7; 20]), endpoint, seeder, uploaded: false, event };
        self.tracker.announce(&announce, self.clock.now(), &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
    }

    /// Returns who is known, and how many downloads are counted.
    fn knows(&self) -> (BTreeSet<SocketAddr>, u32) {
        let (mut peers, mut cursor) = (BTreeSet::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.tracker.store().walk_peers(from, &mut 1000, |_, endpoint, _| _ = peers.insert(endpoint));
        }
        (peers, self.tracker.scrape(&InfoHash([7; 20])).map_or(0, |counts| counts.downloaded))
    }
}

/// Tells `stop` at its end, also where a test fails: nobody waits for threads that go on.
struct StopAtEnd<'a>(&'a StopToken);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Takes part in the exchange until `stop` is told.
fn take_part(node: &Node, port: u16, stop: &StopToken) {
    let counters = Counters::default();
    let member = Member {
        shared: &node.shared,
        tracker: &node.tracker,
        worker_counters: &counters.for_worker(),
        inherits: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ConnectOptions::new().retry_on_initial_connect().max_reconnects(None);
        let options = options.reconnect_delay_callback(|_| Duration::from_millis(50));
        let client = options.connect(format!("127.0.0.1:{port}")).await.unwrap();
        run(&client, &mut Machine::new(member), node.clock, stop).await.unwrap();
    });
}

#[test]
fn what_is_announced_to_one_is_known_to_all_although_the_server_is_killed_meanwhile() {
    let Some(mut server) = NatsServer::start("") else { return };
    let nodes: Vec<_> = (0..NODES).map(Node::new).collect();
    let (stop, port) = (StopToken::default(), server.port());
    let expect = |peers: &[u8], downloads: u32| {
        let peers: BTreeSet<_> = peers.iter().map(|peer| ([192, 0, 2, *peer], 6881).into()).collect();
        nodes.iter().for_each(|node| wait_for(|| (node.knows() == (peers.clone(), downloads)).then_some(())));
    };
    thread::scope(|scope| {
        let _ends = StopAtEnd(&stop);
        nodes.iter().for_each(|node| _ = scope.spawn(|| take_part(node, port, &stop)));
        nodes.iter().for_each(|node| wait_for(|| node.shared.is_connected().then_some(())));

        (0..NODES).for_each(|n| nodes[usize::from(n)].announce(n, Happens::Update));
        expect(&[0, 1, 2], 0);
        nodes[0].announce(0, Happens::Completed);
        nodes[1].announce(1, Happens::Stopped);
        expect(&[0, 2], 1);

        server.kill();
        nodes.iter().for_each(|node| wait_for(|| (!node.shared.is_connected()).then_some(())));
        nodes[0].announce(0, Happens::Stopped);
        nodes[1].announce(10, Happens::Update);
        nodes[2].announce(2, Happens::Completed);
        server.come_back();
        expect(&[2, 10], 2);
        let counts = |node: &Node| node.shared.counters.counts();
        assert!(nodes.iter().all(|node| counts(node).reconnects == 1 && counts(node).packets_refused == 0));

        // What is announced last reaches the others although the tracker ends.
        nodes[1].announce(11, Happens::Update);
        stop.stop();
    });
    assert!(nodes[1].shared.outbox.take_any().is_none());
}

#[test]
fn a_server_that_takes_only_small_messages_gets_small_ones() {
    let Some(server) = NatsServer::start("max_payload: 400") else { return };
    let nodes = [Node::new(0), Node::new(1)];
    let (stop, port) = (StopToken::default(), server.port());
    // More than one such message has room for, before there is a connection and behind it.
    (0..50).for_each(|peer| nodes[0].announce(peer, Happens::Update));
    thread::scope(|scope| {
        let _ends = StopAtEnd(&stop);
        nodes.iter().for_each(|node| _ = scope.spawn(|| take_part(node, port, &stop)));
        wait_for(|| (nodes[1].knows().0.len() == 50).then_some(()));
        (50..100).for_each(|peer| nodes[0].announce(peer, Happens::Update));
        wait_for(|| (nodes[1].knows().0.len() == 100).then_some(()));
    });
    assert!(nodes.iter().all(|node| node.shared.counters.counts().packets_lost == 0));
}

#[test]
fn what_is_told_after_a_client_has_come_to_its_end_goes_out_by_the_next_one() {
    let Some(server) = NatsServer::start("") else { return };
    let nodes = [Node::new(0), Node::new(1)];
    let (stop, port, counters) = (StopToken::default(), server.port(), Counters::default());
    let worker_counters = counters.for_worker();
    let Node { shared, tracker, clock } = &nodes[1];
    let mut machine = Machine::new(Member { shared, tracker, worker_counters: &worker_counters, inherits: false });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::scope(|scope| {
        let _ends = StopAtEnd(&stop);
        scope.spawn(|| take_part(&nodes[0], port, &stop));
        runtime.block_on(async {
            let client = server.connect().await;
            let (drained, shared_too) = (client.clone(), Arc::clone(shared));
            let is_connected = move || shared_too.is_connected();
            tokio::spawn(async move {
                while !is_connected() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                drained.drain().await.unwrap();
            });
            let ended = timeout(PATIENCE, run(&client, &mut machine, *clock, &stop)).await.unwrap();
            assert!(ended.is_err() && !shared.is_connected());
            nodes[1].announce(7, Happens::Update);
            let client = server.connect().await;
            let next = run(&client, &mut machine, *clock, &stop);
            let seen = async {
                while nodes[0].knows().0.is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert!(shared.is_connected());
                stop.stop();
            };
            let (ended, seen) = join(next, timeout(PATIENCE, seen)).await;
            assert!(ended.is_ok() && seen.is_ok());
            assert!(!shared.is_connected());
        });
    });
}

#[test]
fn a_tracker_ends_although_there_is_no_server() {
    let node = Node::new(0);
    let stop = StopToken::default();
    thread::scope(|scope| {
        let _ends = StopAtEnd(&stop);
        // Nobody listens on port 9 of loopback.
        scope.spawn(|| take_part(&node, 9, &stop));
        node.announce(1, Happens::Update);
        stop.stop();
    });
    assert!(!node.shared.is_connected());
}
