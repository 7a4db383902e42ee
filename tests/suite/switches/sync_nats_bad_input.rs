//! `sync-nats` with `metrics`: what a tracker of the cluster says that has gone mad, or a stranger, is refused and
//! counted. Nothing that is true is lost with it, and nothing grows without a bound.

pub(crate) mod snapshots;
pub(crate) mod stranger;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use super::metrics::page;
use super::sync_live::peer;
use super::sync_nats::{member, member_with};
use crate::clients::cluster::{COMPLETED, Record, SEEDING, STOPPED};
use crate::clients::nats::{Server, only_with_nats_server};
use crate::clients::prometheus::Samples;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{has, info_hash, loopback, loopbacks, only_with};
use crate::harness::tests;
use crate::process::memory::resident;
use crate::tracker::Tracker;
use crate::wait::wait_until;
use stranger::{Batch, Stranger, aged, number};

tests![
    a_mad_tracker_keeps_no_client_waiting_and_costs_no_more_than_the_limit_allows,
    whoever_asks_for_all_without_end_gets_it_now_and_then,
    messages_that_are_no_batches_of_the_cluster_are_refused_and_counted,
    no_age_is_taken_for_more_or_less_than_it_is,
    peers_that_no_client_could_be_are_refused_and_counted,
    what_is_told_again_is_taken_once,
    senders_and_gaps_without_number_are_counted_and_bounded,
];

/// Changes in the burst of a mad tracker.
pub(super) const BURST: u32 = 300_000;
/// Peers that the tracker may have, fewer than the burst tells.
pub(super) const MOST: u32 = 20_000;
/// How much more memory a tracker may take after all of a burst than after its first third: less than what is told then
/// would take.
pub(super) const MORE_BYTES: u64 = 8 << 20;

/// A tracker of its own cluster, and who says to it what it likes.
fn cluster() -> (Server, Tracker, Stranger) {
    only_with("sync-nats");
    only_with("metrics");
    only_with_nats_server();
    let server = Server::start(&[]);
    let tracker = member(&server);
    let stranger = Stranger::new(&server);
    (server, tracker, stranger)
}

/// One of the counters of a transport.
pub(super) fn count(page: &Samples, transport: &str, name: &str) -> f64 {
    page[&format!("opentracker_{transport}_{name}_total")]
}

/// Waits until the counters of a transport have these values.
#[track_caller]
pub(super) fn wait_for_counters(tracker: &Tracker, transport: &str, expected: &[(&str, f64)]) {
    let counts = |page: &Samples| -> Vec<_> { expected.iter().map(|(name, _)| count(page, transport, name)).collect() };
    let values: Vec<_> = expected.iter().map(|(_, value)| *value).collect();
    let found = wait_until(|| (counts(&page(tracker)) == values).then_some(()));
    assert!(found.is_some(), "{expected:?}, not {:?}:\n{}", counts(&page(tracker)), tracker.log());
}

/// The peer of this number in a burst: each is another one.
pub(super) fn burst_peer(number: u32) -> Record {
    let (torrent, port) = (u8::try_from(number % 200).unwrap(), u16::try_from(1 + number / 200).unwrap());
    Record { info_hash: info_hash(torrent), ..peer(loopback(), port) }
}

