//! Donors over NATS that lie: about what there is, by what they give, and by when they stop. One of them is played by
//! the test.

use super::super::metrics::page;
use super::super::sync_nats_snapshot::answers_at;
use super::stranger::{CLUSTER, Stranger, number};
use super::{count, wait_for_counters};
use crate::clients::nats::{Server, only_with_nats_server};
use crate::clients::udp::{Announce, COMPLETED, Client};
use crate::flavour::{has, info_hash, loopback, only_with};
use crate::harness::tests;
use crate::process::memory::resident;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    what_a_donor_lies_about_is_found_out_and_the_next_one_asked,
    a_donor_that_stops_midway_repeats_itself_or_leaves_something_out_is_given_up,
    what_a_snapshot_tells_several_times_counts_once,
    who_completes_a_download_while_a_snapshot_comes_stays_a_seeder,
    a_snapshot_without_an_end_is_given_up_at_its_maximum_and_takes_no_memory,
    messages_about_snapshots_that_make_no_sense_are_refused_and_counted,
];

const QUESTION: u8 = 1;
const OFFER: u8 = 2;
const DEMAND: u8 = 4;
const PIECE: u8 = 5;
const REFUSAL: u8 = 6;
const END: u8 = 7;
/// Pieces that are under way at most.
const WINDOW: u32 = 16;

/// Bytes of a snapshot's header, of a torrent in it before its peers, and of its end mark.
const HEADER: usize = 23;
const TORRENT: usize = 29;
const END_MARK: usize = 33;

/// A message of this kind.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let name = [&[u8::try_from(CLUSTER.len()).unwrap()], CLUSTER.as_bytes()].concat();
    [&b"OTS\x01"[..], &name, &[kind], body].concat()
}

/// The body of a message of this kind.
fn body(kind: u8, message: &[u8]) -> Option<&[u8]> {
    message[4 + 1 + CLUSTER.len()..].split_first().filter(|(found, _)| **found == kind).map(|(_, body)| body)
}

/// What a tracker gives that knows four seeders of the first torrent, each of which has completed it.
fn snapshot(server: &Server) -> Vec<u8> {
    let config = server.config() + "sync.snapshot_wait = 0\n";
    let tracker = Start::loopback().config(&config).run();
    let client = Client::new(tracker.udp());
    (1..=4).for_each(|port| _ = client.announce(&Announce::seeder(info_hash(1), port).event(COMPLETED)));
    let mut joiner = Stranger::new(server);
    let donor = wait_until(|| {
        joiner.publish("snapshot", &message(QUESTION, &1_u64.to_be_bytes()));
        joiner.flush();
        joiner.try_for("snapshot.joiner.0000000000000001.0", |offer| Some(number(&mut body(OFFER, offer)?)))
    });
    let donor = donor.expect("an offer");
    let to = format!("snapshot.donor.{donor:016x}");
    let demand =
        |taken: u32| message(DEMAND, &[&[1_u64, 7].map(u64::to_be_bytes).concat()[..], &taken.to_be_bytes()].concat());
    joiner.publish(&to, &demand(0));
    let piece = joiner.wait_for("snapshot.joiner.0000000000000001.7", |piece| body(PIECE, piece).map(<[u8]>::to_vec));
    joiner.publish(&to, &demand(1));
    joiner.flush();
    assert_eq!(piece[..12], [&7_u64.to_be_bytes()[..], &[0; 4]].concat());
    let bytes = piece[12..].to_vec();
    assert_eq!(
        (&bytes[..8], bytes[bytes.len() - END_MARK]),
        (&b"otswarms"[..], 5),
        "it is small, and so is in one piece"
    );
    bytes
}

/// Starts a tracker that looks for a snapshot.
fn joining(server: &Server, config: &str) -> Tracker {
    Start::loopback().config(&format!("{}sync.snapshot_wait = 60\n{config}", server.config())).begin()
}

/// A donor that the test plays: its number, and the numbers and bytes of the pieces that it sends. Then it says that
/// nothing more comes, or says nothing.
struct Donor {
    number: u64,
    pieces: Vec<(u32, Vec<u8>)>,
    refuses: bool,
}

impl Donor {
    fn gives(number: u64, pieces: &[(u32, &[u8])]) -> Self {
        let pieces = pieces.iter().map(|(number, bytes)| (*number, bytes.to_vec())).collect();
        Self { number, pieces, refuses: true }
    }

    /// Says nothing at its end.
    fn silent(self) -> Self {
        Self { refuses: false, ..self }
    }
}

