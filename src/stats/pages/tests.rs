use std::net::{Ipv4Addr, SocketAddr};

use fastrand::Rng;

use super::*;
use crate::stats::WorkerCounters;
use crate::tracker::clock::TORRENT_LIFETIME;
use crate::tracker::testing::{Counted, TestFlavour, TestTracker};
use crate::tracker::{AnnounceRequest, Capacity, Event, InfoHash, Intervals, Ipv4Only, Open, PeerRequest};
use crate::tracker::{TransportCounts, TransportStatus};

const START: Minute = Minute(29_000_000);
const HOURS: Duration = Duration::from_secs(2 * 3600 + 1);

/// A tracker, and the counters of its one worker.
struct Fixture {
    tracker: TestTracker<Ipv4Only, Open, Counted>,
    counters: Counters,
    worker_counters: std::sync::Arc<WorkerCounters>,
}

impl Fixture {
    fn new() -> Self {
        let counters = Counters::default();
        let worker_counters = counters.for_worker();
        let counts = TransportCounts { records_received: 120_000, records_refused: 130_000, ..Default::default() };
        let cluster = Counted(TransportStatus {
            name: "sync",
            title: "Live sync",
            counts,
            lag: Duration::ZERO,
            members: 0,
            connected: None,
        });
        let tracker = TestTracker::with_plugs(Capacity::NONE, START, Open, cluster);
        Self { tracker, counters, worker_counters }
    }

    fn report(&self, now: Minute) -> Report<'_, TestFlavour<Ipv4Only, Open, Counted>> {
        Report { tracker: &self.tracker, counters: &self.counters, now, uptime: HOURS }
    }

    /// An announce that is counted like one over UDP.
    fn announce(&self, torrent: u32, peer: u32, (seeder, event): (bool, Event), now: Minute) {
        let announce =
            AnnounceRequest { info_hash: info_hash(torrent), endpoint: endpoint(peer), seeder, uploaded: false, event };
        let outcome = self.tracker.announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none()).unwrap();
        self.worker_counters.count_announce(Counter::UdpAnnounced, announce.endpoint.ip(), &outcome);
    }

    /// The page of a mode, and how many steps it took.
    #[track_caller]
    fn page_in_steps(&self, mode: &str, now: Minute) -> (String, usize) {
        let report = self.report(now);
        let mut walk = match report.page(mode).unwrap() {
            Page::Ready(page) => return (page, 0),
            Page::Walk(walk) => walk,
        };
        let mut steps = 1;
        loop {
            match walk.step(&report) {
                Some(page) => return (page, steps),
                None => steps += 1,
            }
        }
    }

    #[track_caller]
    fn page(&self, mode: &str) -> String {
        self.page_in_steps(mode, START).0
    }
}

fn info_hash(n: u32) -> InfoHash {
    let mut info_hash = InfoHash([0xab; 20]);
    info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
    info_hash
}

fn endpoint(n: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(n), 6881).into()
}

const LEECHES: (bool, Event) = (false, Event::Update);
const SEEDS: (bool, Event) = (true, Event::Update);
const COMPLETES: (bool, Event) = (true, Event::Completed);
const STOPS: (bool, Event) = (false, Event::Stopped);

/// A fixture in which every counter has another number.
fn counted() -> Fixture {
    let fixture = Fixture::new();
    let counters = [
        Counter::TcpAccepted,
        Counter::TcpAnnounced,
        Counter::TcpScraped,
        Counter::UdpReceived,
        Counter::UdpConnected,
        Counter::UdpAnnounced,
        Counter::UdpScraped,
        Counter::UdpMismatched,
        Counter::Completed,
        Counter::FullScraped,
        Counter::FullScrapeBytes,
        Counter::Http302,
        Counter::Http400Parse,
        Counter::Http400Parameter,
        Counter::Http403,
        Counter::Http404,
        Counter::Http500,
        Counter::Http402,
    ];
    for (counter, n) in counters.into_iter().zip(1..) {
        fixture.worker_counters.add(counter, n * 10_000);
    }
    fixture
}