fn a_mad_tracker_keeps_no_client_waiting_and_costs_no_more_than_the_limit_allows() {
    only_with("sync-nats");
    only_with("metrics");
    only_with_nats_server();
    /// Records in a batch, fewer than fit, of either family; and batches of one third, fewer than wait to be read.
    const EACH: u32 = 1000;
    const THIRD: u32 = BURST / 3;
    let server = Server::start(&[]);
    let tracker = member_with(&server, &format!("limits.peers = {MOST}\n"));
    let client = Client::new(tracker.udp());
    let own = Announce::leecher(info_hash(250), 1);
    client.announce(&own);
    let taken = |page: &Samples| count(page, "nats", "records_received") + count(page, "nats", "records_refused");
    let mut after_a_third = None;
    for third in 0..3 {
        thread::scope(|scope| {
            let mut mad = Stranger::new(&server);
            scope.spawn(move || {
                let first = Batch::first(1, &burst_peer(0));
                for batch in third * THIRD / EACH..(third + 1) * THIRD / EACH {
                    let numbers = batch * EACH..(batch + 1) * EACH;
                    let records: Vec<_> = numbers.flat_map(|number| burst_peer(number).bytes()).collect();
                    mad.publish("changes", &Batch { sequence: u64::from(batch) + 1, ..first }.with(&records));
                }
                mad.flush();
            });
            // Each of them is answered.
            let all = wait_until(|| {
                assert_eq!(client.announce(&own).leechers, 1);
                (taken(&page(&tracker)) == f64::from((third + 1) * THIRD)).then_some(())
            });
            assert!(all.is_some(), "{} in {third}", taken(&page(&tracker)));
        });
        after_a_third.get_or_insert_with(|| resident(&tracker));
    }
    let (first, last) = (after_a_third.unwrap(), resident(&tracker));
    assert!(last < first + MORE_BYTES, "{last} bytes after all, {first} after a third");
    let batches = f64::from(BURST / EACH);
    let nothing = [("gaps", 0.0), ("packets_lost", 0.0), ("packets_refused", 0.0)];
    wait_for_counters(&tracker, "nats", &[&[("packets_received", batches)][..], &nothing].concat());
    let page = page(&tracker);
    assert!(page["opentracker_peers"] <= f64::from(MOST), "{page:?}");
    assert!(count(&page, "nats", "records_refused") > 0.0, "{page:?}");
    // Its own client keeps its place, and there is one for another.
    assert!(client.announce(&Announce::leecher(info_hash(250), 2)).peers.contains(&client.endpoint(1)));
}

/// The number that the tracker has as a sender.
fn own_sender(stranger: &mut Stranger) -> u64 {
    stranger.wait_for("changes", |mut batch| {
        batch = &batch[4 + 1 + stranger::CLUSTER.len()..];
        Some(number(&mut batch))
    })
}

fn whoever_asks_for_all_without_end_gets_it_now_and_then() {
    let (_server, tracker, mut stranger) = cluster();
    let client = Client::new(tracker.udp());
    (1..=10).for_each(|port| _ = client.announce(&Announce::leecher(info_hash(1), port)));
    let own = own_sender(&mut stranger);
    let name = [&[11], stranger::CLUSTER.as_bytes()].concat();
    for asker in 0..5000 {
        for (sender, missed, minutes) in
            [(own, [0, 0], u64::MAX), (own, [1, u64::MAX], 0), (own, [0, u64::MAX], 1), (asker, [1, 2], 3)]
        {
            let numbers = [asker, sender, missed[0], missed[1], minutes].map(u64::to_be_bytes).concat();
            stranger.publish("ask", &[&b"OTA\x01"[..], &name, &numbers].concat());
        }
        if asker % 50 == 0 {
            stranger.flush();
            client.announce(&Announce::leecher(info_hash(1), 1));
        }
    }
    // It is told again at last, and not ten thousand times.
    let republished = || count(&page(&tracker), "nats", "records_republished");
    assert!(wait_until(|| (republished() >= 10.0).then_some(())).is_some(), "{}", republished());
    assert!(republished() < 1000.0, "{}", republished());
    // What others tell still arrives.
    let told = peer(loopback(), 1);
    stranger.publish("changes", &Batch::first(1, &told).with(&told.bytes()));
    wait_for_counters(&tracker, "nats", &[("records_received", 1.0), ("packets_refused", 0.0)]);
}

