use super::Recorder;
use super::history::History;
use super::json::Report;
use super::memory::ResidentMemory;
use super::sample::{Levels, Sample};
use crate::server::MonotonicClock;
use crate::stats::errors::{self, KINDS};
use crate::stats::{Counter, Counters, Protocol};
use crate::stop::StopToken;
use crate::tracker::testing::{Counted, Listed, TestTracker};
use crate::tracker::{AnnounceError, Capacity, Ipv4Only, Minute, Second, TransportCounts, TransportStatus};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn cluster() -> Counted {
    let counts = TransportCounts {
        records_received: 1,
        records_sent: 2,
        records_refused: 3,
        packets_lost: 4,
        ..Default::default()
    };
    let lag = Duration::from_millis(17_500);
    Counted(TransportStatus { name: "sync", title: "Live sync", counts, lag, members: 5, connected: Some(true) })
}

const ALL_KINDS: [(Protocol, &str); 2] = [(Protocol::Http, "http"), (Protocol::Udp, "udp")];

/// Every kind of errors with its count, as it is written.
fn errors(counters: &Counters) -> String {
    let of = |(protocol, name)| {
        let kinds: Vec<_> =
            errors::of_protocol(protocol, counters).map(|(kind, count)| format!("\"{kind}\":{count}")).collect();
        format!("\"{name}\":{{{}}}", kinds.join(","))
    };
    ALL_KINDS.map(of).join(",")
}

