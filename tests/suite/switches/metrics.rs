//! `metrics`: the page for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use super::{access_list, restrict_stats, sync_live, sync_nats_metrics};
use crate::clients::cluster::Member;
use crate::clients::http::{Connection, ask, get, get_closing, get_with, percent, request};
use crate::clients::prometheus::{OPENMETRICS, Samples, TEXT, samples};
use crate::clients::udp::{Announce, COMPLETED, Client, MAGIC, SCRAPE, header};
use crate::flavour::{FEATURES, IPV4, IPV6, has, hex, info_hash, loopback, only_with, only_without, serves};
use crate::harness::tests;
use crate::http::{announce, announce_target, scrape_target};
use crate::tracker::{Start, Tracker};
use crate::wait::{MAX_WAIT, wait_until};

tests![
    without_it_its_page_is_not_there_and_says_which_feature_is_missing,
    the_format_is_openmetrics_for_clients_that_name_it,
    everything_is_counted_by_protocol_and_family,
    the_duration_of_every_request_is_in_the_histogram,
    full_scrapes_and_their_bytes_are_counted,
    the_page_names_the_build_and_the_start_time,
    the_access_list_is_on_the_page_where_there_is_one,
    refusals_of_a_full_tracker_are_counted,
    requests_are_counted_under_the_family_of_the_client,
    live_sync_is_on_the_page_where_there_is_a_cluster,
    clients_that_may_not_read_the_statistics_may_not_read_the_page,
    behind_a_proxy_the_address_of_the_client_decides,
    the_path_is_fixed_and_a_connection_may_stay_open,
    the_dashboard_and_the_documents_name_what_is_on_the_page,
];

/// A torrent that is on no list.
const UNLISTED: [u8; 20] = *b"no list has this one";

fn without_it_its_page_is_not_there_and_says_which_feature_is_missing() {
    only_without("metrics");
    let tracker = Tracker::start(&[]);
    let reply = get(tracker.http(), "/metrics");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.text(), "<title>404 Not Found: this build does not have the feature metrics</title>\n");
}

#[track_caller]
pub(super) fn page(tracker: &Tracker) -> Samples {
    samples(&get_with(tracker.http(), "/metrics", ACCEPT))
}

/// Asks for OpenMetrics, as Prometheus does.
const ACCEPT: &str = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                      version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n";

fn the_format_is_openmetrics_for_clients_that_name_it() {
    only_with("metrics");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1&left=1");
    let openmetrics = "Accept: application/openmetrics-text\r\n";
    for (accept, expected) in [
        ("", TEXT),
        ("Accept: */*\r\n", TEXT),
        ("Accept: text/plain\r\n", TEXT),
        ("Accept: application/openmetrics-text;q=0, */*\r\n", TEXT),
        ("Accept: application/openmetrics-text;q=0.3, text/plain;q=0.4\r\n", TEXT),
        ("Accept: Application/OpenMetrics-Text; version=1.0.0; charset=utf-8\r\n", OPENMETRICS),
        ("Accept: text/plain;version=0.0.4\r\nAccept: application/openmetrics-text\r\n", OPENMETRICS),
        (openmetrics, OPENMETRICS),
        (ACCEPT, OPENMETRICS),
    ] {
        assert_eq!(get_with(tracker.http(), "/metrics", accept).header("content-type"), Some(expected), "{accept}");
    }
    let text = get(tracker.http(), "/metrics");
    let described = "# TYPE opentracker_announces_total counter\n";
    let info = "# TYPE opentracker_build_info gauge\nopentracker_build_info{";
    assert!(text.text().contains(described) && text.text().contains(info), "{}", text.text());
    let page = get_with(tracker.http(), "/metrics", openmetrics);
    let (text, page) = (samples(&text), samples(&page));
    let names = |samples: &Samples| samples.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&text), names(&page), "the samples are the same");
    assert_eq!(counted(&text, "opentracker_announces"), counted(&page, "opentracker_announces"));
}

fn family(server: SocketAddr) -> &'static str {
    if server.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// Every sample whose name begins with `name` and whose value is not 0.
fn counted(page: &Samples, name: &str) -> Samples {
    page.iter()
        .filter(|(sample, value)| sample.starts_with(name) && **value > 0.0)
        .map(|(s, v)| (s.clone(), *v))
        .collect()
}

