use std::collections::BTreeMap;

use super::page::{REQUESTS, TRANSPORT, TRANSPORT_BYTES, TRANSPORT_SECONDS};
use super::*;
use crate::http::coding::NoCoding;
use crate::http::flavour::{Connected, Everyone, NoRoute, RequestsUnlogged, Unlimited};
use crate::http::testing::TestHttp;
use crate::http::wrapper::NoWrapper;
use crate::stats::counters::COUNTS;
use crate::stats::errors::{HTTP_ERRORS, UDP_ERRORS};
use crate::stats::{Counter, Protocol};
use crate::tracker::flavour::{Admission, Cluster};
use crate::tracker::testing::{Counted, Listed, TestFlavour, key};
use crate::tracker::{AnnounceError, Capacity, Intervals, Ipv4Only, Minute, Open, Standalone};
use crate::tracker::{TransportCounts, TransportStatus};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A tracker that measures how long requests take.
type Timed<A, C> =
    Tracker<TestHttp<TestFlavour<Ipv4Only, A, C>, Connected, Everyone, NoRoute, NoCoding, Unlimited, Times>>;

fn tracker<A: Admission, C: Cluster>(admission: A, cluster: C) -> Timed<A, C> {
    let flavour = TestHttp {
        tracker: TestFlavour::with_plugs(admission, cluster),
        client_address: Connected,
        stats_access: Everyone,
        routes: NoRoute,
        codings: NoCoding,
        scrape_limit: Unlimited,
        request_times: Times::default(),
        wrappers: NoWrapper,
        request_log: RequestsUnlogged,
    };
    Tracker::new(key(), Capacity::NONE, Intervals::default(), Minute(1), flavour)
}

/// A cluster with one transport, whose numbers are those from 1 to 16.
fn cluster() -> Counted {
    let counts = TransportCounts {
        packets_received: 1,
        packets_sent: 2,
        packets_refused: 3,
        packets_lost: 4,
        records_received: 5,
        records_sent: 6,
        records_refused: 7,
        bytes_received: 8,
        bytes_sent: 9,
        reconnects: 10,
        gaps: 11,
        republished: 12,
        snapshots_given: 13,
        snapshots_given_ms: 14,
        snapshots_taken: 15,
        snapshots_taken_ms: 16_000,
    };
    let lag = Duration::from_millis(17_500);
    Counted(TransportStatus { name: "sync", title: "Live sync", counts, lag, members: 2, connected: Some(true) })
}

fn page_of<A: Admission, C: Cluster>(tracker: &Timed<A, C>, counters: &Counters) -> String {
    let exporter = Exporter { started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_250) };
    exporter.page(tracker, counters, Format::OpenMetrics)
}

/// The samples of a page, each with its value as it is written.
fn samples(page: &str) -> BTreeMap<&str, &str> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap()).collect()
}

#[test]
fn every_counter_is_on_the_page_under_its_own_name() {
    let requests = REQUESTS.iter().flat_map(|(_, _, protocols)| protocols.iter().map(|(_, count)| *count));
    let others = [Counter::FullScraped, Counter::FullScrapeBytes, Counter::Completed];
    // Several that are added up are one number on the page, of which the first is made up here.
    let errors = || HTTP_ERRORS.iter().chain(&UDP_ERRORS).map(|(_, counters)| *counters);
    let counts: Vec<_> = requests.chain(errors().map(|counters| counters[0])).chain(others).collect();
    let added_up = errors().map(|counters| counters.len() - 1).sum::<usize>();
    // Http400Compact and Http400NotModest are always 0.
    assert_eq!(counts.len() + added_up, COUNTS - 2, "somebody counts what is not on the page");
    let counters = Counters::default();
    let worker_counters = counters.for_worker();
    for (n, count) in counts.iter().enumerate() {
        worker_counters.add(*count, 1000 + n as u64);
    }
    let refusals =
        [Protocol::Http, Protocol::Udp].map(|protocol| AnnounceError::ALL.map(|refusal| (protocol, refusal)));
    for ((protocol, refusal), times) in refusals.iter().flatten().zip(1..) {
        (0..times).for_each(|_| worker_counters.count_refusal(*protocol, *refusal, V4));
    }
    let page = page_of(&tracker(Listed, cluster()), &counters);
    let samples = samples(&page);
    for (n, count) in counts.iter().enumerate() {
        let value = (1000 + n).to_string();
        let found = samples.iter().filter(|(name, found)| name.contains("_total") && **found == value).count();
        assert_eq!(found, 1, "{count:?}");
    }
    for (protocol, first) in [("http", 1), ("udp", 5)] {
        for (kind, value) in ["not_admitted", "family_not_served", "full", "client_not_served"].iter().zip(first..) {
            let labels = format!("protocol=\"{protocol}\",kind=\"{kind}\",family=\"ipv4\"");
            assert_eq!(samples[&*format!("opentracker_errors_total{{{labels}}}")], value.to_string());
        }
    }
    let announces = samples["opentracker_announces_total{protocol=\"udp\",family=\"ipv4\"}"];
    assert_eq!(
        announces,
        (1000 + counts.iter().position(|count| *count == Counter::UdpAnnounced).unwrap()).to_string()
    );
}

