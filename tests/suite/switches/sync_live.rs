//! `sync-live`: a cluster of trackers keeps each other's peers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::{refuses_key, refuses_option};
use crate::clients::cluster::{self, Member, Record};
use crate::clients::http::get;
use crate::clients::udp::{self, Announce, Client};
use crate::flavour::{has, info_hash, loopbacks, only_with, only_without};
use crate::harness::tests;
use crate::process::clocks::Clocks;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_it_its_keys_and_its_option_are_refused,
    without_an_address_the_tracker_stands_alone_and_says_so,
    members_without_an_address_are_a_mistake,
    a_network_may_be_let_in_to_the_statistics_alone,
    with_it_the_interface_has_an_ipv4_address_in_every_build,
    announces_are_published_byte_for_byte,
    a_full_packet_is_published_at_once,
    peers_from_the_cluster_are_handed_out_and_not_published_again,
    records_from_the_cluster_are_counted_in_the_statistics,
    a_download_is_counted_once_in_the_whole_cluster_and_logged_where_it_was_announced,
    forged_packets_change_nothing,
    peers_at_addresses_that_no_host_has_are_refused_and_counted,
    a_keep_alive_of_a_bridge_changes_nothing_and_is_no_mistake,
    packets_from_unknown_addresses_are_ignored,
    an_address_of_another_machine_is_refused,
    a_tracker_without_configured_members_says_so,
    what_goes_wrong_is_summed_up_once_a_minute,
];

fn without_it_its_keys_and_its_option_are_refused() {
    only_without("sync-live");
    refuses_key("sync-live", "livesync.cluster.listen", "127.0.0.1");
    refuses_key("sync-live", "livesync.cluster.node_ip", "127.0.0.0/8");
    refuses_option("sync-live", ["-s", "--livesync-port"], "9696");
}

/// How many threads and sockets of live sync the tracker has.
fn threads_and_sockets(tracker: &Tracker) -> (usize, usize) {
    let process = Path::new("/proc").join(tracker.pid().to_string());
    let entries = |name: &str| fs::read_dir(process.join(name)).unwrap().map(|entry| entry.unwrap().path());
    let names = entries("task").map(|thread| fs::read_to_string(thread.join("comm")).unwrap());
    let threads = names.filter(|name| name.starts_with("sync-")).count();
    // The group's address and a port, then other fields, the tenth of which is the inode.
    let sockets = fs::read_to_string(process.join("net/udp")).unwrap();
    let group = sockets.lines().filter(|line| line.contains(": 051700E0:"));
    let inodes: Vec<_> = group.map(|line| format!("socket:[{}]", line.split_whitespace().nth(9).unwrap())).collect();
    let files = entries("fd").filter_map(|file| fs::read_link(file).ok());
    (threads, files.filter(|file| inodes.iter().any(|inode| file.as_os_str() == inode.as_str())).count())
}

fn without_an_address_the_tracker_stands_alone_and_says_so() {
    only_with("sync-live");
    Start::needed().args(["--check-config"]).finish().succeeds();
    let said = "WARN livesync.cluster.listen is not configured: this tracker stands alone and is in no cluster";
    // Its pages are for the tests.
    let stats = if has("restrict-stats") { "access.stats 127.0.0.0/8\naccess.stats ::1\n" } else { "" };
    let tracker = Start::needed().config(stats).on_loopback().run();
    assert_eq!(tracker.log().matches(said).count(), 1, "{}", tracker.log());
    assert_eq!(threads_and_sockets(&tracker), (0, 0));
    for &server in tracker.udps() {
        let client = Client::new(server);
        client.announce(&Announce::seeder(info_hash(1), 1).event(udp::COMPLETED));
        assert_eq!(client.announce(&Announce::leecher(info_hash(1), 2)).peers, [client.endpoint(1)]);
        client.announce(&Announce::seeder(info_hash(1), 1).event(udp::STOPPED));
    }
    let page = |path: &str| get(tracker.http(), path).text();
    assert!(page("/stats?mode=syncs").starts_with("0\n0\n"));
    assert!(page("/stats?mode=everything").contains("<livesync>\n      <count>0</count>"));
    assert!(!page("/metrics").contains("opentracker_sync_"));
    assert!(!tracker.stop().contains("cluster:"), "nobody was to be told at the end");

    let tracker = Tracker::start(&[]);
    // A thread takes its name when it first runs.
    let both = wait_until(|| (threads_and_sockets(&tracker) == (2, 1)).then_some(()));
    assert!(both.is_some(), "in a cluster: {:?}", threads_and_sockets(&tracker));
    assert!(!tracker.log().contains("stands alone"), "{}", tracker.log());
}