#[test]
fn blocks_are_four_lines_without_a_last_line_end() {
    let fixture = counted();
    // 10 000 in 7201 seconds are one in a second.
    let since = "7201 seconds (2 hours)";
    for (mode, numbers, last) in [
        ("conn", "50000\n130000", "opentracker connections, 6 conns/s :: 18 success/s."),
        ("tcp4", "10000\n20000", "opentracker tcp4 stats, 1 conns/s :: 2 success/s."),
        ("udp4", "40000\n110000", "opentracker udp4 stats, 5 conns/s :: 15 success/s."),
        ("scrp", "30000\n70000", "opentracker scrape stats, 13 scrape/s (tcp and udp)"),
        ("fscr", "100000000\n110000", "opentracker full scrape stats, 13 conns/s :: 15 bytes/s."),
        ("completed", "90000\n0", "opentracker, 44993 completed/h."),
        ("syncs", "250000\n0", "opentracker connections, 6 conns/s :: 18 success/s."),
    ] {
        assert_eq!(fixture.page(mode), format!("{numbers}\n{since}\n{last}"), "{mode}");
    }
}

#[test]
fn errors_and_renewals_have_a_line_each() {
    let fixture = counted();
    let errors = "302 RED 120000\n400 ... 130000\n400 PAR 140000\n400 COM 0\n403 IP  150000\n404 INV 160000\n\
                  500 SRV 170000\n402 PAY 180000\n";
    assert_eq!(fixture.page("herr"), errors);
    for (minutes, times) in [(0, 2), (7, 1), (44, 1), (45, 1)] {
        for peer in 0..times {
            fixture.announce(minutes, peer + 1, LEECHES, START);
            fixture.announce(minutes, peer + 1, LEECHES, START + minutes);
        }
    }
    let expected = |minutes| match minutes {
        0 | 44 => 2,
        7 => 1,
        _ => 0,
    };
    let rows: String = (0..45).map(|minutes| format!("{minutes:02} {}\n", expected(minutes))).collect();
    assert_eq!(fixture.page("renew"), rows, "what is later than the last row belongs to it");
}

#[test]
fn the_page_of_everything_is_right_to_the_byte() {
    let fixture = counted();
    fixture.announce(1, 1, LEECHES, START);
    fixture.announce(1, 2, COMPLETES, START);
    fixture.announce(2, 1, SEEDS, START + 3);
    fixture.announce(2, 1, SEEDS, START + 12);
    let renewals: String = (0..45)
        .map(|minutes| format!("      <count interval=\"{minutes:02}\">{}</count>\n", u8::from(minutes == 9)))
        .collect();
    let expected = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<stats>
  <tracker_id>{}</tracker_id>
  <version>
opentracker {}
  </version>
  <uptime>7201</uptime>
  <torrents>
    <count_mutex>2</count_mutex>
    <count_iterator>2</count_iterator>
  </torrents>
  <peers>
    <count>3</count>
  </peers>
  <seeds>
    <count>2</count>
  </seeds>
  <completed>
    <count>90001</count>
  </completed>
  <connections>
    <tcp>
      <accept>10000</accept>
      <announce>20000</announce>
      <scrape>30000</scrape>
    </tcp>
    <udp>
      <overall>40000</overall>
      <connect>50000</connect>
      <announce>60004</announce>
      <scrape>70000</scrape>
      <missmatch>80000</missmatch>
    </udp>
    <livesync>
      <count>250000</count>
    </livesync>
  </connections>
  <debug>
    <renew>
{renewals}    </renew>
    <http_error>
      <count code="302 Redirect">120000</count>
      <count code="400 Parse Error">130000</count>
      <count code="400 Invalid Parameter">140000</count>
      <count code="400 Invalid Parameter (compact=0)">0</count>
      <count code="400 Not Modest">0</count>
      <count code="402 Payment Required">180000</count>
      <count code="403 Access Denied">150000</count>
      <count code="404 Not found">160000</count>
      <count code="500 Internal Server Error">170000</count>
    </http_error>
    <mutex_stall>
      <count>0</count>
    </mutex_stall>
  </debug>
  <taken_for_room>
    <torrents>0</torrents>
    <peers>0</peers>
  </taken_for_room>
</stats>"#,
        fixture.tracker.id(),
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(fixture.page("everything"), expected);
}

