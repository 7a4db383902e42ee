//! `fulllog-networks`: whole requests of configured networks, for who may read the statistics.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{refuses_key, restrict_stats};
use crate::clients::http::{Reply, ask, get, get_closing, get_from, get_with, head, request};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{IPV4, client, info_hash, only_with, only_without, serves};
use crate::harness::{skip, tests};
use crate::http::{announce, announce_target};
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_page_is_not_there_and_says_which_feature_is_missing,
    without_it_its_keys_are_refused,
    nothing_is_kept_unless_networks_are_configured_whatever_a_request_says,
    requests_of_the_configured_networks_are_kept_and_given_out_once,
    only_who_may_read_the_statistics_reads_and_empties_it,
    of_more_than_there_is_room_for_the_oldest_requests_go,
    a_page_of_another_site_does_not_empty_it,
    it_comes_in_pieces,
    no_request_can_write_an_entry_of_somebody_else,
    behind_a_proxy_the_address_of_the_client_decides,
    the_start_says_that_requests_are_kept,
];

const PAGE: &str = "/stats?mode=fulllog";
/// The networks of every client of these tests.
const ALL: &str = "access.log_networks 127.0.0.0/8\naccess.log_networks ::1\n";

fn without_it_its_page_is_not_there_and_says_which_feature_is_missing() {
    only_without("fulllog-networks");
    let tracker = Tracker::start(&[]);
    let reply = get(tracker.http(), PAGE);
    assert_eq!(reply.status, 404);
    assert_eq!(reply.text(), "<title>404 Not Found: this build does not have the feature fulllog-networks</title>\n");
}

fn without_it_its_keys_are_refused() {
    only_without("fulllog-networks");
    refuses_key("fulllog-networks", "access.log_networks", "127.0.0.1");
    refuses_key("fulllog-networks", "limits.full_log", "100000");
}

/// What is kept, for a client that may read the statistics: for each entry, from which address and which request.
#[track_caller]
fn entries(server: SocketAddr) -> Vec<(String, String)> {
    parsed(&get(server, PAGE))
}

#[track_caller]
fn parsed(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain")));
    let page = String::from_utf8(reply.content()).unwrap();
    let lines: Vec<_> = page.split('\n').collect();
    assert_eq!(lines.len() % 4, 1, "{page}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let entry = |lines: &[&str]| {
        let (second, address) = lines[0].split_once(": ").unwrap();
        // The tracker's clock may be that of the process before.
        assert!(second.parse::<u64>().unwrap().abs_diff(now) < 600, "{page}");
        assert_eq!(lines[2..], ["*", ""], "{page}");
        (address.to_owned(), lines[1].to_owned())
    };
    lines[..lines.len() - 1].chunks(4).map(entry).collect()
}

/// A request as an entry has it.
fn escaped(request: &str) -> String {
    request.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n")
}

fn nothing_is_kept_unless_networks_are_configured_whatever_a_request_says() {
    only_with("fulllog-networks");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for lognet in ["127.0.0.0/8", "0.0.0.0/0", "::/0", "::1", "-"] {
            announce(server, 0, &format!("port=1&lognet={lognet}"));
            get(server, &format!("/stats?lognet={lognet}"));
        }
        assert_eq!(entries(server), []);
    }
    assert!(!tracker.stop().contains("log_networks"));
}

fn requests_of_the_configured_networks_are_kept_and_given_out_once() {
    only_with("fulllog-networks");
    let tracker = Start::loopback().config("access.log_networks 127.0.0.2/31\naccess.log_networks ::1\n").run();
    for (&server, &udp) in tracker.https().iter().zip(tracker.udps()) {
        let asks = |host: u8, target: &str, headers: &str| get_from(client(server.ip(), host), server, target, headers);
        asks(2, &announce_target(0, "port=1&lognet=-"), "User-Agent: a \"client\"\\\r\n");
        asks(3, "/nowhere", "");
        if server.is_ipv4() {
            asks(1, "/elsewhere", "");
            asks(4, "/elsewhere", "");
        }
        Client::at(client(server.ip(), 2), udp).announce(&Announce::leecher(info_hash(0), 1));
        let first = request(&announce_target(0, "port=1&lognet=-"), "User-Agent: a \"client\"\\\r\n");
        let address = |host| client(server.ip(), host).to_string();
        let expected = [(address(2), escaped(&first)), (address(3), escaped(&request("/nowhere", "")))];
        assert_eq!(head(server, PAGE).status, 200);
        // Of IPv6 clients there is one, whose own requests for the page are not among them.
        assert_eq!(parsed(&asks(2, PAGE, "")), expected);
        assert_eq!(parsed(&asks(2, "//%73tats?x=&mode=full%6cog", "")), []);
    }
}