fn members_without_an_address_are_a_mistake() {
    only_with("sync-live");
    let said = "livesync.cluster.node_ip does nothing without livesync.cluster.listen: set both or neither";
    for text in ["livesync.cluster.node_ip 127.0.0.1\n", "[livesync.cluster]\nnode_ip = ['127.0.0.1']\n"] {
        Start::needed().config(text).on_loopback().finish().refuses(2, &[said]);
        Start::needed().config(text).args(["--check-config"]).finish().refuses(2, &[said]);
        Start::needed().config(text).args(["--check-config", "-s", "0"]).finish().succeeds();
    }
}

/// `-A` is for statistics and the cluster: alone it says nothing of a cluster, unless the build has no statistics to
/// guard.
fn a_network_may_be_let_in_to_the_statistics_alone() {
    only_with("sync-live");
    let blessed = || Start::needed().args(["-A", "127.0.0.1"]);
    if has("restrict-stats") {
        blessed().args(["--check-config"]).finish().succeeds();
        let log = blessed().on_loopback().run().stop();
        assert!(log.contains("stands alone"), "{log}");
    } else {
        blessed().on_loopback().finish().refuses(2, &["livesync.cluster.node_ip does nothing without"]);
    }
    // Whether the address comes before or after.
    for start in [blessed().config("livesync.cluster.listen 127.0.0.1:0\n"), Start::minimal().args(["-A", "127.0.0.1"])]
    {
        let log = start.on_loopback().run().stop();
        assert!(log.contains("live sync with group") && !log.contains("node_ip is empty"), "{log}");
    }
}

fn with_it_the_interface_has_an_ipv4_address_in_every_build() {
    only_with("sync-live");
    let check = |text: &str| Start::minimal().args(["--check-config"]).config(text).finish();
    check("livesync.cluster.listen 127.0.0.1\n").succeeds();
    check("livesync.cluster.listen 127.0.0.1:9697\n").succeeds();
    check("livesync.cluster.listen ::1\n").refuses(2, &["livesync.cluster.listen (line 1) takes an IPv4 address"]);
    check("livesync.cluster.node_ip everywhere\n").refuses(2, &["livesync.cluster.node_ip (line 1) takes an address"]);
}

/// The kind of packets for this family: 0 for IPv4, 1 for IPv6.
fn kind(family: IpAddr) -> u8 {
    u8::from(family.is_ipv6())
}

/// A peer of this family on another machine.
pub(super) fn peer(family: IpAddr, port: u16) -> Record {
    let ip = if family.is_ipv4() { "198.51.100.1" } else { "2001:db8::1" };
    Record { info_hash: info_hash(1), endpoint: SocketAddr::new(ip.parse().unwrap(), port), flags: 0 }
}

/// Starts a tracker that accepts packets from one loopback address, and a member of its cluster at this address.
pub(super) fn cluster() -> (Tracker, Member) {
    // It looks for no snapshot: nobody has one.
    let config = "livesync.cluster.node_ip 127.0.0.1\nsync.snapshot_wait 0\n";
    let tracker = Start::loopback().config(config).args(["--log", "info,completed=info"]).run();
    let member = Member::of(&tracker);
    (tracker, member)
}

