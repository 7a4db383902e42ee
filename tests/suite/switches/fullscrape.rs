//! `fullscrape`: every torrent in one reply.

pub(crate) mod many;

use std::fs;
use std::net::SocketAddr;

use super::access_list::only_with_an_access_list;
use super::{refuses_key, refuses_option};
use crate::clients::bencode::Value;
use crate::clients::http::{Reply, ask, get};
use crate::flavour::{coding_for_all, has, hex, info_hash, only_with, only_without, upper_hex};
use crate::harness::tests;
use crate::http::{announce, counts};
use crate::tracker::{Start, Tracker};

tests![
    without_it_its_pages_are_not_there_and_say_which_feature_is_missing,
    without_it_no_state_file_is_read,
    with_it_a_scrape_without_a_query_names_every_torrent,
    with_it_http_1_0_clients_get_no_chunks,
    with_it_a_connection_may_stay_open_after_the_last_chunk,
    with_it_a_full_scrape_comes_in_five_formats,
    with_it_counts_outlive_a_restart,
    with_it_a_state_file_may_be_missing_and_has_to_be_readable,
    with_it_the_access_list_applies_to_the_state_file_too,
];

fn without_it_its_pages_are_not_there_and_say_which_feature_is_missing() {
    only_without("fullscrape");
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    for target in ["/scrape", "/stats?mode=tpbs", "/stats?mode=tpbs&format=txt", "/stats?mode=statedump"] {
        let reply = get(tracker.http(), target);
        assert_eq!(reply.status, 404, "{target}");
        assert!(reply.text().contains("fullscrape") && reply.text().lines().count() == 1, "{}", reply.text());
    }
}

fn without_it_no_state_file_is_read() {
    only_without("fullscrape");
    refuses_key("fullscrape", "tracker.statefile", "dump");
    refuses_option("fullscrape", ["-l", "--statefile"], "dump");
}

/// Announces so many torrents: torrent `n` gets `n % 4` seeders, which have all completed, and a leecher.
pub(super) fn fill(server: SocketAddr, torrents: u8) {
    for n in 0..torrents {
        for port in 1..=n % 4 {
            announce(server, n, &format!("port={port}&left=0&event=completed"));
        }
        announce(server, n, "port=9&left=1");
    }
}

