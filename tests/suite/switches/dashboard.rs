//! `dashboard`: the page for people, and its numbers. That it works in a browser is for `tests/e2e/dashboard`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use nix::sys::signal::Signal;

use super::{access_list, restrict_stats, sync_live};
use crate::clients::http::{Connection, Reply, get, get_with, head, request};
use crate::clients::json::Json;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{FEATURES, has, hex, info_hash, loopback, only_with, only_without};
use crate::harness::tests;
use crate::http::{announce, announce_target, scrape_target};
use crate::process::clocks::Clocks;
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_it_its_pages_are_not_there_and_say_which_feature_is_missing,
    the_page_is_whole_and_may_ask_nobody_but_its_tracker,
    the_numbers_are_those_of_the_statistics,
    requests_are_counted_by_protocol_and_family,
    errors_are_counted_by_kind,
    minutes_and_quarters_of_an_hour_are_remembered,
    the_access_list_is_among_the_numbers_where_there_is_one,
    the_cluster_is_among_the_numbers_where_there_is_one,
    who_may_not_read_the_statistics_may_not_read_the_page,
    only_the_header_is_sent_to_whoever_asks_for_that,
    the_paths_are_fixed_and_a_connection_may_stay_open,
];

const PAGE: &str = "/dashboard";
const NUMBERS: &str = "/dashboard.json";

fn without_it_its_pages_are_not_there_and_say_which_feature_is_missing() {
    only_without("dashboard");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for target in [PAGE, NUMBERS] {
            let reply = get(server, target);
            assert_eq!(reply.status, 404);
            assert_eq!(reply.text(), "<title>404 Not Found: this build does not have the feature dashboard</title>\n");
        }
    }
}

#[track_caller]
fn numbers(server: SocketAddr) -> Json {
    let reply = get(server, NUMBERS);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    Json::of(&reply.body)
}

fn the_page_is_whole_and_may_ask_nobody_but_its_tracker() {
    only_with("dashboard");
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        let page = get(server, PAGE);
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let text = page.text();
        assert!(text.starts_with("<!doctype html>\n") && text.ends_with("</html>\n"), "{text}");
        let policy = page.header("content-security-policy").expect("a policy");
        for expected in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "script-src 'sha256-"] {
            assert!(policy.split("; ").any(|part| part.starts_with(expected)), "{policy}");
        }
        assert!(!policy.contains("unsafe-"), "{policy}");
        for (field, value) in
            [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
        {
            assert_eq!(page.header(field), Some(value));
        }
    }
}

fn the_numbers_are_those_of_the_statistics() {
    only_with("dashboard");
    let tracker = Tracker::start(&[]);
    for (torrent, &server) in (0..).zip(tracker.https()) {
        announce(server, torrent, "port=1&left=0&event=completed");
        announce(server, torrent, "port=2&left=1");
    }
    let families = tracker.https().len() as f64;
    let json = numbers(tracker.http());
    let told = ["torrents", "peers", "seeders", "completed"].map(|name| json.number(name));
    assert_eq!(told, [families, 2.0 * families, families, families]);
    let peers = get(tracker.http(), "/stats?mode=peer").text();
    let expected = format!("{}\n{}\nopentracker serving {} torrents\nopentracker", told[1], told[2], told[0]);
    assert_eq!(peers, expected);
    assert!(json.number("memory") > 500_000.0 && json.number("limits.memory") > json.number("memory"), "{json:?}");
    assert!(json.number("limits.torrents") > 1000.0 && json.number("limits.peers") > 1000.0);
    assert!(json.number("uptime") < 600.0 && json.number("time") > 1.7e9);
    assert_eq!(json.number("format"), 1.0);
    assert_eq!(json.text("build.version"), env!("CARGO_PKG_VERSION"));
    assert!(json.text("build.commit").len() > 2);
    let features: Vec<_> = FEATURES.iter().map(|name| Json::Text(name.clone())).collect();
    assert_eq!(json.list("build.features"), features);
    for history in ["minutes", "quarters"] {
        assert_eq!(json.list(&format!("{history}.end")), [], "nothing is over yet");
    }
}

