//! `client-ids`: which clients are served, by how their peer ids begin.

use std::fs;
use std::net::SocketAddr;

use nix::sys::signal::Signal;

use super::refuses_key;
use crate::clients::http::{get, percent};
use crate::clients::udp::{ANNOUNCE, Announce, COMPLETED, Client, ERROR, STARTED, STOPPED, assert_header, error};
use crate::flavour::{info_hash, only_with, only_without};
use crate::harness::tests;
use crate::http::{announce_target, scraped};
use crate::tracker::{Start, Tracker};
use crate::wait::wait_until;

tests![
    without_it_its_keys_are_refused_and_every_client_is_served,
    without_a_list_every_client_is_served_and_the_log_says_so,
    denied_clients_are_refused_and_tell_their_users_why,
    an_empty_list_of_allowed_clients_lets_nobody_in,
    the_denied_list_wins_and_only_the_allowed_one_asks_for_a_peer_id,
    a_denied_client_may_leave_and_scrape,
    a_refusal_says_after_how_long_to_ask_again,
    refusals_are_counted_under_a_name_of_their_own,
    sighup_reads_the_files_again,
    a_file_that_is_no_list_leaves_the_old_one_in_force,
    what_is_no_list_of_clients_stops_the_start,
];

/// What a client is told that is not served.
const REFUSAL: &str = "This tracker does not serve the BitTorrent client that you use. Please choose another one.";

/// The key of each list, and of its file.
const KEYS: [(&str, &str); 2] = [
    ("access.client_ids_denied", "access.client_ids_denied_file"),
    ("access.client_ids_allowed", "access.client_ids_allowed_file"),
];

/// A peer id that begins so.
fn peer_id(begins: &str) -> [u8; 20] {
    let mut peer_id = *b"????????-0123456789\xff";
    peer_id[..begins.len()].copy_from_slice(begins.as_bytes());
    peer_id
}

/// The datagram of an announce by a client with this peer id.
fn packet(client: &Client, transaction: u32, announce: &Announce, peer_id: [u8; 20]) -> Vec<u8> {
    let mut packet = announce.packet(client.id, transaction);
    packet[36..56].copy_from_slice(&peer_id);
    packet
}

/// Whether a client is served over UDP.
#[track_caller]
fn is_served_over_udp(client: &Client, announce: &Announce, peer_id: [u8; 20]) -> bool {
    let transaction = client.next_transaction();
    let reply = client.exchange(&packet(client, transaction, announce, peer_id));
    if reply.starts_with(&ERROR.to_be_bytes()) {
        assert_eq!(error(&reply, transaction), REFUSAL);
        return false;
    }
    assert_header(&reply, ANNOUNCE, transaction);
    assert!(reply.len() >= 20);
    true
}

/// Whether an announce over HTTP with these parameters is served.
#[track_caller]
fn is_served_over_http(server: SocketAddr, parameters: &str) -> bool {
    let reply = get(server, &announce_target(0, &format!("port=1&left=1&{parameters}")));
    let served = !reply.text().contains("failure reason");
    if !served {
        assert_eq!(reply.refusal(), REFUSAL);
    }
    served
}

/// Whether clients are served whose peer ids begin so. Each protocol and address says the same.
#[track_caller]
fn serves(tracker: &Tracker, begins: &str) -> bool {
    let peer_id = peer_id(begins);
    let over_udp = tracker
        .udps()
        .iter()
        .map(|&server| is_served_over_udp(&Client::new(server), &Announce::leecher(info_hash(0), 1), peer_id));
    let over_http =
        tracker.https().iter().map(|&server| is_served_over_http(server, &format!("peer_id={}", percent(&peer_id))));
    let answers: Vec<_> = over_udp.chain(over_http).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{begins}: {answers:?}");
    answers[0]
}

/// Which of these clients are served.
#[track_caller]
fn served(tracker: &Tracker) -> Vec<&'static str> {
    ["-TR3000-", "-TR4000-", "-XL0012-", "exbc"].into_iter().filter(|begins| serves(tracker, begins)).collect()
}

fn without_it_its_keys_are_refused_and_every_client_is_served() {
    only_without("client-ids");
    for (key, file_key) in KEYS {
        refuses_key("client-ids", key, "-XL");
        refuses_key("client-ids", file_key, "clients");
    }
    let tracker = Tracker::start(&[]);
    assert!(serves(&tracker, "-XL0012-") && serves(&tracker, "\0\0\0\0"));
    assert!(is_served_over_http(tracker.http(), "peer_id=%zz"));
}

