//! `sync-live` with `metrics`: what a tracker of the cluster says that has gone mad is refused and counted. Nothing
//! that is true is lost with it, and nothing grows without a bound.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;

use super::metrics::page;
use super::sync_live::{cluster, peer};
use super::sync_nats_bad_input::{BURST, MORE_BYTES, MOST, burst_peer, count, wait_for_counters};
use crate::clients::cluster::{Member, Record, packet};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{has, info_hash, only_with};
use crate::harness::tests;
use crate::process::memory::resident;
use crate::tracker::Start;
use crate::wait::wait_until;

tests![
    a_mad_tracker_keeps_no_client_waiting_and_costs_no_more_than_the_limit_allows,
    packets_that_are_none_of_the_cluster_are_refused_and_counted,
    packets_of_later_versions_are_passed_over,
    records_that_no_client_could_be_are_refused_and_counted,
    the_last_byte_of_a_record_says_nothing,
];

fn a_mad_tracker_keeps_no_client_waiting_and_costs_no_more_than_the_limit_allows() {
    only_with("sync-live");
    only_with("metrics");
    const THIRD: u32 = BURST / 3;
    let config = format!("livesync.cluster.node_ip 127.0.0.1\nsync.snapshot_wait 0\nlimits.peers {MOST}\n");
    let tracker = Start::loopback().config(&config).run();
    let (member, client) = (Member::of(&tracker), Client::new(tracker.udp()));
    let own = Announce::leecher(info_hash(250), 1);
    client.announce(&own);
    // Fewer than fit.
    let each = if client.ip().is_ipv4() { 50 } else { 30 };
    let kind = u8::from(client.ip().is_ipv6());
    let send_third = |mad: &Member, third: u8| {
        let begin = u32::from(third) * THIRD;
        for from in (begin..begin + THIRD).step_by(each) {
            let records: Vec<_> = (from..from + u32::try_from(each).unwrap()).map(burst_peer).collect();
            // Each packet would be another tracker's.
            mad.send(&packet((1_000_000 + from).to_be_bytes(), kind, &records));
        }
    };
    let mut after_a_third = None;
    for third in 0..3_u8 {
        let mad = Member::of(&tracker);
        thread::scope(|scope| {
            let burst = scope.spawn(move || send_third(&mad, third));
            while !burst.is_finished() {
                assert_eq!(client.announce(&own).leechers, 1);
            }
        });
        // What the socket has no room for is lost before the tracker sees it: the last one is told until it is there.
        let last = Record { info_hash: info_hash(251 + third), ..peer(client.ip(), 1) };
        let is_there = || {
            member.publish(&[last]);
            (client.counts(last.info_hash).2 == 1).then_some(())
        };
        assert!(wait_until(is_there).is_some(), "{}", tracker.log());
        after_a_third.get_or_insert_with(|| resident(&tracker));
    }
    // Of its bursts more has come than the limit allows; if most of it was lost, it is told again.
    let is_refused = || {
        let refused = count(&page(&tracker), "sync", "records_refused") > 0.0;
        if !refused {
            (0..3).for_each(|third| send_third(&member, third));
        }
        refused.then_some(())
    };
    assert!(wait_until(is_refused).is_some(), "{:?}", page(&tracker));
    let (first, last) = (after_a_third.unwrap(), resident(&tracker));
    assert!(last < first + MORE_BYTES, "{last} bytes after all, {first} after a third");
    let page = page(&tracker);
    assert!(page["opentracker_peers"] <= f64::from(MOST), "{page:?}");
    assert!(client.announce(&Announce::leecher(info_hash(250), 2)).peers.contains(&client.endpoint(1)));
}