/// The counters of this family after [`history`].
fn expected(family: &str) -> Samples {
    let mut expected = BTreeMap::new();
    for (name, protocol, count) in
        [("announces", "http", 4), ("announces", "udp", 5), ("scrapes", "http", 2), ("scrapes", "udp", 1)]
    {
        expected.insert(format!("opentracker_{name}_total{{protocol=\"{protocol}\",family=\"{family}\"}}"), count);
    }
    for (name, protocol, count) in
        [("connects", "udp", 2), ("connections", "http", 11), ("datagrams", "udp", 12), ("redirects", "http", 1)]
    {
        expected.insert(format!("opentracker_{name}_total{{protocol=\"{protocol}\",family=\"{family}\"}}"), count);
    }
    for (protocol, kind, count) in [
        ("http", "malformed", 1),
        ("http", "invalid_parameter", 1),
        ("http", "not_found", 1),
        ("http", "no_info_hash", 1),
        ("udp", "dropped", 2),
        ("udp", "truncated", 1),
        ("udp", "connection_id_mismatch", 1),
    ] {
        let labels = format!("protocol=\"{protocol}\",kind=\"{kind}\",family=\"{family}\"");
        expected.insert(format!("opentracker_errors_total{{{labels}}}"), count);
    }
    expected.insert(format!("opentracker_completed_downloads_total{{family=\"{family}\"}}"), 2);
    expected.into_iter().map(|(name, count)| (name, f64::from(count))).collect()
}

/// Does everything that is counted, each a different number of times where counters could be mixed up.
fn history(http: SocketAddr, udp: SocketAddr, torrent: u8) {
    announce(http, torrent, "port=1&left=1");
    announce(http, torrent, "port=2&left=0&event=completed");
    announce(http, torrent, "port=2&left=0&event=completed");
    for _ in 0..2 {
        get(http, &scrape_target([torrent])).bencode();
    }
    get(http, "/announce?port=1").failure();
    announce(http, torrent, "port=0");
    assert_eq!(get(http, &announce_target(torrent, "port=65536")).status, 400);
    assert_eq!(get(http, "/nowhere").status, 404);
    assert_eq!(get(http, "/").status, 302);
    assert_eq!(ask(http, b"nonsense\r\n\r\n").status, 400);

    let client = Client::new(udp);
    client.announce(&Announce::leecher(info_hash(torrent), 3));
    client.announce(&Announce::leecher(info_hash(torrent), 4));
    client.announce(&Announce::leecher(info_hash(torrent), 3));
    client.announce(&Announce::seeder(info_hash(torrent), 5).event(COMPLETED));
    client.counts(info_hash(torrent));
    client.announce(&Announce::leecher(info_hash(torrent), 0));
    client.exchange(&header(client.id + 1, SCRAPE, 1));
    client.exchange(&header(client.id, 1, 1));
    client.send(b"too short");
    client.gets_no_answer_to(&header(MAGIC, 9, 1));
}

fn everything_is_counted_by_protocol_and_family() {
    only_with("metrics");
    let tracker = Start::loopback().config("tracker.redirect_url https://a.example/\n").run();
    let fresh = page(&tracker);
    assert_eq!(fresh["opentracker_peers"], 0.0);
    for (n, (&http, &udp)) in (0..).zip(tracker.https().iter().zip(tracker.udps())) {
        history(http, udp, n);
    }
    let page = page(&tracker);
    let mut expected: BTreeMap<_, _> = tracker.https().iter().flat_map(|&server| expected(family(server))).collect();
    // The connections that asked for the two pages.
    let asking = format!("opentracker_connections_total{{protocol=\"http\",family=\"{}\"}}", family(tracker.http()));
    *expected.get_mut(&asking).unwrap() += 2.0;
    for (name, expected) in &expected {
        assert_eq!(page.get(name), Some(expected), "{name}");
    }
    for name in ["announces", "scrapes", "connects", "connections", "datagrams", "redirects", "errors", "completed"] {
        for (sample, value) in counted(&page, &format!("opentracker_{name}_")) {
            assert_eq!(expected.get(&sample), Some(&value), "{sample} was not part of the history");
        }
    }
    let families = tracker.https().len() as f64;
    let gauge = |name: &str| page[&format!("opentracker_{name}")];
    assert_eq!([gauge("torrents"), gauge("peers"), gauge("seeders")], [families, families * 5.0, families * 2.0]);
    for loopback in ["ipv4", "ipv6"] {
        let is_there = page.keys().any(|sample| sample.contains(&format!("family=\"{loopback}\"")));
        let is_served = tracker.https().iter().any(|&server| family(server) == loopback);
        assert_eq!(is_there, is_served, "{loopback}");
    }
}