fn without_a_list_every_client_is_served_and_the_log_says_so() {
    only_with("client-ids");
    let tracker = Tracker::start(&[]);
    assert_eq!(served(&tracker).len(), 4);
    assert!(is_served_over_http(tracker.http(), ""));
    let log = tracker.stop();
    assert!(
        log.contains("WARN") && log.contains("every client is served: none of access.client_ids_denied, "),
        "{log}"
    );
}

fn denied_clients_are_refused_and_tell_their_users_why() {
    only_with("client-ids");
    let whole = "%2dAB1234%2D%00%01%02%03%04%05%06%07%08%09%0a%ff";
    let tracker =
        Start::loopback().config(&format!("[access]\nclient_ids_denied = ['-XL', '-TR3', '{whole}']\n")).run();
    assert_eq!(served(&tracker), ["-TR4000-", "exbc"]);
    let mut exact = *b"-AB1234-\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\xff";
    for (last, is_served) in [(0xff, false), (0xfe, true)] {
        exact[19] = last;
        for &server in tracker.udps() {
            let client = Client::new(server);
            for event in [0, COMPLETED, STARTED] {
                let announce = Announce::seeder(info_hash(0), 1).event(event);
                assert_eq!(is_served_over_udp(&client, &announce, exact), is_served, "{last}");
            }
        }
        for &server in tracker.https() {
            for event in ["", "&event=completed", "&event=started", "&event=paused"] {
                let parameters = format!("peer_id={}{event}", percent(&exact));
                assert_eq!(is_served_over_http(server, &parameters), is_served, "{parameters}");
            }
        }
    }
    // However it is written, and whatever is wrong with its length.
    for parameters in ["peer_id=%2dXL", "peer_id=-XL0012-abcdefghijklmnop", "peer_id=-TR4000-&p%65er_id=-TR3000-"] {
        assert!(!is_served_over_http(tracker.http(), parameters), "{parameters}");
    }
    for parameters in ["", "peer_id=", "peer_id=-XL%zz", "peer_id=-X", "peer_id=-xl0012-", "peer_id=aaaa-XL0012-"] {
        assert!(is_served_over_http(tracker.http(), parameters), "{parameters}");
    }
}

fn an_empty_list_of_allowed_clients_lets_nobody_in() {
    only_with("client-ids");
    let config = |more: &str| format!("[access]\nclient_ids_denied = []\nclient_ids_allowed = []\n{more}");
    let tracker = Start::loopback().config(&config("")).run();
    assert_eq!(served(&tracker), [] as [&str; 0]);
    assert!(!is_served_over_http(tracker.http(), ""), "without a peer id");
    assert!(tracker.stop().contains("no client is served: access.client_ids_allowed is empty"));
    let start = Start::loopback();
    fs::write(start.path("allowed"), "-XL\n").unwrap();
    let tracker = start.config(&config("client_ids_allowed_file = 'allowed'\n")).run();
    assert_eq!(served(&tracker), ["-XL0012-"]);
    assert!(!tracker.stop().contains("no client is served"));
}

fn the_denied_list_wins_and_only_the_allowed_one_asks_for_a_peer_id() {
    only_with("client-ids");
    let zeros = "\0".repeat(20);
    for (config, expected, nameless) in [
        ("access.client_ids_denied -TR3 # an old one\n", &["-TR4000-", "-XL0012-", "exbc"][..], true),
        ("access.client_ids_allowed -TR\naccess.client_ids_allowed exbc\n", &["-TR3000-", "-TR4000-", "exbc"], false),
        ("access.client_ids_allowed -TR\naccess.client_ids_denied -TR3\n", &["-TR4000-"], false),
        ("access.client_ids_allowed -TR3\naccess.client_ids_denied -TR\n", &[], false),
    ] {
        let tracker = Start::loopback().config(config).run();
        assert_eq!(served(&tracker), expected, "{config}");
        assert_eq!(serves(&tracker, &zeros), nameless, "{config}");
        for parameters in ["", "peer_id=", "peer_id=%zz", "peer_ids=-TR4000-"] {
            assert_eq!(is_served_over_http(tracker.http(), parameters), nameless, "{config}: {parameters}");
        }
    }
}