fn messages_that_are_no_batches_of_the_cluster_are_refused_and_counted() {
    let (_server, tracker, mut stranger) = cluster();
    let client = Client::new(tracker.udp());
    let told = peer(client.ip(), 1);
    let right = Batch::first(1, &told);
    let whole = right.with(&told.bytes());
    let header = whole.len() - told.bytes().len();
    let mut refused: Vec<Vec<u8>> = Vec::new();
    // Cut anywhere but behind the header, where nothing is told.
    refused.extend((0..whole.len()).filter(|len| *len != header).map(|len| whole[..len].to_vec()));
    refused.push([&whole[..], &[0]].concat());
    refused.push(right.with(&told.bytes().repeat(64_000 / told.bytes().len())));
    refused.push(vec![0xff; 1_000_000]);
    for version in [0, 2, 0x80, 0xff] {
        refused.push(Batch { magic: [b'O', b'T', b'B', version], ..right }.with(&told.bytes()));
    }
    for magic in [*b"otb\x01", *b"OTA\x01", *b"OTS\x01", [0; 4]] {
        refused.push(Batch { magic, ..right }.with(&told.bytes()));
    }
    for cluster in ["", "opentracke", "opentracker2", "OPENTRACKER", "opentracker."] {
        refused.push(Batch { cluster, ..right }.with(&told.bytes()));
    }
    for kind in (0..=u8::MAX).filter(|kind| ![4, 6].contains(kind)) {
        refused.push(Batch { kind, ..right }.with(&told.bytes()));
    }
    for (sequence, made_up) in [(0, [0, 0]), (u64::MAX, [0, 0]), (1, [2, 1]), (1, [u64::MAX, 0])] {
        refused.push(Batch { sequence, made_up, ..right }.with(&told.bytes()));
    }
    for (sent, payload) in refused.iter().enumerate() {
        // They do not come faster than they are read.
        if sent % 100 == 0 {
            wait_for_counters(&tracker, "nats", &[("packets_refused", sent as f64)]);
        }
        stranger.publish("changes", payload);
    }
    let all = [("packets_refused", refused.len() as f64), ("packets_received", 0.0), ("records_refused", 0.0)];
    wait_for_counters(&tracker, "nats", &all);
    // What it says itself comes back to it, and what bears its number is taken for that.
    let own = own_sender(&mut stranger);
    stranger.publish("changes", &Batch { sender: own, ..right }.with(&told.bytes()));
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
    stranger.publish("changes", &whole);
    wait_for_counters(&tracker, "nats", &[&all[..1], &[("packets_received", 1.0), ("records_received", 1.0)]].concat());
    assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
}

fn no_age_is_taken_for_more_or_less_than_it_is() {
    let (_server, tracker, mut stranger) = cluster();
    let client = Client::new(tracker.udp());
    // Minutes for which peers are kept, without a configuration.
    let kept = 45;
    let mut sequence = 0;
    let mut taken = 0;
    for waited in [0, 45, 46, 254, 255] {
        // The port says the age.
        let told = |age: u8| Record { info_hash: info_hash(waited), ..peer(client.ip(), u16::from(age) + 1) };
        let records: Vec<_> = (0..=u8::MAX).flat_map(|age| aged(&told(age), age)).collect();
        sequence += 1;
        stranger.publish("changes", &Batch { sequence, waited, ..Batch::first(1, &told(0)) }.with(&records));
        let fresh = (kept + 1_u16).saturating_sub(u16::from(waited));
        taken += u32::from(fresh);
        let refused = u32::try_from(sequence).unwrap() * 256 - taken;
        let counts = [("records_received", f64::from(taken)), ("records_refused", f64::from(refused))];
        wait_for_counters(&tracker, "nats", &counts);
        for peer in client.announce(&Announce::leecher(info_hash(waited), 6881)).peers {
            assert!(peer.port() <= fresh, "{peer} is handed out, {waited} minutes behind");
        }
    }
    assert_eq!(taken, 46 + 1);
}

