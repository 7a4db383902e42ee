//! `restrict-stats`: the statistics for blessed networks only.

use std::net::SocketAddr;

use super::{refuses_key, refuses_option};
use crate::clients::http::{get, get_from, get_with};
use crate::flavour::{self, client, has, loopbacks, only_with, only_without};
use crate::harness::tests;
use crate::http::{announce, announce_target, scrape_target};
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_key_is_refused,
    without_it_the_statistics_are_for_everyone,
    nobody_may_read_the_statistics_unless_configured,
    configured_networks_may_read_the_statistics,
    a_network_covers_only_its_own_family,
    the_statistics_are_restricted_under_any_path_and_the_full_scrape_is_not,
    behind_a_proxy_the_address_of_the_client_decides,
    without_the_header_the_address_of_the_proxy_decides,
];

/// Every mode, and one that does not exist.
const MODES: &str = "peer conn scrp udp4 tcp4 busy torr fscr s24s tpbs herr completed top10 top100 renew syncs version \
                     everything statedump woodpeckers numwants fulllog nonsense";

fn without_it_its_key_is_refused() {
    only_without("restrict-stats");
    refuses_key("restrict-stats", "access.stats", "127.0.0.1");
    if !has("sync-live") {
        refuses_option("restrict-stats or sync-live", ["-A", "--bless"], "127.0.0.1");
    }
}

fn without_it_the_statistics_are_for_everyone() {
    only_without("restrict-stats");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for host in [1, 2, 77] {
            assert_eq!(status_for(host, server, "/stats"), 200);
        }
    }
}

/// The status that the client at this loopback address gets for this target.
#[track_caller]
pub(super) fn status_for(host: u8, server: SocketAddr, target: &str) -> u16 {
    get_from(client(server.ip(), host), server, target, "Connection: close\r\n").status
}

/// The command line of a tracker on the loopback addresses of this build, without `access.stats`.
pub(super) fn closed() -> Start {
    let start = Start::without_options();
    let root = start.path(".");
    let needs = flavour::minimal_config(&root);
    let config: String =
        needs.lines().filter(|line| !line.starts_with("access.stats")).map(|line| format!("{line}\n")).collect();
    let start = start.args(["-d".as_ref(), root.as_os_str()]).config(&config);
    loopbacks().iter().fold(start, |start, ip| start.listen(*ip))
}

fn nobody_may_read_the_statistics_unless_configured() {
    only_with("restrict-stats");
    let tracker = closed().run();
    for &server in tracker.https() {
        announce(server, 0, "port=1");
        for mode in MODES.split(' ') {
            let reply = get(server, &format!("/stats?mode={mode}"));
            assert_eq!((reply.status, reply.text()), (403, "<title>403 Access Denied</title>\n".into()), "{mode}");
        }
        for target in ["/stats", "//stats/?", "/%73tats", "/stats?mode=tpbs&format=txt", "/stats?ip=127.0.0.1"] {
            assert_eq!(get(server, target).status, 403, "{target}");
        }
        assert_eq!(get_with(server, "/stats", "Connection: keep-alive\r\n").header("connection"), Some("close"));
    }
    assert!(tracker.stop().contains("nobody may read the statistics"));
}

fn configured_networks_may_read_the_statistics() {
    only_with("restrict-stats");
    let tracker = closed().config("access.stats 127.0.0.2/31\naccess.stats ::1\n").run();
    let with_options = closed().args(["-A", "127.0.0.2", "-A", "127.0.0.3", "--bless", "::1/128"]).run();
    for &server in tracker.https().iter().chain(with_options.https()) {
        for (host, expected) in [(1, 403), (2, 200), (3, 200), (4, 403)] {
            let expected = if server.is_ipv6() { 200 } else { expected };
            assert_eq!(status_for(host, server, "/stats"), expected, "{host} at {server}");
        }
    }
    assert!(!tracker.stop().contains("nobody may read"));
}