/// Waits until the tracker has received everything that was sent to it before.
#[track_caller]
fn wait_until_all_is_received(member: &Member, client: &Client) {
    member.publish(&[Record { info_hash: info_hash(9), ..peer(client.ip(), 1) }]);
    client.wait_for_counts(info_hash(9), (0, 0, 1));
}

fn announces_are_published_byte_for_byte() {
    only_with("sync-live");
    for (at, &family) in loopbacks().iter().enumerate() {
        let (tracker, member) = cluster();
        let client = Client::new(tracker.udps()[at]);
        let heard = |announce: Announce, flags: u8| {
            client.announce(&announce);
            let expected = Record { info_hash: announce.info_hash, endpoint: client.endpoint(announce.port), flags };
            assert_eq!(member.receive_records(kind(family)), [expected.bytes()]);
        };
        // The first packet is sent at once, the next one 15 seconds later or at the end.
        heard(Announce::leecher(info_hash(1), 0x1234), 0);
        client.announce(&Announce::seeder(info_hash(1), 0x1234).event(udp::COMPLETED));
        client.announce(&Announce::seeder(info_hash(2), 2));
        client.announce(&Announce::seeder(info_hash(2), 2).event(udp::STOPPED));
        // Published already.
        client.announce(&Announce::seeder(info_hash(1), 0x1234));
        client.announce(&Announce::seeder(info_hash(1), 0x1234).event(udp::COMPLETED));
        tracker.stop();
        let record = |torrent, port, flags| {
            Record { info_hash: info_hash(torrent), endpoint: client.endpoint(port), flags }.bytes()
        };
        assert_eq!(
            member.receive_records(kind(family)),
            [record(1, 0x1234, 0xc0), record(2, 2, 0x80), record(2, 2, 0xa0)],
        );
    }
}

fn a_full_packet_is_published_at_once() {
    only_with("sync-live");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let family = client.ip();
    let most: u16 = if family.is_ipv4() { 52 } else { 36 };
    client.announce(&Announce::leecher(info_hash(1), 1));
    assert_eq!(member.receive_records(kind(family)).len(), 1);
    for port in 2..=most + 2 {
        client.announce(&Announce::leecher(info_hash(1), port));
    }
    let heard = member.receive_records(kind(family));
    assert_eq!(heard.len(), usize::from(most));
    let record = |port| Record { info_hash: info_hash(1), endpoint: client.endpoint(port), flags: 0 }.bytes();
    assert_eq!(heard, (2..=most + 1).map(record).collect::<Vec<_>>());
}

fn peers_from_the_cluster_are_handed_out_and_not_published_again() {
    only_with("sync-live");
    for (at, &family) in loopbacks().iter().enumerate() {
        let (tracker, member) = cluster();
        let client = Client::new(tracker.udps()[at]);
        let leecher = peer(family, 1);
        let seeder = Record { flags: cluster::SEEDING, ..peer(family, 2) };
        member.publish(&[leecher, seeder]);
        client.wait_for_counts(info_hash(1), (1, 0, 1));

        let completed = Record { flags: cluster::SEEDING | cluster::COMPLETED, ..leecher };
        for _ in 0..3 {
            member.publish(&[completed, completed]);
        }
        client.wait_for_counts(info_hash(1), (2, 1, 0));
        let mut handed_out = client.announce(&Announce::leecher(info_hash(1), 3)).peers;
        handed_out.sort();
        assert_eq!(handed_out, [leecher.endpoint, seeder.endpoint]);

        // Had the peers of the other member been published again, it would have been before this.
        let own = Record { info_hash: info_hash(1), endpoint: client.endpoint(3), flags: 0 };
        assert_eq!(member.receive_records(kind(family)), [own.bytes()]);

        member.publish(&[Record { flags: cluster::STOPPED, ..seeder }]);
        client.wait_for_counts(info_hash(1), (1, 1, 1));
        for _ in 0..3 {
            member.publish(&[Record { flags: cluster::STOPPED | cluster::SEEDING, ..leecher }]);
        }
        client.wait_for_counts(info_hash(1), (0, 1, 1));
        wait_until_all_is_received(&member, &client);
        assert_eq!(client.counts(info_hash(1)), (0, 1, 1));
    }
}

