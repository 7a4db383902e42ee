//! Which page a path and a method ask for.

use super::*;

#[test]
fn what_is_not_there_is_404_and_a_missing_feature_is_named() {
    let mut service = plain();
    let not_found = ("404 Not Found".to_owned(), page("404 Not Found"));
    for target in ["/", "/favicon.ico", "/Announce", "/x/announce", "/a%zz", "/Scrape", "/s", "/stats.php", "*"] {
        assert_eq!(get(&mut service, CLIENT, target), not_found, "{target}");
    }
    for (target, reason) in [
        ("/scrape", "no full scrape"),
        ("/stats?mode=tpbs", "no full scrape"),
        ("/stats?mode=statedump", "no full scrape"),
        ("//absent?x", "no such page"),
        ("/stats?mode=busy", "this build does not have the feature log-networks"),
        ("/stats?mode=woodpeckers", "this build does not have the feature spot-woodpecker"),
        ("/stats?mode=fulllog", "this build does not have the feature fulllog-networks"),
        ("/stats?mode=numwants", "this build does not have the feature log-numwant"),
    ] {
        let page = page(&format!("404 Not Found: {reason}"));
        assert_eq!(get(&mut service, CLIENT, target), (not_found.0.clone(), page), "{target}");
    }
    assert_eq!(count(&service, Counter::Http404), 17);
    assert_eq!(count(&service, Counter::FullScraped), 0);
}

#[test]
fn a_path_that_no_page_has_is_that_of_an_announce_or_a_scrape_if_it_begins_so() {
    let mut service = plain();
    let failure =
        "d14:failure reason80:Your client forgot to send your torrent's info_hash. Please upgrade your client.e";
    for path in ["/a", "/ann", "//announce.php", "/announce/0123abc", "/%61/", "/announce%20", "/a+b", "/an/nounce"] {
        let (status, body) = get(&mut service, CLIENT, &format!("{path}?{IS_HASH}&port=1"));
        assert_eq!((status.as_str(), body.starts_with("d8:complete")), ("200 OK", true), "{path}");
        assert_eq!(get(&mut service, CLIENT, path).1, failure, "{path}");
    }
    for path in ["/sc", "//scrape.php", "/scrape/x", "/s%63", "/scrape%20", "/scr/ape", "/sca/"] {
        let (status, body) = get(&mut service, CLIENT, &format!("{path}?{IS_HASH}"));
        assert_eq!((status.as_str(), body.starts_with("d5:filesd20:")), ("200 OK", true), "{path}");
        for target in [path.to_owned(), format!("{path}?"), format!("{path}?x=1")] {
            assert_eq!(get(&mut service, CLIENT, &target).0, BAD_PARAMETER, "{target}");
        }
    }
    let counts = [Counter::TcpAnnounced, Counter::TcpNoInfoHash, Counter::TcpScraped, Counter::FullScraped];
    assert_eq!(counts.map(|counter| count(&service, counter)), [8, 8, 7, 0]);
    // What is there goes before, and so does what the build lacks.
    let target = format!("/absent?{IS_HASH}&port=1");
    assert_eq!(get(&mut service, CLIENT, &target), ("404 Not Found".into(), page("404 Not Found: no such page")));
}

#[test]
fn an_announce_to_the_path_of_the_statistics_is_told_so_and_not_shown_a_page() {
    let mut service = fancy(Vec::new());
    for (from, query) in [
        ("::1", format!("{IS_HASH}&port=1&left=0")),
        ("::1", format!("mode=peer&{IS_HASH}")),
        ("::1", "mode=tpbs&%69nfo_hash=".into()),
        ("::2", "info_hash".into()),
    ] {
        let expected = (BAD_PARAMETER.into(), page(BAD_PARAMETER));
        assert_eq!(get(&mut service, from, &format!("/secret/numbers?{query}")), expected, "{query}");
    }
    let counters = [Counter::Http400Parameter, Counter::Http403, Counter::TcpAnnounced, Counter::TcpNoInfoHash];
    assert_eq!(counters.map(|counter| count(&service, counter)), [4, 0, 0, 0]);
    assert_eq!(get(&mut service, "::1", "/secret/numbers?info=hash").0, "200 OK");
    assert_eq!(service.shared().tracker.scrape(&HASH), None);
}