fn peers_that_no_client_could_be_are_refused_and_counted() {
    let (_server, tracker, mut stranger) = cluster();
    let mut sequence = 0;
    let (mut received, mut refused) = (0.0, 0.0);
    for (&udp, &family) in tracker.udps().iter().zip(loopbacks()) {
        let client = Client::new(udp);
        let at = |ip: &str| Record { endpoint: SocketAddr::new(ip.parse().unwrap(), 6881), ..peer(family, 1) };
        let (nobody, hosts) = if family.is_ipv4() {
            let nobody = ["0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255"].map(at);
            (nobody, ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.255"].map(at))
        } else {
            let nobody = ["::", "ff02::1", "ff0e::1", "::ffff:192.0.2.1"].map(at);
            (nobody, ["::1", "fd00::1", "fe80::1", "2001:db8::2"].map(at))
        };
        let no_port = peer(family, 0);
        let no_flags = (1..0x20).map(|flags| Record { flags, ..peer(family, 7) });
        let unserved = if family.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let mut tell = |records: &[Record]| {
            sequence += 1;
            let bytes: Vec<_> = records.iter().flat_map(Record::bytes).collect();
            stranger.publish("changes", &Batch { sequence, ..Batch::first(1, &records[0]) }.with(&bytes));
        };
        tell(&[&nobody[..], &[no_port], &no_flags.collect::<Vec<_>>()].concat());
        tell(&nobody.map(|nobody| Record { flags: SEEDING | COMPLETED, ..nobody }));
        tell(&nobody.map(|nobody| Record { flags: STOPPED, ..nobody }));
        refused += f64::from(4 + 1 + 31 + 4 + 4);
        if !has("dual-stack") {
            tell(&[peer(unserved, 1); 3]);
            refused += 3.0;
        }
        tell(&hosts);
        received += 4.0;
        let counts = [("records_received", received), ("records_refused", refused), ("packets_refused", 0.0)];
        wait_for_counters(&tracker, "nats", &counts);
        let mut handed_out = client.announce(&Announce::leecher(info_hash(1), 3)).peers;
        handed_out.retain(|peer| peer.is_ipv4() == family.is_ipv4());
        handed_out.sort();
        let mut expected = hosts.map(|host| host.endpoint);
        expected.sort();
        assert_eq!(handed_out, expected);
        assert_eq!(client.counts(info_hash(1)).1, 0);
    }
}

fn what_is_told_again_is_taken_once() {
    let (_server, tracker, mut stranger) = cluster();
    let client = Client::new(tracker.udp());
    let flags = SEEDING | COMPLETED;
    let told = [1, 2].map(|port| Record { flags, ..peer(client.ip(), port) });
    let first = Batch::first(1, &told[0]);
    for record in [told[0], told[0], told[1]] {
        stranger.publish("changes", &first.with(&record.bytes()));
    }
    // It is of another sender.
    stranger.publish("changes", &Batch { sender: 2, ..first }.with(&told[0].bytes()));
    wait_for_counters(&tracker, "nats", &[("packets_received", 2.0), ("packets_refused", 0.0), ("gaps", 0.0)]);
    assert_eq!(client.counts(info_hash(1)), (1, 1, 0));
}

fn senders_and_gaps_without_number_are_counted_and_bounded() {
    let (_server, tracker, mut stranger) = cluster();
    let told = peer(loopback(), 1);
    // No more than are read at once.
    let mut tell = |batches: &[Batch], expected: &dyn Fn(f64) -> [(&'static str, f64); 3]| {
        for (at, chunk) in batches.chunks(100).enumerate() {
            chunk.iter().for_each(|batch| stranger.publish("changes", &batch.with(&told.bytes())));
            wait_for_counters(&tracker, "nats", &expected((at * 100 + chunk.len()) as f64));
        }
    };
    // Of every other batch nothing is heard.
    let first = Batch::first(0, &told);
    let every_other: Vec<_> = (0..1000).map(|n| Batch { sequence: 1 + 2 * n, ..first }).collect();
    tell(&every_other, &|sent| [("packets_received", sent), ("gaps", sent - 1.0), ("packets_refused", 0.0)]);
    // One is known, and there is room for 1,023 others.
    let senders: Vec<_> = (1..1500).map(|sender| Batch { sender, ..first }).collect();
    tell(&senders, &|sent| {
        let taken = f64::min(sent, 1023.0);
        [("packets_received", 1000.0 + taken), ("gaps", 999.0), ("packets_refused", sent - taken)]
    });
    let own = Announce::leecher(info_hash(1), 2);
    assert_eq!(Client::new(tracker.udp()).announce(&own).leechers, 2);
}