#[test]
fn a_transport_is_connected_or_not_or_has_no_connections() {
    let Counted(status) = cluster();
    for (connected, expected) in [(Some(true), Some("1")), (Some(false), Some("0")), (None, None)] {
        let cluster = Counted(TransportStatus { connected, ..status });
        let page = page_of(&tracker(Open, cluster), &Counters::default());
        assert_eq!(samples(&page).get("opentracker_sync_connected").copied(), expected);
    }
}

#[test]
fn errors_of_one_kind_are_added_up() {
    let counters = Counters::default();
    let worker_counters = counters.for_worker();
    worker_counters.count_from(Counter::Http400Parse, V4);
    worker_counters.add(Counter::HttpMethod, 2);
    let page = page_of(&tracker(Open, Standalone), &counters);
    assert_eq!(samples(&page)["opentracker_errors_total{protocol=\"http\",kind=\"malformed\",family=\"ipv4\"}"], "3");
}

#[test]
fn a_family_that_is_not_served_is_there_only_when_it_was_counted() {
    let (counters, tracker) = (Counters::default(), tracker(Open, Standalone));
    let page = page_of(&tracker, &counters);
    assert!(page.contains("family=\"ipv4\"} 0\n") && !page.contains("ipv6"), "{page}");
    counters.for_worker().count_refusal(Protocol::Http, AnnounceError::FamilyNotServed, V6);
    let page = page_of(&tracker, &counters);
    let ipv6: Vec<_> = page.lines().filter(|line| line.contains("ipv6")).collect();
    assert_eq!(ipv6, ["opentracker_errors_total{protocol=\"http\",kind=\"family_not_served\",family=\"ipv6\"} 1"]);
}

#[test]
fn lists_and_clusters_are_on_the_page_of_a_build_that_has_them() {
    let belongs_to_switches = |name: &&&str| name.contains("_list_") || name.contains("_sync_");
    let plain = page_of(&tracker(Open, Standalone), &Counters::default());
    assert_eq!(samples(&plain).keys().find(belongs_to_switches), None);
    let fancy = page_of(&tracker(Listed, cluster()), &Counters::default());
    let samples = samples(&fancy);
    assert_eq!(
        samples.keys().filter(belongs_to_switches).count(),
        3 + TRANSPORT.len() + TRANSPORT_BYTES.len() + TRANSPORT_SECONDS.len() + 2
    );
    for (name, value) in [
        ("packets_received_total", "1"),
        ("packets_sent_total", "2"),
        ("packets_refused_total", "3"),
        ("packets_lost_total", "4"),
        ("records_received_total", "5"),
        ("records_sent_total", "6"),
        ("records_refused_total", "7"),
        ("received_bytes_total", "8"),
        ("sent_bytes_total", "9"),
        ("reconnects_total", "10"),
        ("gaps_total", "11"),
        ("records_republished_total", "12"),
        ("snapshots_given_total", "13"),
        ("snapshots_given_seconds_total", "0.014"),
        ("snapshots_taken_total", "15"),
        ("snapshots_taken_seconds_total", "16"),
        ("lag_seconds", "17.5"),
        ("connected", "1"),
    ] {
        assert_eq!(samples[&*format!("opentracker_sync_{name}")], value, "{name}");
    }
    assert!(
        fancy.contains("# HELP opentracker_sync_packets_lost Live sync packets that could not be sent.\n"),
        "{fancy}"
    );
    assert_eq!(samples["opentracker_access_list_torrents"], "12");
    assert_eq!(samples["opentracker_access_list_last_reload_success_timestamp_seconds"], "1700000000.5");
    assert_eq!(samples["opentracker_access_list_failed_reloads_total"], "3");
}

#[test]
fn the_page_says_when_the_process_was_started_and_ends_with_its_end() {
    let page = page_of(&tracker(Open, Standalone), &Counters::default());
    assert_eq!(samples(&page)["process_start_time_seconds"], "1600000000.25");
    assert!(page.ends_with("\n# EOF\n") && page.matches("# EOF").count() == 1);
}

#[test]
fn durations_of_all_workers_are_in_one_histogram() {
    let tracker = tracker(Open, Standalone);
    let times = tracker.flavour().request_times();
    let (one, other) = (times.for_worker(), times.for_worker());
    one.add(Duration::from_micros(3));
    other.add(Duration::from_micros(4));
    other.add(Duration::from_secs(3));
    let page = page_of(&tracker, &Counters::default());
    let samples = samples(&page);
    let sample = |what: &str| samples[&*format!("opentracker_http_request_duration_seconds_{what}")];
    assert_eq!((sample("count"), sample("sum")), ("3", "3.000007"));
    let bucket = |bound: &str| sample(&format!("bucket{{le=\"{bound}\"}}"));
    assert_eq!((bucket("0.000002"), bucket("0.000005"), bucket("2.5"), bucket("+Inf")), ("0", "2", "2", "3"));
}

#[test]
fn pages_count_for_nothing_themselves() {
    let (tracker, counters) = (tracker(Open, Standalone), Counters::default());
    counters.for_worker().count_from(Counter::TcpAccepted, V4);
    assert_eq!(page_of(&tracker, &counters), page_of(&tracker, &counters));
}