fn records_from_the_cluster_are_counted_in_the_statistics() {
    only_with("sync-live");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let (record, completed) = (peer(client.ip(), 1), cluster::SEEDING | cluster::COMPLETED);
    member.publish(&[record, Record { flags: completed, ..record }, peer(client.ip(), 2)]);
    // This adds a peer.
    wait_until_all_is_received(&member, &client);
    let page = |mode: &str| get(tracker.http(), &format!("/stats?mode={mode}")).text();
    // Records are counted just after their peers can be seen.
    let counted = wait_until(|| page("syncs").starts_with("4\n0\n").then_some(()));
    assert!(counted.is_some(), "{}", page("syncs"));
    assert!(page("everything").contains("<livesync>\n      <count>4</count>"), "{}", page("everything"));
    assert!(page("completed").starts_with("1\n0\n"), "{}", page("completed"));
    assert!(page("peer").starts_with("3\n1\n"), "{}", page("peer"));
}

fn a_download_is_counted_once_in_the_whole_cluster_and_logged_where_it_was_announced() {
    only_with("sync-live");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let endpoint = client.endpoint(5);
    let flags = cluster::SEEDING | cluster::COMPLETED;
    member.publish(&[Record { info_hash: info_hash(1), endpoint, flags }]);
    client.wait_for_counts(info_hash(1), (1, 1, 0));
    client.announce(&Announce::seeder(info_hash(1), 5).event(udp::COMPLETED));
    assert_eq!(client.counts(info_hash(1)), (1, 1, 0));
    client.announce(&Announce::seeder(info_hash(1), 6).event(udp::COMPLETED));
    let log = tracker.stop();
    let completed: Vec<_> = log.lines().filter(|line| line.contains("event=completed")).collect();
    assert!(completed.len() == 1 && completed[0].ends_with(" port=6"), "{log}");
}

fn forged_packets_change_nothing() {
    only_with("sync-live");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let (family, forged) = (client.ip(), peer(client.ip(), 7));
    client.announce(&Announce::leecher(info_hash(3), 1));
    let (own_id, _) = member.receive();

    let whole = member.packet(kind(family), &[forged]);
    (0..whole.len()).for_each(|len| member.send(&whole[..len]));
    let two = member.packet(kind(family), &[forged, peer(family, 8)]);
    (0..two.len()).filter(|&len| len != whole.len()).for_each(|len| member.send(&two[..len]));
    member.send(&[&whole[..], &[0]].concat());
    member.send(&member.packet(kind(family), &[forged; 53]));
    member.send(&cluster::packet(own_id, kind(family), &[forged]));
    for unknown in 2..=u8::MAX {
        member.send(&member.packet(unknown, &[forged]));
    }
    for byte in 4..7 {
        let mut far_off = whole.clone();
        far_off[byte] = 1;
        member.send(&far_off);
    }
    for unknown in 1..0x20 {
        member.publish(&[Record { flags: unknown, ..forged }]);
    }
    member.publish(&[peer(family, 0)]);
    if !has("dual-stack") {
        let unserved = if family.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        member.publish(&[peer(unserved, 1)]);
    }

    wait_until_all_is_received(&member, &client);
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
    member.send(&whole);
    client.wait_for_counts(info_hash(1), (0, 0, 1));
}