fn packets_that_are_none_of_the_cluster_are_refused_and_counted() {
    only_with("sync-live");
    only_with("metrics");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let forged = peer(client.ip(), 7);
    client.announce(&Announce::leecher(info_hash(3), 1));
    let (own, _) = member.receive();
    // On this interface it hears itself.
    wait_for_counters(&tracker, "sync", &[("packets_refused", 1.0)]);
    let kind = u8::from(client.ip().is_ipv6());
    let whole = member.packet(kind, &[forged]);
    let mut refused: Vec<_> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
    refused.push([&whole[..], &[0]].concat());
    refused.push(member.packet(kind, &[forged; 53]));
    refused.push(packet(own, kind, &[forged]));
    refused.extend((2..16).map(|unknown| member.packet(unknown, &[forged])));
    for (sent, packet) in (1..).zip(&refused) {
        member.send(packet);
        // The socket has room for so many.
        if sent % 50 == 0 {
            wait_for_counters(&tracker, "sync", &[("packets_refused", 1.0 + f64::from(sent))]);
        }
    }
    let all = 1.0 + refused.len() as f64;
    let nothing = [("packets_received", 0.0), ("records_received", 0.0), ("records_refused", 0.0)];
    wait_for_counters(&tracker, "sync", &[&nothing[..], &[("packets_refused", all)]].concat());
    let stranger = Member::of(&tracker).moved_to(Ipv4Addr::new(127, 0, 0, 2));
    stranger.send(&whole);
    wait_for_counters(&tracker, "sync", &[&nothing[..], &[("packets_refused", all + 1.0)]].concat());
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
}

fn packets_of_later_versions_are_passed_over() {
    only_with("sync-live");
    only_with("metrics");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let peers = [peer(client.ip(), 7)];
    let mut later: Vec<_> = (19..=u8::MAX).map(|kind| member.packet(kind, &peers)).collect();
    for byte in 4..7 {
        let mut far_off = member.packet(1, &peers);
        far_off[byte] = 1;
        later.push(far_off);
    }
    for (sent, packet) in (1..).zip(&later) {
        member.send(packet);
        if sent % 50 == 0 {
            wait_for_counters(&tracker, "sync", &[("packets_received", f64::from(sent))]);
        }
    }
    let nothing = [("packets_refused", 0.0), ("records_received", 0.0), ("records_refused", 0.0)];
    wait_for_counters(&tracker, "sync", &[&nothing[..], &[("packets_received", 240.0)]].concat());
    assert_eq!(client.counts(info_hash(1)), (0, 0, 0));
}

fn records_that_no_client_could_be_are_refused_and_counted() {
    only_with("sync-live");
    only_with("metrics");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let family = client.ip();
    let mut refused: Vec<_> = (1..0x20).map(|flags| Record { flags, ..peer(family, 7) }).collect();
    refused.push(peer(family, 0));
    for record in &refused {
        member.publish(&[*record, peer(family, 1)]);
    }
    let mut expected = refused.len() as f64;
    if !has("dual-stack") {
        let unserved = if family.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        member.publish(&[peer(unserved, 1), peer(unserved, 2)]);
        expected += 2.0;
    }
    let counts = [("records_refused", expected), ("records_received", refused.len() as f64), ("packets_refused", 0.0)];
    wait_for_counters(&tracker, "sync", &counts);
    assert_eq!(client.counts(info_hash(1)), (0, 0, 1));
}

fn the_last_byte_of_a_record_says_nothing() {
    only_with("sync-live");
    only_with("metrics");
    let (tracker, member) = cluster();
    let client = Client::new(tracker.udp());
    let kind = u8::from(client.ip().is_ipv6());
    // It is for whoever receives the packet, and so no age.
    for byte in 0..=u8::MAX {
        let mut packet = member.packet(kind, &[peer(client.ip(), u16::from(byte) + 1)]);
        *packet.last_mut().unwrap() = byte;
        member.send(&packet);
        if byte % 50 == 49 {
            wait_for_counters(&tracker, "sync", &[("records_received", f64::from(byte) + 1.0)]);
        }
    }
    wait_for_counters(&tracker, "sync", &[("records_received", 256.0), ("records_refused", 0.0)]);
    assert_eq!(client.counts(info_hash(1)).2, 256);
}