/// Has these donors offer a snapshot to the joiner that asks, the first of them the one that has been up for longest;
/// says of each how many torrents and peers it has, which is not true. Each gives what it is to give when it is asked
/// for that, and all of them are asked. Returns where the last one sends its pieces, and the number of its snapshot.
fn play(stranger: &mut Stranger, donors: &[Donor]) -> (String, [u8; 8]) {
    let joiner = stranger.wait_for("snapshot", |question| Some(number(&mut body(QUESTION, question)?)));
    for (at, donor) in donors.iter().enumerate() {
        let uptime = 90_000 - u32::try_from(at).unwrap();
        let offer = [&donor.number.to_be_bytes()[..], &uptime.to_be_bytes(), &[0xff; 16]].concat();
        stranger.publish(&format!("snapshot.joiner.{joiner:016x}.0"), &message(OFFER, &offer));
    }
    let mut last = (String::new(), [0; 8]);
    for donor in donors {
        let (joiner, snapshot) = stranger.wait_for(&format!("snapshot.donor.{:016x}", donor.number), |demand| {
            let mut demand = body(DEMAND, demand)?;
            Some((number(&mut demand), number(&mut demand)))
        });
        let to = format!("snapshot.joiner.{joiner:016x}.{snapshot}");
        let snapshot = snapshot.to_be_bytes();
        for (number, bytes) in &donor.pieces {
            stranger.publish(&to, &message(PIECE, &[&snapshot[..], &number.to_be_bytes(), bytes].concat()));
        }
        if donor.refuses {
            stranger.publish(&to, &message(REFUSAL, &snapshot));
        }
        stranger.flush();
        last = (to, snapshot);
    }
    last
}

fn server() -> Server {
    only_with("sync-nats");
    only_with_nats_server();
    Server::start(&[])
}

/// Asserts that the tracker is ready with what the last donor gave, and that these were given up for these reasons.
fn has_given_up(tracker: Tracker, said: &[&str]) {
    let mut tracker = tracker.ready();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (4, 4, 0));
    tracker.wait_for_log("INFO taken a snapshot from the tracker 00000000000000ff");
    if has("metrics") {
        wait_for_counters(&tracker, "nats", &[("snapshots_taken", 1.0), ("snapshots_given", 0.0)]);
    }
    let log = tracker.stop();
    for (number, said) in (1..).zip(said) {
        let line = format!("a snapshot from the tracker {number:016x} over NATS is given up: ");
        assert!(log.lines().any(|found| found.contains(&line) && found.contains(said)), "{line}{said}:\n{log}");
    }
    assert_eq!(log.matches("is given up").count(), said.len(), "{log}");
}

fn what_a_donor_lies_about_is_found_out_and_the_next_one_asked() {
    let server = server();
    let whole = snapshot(&server);
    let changed = |at: usize, bit: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= bit;
        bytes
    };
    let lies: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "these are not the swarms of a tracker"),
        (&changed(9, 0x40), "the swarms are written in version 65"),
        (&changed(whole.len() - 25, 0x80), "are announced at the end"),
        (&changed(whole.len() - 1, 1), "the checksum is wrong"),
        (&whole.repeat(2), "something follows the end"),
        (&changed(whole.len() - 24, 0x80), "are announced at the end"),
        (&changed(10, 0xff), " does not name address families"),
        (&changed(HEADER, 0xff), "no record begins with 254"),
    ];
    // Five donors are asked at most.
    for lies in lies.chunks(4) {
        let tracker = joining(&server, "");
        let mut stranger = Stranger::new(&server);
        let liars = (1..).zip(lies).map(|(number, (bytes, _))| Donor::gives(number, &[(0, bytes)]));
        play(&mut stranger, &liars.chain([Donor::gives(0xff, &[(0, &whole)])]).collect::<Vec<_>>());
        has_given_up(tracker, &lies.iter().map(|(_, said)| *said).collect::<Vec<_>>());
    }
}

fn a_donor_that_stops_midway_repeats_itself_or_leaves_something_out_is_given_up() {
    let server = server();
    let whole = snapshot(&server);
    let (first, rest) = whole.split_at(70);
    // The torrent would have so many more peers of IPv4, or of IPv6.
    let mut many = whole.clone();
    many[HEADER + 25] ^= 0xff;
    let tracker = joining(&server, "");
    let donors = [
        // It says that nothing more comes, leaves a piece out, and says the same again and again and then nothing.
        Donor::gives(1, &[(0, first)]),
        Donor::gives(2, &[(0, first), (2, rest)]),
        Donor::gives(3, &[(0, first); 100]).silent(),
        Donor::gives(4, &[(0, &many)]),
        // A piece that has come already may come again.
        Donor::gives(0xff, &[(0, first), (0, first), (0, rest), (1, rest), (0, first)]),
    ];
    play(&mut Stranger::new(&server), &donors);
    let midway = "it stopped in the middle; kept of it: ";
    has_given_up(tracker, &[midway, midway, "nothing has come or gone for ", "; kept of it: "]);
}

fn what_a_snapshot_tells_several_times_counts_once() {
    let server = server();
    let whole = snapshot(&server);
    let tracker = joining(&server, "");
    let torrent = &whole[HEADER..whole.len() - END_MARK];
    let repeated = [&whole[..HEADER], &torrent.repeat(50)].concat();
    play(&mut Stranger::new(&server), &[Donor::gives(1, &[(0, &repeated)]), Donor::gives(0xff, &[(0, &whole)])]);
    has_given_up(tracker, &["it stopped in the middle; kept of it: "]);
}