fn peers_at_addresses_that_no_host_has_are_refused_and_counted() {
    only_with("sync-live");
    for (at, &family) in loopbacks().iter().enumerate() {
        let (tracker, member) = cluster();
        let client = Client::new(tracker.udps()[at]);
        let at = |ip: &str| Record { endpoint: SocketAddr::new(ip.parse().unwrap(), 6881), ..peer(family, 1) };
        let (nobody, hosts) = if family.is_ipv4() {
            (["0.0.0.0", "224.0.23.5", "255.255.255.255"].map(at), ["127.0.0.1", "10.0.0.1", "192.168.1.255"].map(at))
        } else {
            (["::", "ff02::1", "::ffff:192.0.2.1"].map(at), ["::1", "fd00::1", "fe80::1"].map(at))
        };
        member.publish(&nobody);
        member.publish(&hosts);
        client.wait_for_counts(info_hash(1), (0, 0, 3));
        wait_until_all_is_received(&member, &client);
        let mut handed_out = client.announce(&Announce::leecher(info_hash(1), 3)).peers;
        handed_out.sort();
        let mut expected = hosts.map(|host| host.endpoint);
        expected.sort();
        assert_eq!(handed_out, expected);
        let page = |path: &str| get(tracker.http(), path).text();
        // All of them, and the last one: records are counted just after their peers can be seen.
        let counted = wait_until(|| page("/stats?mode=syncs").starts_with("7\n0\n").then_some(()));
        assert!(counted.is_some(), "{}", page("/stats?mode=syncs"));
        if has("metrics") {
            let metrics = page("/metrics");
            assert!(metrics.contains("opentracker_sync_records_refused_total 3\n"), "{metrics}");
        }
    }
}

fn a_keep_alive_of_a_bridge_changes_nothing_and_is_no_mistake() {
    only_with("sync-live");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    // That it could forward, that it could not, and what a later version may say.
    for body in [&[1][..], &[0], &[1, 7, 7]] {
        member.send(&[&member.packet(16, &[]), body].concat());
    }
    member.send(&[&member.packet(16, &[])[..], &[2]].concat());
    member.send(&member.packet(16, &[]));
    wait_until_all_is_received(&member, &client);
    if has("metrics") {
        let lines = ["packets_received_total 4\n", "packets_refused_total 2\n"];
        let page = || get(tracker.http(), "/metrics").text();
        let is_counted = || lines.iter().all(|line| page().contains(&format!("opentracker_sync_{line}")));
        assert!(wait_until(|| is_counted().then_some(())).is_some(), "{}", page());
    }
}

fn packets_from_unknown_addresses_are_ignored() {
    only_with("sync-live");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let stranger = Member::of(&tracker).moved_to(Ipv4Addr::new(127, 0, 0, 2));
    stranger.publish(&[peer(client.ip(), 1)]);
    wait_until_all_is_received(&member, &client);
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
}

fn an_address_of_another_machine_is_refused() {
    only_with("sync-live");
    let finished = Start::loopback().config("livesync.cluster.listen 192.0.2.1:0\n").finish();
    finished.refuses(1, &["livesync.cluster.listen: cannot send to the group from 192.0.2.1:0"]);
}

fn a_tracker_without_configured_members_says_so() {
    only_with("sync-live");
    let empty = "livesync.cluster.node_ip is empty";
    assert!(Tracker::start(&[]).log().contains(empty));
    assert!(!Tracker::start(&["-A", "127.0.0.1"]).log().contains(empty));
}

fn what_goes_wrong_is_summed_up_once_a_minute() {
    only_with("sync-live");
    let (clocks, start) =
        Clocks::of(Start::loopback().config("livesync.cluster.node_ip 127.0.0.1\nsync.snapshot_wait 0\n"));
    let mut tracker = start.run();
    let (member, client) = (Member::of(&tracker), Client::new(tracker.udp()));
    wait_until_all_is_received(&member, &client);
    clocks.pass(61);
    // Another minute, in which strangers send.
    let stranger = Member::of(&tracker).moved_to(Ipv4Addr::new(127, 0, 0, 2));
    stranger.publish(&[peer(client.ip(), 9)]);
    wait_until_all_is_received(&member, &client);
    clocks.pass(122);
    tracker.wait_for_log("Live sync in the last minute: packets refused: 1; changes in: ");
    let log = tracker.stop();
    assert_eq!(log.matches("in the last minute").count(), 1, "{log}");
}
