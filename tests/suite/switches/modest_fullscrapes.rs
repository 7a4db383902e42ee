//! `modest-fullscrapes`: an address gets one full scrape in a while.

use std::net::SocketAddr;

use super::{metrics, refuses_key};
use crate::clients::http::{Reply, get, get_from, get_with, head};
use crate::flavour::{IPV6, client, has, loopback, only_with, only_without};
use crate::harness::{skip, tests};
use crate::http::{announce, scraped};
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_key_stops_the_start,
    without_it_an_address_gets_as_many_as_it_asks_for,
    with_it_the_interval_is_five_minutes,
    with_it_an_address_gets_one_page_of_all_that_name_every_torrent,
    with_it_another_address_gets_one_too,
    with_it_a_header_costs_nothing_and_says_what_the_page_would,
    with_it_nothing_else_is_limited,
    with_it_refusals_are_counted,
    with_it_an_interval_of_0_is_no_limit,
    with_it_an_interval_of_more_than_a_day_is_a_mistake,
    with_it_a_proxy_asks_for_each_client_apart,
];

const FEATURE: &str = "modest-fullscrapes";
const KEY: &str = "limits.full_scrape_interval";
const PAGES: [&str; 5] =
    ["/scrape", "/stats?mode=tpbs", "/stats?mode=tpbs&format=txt", "/stats?mode=statedump", "//scrape/"];

/// A tracker whose addresses get one full scrape a day.
fn once_a_day() -> Tracker {
    Start::loopback().config(&format!("{KEY} 86400\n")).run()
}

fn without_it_its_key_stops_the_start() {
    only_without(FEATURE);
    refuses_key(FEATURE, KEY, "300");
}

fn without_it_an_address_gets_as_many_as_it_asks_for() {
    only_without(FEATURE);
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    for target in PAGES.iter().chain(&PAGES) {
        assert_eq!(get(tracker.http(), target).status, 200, "{target}");
    }
}

/// Asserts that the reply is the refusal, and returns the seconds after which the client may come again.
#[track_caller]
fn seconds_of_refusal(reply: &Reply) -> u32 {
    assert_eq!(reply.status_line, "HTTP/1.1 402 Payment Required", "{}", reply.text());
    assert_eq!((reply.header("content-type"), reply.header("content-encoding")), (Some("text/html"), None));
    reply.header("retry-after").expect("when to come again").parse().unwrap()
}

#[track_caller]
fn assert_refused(reply: &Reply) {
    assert!((1..=86_400).contains(&seconds_of_refusal(reply)));
    assert_eq!(reply.text(), "<title>402 Payment Required</title>\n");
}

fn with_it_the_interval_is_five_minutes() {
    only_with(FEATURE);
    let tracker = Start::needed().on_loopback().run();
    assert_eq!(get(tracker.http(), "/scrape").status, 200);
    let seconds = seconds_of_refusal(&get(tracker.http(), "/scrape"));
    // If the test has not been held up for minutes, it is between four and five.
    assert!((241..=300).contains(&seconds), "{seconds}");
}

fn with_it_an_address_gets_one_page_of_all_that_name_every_torrent() {
    only_with(FEATURE);
    for first in PAGES {
        let tracker = once_a_day();
        // Each family has an address of its own.
        for &server in tracker.https() {
            announce(server, 0, "port=1");
            assert_eq!(get(server, first).status, 200, "{first}");
            for next in PAGES {
                assert_refused(&get(server, next));
            }
        }
    }
}

fn with_it_another_address_gets_one_too() {
    only_with(FEATURE);
    if !loopback().is_ipv4() {
        skip("there is one IPv6 loopback address");
    }
    let tracker = once_a_day();
    let server = tracker.http();
    for n in 1..5 {
        assert_eq!(get_from(client(server.ip(), n), server, "/scrape", "").status, 200, "{n}");
    }
    for n in 1..5 {
        assert_refused(&get_from(client(server.ip(), n), server, "/scrape", ""));
    }
}

fn with_it_a_header_costs_nothing_and_says_what_the_page_would() {
    only_with(FEATURE);
    let tracker = once_a_day();
    for &server in tracker.https() {
        for target in PAGES {
            assert_eq!(head(server, target).status, 200, "{target}");
        }
        assert_eq!(get(server, "/scrape").status, 200);
        for target in PAGES {
            assert!((1..=86_400).contains(&seconds_of_refusal(&head(server, target))), "{target}");
        }
    }
}

fn with_it_nothing_else_is_limited() {
    only_with(FEATURE);
    let tracker = once_a_day();
    for (n, &server) in (0..).zip(tracker.https()) {
        assert_eq!(get(server, "/scrape").status, 200);
        assert_refused(&get(server, "/scrape"));
        announce(server, n, "port=1&left=0");
        assert_eq!(scraped(server, n), (1, 0, 0));
        for target in ["/stats", "/stats?mode=everything", "/stats?mode=top10"] {
            assert_eq!(get(server, target).status, 200, "{target}");
        }
    }
}

fn with_it_refusals_are_counted() {
    only_with(FEATURE);
    let tracker = once_a_day();
    for &server in tracker.https() {
        assert_eq!(get(server, "/scrape").status, 200);
        for target in PAGES {
            assert_refused(&get(server, target));
        }
    }
    let refused = PAGES.len() * tracker.https().len();
    let page = |mode: &str| get(tracker.http(), &format!("/stats?mode={mode}")).text();
    assert!(page("herr").ends_with(&format!("500 SRV 0\n402 PAY {refused}\n")), "{}", page("herr"));
    let row = format!("<count code=\"402 Payment Required\">{refused}</count>");
    assert!(page("everything").contains(&row), "{}", page("everything"));
    if has("metrics") {
        let page = metrics::page(&tracker);
        for server in tracker.https() {
            let family = if server.is_ipv4() { "ipv4" } else { "ipv6" };
            let name = format!("opentracker_errors_total{{protocol=\"http\",kind=\"not_modest\",family=\"{family}\"}}");
            assert_eq!(page[&name], PAGES.len() as f64, "{name}");
        }
    }
}

fn with_it_an_interval_of_0_is_no_limit() {
    only_with(FEATURE);
    let tracker = Start::loopback().config(&format!("{KEY} = 0\n")).run();
    for target in PAGES.iter().chain(&PAGES) {
        assert_eq!(get(tracker.http(), target).status, 200, "{target}");
    }
}

fn with_it_an_interval_of_more_than_a_day_is_a_mistake() {
    only_with(FEATURE);
    for value in ["86401", "-1", "5m"] {
        let exit = Start::minimal().args(["--check-config"]).config(&format!("{KEY} {value}\n")).finish();
        exit.refuses(2, &[&format!("{KEY} (line 1) takes a whole number from 0 to 86400, not \"{value}\"")]);
    }
}

/// A proxy's header with this client.
fn ask_for(server: SocketAddr, client: &str) -> Reply {
    get_with(server, "/scrape", &format!("Connection: close\r\nX-Forwarded-For: {client}\r\n"))
}

fn with_it_a_proxy_asks_for_each_client_apart() {
    only_with(FEATURE);
    only_with("ip-from-proxy");
    let tracker =
        Start::loopback().config(&format!("{KEY} 86400\naccess.proxy 127.0.0.1\naccess.proxy {IPV6}\n")).run();
    let server = tracker.http();
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"] {
        assert_eq!(ask_for(server, client).status, 200, "{client}");
    }
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::ffff:0:0:1", "2001:db8:0:1::2", "::ffff:192.0.2.1"] {
        assert_refused(&ask_for(server, client));
    }
}