#[test]
fn head_gets_the_status_and_the_header_of_get_and_nothing_happens() {
    for target in [
        format!("/announce?{IS_HASH}&port=1&left=0&event=completed"),
        format!("/ann?{IS_HASH}&port=1"),
        "/announce".into(),
        format!("/announce?{IS_HASH}&port=x"),
        format!("/announce?{IS_HASH}&port=1&ip=nonsense"),
        format!("/scrape?{IS_HASH}"),
        "/scrape?".into(),
        "/scrape".into(),
        "/sc".into(),
        "/secret/numbers".into(),
        "/secret/numbers?mode=everything".into(),
        "/secret/numbers?mode=top10".into(),
        "/secret/numbers?mode=s24s".into(),
        "/secret/numbers?mode=tpbs".into(),
        "/secret/numbers?mode=busy".into(),
        "/secret/numbers?mode=nonsense".into(),
        "/numbers".into(),
        "/absent".into(),
        "/nowhere".into(),
        "/".into(),
    ] {
        for (from, fields) in [
            ("::1", "HTTP/1.1\r\nConnection: keep-alive\r\n"),
            ("::9", "HTTP/1.1\r\nAccept-Encoding: same\r\n"),
            ("::1", "HTTP/1.0\r\nConnection: keep-alive\r\n"),
        ] {
            let mut service = fancy(vec![b"piece".into()]);
            let (header, next) = ask(&mut service, from, &format!("HEAD {target} {fields}\r\n"));
            let counters = [Counter::TcpAnnounced, Counter::TcpScraped, Counter::Completed, Counter::FullScraped];
            assert_eq!(counters.map(|counter| count(&service, counter)), [0; 4], "{target}");
            assert_eq!(service.shared().tracker.store().census().torrents, 0, "{target}");
            assert!(matches!(next, Next::Close | Next::KeepAlive), "{target}");

            let (reply, same_next) = ask(&mut service, from, &format!("GET {target} {fields}\r\n"));
            let end = header.strip_suffix("\r\n\r\n").unwrap().to_owned() + "\r\n";
            assert!(!header.contains("\r\n\r\nH") && header.matches("\r\n\r\n").count() == 1, "{target}: {header}");
            // A walk has not replied yet.
            if !matches!(same_next, Next::Walk(_)) {
                let (full, _) = reply.split_once("\r\n\r\n").unwrap();
                let lines =
                    full.lines().filter(|line| !line.starts_with("Content-Length") || end.contains("Content-L"));
                assert_eq!(lines.map(|line| format!("{line}\r\n")).collect::<String>(), end, "{target}");
            }
            assert_eq!(next.keep_alive(), same_next.keep_alive(), "{target}");
        }
    }
}

#[test]
fn the_root_leads_elsewhere() {
    let mut service = fancy(Vec::new());
    let (reply, next) = ask(&mut service, "::2", "GET /?x HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 302 Found\r\nLocation: https://a.example/\r\n"), "{reply}");
    assert!(next.keep_alive());
    assert_eq!(count(&service, Counter::Http302), 1);
}

#[test]
fn a_page_of_a_switch_is_guarded_as_it_says_and_does_not_end_the_connection() {
    let mut service = fancy(Vec::new());
    let head = "GET /numbers HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    let (denied, _) = ask(&mut service, "2001:db8::1", head);
    assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");
    let (reply, next) = ask(&mut service, "::1", head);
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/numbers\r\n"), "{reply}");
    assert!(reply.ends_with("\r\nConnection: keep-alive\r\n\r\n0 0\n") && next.keep_alive(), "{reply}");
    assert_eq!(get(&mut plain(), CLIENT, "/numbers").0, "404 Not Found");
}