#[test]
fn the_numbers_are_told_as_they_are_and_as_they_were() {
    let capacity = Capacity { torrents: 1000, peers: 2000, peers_per_address: 0 };
    let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(capacity, Minute(1), Listed, cluster());
    let counters = Counters::default();
    let worker_counters = counters.for_worker();
    let start = Instant::now();
    let mut history = History::new(Sample::take(&tracker, &counters, None).counts, start);
    for minute in 1..=2 {
        worker_counters.count_from(Counter::UdpAnnounced, V4);
        (0..minute).for_each(|_| worker_counters.count_from(Counter::TcpScraped, V4));
        worker_counters.count(Counter::UdpDropped);
        let mut sample = Sample::take(&tracker, &counters, Some(3));
        sample.levels = Levels { torrents: 7, peers: 6, seeders: 5, memory: (minute == 2).then_some(4096) };
        history.record(&sample, Second(1000 + 60 * minute), start + Duration::from_secs(60 * minute));
    }
    worker_counters.count(Counter::Completed);
    worker_counters.add(Counter::UdpMismatched, 9);
    worker_counters.count_refusal(Protocol::Http, AnnounceError::Full, V6);
    let sample = Sample::take(&tracker, &counters, None);
    let report = |counters| {
        let history = history.clone();
        Report { tracker: &tracker, counters, sample, history, now: Second(1150), uptime: 150.25, usable_memory: 77 }
            .json()
    };
    let expected = format!(
        r#"{{"format":1,"time":1150,"uptime":150.250,"build":{{"version":"{}","commit":"{}","features":[]}},"#,
        env!("CARGO_PKG_VERSION"),
        env!("OPENTRACKER_COMMIT"),
    ) + r#""torrents":0,"peers":0,"seeders":0,"memory":null,"limits":{"torrents":1000,"peers":2000,"memory":77},"#
        + r#""completed":1,"full_scrapes":0,"taken":{"torrents":0,"peers":0},"#
        + r#""requests":{"announces":{"http":{"ipv4":0},"udp":{"ipv4":2}},"connects":{"udp":{"ipv4":0}},"#
        + r#""scrapes":{"http":{"ipv4":3},"udp":{"ipv4":0}}},"#
        + &format!(r#""errors":{{{}}},"#, errors(&counters))
        + r#""list":{"torrents":12,"read":1700000000.500,"failed_reloads":3},"#
        + r#""cluster":[{"name":"sync","title":"Live sync","members":5,"lag":17.500,"connected":true,"#
        + r#""received":1,"sent":2,"refused":3,"lost_packets":4}],"#
        + r#""minutes":{"end":[1060,1120],"seconds":[60.000,60.000],"torrents":[7,7],"peers":[6,6],"seeders":[5,5],"#
        + r#""memory":[null,4096],"requests":{"announces":{"http":{"ipv4":[0,0]},"udp":{"ipv4":[1,1]}},"#
        + r#""connects":{"udp":{"ipv4":[0,0]}},"scrapes":{"http":{"ipv4":[1,2]},"udp":{"ipv4":[0,0]}}},"#
        + r#""errors":{"http":{"full":[0,0]},"udp":{"dropped":[1,1],"connection_id_mismatch":[0,0]}}},"#
        + r#""quarters":{"end":[],"seconds":[],"torrents":[],"peers":[],"seeders":[],"memory":[],"#
        + r#""requests":{"announces":{"http":{"ipv4":[]},"udp":{"ipv4":[]}},"connects":{"udp":{"ipv4":[]}},"#
        + r#""scrapes":{"http":{"ipv4":[]},"udp":{"ipv4":[]}}},"#
        + r#""errors":{"http":{"full":[]},"udp":{"dropped":[],"connection_id_mismatch":[]}}}}"#;
    assert_eq!(report(&counters), expected);
}

#[test]
fn what_there_is_not_is_nothing() {
    let (tracker, counters) = (TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(1)), Counters::default());
    let take = || {
        let sample = Sample::take(&tracker, &counters, None);
        let history = History::new(sample.counts, Instant::now());
        let now = Second(1);
        Report { tracker: &tracker, counters: &counters, sample, history, now, uptime: 0.0, usable_memory: 1 }.json()
    };
    let json = take();
    assert!(json.contains(r#""list":null,"cluster":[],"minutes":{"end":[],"#), "{json}");
    assert!(!json.contains("ipv6"), "{json}");
    counters.for_worker().count_from(Counter::TcpAnnounced, V6);
    assert!(take().contains(r#""announces":{"http":{"ipv4":0,"ipv6":1},"udp":{"ipv4":0,"ipv6":0}}"#));
}

#[test]
fn every_counter_of_errors_has_its_place() {
    let (tracker, counters) = (TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(1)), Counters::default());
    let worker_counters = counters.for_worker();
    worker_counters.count_from(Counter::Http400Parse, V6);
    worker_counters.count_refusal(Protocol::Udp, *AnnounceError::ALL.last().unwrap(), V4);
    let errors = Sample::take(&tracker, &counters, None).counts.errors;
    assert_eq!((errors[0], errors[KINDS - 1], errors.iter().sum::<u64>()), (1, 1, 2));
}

#[test]
fn a_thread_records_minutes_and_holds_no_lock_while_it_waits() {
    let (tracker, counters) = (TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(1)), Counters::default());
    let minute = Duration::from_secs(60);
    let a_minute_ago = Instant::now().checked_sub(minute).unwrap();
    let recorder = Recorder {
        clock: MonotonicClock::start(),
        usable_memory: 1,
        memory: Arc::new(ResidentMemory::default()),
        history: Mutex::new(History::new(Sample::take(&tracker, &counters, None).counts, a_minute_ago)),
    };
    counters.for_worker().count_from(Counter::UdpConnected, V4);
    let stop = StopToken::default();
    thread::scope(|scope| {
        let thread = scope.spawn(|| recorder.run(&tracker, &counters, &stop));
        let deadline = Instant::now() + minute / 2;
        let is_recorded = || recorder.history.try_lock().is_ok_and(|history| history.minutes.len() == 1);
        while !is_recorded() && Instant::now() < deadline {
            thread::yield_now();
        }
        let is_free = is_recorded();
        stop.stop();
        thread.join().unwrap();
        assert!(is_free);
    });
    let history = recorder.history();
    assert_eq!((history.minutes.len(), history.minutes[0].counts.requests[2]), (1, [1, 0]));
    assert!(history.due() > Instant::now());
}