fn only_who_may_read_the_statistics_reads_and_empties_it() {
    only_with("fulllog-networks");
    if !serves(IPV4) {
        skip("this build serves IPv6 alone, and a machine has only one IPv6 loopback address");
    }
    let tracker = restrict_stats::closed().config(&format!("access.stats 127.0.0.2\n{ALL}")).run();
    let server = tracker.http();
    assert_eq!(restrict_stats::status_for(1, server, PAGE), 403);
    let kept = parsed(&get_from(client(server.ip(), 2), server, PAGE, ""));
    let [(address, refused)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(address, "127.0.0.1");
    assert!(refused.starts_with("GET /stats?mode=fulllog HTTP/1.1\\r\\n"), "{refused}");
    assert_eq!(parsed(&get_from(client(server.ip(), 2), server, PAGE, "")), []);
}

fn of_more_than_there_is_room_for_the_oldest_requests_go() {
    only_with("fulllog-networks");
    let tracker = Start::loopback().config(&format!("limits.full_log 65536\n{ALL}")).run();
    for &server in tracker.https() {
        let filler = format!("X: {}\r\n", "a".repeat(4000));
        for n in 0..40 {
            get_with(server, &format!("/{n}"), &filler);
        }
        let kept = entries(server);
        assert!((10..=16).contains(&kept.len()), "{}", kept.len());
        for ((_, request), n) in kept.iter().zip(40 - kept.len()..) {
            assert!(request.starts_with(&format!("GET /{n} HTTP/1.1\\r\\n")), "{request}");
        }
    }
    for value in ["65535", "268435457", "-1", "much"] {
        let start = Start::minimal().args(["--check-config"]).config(&format!("limits.full_log {value}\n"));
        start.finish().refuses(2, &["limits.full_log (line 1) takes a whole number from 65536 to 268435456"]);
    }
}

fn a_page_of_another_site_does_not_empty_it() {
    only_with("fulllog-networks");
    let tracker = Start::loopback().config(ALL).run();
    for &server in tracker.https() {
        for site in ["cross-site", "Same-Site"] {
            assert_eq!(get_with(server, PAGE, &format!("Sec-Fetch-Site: {site}\r\n")).status, 403, "{site}");
        }
        let kept = parsed(&get_with(server, PAGE, "Sec-Fetch-Site: none\r\n"));
        assert_eq!(kept.len(), 2, "nor is it a reader's own request: {kept:?}");
        assert_eq!(parsed(&get_with(server, PAGE, "Sec-Fetch-Site: same-origin\r\n")), []);
    }
}

fn it_comes_in_pieces() {
    only_with("fulllog-networks");
    let tracker = Start::loopback().config(ALL).run();
    for &server in tracker.https() {
        let filler = format!("X: {}\r\n", "a".repeat(4000));
        (0..20).for_each(|n| drop(get_with(server, &format!("/{n}"), &filler)));
        let reply = get(server, PAGE);
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert_eq!(parsed(&reply).len(), 20);
    }
}

fn no_request_can_write_an_entry_of_somebody_else() {
    only_with("fulllog-networks");
    let tracker = Start::loopback().config(ALL).run();
    for &server in tracker.https() {
        let forged = "00000001: 192.0.2.9\\nGET / HTTP/1.0\\r\\n\\r\\n\\n*\\n\\n";
        let sent = format!("GET /x?{forged} HTTP/1.1\n\tX: a\n\n");
        // Folded lines are refused, so that this is no request; the next one is.
        assert_eq!(ask(server, sent.as_bytes()).status, 400);
        let sent = format!("\r\n\nGET /x?{forged}\u{e9} HTTP/1.1\nX: \ta\n\n");
        assert_eq!(ask(server, sent.as_bytes()).status, 404);
        let kept = entries(server);
        let expected = escaped(&sent).replace('\t', "\\t").replace('\u{e9}', "\\xc3\\xa9");
        assert_eq!(kept, [(client(server.ip(), 1).to_string(), expected)]);
    }
}

fn behind_a_proxy_the_address_of_the_client_decides() {
    only_with("fulllog-networks");
    only_with("ip-from-proxy");
    let config = "access.proxy 127.0.0.1\naccess.proxy ::1\naccess.log_networks 192.0.2.0/24\n\
                  access.log_networks 2001:db8::/32\naccess.stats 127.0.0.1\naccess.stats ::1\n";
    let tracker = restrict_stats::closed().config(config).run();
    for &server in tracker.https() {
        for ip in ["192.0.2.7", "198.51.100.7", "2001:db8::7"] {
            get_closing(server, "/nowhere", &format!("X-Forwarded-For: {ip}\r\n"));
        }
        let kept = entries(server);
        let addresses: Vec<_> = kept.iter().map(|(address, _)| address.as_str()).collect();
        assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
    }
}

fn the_start_says_that_requests_are_kept() {
    only_with("fulllog-networks");
    let tracker = Start::loopback().config(ALL).run();
    assert!(tracker.stop().contains("whole requests from the networks in access.log_networks are kept"));
}