fn a_denied_client_may_leave_and_scrape() {
    only_with("client-ids");
    let start = Start::loopback();
    fs::write(start.path("clients"), "# nobody yet\n").unwrap();
    let tracker = start.config("access.client_ids_denied_file clients\n").run();
    let denied = peer_id("-XL0012-");
    let parameter = format!("peer_id={}", percent(&denied));
    for (&udp, &http) in tracker.udps().iter().zip(tracker.https()) {
        let client = Client::new(udp);
        assert!(is_served_over_udp(&client, &Announce::leecher(info_hash(1), 7), denied));
        get(http, &announce_target(1, &format!("port=8&left=1&{parameter}"))).bencode();
    }
    let both = 2 * u32::try_from(tracker.udps().len()).unwrap();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (0, 0, both));
    fs::write(tracker.root().join("clients"), "-XL\n").unwrap();
    reload(&tracker, [KEYS[0].1]);
    for (&udp, &http) in tracker.udps().iter().zip(tracker.https()) {
        let client = Client::new(udp);
        assert!(!is_served_over_udp(&client, &Announce::leecher(info_hash(1), 7), denied));
        assert!(is_served_over_udp(&client, &Announce::leecher(info_hash(1), 7).event(STOPPED), denied));
        let reply = get(http, &announce_target(1, &format!("port=8&left=1&event=stopped&{parameter}")));
        assert!(reply.bencode().find("interval").is_some());
        scraped(http, 1);
    }
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (0, 0, 0));
}

fn a_refusal_says_after_how_long_to_ask_again() {
    only_with("client-ids");
    for (config, interval, retry) in [
        ("", 3600, "i60e"),
        ("access.refusal_minutes 90\naccess.refusal_over_udp empty\n", 5400, "i90e"),
        ("access.refusal_minutes never\naccess.refusal_over_udp empty\n", 86_400, "5:never"),
    ] {
        let tracker = Start::loopback().config(&format!("access.client_ids_denied -XL\n{config}")).run();
        for &server in tracker.https() {
            let reply = get(server, &announce_target(1, "port=1&left=1&peer_id=-XL0012-")).text();
            let expected =
                format!("d14:failure reason{}:{REFUSAL}8:intervali{interval}e8:retry in{retry}e", REFUSAL.len());
            assert_eq!(reply, expected, "{config}");
        }
        for &server in tracker.udps() {
            let client = Client::new(server);
            let transaction = client.next_transaction();
            let announce = Announce::leecher(info_hash(1), 1);
            let reply = client.exchange(&packet(&client, transaction, &announce, peer_id("-XL0012-")));
            if config.is_empty() {
                assert_eq!(error(&reply, transaction), REFUSAL);
            } else {
                assert_eq!(reply, [ANNOUNCE, transaction, interval, 0, 0].map(u32::to_be_bytes).concat(), "{config}");
            }
            assert_eq!(client.counts(info_hash(1)), (0, 0, 0), "nobody has come of it");
        }
    }
}