/// The numbers that come and go: torrents as kept and as walked, peers and seeds.
#[track_caller]
fn counts(fixture: &Fixture, now: Minute) -> [String; 4] {
    let page = fixture.page_in_steps("everything", now).0;
    let value = |before: &str| page.split(before).nth(1).unwrap().split('<').next().unwrap().to_owned();
    let counts = ["<count_mutex>", "<count_iterator>", "<peers>\n    <count>", "<seeds>\n    <count>"].map(value);
    let [torrents, _, peers, seeds] = &counts;
    let block = format!("opentracker serving {torrents} torrents\nopentracker");
    assert_eq!(fixture.page_in_steps("peer", now).0, format!("{peers}\n{seeds}\n{block}"));
    assert_eq!(fixture.page_in_steps("torr", now).0, format!("{torrents}\n0\n{block}"));
    counts
}

#[test]
fn counts_lists_and_networks_follow_a_history_and_stay_right_across_expiry() {
    let fixture = Fixture::new();
    let peer = |n: u32| 0x0a00_0000 + n;
    assert_eq!(counts(&fixture, START), ["0", "0", "0", "0"]);
    fixture.announce(1, peer(1), LEECHES, START);
    fixture.announce(1, peer(2), COMPLETES, START);
    fixture.announce(1, peer(300), SEEDS, START + 10);
    fixture.announce(2, peer(1), LEECHES, START);
    fixture.announce(3, peer(1), SEEDS, START);
    fixture.announce(3, peer(1), STOPS, START);
    assert_eq!(counts(&fixture, START), ["2", "2", "4", "2"]);
    let (one, two) = (info_hash(1), info_hash(2));
    let expected = format!(
        "Top 10 torrents by peers:\n\t3\t{one}\n\t1\t{two}\nTop 10 torrents by seeds:\n\t2\t{one}\n\
         Top 10 torrents by leechers:\n\t1\t{one}\n\t1\t{two}\n"
    );
    assert_eq!(fixture.page("top10"), expected);
    assert_eq!(fixture.page("top100"), expected.replace("Top 10 ", "Top 100 "));
    let networks = "Networks, limit /28:\n00000003: 10.0.0.0\n00000001: 10.0.1.32\n\n\
                    Networks, limit /24:\n00000003: 10.0.0.0\n00000001: 10.0.1.0\n\n";
    assert_eq!(fixture.page("s24s"), networks);

    // A seeder becomes a leecher. All others have been silent for too long.
    let late = START + Intervals::MIN_PEER_LIFETIME + 1;
    fixture.announce(1, peer(300), LEECHES, START + 30);
    fixture.tracker.sweep(late, || {});
    assert_eq!(counts(&fixture, late), ["1", "1", "1", "0"]);
    let rows = format!("\t1\t{one}\n");
    let expected =
        format!("Top 10 torrents by peers:\n{rows}Top 10 torrents by seeds:\nTop 10 torrents by leechers:\n{rows}");
    assert_eq!(fixture.page("top10"), expected);
    let networks = "Networks, limit /28:\n00000001: 10.0.1.32\n\nNetworks, limit /24:\n00000001: 10.0.1.0\n\n";
    assert_eq!(fixture.page("s24s"), networks);

    // Nobody is left, but the torrent is known for its download; in the end it is forgotten, and the counts stay.
    let later = START + 30 + Intervals::MIN_PEER_LIFETIME + 1;
    fixture.tracker.sweep(later, || {});
    assert_eq!(counts(&fixture, later), ["1", "1", "0", "0"]);
    let (top, networks) = (
        "Top 10 torrents by peers:\nTop 10 torrents by seeds:\nTop 10 torrents by leechers:\n",
        "Networks, limit /28:\n\nNetworks, limit /24:\n\n",
    );
    assert_eq!((fixture.page("top10").as_str(), fixture.page("s24s").as_str()), (top, networks));
    let end = later + TORRENT_LIFETIME + 1;
    fixture.tracker.sweep(end, || {});
    assert_eq!(counts(&fixture, end), ["0", "0", "0", "0"]);
    assert!(fixture.page("completed").starts_with("1\n0\n"));
    assert_eq!(fixture.counters.total(Counter::UdpAnnounced), 7);
    assert!(fixture.page("renew").contains("\n20 1\n"));
}