fn a_network_covers_only_its_own_family() {
    only_with("restrict-stats");
    let (ipv4, ipv6) =
        (closed().config("access.stats 0.0.0.0/0\n").run(), closed().config("access.stats ::/0\n").run());
    for (&at_ipv4, &at_ipv6) in ipv4.https().iter().zip(ipv6.https()) {
        let expected = if at_ipv4.is_ipv4() { (200, 403) } else { (403, 200) };
        assert_eq!((status_for(1, at_ipv4, "/stats"), status_for(1, at_ipv6, "/stats")), expected, "{at_ipv4}");
    }
}

fn the_statistics_are_restricted_under_any_path_and_the_full_scrape_is_not() {
    only_with("restrict-stats");
    let tracker = closed().config("access.stats_path a/b\n").run();
    for &server in tracker.https() {
        assert_eq!(get(server, "/a/b?mode=statedump").status, 403);
        assert_eq!(get(server, "/stats").status, 404);
        assert_eq!(get(server, "/scrape").status, if has("fullscrape") { 200 } else { 404 });
    }
}

/// The proxy's own address is blessed, and that of one of its clients.
fn behind_a_proxy_the_address_of_the_client_decides() {
    only_with("restrict-stats");
    only_with("ip-from-proxy");
    let config = "access.proxy 127.0.0.1\naccess.proxy ::1\naccess.stats 127.0.0.1\naccess.stats ::1\n\
                  access.stats 192.0.2.0/24\naccess.stats 2001:db8::/32\n";
    let tracker = closed().config(config).run();
    for &server in tracker.https() {
        for (value, expected) in [
            ("192.0.2.77", 200),
            ("2001:db8::77", 200),
            ("::ffff:192.0.2.77", 200),
            ("203.0.113.1, 192.0.2.1", 200),
            ("127.0.0.1", 200),
            ("203.0.113.1", 403),
            ("192.0.2.1, 203.0.113.1", 403),
            ("127.0.0.1, ::1, 203.0.113.1, ::1, 127.0.0.1", 403),
            ("unknown", 400),
            ("", 400),
        ] {
            for mode in ["peer", "tpbs", "statedump"] {
                let headers = format!("X-Forwarded-For: {value}\r\n");
                let status = get_with(server, &format!("/stats?mode={mode}"), &headers).status;
                let expected = if expected == 200 && mode != "peer" && !has("fullscrape") { 404 } else { expected };
                assert_eq!(status, expected, "{value} {mode}");
            }
        }
    }
}

fn without_the_header_the_address_of_the_proxy_decides() {
    only_with("restrict-stats");
    only_with("ip-from-proxy");
    let proxies = "access.proxy 127.0.0.1\naccess.proxy 127.0.0.2\naccess.proxy ::1\n";
    let blessed = closed().config(proxies).config("access.stats 127.0.0.1\naccess.stats ::1\n").run();
    let other = closed().config(proxies).config("access.stats 192.0.2.1\naccess.stats 2001:db8::1\n").run();
    for (tracker, host, is_blessed) in [(&blessed, 1, true), (&blessed, 2, false), (&other, 1, false)] {
        for &server in tracker.https() {
            let expected = if is_blessed || (host == 2 && server.is_ipv6()) { 200 } else { 403 };
            for (page, needs) in [
                ("/stats", None),
                ("/stats?mode=everything", None),
                ("/stats?mode=tpbs", Some("fullscrape")),
                ("/stats?mode=statedump", Some("fullscrape")),
                ("/metrics", Some("metrics")),
            ] {
                if needs.is_none_or(has) {
                    assert_eq!(status_for(host, server, page), expected, "{page} for {host} at {server}");
                }
            }
            // These are for everybody, an announce for nobody whose address is not known.
            assert_eq!(status_for(host, server, &scrape_target([0])), 200);
            assert_eq!(status_for(host, server, "/scrape"), if has("fullscrape") { 200 } else { 404 });
            assert_eq!(status_for(host, server, &announce_target(0, "port=7")), 400);
        }
    }
}