fn the_duration_of_every_request_is_in_the_histogram() {
    only_with("metrics");
    let tracker = Tracker::start(&[]);
    let name = |what: &str| format!("opentracker_http_request_duration_seconds_{what}");
    assert_eq!(page(&tracker)[&name("count")], 0.0, "the request for the page comes to its end afterwards");
    for &server in tracker.https() {
        announce(server, 0, "port=1");
        assert_eq!(get(server, "/nowhere").status, 404);
    }
    let page = page(&tracker);
    let requests = 1.0 + 2.0 * tracker.https().len() as f64;
    assert_eq!((page[&name("count")], page[&name("bucket{le=\"+Inf\"}")]), (requests, requests));
    assert!(page[&name("sum")] > 0.0);
}

fn full_scrapes_and_their_bytes_are_counted() {
    only_with("metrics");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    let bytes = get(tracker.http(), "/scrape").sent().len();
    let expected = if has("fullscrape") { (1.0, bytes as f64) } else { (0.0, 0.0) };
    let seen = || {
        let page = page(&tracker);
        (page["opentracker_full_scrapes_total"], page["opentracker_full_scrape_bytes_total"])
    };
    // The client may receive the last bytes before they are counted.
    assert!(wait_until(|| (seen() == expected).then_some(())).is_some(), "{:?}, not {expected:?}", seen());
}