fn refusals_are_counted_under_a_name_of_their_own() {
    only_with("client-ids");
    only_with("metrics");
    let tracker = Start::loopback().config("access.client_ids_denied -XL\n").run();
    assert!(!serves(&tracker, "-XL0012-") && serves(&tracker, "-TR4000-"));
    let page = get(tracker.http(), "/metrics").text();
    let counted = |name: &str, kind: &str| {
        let rows = page.lines().filter(|line| line.starts_with(&format!("opentracker_{name}_total{{")));
        let rows = rows.filter(|line| line.contains(kind));
        rows.map(|row| row.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum::<usize>()
    };
    let each = tracker.udps().len();
    for protocol in ["http", "udp"] {
        let kind = format!("protocol=\"{protocol}\",kind=\"client_not_served\",");
        assert_eq!(counted("errors", &kind), each, "{protocol}");
        assert_eq!(counted("announces", &format!("protocol=\"{protocol}\"")), each, "{protocol}");
    }
}

/// Sends SIGHUP, and returns what the log says of the file of each of these keys.
#[track_caller]
fn reload<const N: usize>(tracker: &Tracker, keys: [&str; N]) -> [String; N] {
    let said = |log: &str, key: &str| {
        let ends = ["in force from now on", "the list in force stays"];
        let mut lines = log.lines().filter(|line| line.contains(key) && ends.iter().any(|end| line.ends_with(end)));
        (lines.clone().count(), lines.next_back().map(str::to_owned))
    };
    let before = tracker.log();
    tracker.signal(Signal::SIGHUP);
    keys.map(|key| {
        let (count, _) = said(&before, key);
        let line = wait_until(|| Some(said(&tracker.log(), key)).filter(|(now, _)| *now > count)?.1);
        line.unwrap_or_else(|| panic!("nothing was read for {key}:\n{}", tracker.log()))
    })
}

/// Writes a new version of a file, as one should.
fn replace(tracker: &Tracker, file: &str, text: &str) {
    fs::write(tracker.root().join("new"), text).unwrap();
    fs::rename(tracker.root().join("new"), tracker.root().join(file)).unwrap();
}

fn sighup_reads_the_files_again() {
    only_with("client-ids");
    let start = Start::loopback();
    fs::write(start.path("denied"), "\u{feff}-XL # this one\r\n\r\n").unwrap();
    fs::write(start.path("allowed"), "# all of these\n-TR\n-XL\n").unwrap();
    let config = "access.client_ids_denied_file denied\naccess.client_ids_allowed_file allowed\n\
                  access.client_ids_allowed exbc\n";
    let tracker = start.config(config).run();
    let keys = KEYS.map(|(_, file_key)| file_key);
    assert_eq!(served(&tracker), ["-TR3000-", "-TR4000-", "exbc"]);
    replace(&tracker, "denied", "-TR3\n-TR3\n*\n");
    let [denied, allowed] = reload(&tracker, keys);
    assert!(denied.contains("2 client ids, 1 bad lines"), "{denied}");
    assert!(allowed.contains("2 client ids, 0 bad lines"), "{allowed}");
    assert!(tracker.log().contains("line 3 is not how a peer id begins, 1 to 20 bytes: \"*\": skipped"));
    assert_eq!(served(&tracker), ["-TR4000-", "-XL0012-", "exbc"]);
    replace(&tracker, "allowed", "# what is configured alone\n");
    let [denied, allowed] = reload(&tracker, keys);
    assert!(denied.contains("2 client ids, 1 bad lines"), "{denied}");
    assert!(allowed.contains("0 client ids, 0 bad lines"), "{allowed}");
    assert_eq!(served(&tracker), ["exbc"]);
}

fn a_file_that_is_no_list_leaves_the_old_one_in_force() {
    only_with("client-ids");
    let start = Start::loopback();
    fs::write(start.path("denied"), "-XL\n").unwrap();
    let tracker = start.config("access.client_ids_denied_file denied\n").run();
    let file = tracker.root().join("denied");
    for (text, why) in [
        ("", "it is empty"),
        ("-TR3\n-", "its last line, 2, does not end"),
        ("no list\n*\n", "none of its 2 lines is a client id; line 1 is not"),
        (&*"-TR3\n".repeat(10_001), "more than 10000 client ids"),
        (&*"#\n".repeat((1 << 19) + 1), "more than 1048576 bytes"),
    ] {
        fs::write(&file, text).unwrap();
        let [line] = reload(&tracker, [KEYS[0].1]);
        assert!(line.contains("ERROR") && line.contains(why), "{line}");
        assert_eq!(served(&tracker), ["-TR3000-", "-TR4000-", "exbc"], "{why}");
    }
    fs::remove_file(&file).unwrap();
    assert!(reload(&tracker, [KEYS[0].1])[0].contains("No such file"));
    fs::create_dir(&file).unwrap();
    assert!(reload(&tracker, [KEYS[0].1])[0].contains("it is a directory, not a regular file"));
    assert_eq!(served(&tracker), ["-TR3000-", "-TR4000-", "exbc"]);
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "-TR3\n".repeat(10_000)).unwrap();
    assert!(reload(&tracker, [KEYS[0].1])[0].contains("10000 client ids"));
    assert_eq!(served(&tracker), ["-TR4000-", "-XL0012-", "exbc"]);
}

fn what_is_no_list_of_clients_stops_the_start() {
    only_with("client-ids");
    let check = |text: &str| Start::minimal().args(["--check-config"]).config(text).finish();
    check("access.client_ids_denied -XL\naccess.client_ids_allowed %00\n").succeeds();
    check("[access]\nclient_ids_denied = []\nclient_ids_allowed = ['exbc', '%FF']\n").succeeds();
    for (key, _) in KEYS {
        for text in ["-XL*", "%zz", "123456789012345678901", "\u{e9}", "#XL"] {
            let said =
                format!("{key} (line 1) takes 1 to 20 bytes such as -XL: letters, digits and any of -._~ as they are");
            check(&format!("{key} = ['{text}']\n")).refuses(2, &[&said]);
        }
        check(&format!("{key} -XL -SD\n")).refuses(2, &[&format!("{key} (line 1) takes one value")]);
    }
    for (_, key) in KEYS {
        for (text, why) in [("-XL", "its last line, 1, does not end"), ("*\n", "none of its 1 lines is a client id")] {
            let start = Start::loopback();
            fs::write(start.path("clients"), text).unwrap();
            let said = format!("opentracker: {key}: cannot read clients: {why}");
            start.config(&format!("{key} clients\n")).finish().refuses(1, &[&said]);
        }
        let gone = Start::loopback().config(&format!("{key} nowhere\n"));
        gone.finish().refuses(1, &[&format!("{key}: cannot read nowhere: No such file")]);
    }
}