fn family(server: SocketAddr) -> &'static str {
    if server.is_ipv4() { "ipv4" } else { "ipv6" }
}

fn requests_are_counted_by_protocol_and_family() {
    only_with("dashboard");
    let tracker = Tracker::start(&[]);
    for (&http, &udp) in tracker.https().iter().zip(tracker.udps()) {
        announce(http, 0, "port=1");
        get(http, &scrape_target([0]));
        get(http, &scrape_target([0]));
        let client = Client::new(udp);
        (2..5).for_each(|port| drop(client.announce(&Announce::leecher(info_hash(0), port))));
        client.counts(info_hash(0));
    }
    let json = numbers(tracker.http());
    let served: Vec<_> = tracker.https().iter().map(|&server| family(server)).collect();
    for (path, count) in [
        ("announces.http", 1.0),
        ("announces.udp", 3.0),
        ("connects.udp", 1.0),
        ("scrapes.http", 2.0),
        ("scrapes.udp", 1.0),
    ] {
        assert_eq!(json.names(&format!("requests.{path}")), served, "{path}");
        for family in &served {
            assert_eq!(json.number(&format!("requests.{path}.{family}")), count, "{path}");
        }
    }
}

fn errors_are_counted_by_kind() {
    only_with("dashboard");
    let tracker = Start::minimal().listen(loopback()).config("[limits]\ntorrents = 1\n").run();
    announce(tracker.http(), 0, "port=1");
    get(tracker.http(), &announce_target(1, "port=1")).failure();
    Client::new(tracker.udp()).refusal(&Announce::leecher(info_hash(1), 1));
    for _ in 0..2 {
        assert_eq!(get(tracker.http(), "/nowhere").status, 404);
    }
    let json = numbers(tracker.http());
    let counted = |protocol: &str| -> BTreeMap<String, f64> {
        let names = json.names(&format!("errors.{protocol}"));
        let counts = names.iter().map(|name| ((*name).into(), json.number(&format!("errors.{protocol}.{name}"))));
        counts.filter(|(_, count)| *count > 0.0).collect()
    };
    assert_eq!(counted("http"), BTreeMap::from([("full".into(), 1.0), ("not_found".into(), 2.0)]));
    assert_eq!(counted("udp"), BTreeMap::from([("full".into(), 1.0)]));
}

fn minutes_and_quarters_of_an_hour_are_remembered() {
    only_with("dashboard");
    let (clocks, start) = Clocks::of(Start::loopback());
    let tracker = start.run();
    let family = family(tracker.http());
    let column = |json: &Json, name: &str| -> Vec<f64> {
        let Json::List(list) = json.at(name) else { panic!("{name} in {json:?}") };
        list.iter().map(|value| if let Json::Number(number) = value { *number } else { panic!("{value:?}") }).collect()
    };
    let announced = format!("minutes.requests.announces.http.{family}");
    for minute in 1..=16_u8 {
        for port in 0..minute {
            announce(tracker.http(), minute, &format!("port={}", port + 1));
        }
        clocks.pass(61 * i64::from(minute));
        // The tracker looks at its clock when it is asked.
        assert_eq!(column(&numbers(tracker.http()), &announced).len(), usize::from(minute));
    }
    get(tracker.http(), "/nowhere");
    let json = numbers(tracker.http());
    let expected: Vec<_> = (1..=16).map(f64::from).collect();
    assert_eq!((column(&json, &announced), column(&json, "minutes.torrents")), (expected.clone(), expected));
    let seconds = column(&json, "minutes.seconds");
    // A minute may take longer on a machine that is busy.
    assert!(seconds.iter().all(|length| *length >= 60.0), "{seconds:?}");
    assert_eq!(column(&json, "quarters.peers").first(), Some(&120.0), "after a quarter of an hour: {json:?}");
    assert_eq!(column(&json, &format!("quarters.requests.announces.http.{family}")), [120.0]);
    assert_eq!(json.names("minutes.errors.http"), ["not_found"], "what has not been counted is left out");
    assert_eq!(column(&json, "minutes.errors.http.not_found").len(), 16);
}