fn the_page_names_the_build_and_the_start_time() {
    only_with("metrics");
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let tracker = Tracker::start(&[]);
    let page = page(&tracker);
    let started = page["process_start_time_seconds"];
    assert!((started - before).abs() < MAX_WAIT.as_secs_f64(), "{started} is not about {before}");
    let (build, one) =
        page.iter().find(|(sample, _)| sample.starts_with("opentracker_build_info{")).expect("the build");
    assert_eq!(*one, 1.0);
    let labels = build.split_once('{').unwrap().1.trim_end_matches('}');
    let labels: BTreeMap<_, _> = labels.split(',').map(|label| label.split_once('=').unwrap()).collect();
    assert_eq!(labels["version"], format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    assert!(labels["commit"].len() > 2, "{build}");
    let features: BTreeSet<_> =
        labels.iter().filter(|(_, on)| **on == "\"on\"").map(|(name, _)| (*name).into()).collect();
    assert_eq!(features, FEATURES.iter().map(|feature| feature.replace('-', "_")).collect());
}

/// Refusals by a list, and the list itself, in builds that have one.
fn the_access_list_is_on_the_page_where_there_is_one() {
    only_with("metrics");
    match access_list::key() {
        Some(key) => the_access_list_is_on_the_page(key),
        None => nothing_on_the_page_begins_with(ACCESS_LIST),
    }
}

const ACCESS_LIST: &str = "opentracker_access_list_";

#[track_caller]
pub(super) fn nothing_on_the_page_begins_with(text: &str) {
    let tracker = Tracker::start(&[]);
    let sample = page(&tracker).into_keys().find(|sample| sample.starts_with(text));
    assert_eq!(sample, None);
}

fn the_access_list_is_on_the_page(key: &str) {
    let start = Start::minimal().listen(loopback());
    let file = start.path("list");
    let line = |info_hash| hex(info_hash) + "\n";
    let refused = if has("accesslist-black") { info_hash(1) } else { UNLISTED };
    fs::write(&file, line(info_hash(1)) + &line(info_hash(2))).unwrap();
    let mut tracker = start.config(&format!("{key} list\n")).run();
    let first = page(&tracker);
    let on = |page: &Samples, name: &str| page[&format!("{ACCESS_LIST}{name}")];
    let read = |page: &Samples| on(page, "last_reload_success_timestamp_seconds");
    assert_eq!((on(&first, "torrents"), on(&first, "failed_reloads_total")), (2.0, 0.0));
    assert!(read(&first) >= first["process_start_time_seconds"] - 1.0);

    Client::new(tracker.udp()).refusal(&Announce::leecher(refused, 1));
    get(tracker.http(), &format!("/announce?info_hash={}&port=1", percent(&refused))).refusal();
    let errors = counted(&page(&tracker), "opentracker_errors_total");
    let sample = |protocol: &str| {
        let family = family(tracker.http());
        format!("opentracker_errors_total{{protocol=\"{protocol}\",kind=\"not_admitted\",family=\"{family}\"}}")
    };
    assert_eq!(errors, BTreeMap::from([(sample("http"), 1.0), (sample("udp"), 1.0)]));

    fs::write(&file, line(info_hash(1))).unwrap();
    tracker.signal(nix::sys::signal::Signal::SIGHUP);
    tracker.wait_for_log("1 torrents on the list");
    let second = page(&tracker);
    assert_eq!((on(&second, "torrents"), on(&second, "failed_reloads_total")), (1.0, 0.0));
    assert!(read(&second) > read(&first));

    fs::remove_file(&file).unwrap();
    tracker.signal(nix::sys::signal::Signal::SIGHUP);
    tracker.wait_for_log("the list in force stays");
    let third = page(&tracker);
    assert_eq!((on(&third, "torrents"), on(&third, "failed_reloads_total"), read(&third)), (1.0, 1.0, read(&second)));
}

fn refusals_of_a_full_tracker_are_counted() {
    only_with("metrics");
    let tracker = Start::minimal().listen(loopback()).config("[limits]\ntorrents = 1\n").run();
    announce(tracker.http(), 0, "port=1");
    for _ in 0..2 {
        get(tracker.http(), &announce_target(1, "port=1")).failure();
    }
    Client::new(tracker.udp()).refusal(&Announce::leecher(info_hash(1), 1));
    let family = family(tracker.http());
    let sample = |protocol: &str| {
        format!("opentracker_errors_total{{protocol=\"{protocol}\",kind=\"full\",family=\"{family}\"}}")
    };
    let expected = BTreeMap::from([(sample("http"), 2.0), (sample("udp"), 1.0)]);
    assert_eq!(counted(&page(&tracker), "opentracker_errors_total"), expected);
}

/// A family that is not served appears when a client of it was refused.
fn requests_are_counted_under_the_family_of_the_client() {
    only_with("metrics");
    only_with("ip-from-proxy");
    let tracker = Start::loopback().config("access.proxy 127.0.0.1\naccess.proxy ::1\n").run();
    let ask =
        |target: &str, client: &str| get_closing(tracker.http(), target, &format!("X-Forwarded-For: {client}\r\n"));
    for client in ["192.0.2.1", "2001:db8::1"] {
        ask(&announce_target(0, "port=1"), client);
    }
    let page = samples(&ask("/metrics", &tracker.http().ip().to_string()));
    for (family, ip) in [("ipv4", IPV4), ("ipv6", IPV6)] {
        let is_served = serves(ip);
        let announces = format!("opentracker_announces_total{{protocol=\"http\",family=\"{family}\"}}");
        assert_eq!(page.get(&announces), is_served.then_some(&1.0), "{family}");
        let labels = format!("protocol=\"http\",kind=\"family_not_served\",family=\"{family}\"");
        let refusals = page.get(&format!("opentracker_errors_total{{{labels}}}"));
        assert_eq!(refusals, Some(if is_served { &0.0 } else { &1.0 }), "{family}");
    }
}

fn live_sync_is_on_the_page_where_there_is_a_cluster() {
    only_with("metrics");
    if has("sync-live") {
        live_sync_is_on_the_page();
    } else {
        nothing_on_the_page_begins_with("opentracker_sync_");
    }
}

fn live_sync_is_on_the_page() {
    let (tracker, member) = sync_live::cluster();
    let peer = |port| sync_live::peer(loopback(), port);
    let stranger = Member::of(&tracker).moved_to(Ipv4Addr::new(127, 0, 0, 2));
    stranger.publish(&[peer(9)]);
    let before = Instant::now();
    member.publish(&[peer(1), peer(2), peer(0)]);
    Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(1), 1));
    member.receive();
    let expected = [
        ("packets_received", 1.0),
        ("packets_sent", 1.0),
        ("packets_lost", 0.0),
        ("records_received", 2.0),
        ("records_sent", 1.0),
        ("records_refused", 1.0),
    ];
    let mut seen = BTreeMap::new();
    let all = wait_until(|| {
        seen = page(&tracker);
        let is = |(name, value): &(&str, f64)| seen[&format!("opentracker_sync_{name}_total")] == *value;
        // The packet of the stranger and, on the loopback interface, the tracker's own.
        let refused = seen["opentracker_sync_packets_refused_total"];
        (expected.iter().all(is) && refused == 2.0).then_some(())
    });
    assert!(all.is_some(), "{seen:#?}");
    let is_there = |name: &str| seen.get(&format!("opentracker_sync_{name}")).copied();
    // A header, and records of 28 bytes (IPv4) or 40.
    assert!(is_there("received_bytes_total").is_some_and(|bytes| bytes >= 3.0 * 28.0), "{seen:#?}");
    assert!(is_there("sent_bytes_total").is_some_and(|bytes| bytes >= 28.0), "{seen:#?}");
    // Since a change came, and not since the tracker began, which was earlier.
    let longest = before.elapsed().as_secs_f64();
    assert!(is_there("lag_seconds").is_some_and(|lag| lag <= longest), "{longest} at most: {seen:#?}");
    assert_eq!(is_there("connected"), None, "multicast has no connections");
}