#[test]
fn a_walk_takes_many_short_steps_and_announces_go_on_between_them() {
    let fixture = Fixture::new();
    for torrent in 0..20_000 {
        fixture.announce(torrent, torrent + 1, LEECHES, START);
    }
    let report = fixture.report(START);
    for (mode, steps) in [("everything", 20), ("top10", 20), ("s24s", 38)] {
        assert!(fixture.page_in_steps(mode, START).1 >= steps, "{mode}");
        let Ok(Page::Walk(mut walk)) = report.page(mode) else { panic!("{mode}") };
        assert!(walk.step(&report).is_none());
        fixture.announce(7, 9999, SEEDS, START);
        assert_eq!(fixture.tracker.scrape(&info_hash(7)).map(|counts| counts.seeders), Some(1), "no lock is held");
    }
}

#[test]
fn a_large_swarm_is_walked_in_steps() {
    let fixture = Fixture::new();
    for peer in 0..60_000 {
        fixture.announce(1, 0x0a00_0000 + peer, LEECHES, START);
    }
    let (page, steps) = fixture.page_in_steps("s24s", START);
    assert!(steps > 60_000 / STEP_BUDGET, "{steps}: the lock was held for the whole swarm");
    assert!(page.starts_with("Networks, limit /28:\n00000016: 10.0.0.0\n00000016: 10.0.0.16\n"), "{page}");
    assert!(page.contains("\n\nNetworks, limit /24:\n00000256: 10.0.0.0\n00000256: 10.0.1.0\n"), "{page}");
    assert!(page.ends_with("00000256: 10.0.233.0\n00000096: 10.0.234.0\n\n"), "{page}");
}

#[test]
fn a_crowd_of_networks_costs_a_second_walk_and_hides_no_large_one() {
    let fixture = Fixture::new();
    for peer in 0..6000 {
        fixture.announce(peer, 0x0b00_0000 + peer * 16, LEECHES, START);
    }
    let few = fixture.page_in_steps("everything", START).1;
    for peer in 0..40 {
        fixture.announce(1, 0x0c01_0200 + peer, LEECHES, START);
    }
    let (page, steps) = fixture.page_in_steps("s24s", START);
    assert!(steps > 3 * few, "{steps} steps, {few} for one look at each torrent");
    assert!(
        page.starts_with(
            "Networks, limit /28:\n00000016: 12.1.2.0\n00000016: 12.1.2.16\n00000008: 12.1.2.32\n00000001: "
        ),
        "{page}"
    );
    assert!(page.contains("Networks, limit /24:\n00000040: 12.1.2.0\n00000016: 11.0.0.0\n"), "{page}");
    assert!(page.ends_with("00000016: 11.0.254.0\n\n"), "the other table is not counted twice: {page}");
}

#[test]
fn modes_that_are_not_there_are_unknown_or_need_a_feature() {
    let fixture = Fixture::new();
    for mode in ["", "nonsense", "top", "top1000", "Everything", "herr ", "s24", "tpbs", "statedump"] {
        assert_eq!(fixture.report(START).page(mode).err(), Some(NoPage::Unknown), "{mode}");
    }
    for (mode, feature) in [("busy", "log-networks"), ("woodpeckers", "spot-woodpecker"), ("numwants", "log-numwant")] {
        assert_eq!(fixture.report(START).page(mode).err(), Some(NoPage::Needs(feature)), "{mode}");
    }
}