fn the_access_list_is_among_the_numbers_where_there_is_one() {
    only_with("dashboard");
    match access_list::key() {
        Some(key) => the_access_list_is_among_the_numbers(key),
        None => assert_eq!(numbers(Tracker::start(&[]).http()).at("list"), &Json::Null),
    }
}

fn the_access_list_is_among_the_numbers(key: &str) {
    let start = Start::minimal().listen(loopback());
    let file = start.path("list");
    let lines: Vec<_> = (1..=3).map(|n| hex(info_hash(n)) + "\n").collect();
    fs::write(&file, lines[..2].concat()).unwrap();
    let mut tracker = start.config(&format!("{key} list\n")).run();
    let list = |tracker: &Tracker| {
        let json = numbers(tracker.http());
        ["torrents", "read", "failed_reloads"].map(|name| json.number(&format!("list.{name}")))
    };
    let first = list(&tracker);
    assert_eq!((first[0], first[2]), (2.0, 0.0));
    fs::write(&file, lines.concat()).unwrap();
    tracker.signal(Signal::SIGHUP);
    tracker.wait_for_log("3 torrents on the list");
    let second = list(&tracker);
    assert_eq!((second[0], second[2]), (3.0, 0.0));
    assert!(second[1] > first[1], "{first:?}, {second:?}");
}

fn the_cluster_is_among_the_numbers_where_there_is_one() {
    only_with("dashboard");
    if has("sync-live") {
        the_cluster_is_among_the_numbers();
    } else {
        assert_eq!(numbers(Tracker::start(&[]).http()).list("cluster"), []);
    }
}

fn the_cluster_is_among_the_numbers() {
    let (tracker, member) = sync_live::cluster();
    let of = |json: &Json| {
        let list = json.list("cluster");
        assert_eq!(list.len(), 1, "{json:?}");
        list[0].clone()
    };
    let before = of(&numbers(tracker.http()));
    assert_eq!((before.text("name"), before.number("members"), before.at("connected")), ("sync", 0.0, &Json::Null));
    member.publish(&[sync_live::peer(loopback(), 1), sync_live::peer(loopback(), 2)]);
    let seen = wait_until(|| {
        let now = of(&numbers(tracker.http()));
        // They are counted one after the other.
        (now.number("received") == 2.0 && now.number("members") == 1.0).then_some(now)
    });
    assert_eq!(seen.expect("two peers of the neighbour").number("refused"), 0.0);
}

fn who_may_not_read_the_statistics_may_not_read_the_page() {
    only_with("dashboard");
    only_with("restrict-stats");
    let tracker = restrict_stats::closed().config("access.stats 127.0.0.2\n").run();
    for &server in tracker.https() {
        for target in [PAGE, NUMBERS] {
            assert_eq!(restrict_stats::status_for(1, server, target), 403);
            if server.is_ipv4() {
                assert_eq!(restrict_stats::status_for(2, server, target), 200);
            }
        }
    }
}

fn only_the_header_is_sent_to_whoever_asks_for_that() {
    only_with("dashboard");
    let tracker = Tracker::start(&[]);
    for target in [PAGE, NUMBERS] {
        let reply = head(tracker.http(), target);
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{target}");
        assert!(reply.header("content-length").is_some_and(|len| len.parse::<usize>().unwrap() > 1000), "{target}");
    }
}

fn the_paths_are_fixed_and_a_connection_may_stay_open() {
    only_with("dashboard");
    let tracker = Start::loopback().config("access.stats_path numbers\n").run();
    let mut connection = Connection::open(tracker.http());
    for target in [PAGE, NUMBERS, NUMBERS] {
        connection.send(request(target, "Connection: keep-alive\r\n"));
        let reply: Reply = connection.reply();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
    }
    let closing = get_with(tracker.http(), "/dashboard/", "Connection: close\r\n");
    assert_eq!((closing.status, closing.header("connection")), (200, Some("close")), "slashes do not matter");
    assert_eq!(get(tracker.http(), "/dashboard.html").status, 404);
}