fn who_completes_a_download_while_a_snapshot_comes_stays_a_seeder() {
    let server = server();
    let whole = snapshot(&server);
    // Before any of the four had completed it.
    let mut earlier = whole[..whole.len() - END_MARK].to_vec();
    let each = if loopback().is_ipv4() { 8 } else { 20 };
    // It is told several times.
    for torrent in earlier[HEADER..].chunks_mut(TORRENT + 4 * each) {
        torrent[TORRENT..].chunks_mut(each).for_each(|peer| peer[each - 2] = 0);
    }
    let mut stranger = Stranger::new(&server);
    let mut tracker = joining(&server, "");
    let client = Client::new(answers_at(&tracker));
    client.announce(&Announce::seeder(info_hash(1), 1).event(COMPLETED));
    play(&mut stranger, &[Donor::gives(1, &[(0, &earlier)])]);
    tracker.wait_for_log("is given up: it stopped in the middle; kept of it: ");
    assert_eq!(client.counts(info_hash(1)), (1, 4, 3));
    play(&mut stranger, &[Donor::gives(0xff, &[(0, &whole)])]);
    has_given_up(tracker, &["it stopped in the middle"]);
}

fn a_snapshot_without_an_end_is_given_up_at_its_maximum_and_takes_no_memory() {
    /// Bytes that a tracker takes, and how much more memory it may have by then.
    const MAX: usize = 8 << 20;
    let server = server();
    let whole = snapshot(&server);
    let torrent = &whole[HEADER..whole.len() - END_MARK];
    let piece = torrent.repeat(64_000 / torrent.len());
    let mut stranger = Stranger::new(&server);
    let mut tracker = joining(&server, &format!("sync.snapshot_max = {MAX}\n"));
    let (to, snapshot) = play(&mut stranger, &[Donor::gives(1, &[(0, &whole[..HEADER])]).silent()]);
    let before = resident(&tracker);
    let mut sent = 1;
    // As fast as it takes them, until it wants no more.
    while let Some(taken) = stranger.wait_for("snapshot.donor.0000000000000001", |message| {
        let taken = body(DEMAND, message).map(|body| Some(u32::from_be_bytes(body[16..].try_into().unwrap())));
        taken.or_else(|| body(END, message).map(|_| None))
    }) {
        for number in sent..taken + WINDOW {
            stranger.publish(&to, &message(PIECE, &[&snapshot[..], &number.to_be_bytes(), &piece].concat()));
        }
        sent = sent.max(taken + WINDOW);
        assert!(sent as usize * piece.len() < 2 * MAX, "{}", tracker.log());
    }
    let after = resident(&tracker);
    assert!(after < before + MAX as u64 / 2, "{after} bytes of memory, {before} before");
    tracker = tracker.ready();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (4, 4, 0));
    assert!(tracker.stop().contains(&format!("it has more than {MAX} bytes (sync.snapshot_max); kept of it: ")));
}

fn messages_about_snapshots_that_make_no_sense_are_refused_and_counted() {
    only_with("metrics");
    let server = server();
    let tracker = Start::loopback().config(&(server.config() + "sync.snapshot_wait = 0\n")).run();
    let client = Client::new(tracker.udp());
    client.announce(&Announce::leecher(info_hash(1), 1));
    let mut stranger = Stranger::new(&server);
    // It gives snapshots once it has an answer for who asks.
    wait_until(|| {
        stranger.publish("snapshot", &message(QUESTION, &1_u64.to_be_bytes()));
        stranger.flush();
        stranger.try_for("snapshot.joiner.0000000000000001.0", |_| Some(()))
    });
    let right = message(QUESTION, &2_u64.to_be_bytes());
    let mut refused: Vec<_> = (0..right.len()).map(|len| right[..len].to_vec()).collect();
    refused.push([&right[..], &[0]].concat());
    for (at, byte) in [(0, b'o'), (3, 0), (3, 2), (4, 10), (4, 12), (5, b'O'), (16, 0), (16, 8), (16, 0xff)] {
        let mut bytes = right.clone();
        bytes[at] = byte;
        refused.push(bytes);
    }
    refused.extend([vec![0xff; 1_000_000], vec![0; 64], message(DEMAND, &[0; 19]), message(DEMAND, &[0; 21])]);
    let before = count(&page(&tracker), "nats", "packets_refused");
    refused.iter().for_each(|payload| stranger.publish("snapshot", payload));
    wait_for_counters(&tracker, "nats", &[("packets_refused", before + refused.len() as f64)]);
    // Demands of snapshots of which it has begun none, and ends of such.
    for _ in 0..100 {
        stranger.publish("snapshot", &message(DEMAND, &[&[9; 16][..], &[0, 0, 0, 1]].concat()));
        stranger.publish("snapshot", &message(END, &[9; 16]));
    }
    stranger.flush();
    client.announce(&Announce::leecher(info_hash(1), 2));
    wait_for_counters(&tracker, "nats", &[("snapshots_given", 0.0)]);
    assert_eq!(client.counts(info_hash(1)).2, 2);
}
