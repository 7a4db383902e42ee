//! Which paths exist.

use super::announce_target;
use crate::clients::http::{get, get_with};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    unknown_paths_are_404,
    the_root_redirects_to_the_configured_url,
    the_path_of_the_statistics_can_be_chosen,
    errors_keep_the_connection_as_asked,
];

fn unknown_paths_are_404() {
    let tracker = Tracker::start(&[]);
    for target in [
        "/",
        "//",
        "/?",
        "/announced",
        "/announc",
        "/Announce",
        "/an/nounce",
        "/announce/x",
        "/scrape.php?a=b",
        "/x/stats",
        "/favicon.ico",
        "/%00announce",
        "/announce%20",
        "/a%zz",
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

fn errors_keep_the_connection_as_asked() {
    let tracker = Tracker::start(&[]);
    assert_eq!(get(tracker.http(), "/nowhere").header("connection"), Some("close"));
    assert_eq!(get_with(tracker.http(), "/nowhere", "Connection: close\r\n").header("connection"), Some("close"));
}