fn clients_that_may_not_read_the_statistics_may_not_read_the_page() {
    only_with("metrics");
    only_with("restrict-stats");
    let tracker = restrict_stats::closed().config("access.stats 127.0.0.2\n").run();
    for &server in tracker.https() {
        assert_eq!(restrict_stats::status_for(1, server, "/metrics"), 403);
        if server.is_ipv4() {
            assert_eq!(restrict_stats::status_for(2, server, "/metrics"), 200);
        }
    }
}

fn behind_a_proxy_the_address_of_the_client_decides() {
    only_with("metrics");
    only_with("restrict-stats");
    only_with("ip-from-proxy");
    let proxies = "access.proxy 127.0.0.1\naccess.proxy ::1\naccess.stats 192.0.2.0/24\n";
    let tracker = restrict_stats::closed().config(proxies).run();
    for &server in tracker.https() {
        for (client, expected) in [("192.0.2.7", 200), ("198.51.100.7", 403), ("nonsense", 400)] {
            let reply = get_closing(server, "/metrics", &format!("X-Forwarded-For: {client}\r\n"));
            assert_eq!(reply.status, expected, "{client}");
        }
        let told = get_closing(server, &announce_target(0, "port=1"), "X-Forwarded-For: 192.0.2.9\r\n");
        assert_eq!(told.status, 200);
    }
    let page = samples(&get_closing(tracker.http(), "/metrics", "X-Forwarded-For: 192.0.2.7\r\n"));
    let sample = if serves(IPV4) {
        "opentracker_announces_total{protocol=\"http\",family=\"ipv4\"}"
    } else {
        "opentracker_errors_total{protocol=\"http\",kind=\"family_not_served\",family=\"ipv4\"}"
    };
    assert_eq!(page[sample], tracker.https().len() as f64, "whatever the family of the proxy");
}

fn the_path_is_fixed_and_a_connection_may_stay_open() {
    only_with("metrics");
    let tracker = Start::loopback().config("access.stats_path numbers\n").run();
    let mut connection = Connection::open(tracker.http());
    for _ in 0..3 {
        connection.send(request("/metrics", "Connection: keep-alive\r\n"));
        let reply = connection.reply();
        assert_eq!(reply.header("connection"), Some("keep-alive"));
        samples(&reply);
    }
    assert_eq!(get(tracker.http(), "/metrics").header("connection"), Some("close"), "who does not ask for more");
}

/// The names of metrics in a file of the project.
pub(super) fn named_in(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_name = |word: &&str| word.starts_with("opentracker_") || word.starts_with("process_");
    // A name that ends so stands for several.
    words.filter(is_name).filter(|word| !word.ends_with('_')).map(Into::into).collect()
}

/// In builds without a list or a cluster, what belongs to those is not on the page.
fn the_dashboard_and_the_documents_name_what_is_on_the_page() {
    only_with("metrics");
    let tracker = Tracker::start(&[]);
    let page = page(&tracker);
    let there: BTreeSet<_> = page.keys().map(|sample| sample.split('{').next().unwrap()).collect();
    let nats = sync_nats_metrics::names();
    let is_absent = |name: &str| {
        // It is connected to no server here.
        nats.contains(name)
            || (name.starts_with("opentracker_sync_") && !has("sync-live"))
            || (name.starts_with("opentracker_access_list_") && !has("accesslist-white"))
    };
    // A histogram has one name in the documents, and three on the page.
    const HISTOGRAM: &str = "opentracker_http_request_duration_seconds";
    let (shown, documented) = (named_in("ci/monitoring/grafana.json"), named_in("FEATURES.md"));
    assert!(shown.len() > 15 && documented.len() > 20, "{shown:?} {documented:?}");
    for name in shown.iter().chain(&documented).filter(|name| *name != HISTOGRAM) {
        assert!(is_absent(name) || there.contains(name.as_str()), "{name}");
    }
    for name in there {
        let name = if name.starts_with(HISTOGRAM) { HISTOGRAM } else { name };
        assert!(documented.contains(name), "{name} is not in FEATURES.md");
    }
}
