//! Which paths exist.

use super::{announce, announce_target, counts, scrape_target, scraped};
use crate::clients::http::{get, get_with};
use crate::flavour::{has, info_hash};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    unknown_paths_are_404,
    what_begins_as_an_announce_is_one,
    what_begins_as_a_scrape_is_one_of_some_torrents,
    what_has_a_path_of_its_own_goes_before,
    the_root_redirects_to_the_configured_url,
    the_path_of_the_statistics_can_be_chosen,
    an_announce_to_the_path_of_the_statistics_is_refused,
    errors_keep_the_connection_as_asked,
];

const BAD_PARAMETER: &str = "<title>400 Invalid Parameter</title>\n";

fn unknown_paths_are_404() {
    let tracker = Tracker::start(&[]);
    for target in [
        "/",
        "//",
        "/?",
        "/Announce",
        "/x/announce",
        "/Scrape",
        "/s",
        "/s/crape",
        "/x/stats",
        "/stats.php",
        "/stat",
        "/metrics.php",
        "/favicon.ico",
        "/%00announce",
        "/a%zz",
        "/announce.php%",
        "/scrape%4",
        "*",
        "/.",
        "/../announce",
    ] {
        let reply = get(tracker.http(), target);
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.text(), "<title>404 Not Found</title>\n");
        assert_eq!(reply.header("location"), None);
    }
}

fn what_begins_as_an_announce_is_one() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for (n, path) in (0..).zip([
            "/a",
            "/ann",
            "/announce.php",
            "/announce/0123abc",
            "//announce/0123abc/",
            "/a/",
            "/announced",
            "/%61nnounce.php",
            "/announce%20",
            "/announce%2fx",
            "/an+nounce",
            "/about.html",
        ]) {
            let target = announce_target(n, "port=1&left=1").replacen("/announce", path, 1);
            let (_, _, leechers) = counts(&get(server, &target).bencode());
            assert_eq!((scraped(server, n), leechers > 0), ((0, 0, leechers), true), "{target}");
            let failure = get(server, path).failure();
            assert!(failure.contains("forgot to send your torrent's info_hash"), "{path}: {failure}");
            assert_eq!(get(server, &format!("{path}?info_hash=short")).status, 400, "{path}");
        }
    }
}

fn what_begins_as_a_scrape_is_one_of_some_torrents() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        announce(server, 1, "port=1&left=1");
        for path in ["/sc", "/scrape.php", "/scrape/x", "//scrape/0123abc", "/scraper", "/%73crape.php", "/scrape%20"] {
            let target = scrape_target([1]).replacen("/scrape", path, 1);
            let answer = get(server, &target).bencode();
            assert_eq!(answer.find("files").unwrap().keys(), [info_hash(1)], "{target}");
            for target in [path.to_owned(), format!("{path}?"), format!("{path}?x=1")] {
                let reply = get(server, &target);
                assert_eq!((reply.status, reply.text()), (400, BAD_PARAMETER.into()), "{target}");
            }
        }
        // A `?` makes it a scrape of some torrents, too.
        assert_eq!(get(server, "/scrape?").text(), BAD_PARAMETER);
        assert_eq!(get(server, "/scrape").status, if has("fullscrape") { 200 } else { 404 });
    }
}

fn what_has_a_path_of_its_own_goes_before() {
    for path in ["a", "announce.php", "sc", "scrape/x"] {
        let tracker = Start::loopback().config(&format!("access.stats_path {path}\n")).run();
        let reply = get(tracker.http(), &format!("/{path}"));
        assert_eq!((reply.status, reply.text().lines().count()), (200, 4), "{path}");
        announce(tracker.http(), 0, "port=1&left=1");
        assert_eq!(scraped(tracker.http(), 0), (0, 0, 1));
        // What the path only begins with is an announce or a scrape still.
        let query = announce_target(0, "port=2&left=1").replacen("/announce", "", 1);
        get(tracker.http(), &format!("/{path}/x{query}")).bencode();
        assert_eq!(get(tracker.http(), "/metrics").status, if has("metrics") { 200 } else { 404 });
    }
}

fn the_root_redirects_to_the_configured_url() {
    let url = "https://tracker.example/about?a=b&c=d";
    for tracker in [
        Start::loopback().args(["-r", url]).run(),
        Start::loopback().config(&format!("tracker.redirect_url {url}\n")).run(),
        Start::loopback().config("tracker.redirect_url http://other.example/\n").args(["--redirect-url", url]).run(),
    ] {
        for target in ["/", "//", "/?a=b"] {
            let reply = get(tracker.http(), target);
            assert_eq!((reply.status, reply.header("location")), (302, Some(url)), "{target}");
            assert!(reply.text().starts_with("<title>302 ") && reply.text().lines().count() == 1);
        }
        assert_eq!(get(tracker.http(), "/nowhere").status, 404);
        get(tracker.http(), &announce_target(0, "port=1")).bencode();
    }
}

fn the_path_of_the_statistics_can_be_chosen() {
    for path in ["secret/numbers", "/secret/numbers", "s", "a+plus"] {
        let tracker = Start::loopback().config(&format!("access.stats_path {path}\n")).run();
        let path = path.trim_start_matches('/');
        for target in [format!("/{path}"), format!("/{path}?mode=peer"), format!("//{}", path.replace('/', "%2f"))] {
            let reply = get(tracker.http(), &target);
            assert_eq!((reply.status, reply.text().lines().count()), (200, 4), "{target}");
        }
        assert_eq!(get(tracker.http(), "/stats").status, 404);
        assert_eq!(get(tracker.http(), "/stats?mode=peer").status, 404);
    }
}

fn an_announce_to_the_path_of_the_statistics_is_refused() {
    for path in ["stats", "numbers", "an/ounce"] {
        let tracker = Start::loopback().config(&format!("access.stats_path {path}\n")).run();
        for &server in tracker.https() {
            let query = announce_target(0, "port=1&left=0&event=started").replacen("/announce", "", 1);
            for target in [format!("/{path}{query}"), format!("//{path}/{query}"), format!("/{path}{query}&mode=peer")]
            {
                let reply = get(server, &target);
                assert_eq!((reply.status, reply.text()), (400, BAD_PARAMETER.into()), "{target}");
            }
            assert_eq!(scraped(server, 0), (0, 0, 0), "nobody was taken in");
            assert_eq!(get(server, &format!("/{path}")).status, 200);
        }
    }
}

fn errors_keep_the_connection_as_asked() {
    let tracker = Tracker::start(&[]);
    assert_eq!(get(tracker.http(), "/nowhere").header("connection"), Some("close"));
    assert_eq!(get_with(tracker.http(), "/nowhere", "Connection: close\r\n").header("connection"), Some("close"));
}