/// The lines of a page, which come in any order, sorted.
#[track_caller]
fn lines(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = String::from_utf8(reply.content()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The torrents of a bencoded page, as the strictest reader takes it.
#[track_caller]
fn files(page: &[u8]) -> Vec<(Vec<u8>, (i64, i64, i64))> {
    let Some(Value::Dictionary(files)) = Value::of(page).find("files").cloned() else { panic!("no files") };
    files.into_iter().map(|(hash, numbers)| (hash, counts(&numbers))).collect()
}

fn with_it_a_scrape_without_a_query_names_every_torrent() {
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    assert_eq!(get(tracker.http(), "/scrape").content(), b"d5:filesdee");
    fill(tracker.http(), 200);
    let reply = get(tracker.http(), "/scrape");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    assert_eq!((reply.header("content-encoding"), reply.header("connection")), (coding_for_all(), Some("close")));
    let expected: Vec<_> = (0..200).map(|n| (info_hash(n).to_vec(), (i64::from(n % 4), i64::from(n % 4), 1))).collect();
    assert_eq!(files(&reply.content()), expected);
    assert_eq!(files(&get(tracker.http(), "//scrape/").content()), expected);
    assert_eq!(files(&get(tracker.http(), "/stats?mode=tpbs").content()), expected);
}

fn with_it_http_1_0_clients_get_no_chunks() {
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 5);
    for target in ["/scrape", "/stats?mode=tpbs"] {
        let head = format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let reply = ask(tracker.http(), head.as_bytes());
        assert_eq!((reply.header("transfer-encoding"), reply.header("connection")), (None, Some("close")));
        assert_eq!(files(&reply.content()).len(), 5);
    }
}

fn with_it_a_connection_may_stay_open_after_the_last_chunk() {
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    let head = "GET /scrape HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\n";
    let reply = ask(tracker.http(), head.as_bytes());
    assert_eq!(reply.header("connection"), Some("keep-alive"));
    let (first, next) = reply.text().split_once("\r\n0\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let is_page = coding_for_all().is_some() || first.ends_with("d5:filesdee");
    assert!(is_page && next.starts_with("HTTP/1.1 404 "), "{}", reply.text());
}

fn with_it_a_full_scrape_comes_in_five_formats() {
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 8);
    let page = |format: &str| get(tracker.http(), &format!("/stats?format={format}&mode=tpbs"));
    let each = |row: &dyn Fn(u8) -> String| (0..8).map(row).collect::<Vec<_>>();

    assert_eq!(files(&page("ben").content()).len(), 8);
    assert_eq!(lines(&page("txt")), each(&|n| format!("{}:{}:1", upper_hex(info_hash(n)), n % 4)));
    assert_eq!(lines(&page("txtp")), each(&|n| format!("{}:{}:1:{1}", upper_hex(info_hash(n)), n % 4)));
    let hash = "%26%3d%3f%23%2b%20/%5c%22%3c%7f%80%ff%0d%0a%1b%7b%7d".replace("%3d", "=");
    assert_eq!(lines(&page("url")), each(&|n| format!("%{n:02x}%25{hash}:{}:1", n % 4)));
    let content = page("bin").content();
    let mut rows: Vec<_> = content.chunks(28).map(<[u8]>::to_vec).collect();
    rows.sort_unstable();
    let expected: Vec<_> = (0..8).map(|n| [&info_hash(n)[..], &[0, 0, 0, n % 4, 0, 0, 0, 1]].concat()).collect();
    assert_eq!(rows, expected);

    for format in ["", "xml", "TXT", "txtpp"] {
        assert_eq!(page(format).status, 400, "{format}");
    }
}

fn with_it_counts_outlive_a_restart() {
    only_with("fullscrape");
    let tracker = Tracker::start(&[]);
    fill(tracker.http(), 8);
    let reply = get(tracker.http(), "/stats?mode=statedump");
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let dump = lines(&reply);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    for (n, line) in (0..8).zip(&dump) {
        let [hash, minute, downloaded] = line.split(':').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!((hash, downloaded), (&*upper_hex(info_hash(n)), &*(n % 4).to_string()));
        assert!((now - 1..=now).contains(&minute.parse().unwrap()), "{line} at minute {now}");
    }
    tracker.stop();

    for option in ["-l", "--statefile"] {
        let start = Start::loopback();
        let text = format!("{}\nnonsense\n{}:1:7\n", dump.join("\r\n").to_lowercase(), upper_hex(info_hash(99)));
        fs::write(start.path("dump"), text).unwrap();
        let tracker = start.args([option, "dump"]).run();
        let log = tracker.log();
        assert!(log.contains("dump: 6 torrents restored; 3 are forgotten by now, 0 are not served"), "{log}");
        assert!(log.contains("dump:9: skipped"), "{log}");
        let expected: Vec<_> = (0..8).filter(|n| n % 4 > 0).collect();
        let found = files(&get(tracker.http(), "/scrape").content());
        let expected_files: Vec<_> =
            expected.iter().map(|&n| (info_hash(n).to_vec(), (0, i64::from(n % 4), 0))).collect();
        assert_eq!(found, expected_files, "peers do not outlive it");
        let expected_dump: Vec<_> = expected.iter().map(|&n| dump[usize::from(n)].clone()).collect();
        assert_eq!(lines(&get(tracker.http(), "/stats?mode=statedump")), expected_dump);
        assert_eq!(counts(&announce(tracker.http(), 7, "port=1&left=1")), (0, 3, 1));
    }
}

fn with_it_a_state_file_may_be_missing_and_has_to_be_readable() {
    only_with("fullscrape");
    let tracker = Start::loopback().config("tracker.statefile nowhere/dump\n").run();
    let log = tracker.log();
    assert!(log.contains("WARN") && log.contains("tracker.statefile: there is no nowhere/dump yet"), "{log}");
    assert_eq!(get(tracker.http(), "/scrape").content(), b"d5:filesdee");

    let start = Start::loopback();
    fs::create_dir(start.path("directory")).unwrap();
    start.args(["-l", "directory"]).finish().refuses(1, &["opentracker: tracker.statefile: cannot read directory: "]);
}

fn with_it_the_access_list_applies_to_the_state_file_too() {
    only_with("fullscrape");
    only_with_an_access_list();
    let start = Start::loopback();
    let unlisted = [b'x'; 20];
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    fs::write(start.path("dump"), format!("{}:{now}:1\n{}:{now}:2\n", upper_hex(unlisted), upper_hex(info_hash(1))))
        .unwrap();
    let refused = if has("accesslist-white") { unlisted } else { info_hash(1) };
    fs::write(start.path("black"), hex(refused) + "\n").unwrap();
    let options = if has("accesslist-white") { &["-l", "dump"][..] } else { &["-l", "dump", "-b", "black"] };
    let tracker = start.args(options).run();
    let log = tracker.log();
    assert!(log.contains("dump: 1 torrents restored; 0 are forgotten by now, 1 are not served"), "{log}");
    let served = if has("accesslist-white") { info_hash(1) } else { unlisted };
    let listed = files(&get(tracker.http(), "/scrape").content());
    assert_eq!(listed.iter().map(|(hash, _)| &hash[..]).collect::<Vec<_>>(), [&served[..]]);
}
