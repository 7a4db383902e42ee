mod paths;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::http::testing::{NOW, add_peer, ask, choosy, counting, fancy, plain};
use crate::stats::{AddressFamily, Protocol};
use crate::tracker::testing::{Asked, THAT_ONE};
use crate::tracker::{AnnounceError, InfoHash, RefusalTerms, Retry, ScrapeCounts};

const HASH: InfoHash = InfoHash([b'h'; 20]);
const IS_HASH: &str = "info_hash=hhhhhhhhhhhhhhhhhhhh";
const CLIENT: &str = "10.0.0.1";
const SEEDER: &str = "10.0.0.2:258";
const BAD_PARAMETER: &str = "400 Invalid Parameter";

/// The status and the body of the reply to `GET target`.
fn get<F: HttpFlavour>(service: &mut Service<F>, from: &str, target: &str) -> (String, String) {
    let (reply, _) = ask(service, from, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    if head.contains("Content-Length") {
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.chars().count())), "{head}");
    }
    assert!(head.contains("\r\nConnection: close"), "{head}");
    let (status, _) = head.strip_prefix("HTTP/1.1 ").unwrap().split_once("\r\n").unwrap();
    (status.into(), body.into())
}

/// The page that an error is shown on.
fn page(title: &str) -> String {
    format!("<title>{title}</title>\n")
}

fn count<F: HttpFlavour>(service: &Service<F>, counter: Counter) -> u64 {
    service.shared().counters.total(counter)
}

#[test]
fn an_announce_is_answered_to_the_byte() {
    let mut service = plain();
    add_peer(&service, HASH, SEEDER, true);
    let target = format!("/announce?{IS_HASH}&port=6881&left=1");
    let (reply, next) = ask(&mut service, CLIENT, &format!("GET {target} HTTP/1.1\r\n\r\n"));
    let interval: u32 = reply.split("8:intervali").nth(1).unwrap().split('e').next().unwrap().parse().unwrap();
    assert!((1620..=1980).contains(&interval));
    let body = format!(
        "d8:completei1e10:downloadedi0e11:external ip4:\u{a}\0\0\u{1}10:incompletei1e8:intervali{interval}e\
         12:min intervali{}e5:peers6:\u{a}\0\0\u{2}\u{1}\u{2}e",
        interval / 2
    );
    let len = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\nConnection: close");
    assert_eq!(reply, format!("{head}\r\n\r\n{body}"));
    assert!(next.is_close());
    assert_eq!(service.shared().tracker.scrape(&HASH), Some(ScrapeCounts { seeders: 1, leechers: 1, downloaded: 0 }));
    assert_eq!(count(&service, Counter::TcpAnnounced), 1);
}

#[test]
fn intervals_differ_and_buffers_are_used_again() {
    let mut service = plain();
    add_peer(&service, HASH, SEEDER, true);
    let target = format!("/announce/?{IS_HASH}&port=6881");
    let replies: Vec<_> = (0..9).map(|_| get(&mut service, CLIENT, &target).1).collect();
    assert!(replies.iter().any(|reply| reply[..100] != replies[0][..100]), "{replies:?}");
    assert!(replies.iter().all(|reply| reply.contains("5:peers6:")));
}

#[test]
fn a_peer_comes_completes_and_leaves() {
    let mut service = plain();
    add_peer(&service, HASH, SEEDER, true);
    for (rest, expected) in [
        ("left=5&event=started", "d8:completei1e10:downloadedi0e10:incompletei1e"),
        ("left=0&uploaded=1&event=completed", "d8:completei2e10:downloadedi1e10:incompletei0e"),
        ("left=0&uploaded=1&event=completed", "d8:completei2e10:downloadedi1e10:incompletei0e"),
        ("left=0&event=stopped&numwant=200", "d8:completei1e10:downloadedi1e10:incompletei0e"),
    ] {
        let (status, body) = get(&mut service, CLIENT, &format!("/announce?{IS_HASH}&port=9&{rest}"));
        let body = body.replacen("11:external ip4:\n\0\0\u{1}", "", 1);
        assert_eq!((status.as_str(), &body[..46]), ("200 OK", expected), "{rest}");
        // A seeder that has uploaded is given no seeders, and who leaves is given nobody.
        assert_eq!(body.ends_with("5:peers0:e"), rest.starts_with("left=0"), "{rest}");
    }
    assert_eq!(count(&service, Counter::TcpAnnounced), 4);
    assert_eq!(count(&service, Counter::Completed), 1);
    assert_eq!(service.shared().counters.renewals(0), 2, "the second and the third");
}

#[test]
fn what_an_announce_asks_for_is_counted_whatever_becomes_of_it() {
    let asked = Asked::default();
    let mut service = counting(asked.clone());
    for (rest, expected) in [("", 50), ("&numwant=-1", 50), ("&numwant=0&event=stopped", 0), ("&numwant=1000", 200)] {
        get(&mut service, CLIENT, &format!("/announce?{IS_HASH}&port=9{rest}"));
        assert_eq!(asked.take(), [expected], "{rest}");
    }
    // The family of this client is not served.
    get(&mut service, "::1", &format!("/announce?{IS_HASH}&port=9&numwant=7"));
    assert_eq!(asked.take(), [7]);
    ask(&mut service, CLIENT, &format!("HEAD /announce?{IS_HASH}&port=9 HTTP/1.1\r\n\r\n"));
    get(&mut service, CLIENT, &format!("/scrape?{IS_HASH}"));
    get(&mut service, CLIENT, "/announce?port=9");
    assert!(asked.take().is_empty());
    assert_eq!(get(&mut service, CLIENT, "/stats?mode=numwants").1, "[]");
}

#[test]
fn a_client_is_handed_as_many_peers_as_it_wants() {
    let mut service = plain();
    for n in 1..=250 {
        add_peer(&service, HASH, &format!("10.0.1.{n}:1"), true);
    }
    for (numwant, bytes) in [("", 300), ("&numwant=0", 0), ("&numwant=3", 18), ("&numwant=1000", 1200)] {
        let (_, body) = get(&mut service, CLIENT, &format!("/announce?{IS_HASH}&port=9{numwant}"));
        assert!(body.contains(&format!("e5:peers{bytes}:")), "{numwant}");
    }
}

#[test]
fn a_tracker_for_ipv6_sends_peers_as_well_as_peers6() {
    let mut service = fancy(Vec::new());
    add_peer(&service, HASH, "[2001:db8::1]:258", true);
    let (_, body) = get(&mut service, "2001:db8::1", &format!("/announce?{IS_HASH}&port=258"));
    assert!(body.ends_with("5:peers0:6:peers60:e"));
    let (_, body) = get(&mut service, "2001:db8::2", &format!("/announce?{IS_HASH}&port=9"));
    assert!(body.ends_with("5:peers0:6:peers618: \u{1}\r\u{b8}\0\0\0\0\0\0\0\0\0\0\0\u{1}\u{1}\u{2}e"), "{body:?}");
}

#[test]
fn a_refused_announce_gets_a_failure_reason() {
    let mut service = fancy(Vec::new());
    let not_admitted = "Requested download is not authorized for use with this tracker.";
    let no_info_hash = "Your client forgot to send your torrent's info_hash. Please upgrade your client.";
    for (from, query, reason) in [
        ("::1", "port=1&info_hash=!!!!!!!!!!!!!!!!!!!!", not_admitted),
        ("::1", "port=1", no_info_hash),
        ("10.0.0.1", &format!("{IS_HASH}&port=1"), "This tracker does not serve your address family."),
    ] {
        let expected = format!("d14:failure reason{}:{reason}e", reason.len());
        assert_eq!(get(&mut service, from, &format!("/announce?{query}")), ("200 OK".into(), expected), "{query}");
    }
    let expected = format!("d14:failure reason80:{no_info_hash}e");
    assert_eq!(get(&mut service, "::1", "/announce"), ("200 OK".into(), expected));
    assert_eq!(count(&service, Counter::TcpAnnounced), 0);
    assert_eq!(count(&service, Counter::Http400Parameter), 0);
}

#[test]
fn the_build_decides_what_the_address_of_a_client_is() {
    let mut service = fancy(Vec::new());
    add_peer(&service, HASH, "[2001:db8::1]:258", true);
    // The asker is never handed out: this one is the peer.
    let own = |service: &mut _, head: &str| ask(service, "::1", head).0.ends_with("6:peers60:e");
    let target = format!("/announce?{IS_HASH}&port=258");
    assert!(own(&mut service, &format!("GET {target}&ip=2001:db8:%3a1 HTTP/1.1\r\n\r\n")));
    assert!(own(&mut service, &format!("GET {target} HTTP/1.1\r\nX-Client: 2001:db8::1\r\n\r\n")));
    assert!(!own(&mut service, &format!("GET {target} HTTP/1.1\r\n\r\n")));
    assert_eq!(get(&mut service, "::1", &format!("{target}&ip=nonsense")).0, BAD_PARAMETER);
    // Off, it is the connection's.
    let (_, body) = get(&mut plain(), CLIENT, &format!("{target}&ip=nonsense"));
    assert!(body.ends_with("5:peers0:e"));
}

#[test]
fn the_external_ip_is_the_one_that_the_tracker_sees_whatever_the_query_says() {
    let mut service = fancy(Vec::new());
    let target = format!("/announce?{IS_HASH}&port=1&left=1");
    let mut external = |query: &str, fields: &str| {
        let (reply, _) = ask(&mut service, "::1", &format!("GET {target}{query} HTTP/1.1\r\n{fields}\r\n"));
        assert!(reply.contains("10:incompletei"), "{reply}");
        let ip = reply.split_once("e11:external ip16:").map(|(_, rest)| rest.chars().take(16).collect::<String>());
        ip.map(|ip| ip.bytes().last().unwrap())
    };
    assert_eq!(external("", ""), Some(1));
    assert_eq!(external("&ip=2001:db8::5", ""), Some(1));
    assert_eq!(external("", "X-Client: 2001:db8::6\r\n"), Some(6));
    assert_eq!(external("&ip=2001:db8::5", "X-Client: 2001:db8::6\r\n"), Some(6));
    // Where the tracker cannot see one that it could hand out, it says nothing.
    assert_eq!(external("&ip=2001:db8::5", "X-Client: nonsense\r\n"), None);
    assert_eq!(external("&ip=2001:db8::5", "X-Client: 10.0.0.1\r\n"), None);
}

#[test]
fn a_scrape_tells_of_torrents_that_are_known_and_served_and_has_zeros_for_others() {
    let mut service = fancy(Vec::new());
    add_peer(&service, InfoHash([b'b'; 20]), "[::2]:1", true);
    add_peer(&service, InfoHash([b'a'; 20]), "[::2]:1", false);
    let name = |letter: &str| format!("info_hash={}", letter.repeat(20));
    let query = [name("b"), name("a"), name("c"), name("b"), name("!")].join("&");
    let zeros = |letter: &str| format!("20:{}d8:completei0e10:downloadedi0e10:incompletei0ee", letter.repeat(20));
    let expected = format!(
        "d5:filesd{}20:aaaaaaaaaaaaaaaaaaaad8:completei0e10:downloadedi0e10:incompletei1ee\
         20:bbbbbbbbbbbbbbbbbbbbd8:completei1e10:downloadedi0e10:incompletei0ee{}ee",
        zeros("!"),
        zeros("c")
    );
    assert_eq!(get(&mut service, "::1", &format!("/scrape?{query}")), ("200 OK".into(), expected));
    let expected = format!("d5:filesd{}ee", zeros("c"));
    assert_eq!(get(&mut service, "::1", &format!("/scrape/?{}", name("c"))).1, expected);
    assert_eq!(service.shared().tracker.scrape(&THAT_ONE), None);
    assert_eq!(count(&service, Counter::TcpScraped), 2);
    assert_eq!(count(&service, Counter::FullScraped), 0);
}

/// All pieces of a page that is made while it is sent.
fn pieces<F: HttpFlavour>(service: &Service<F>, next: Next<F>) -> Vec<u8> {
    let Next::Stream(mut body) = next else { panic!("no stream") };
    let mut out = Vec::new();
    let now = RequestTime { minute: NOW, uptime: Duration::ZERO };
    while body.stream.next(service.shared().tracker.store(), now, &mut out) {}
    out
}

#[test]
fn a_scrape_without_a_query_is_a_full_scrape() {
    let mut service = fancy(vec![b"d5:".into()]);
    let accepts = "Accept-Encoding: same;q=0.1";
    for (fields, keep_alive, connection) in
        [("HTTP/1.1", false, "close"), ("HTTP/1.1\r\nConnection: keep-alive", true, "keep-alive")]
    {
        let (reply, next) = ask(&mut service, "::2", &format!("GET /scrape {fields}\r\n{accepts}\r\n\r\n"));
        let expected = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Encoding: same\r\n\
             Vary: Accept-Encoding\r\nTransfer-Encoding: chunked\r\nConnection: {connection}\r\n\r\n"
        );
        assert_eq!((reply, next.keep_alive()), (expected, keep_alive));
        assert!(matches!(&next, Next::Stream(body) if body.chunked));
        assert_eq!(pieces(&service, next), b"d5:Scrape");
    }
    let (reply, next) = ask(&mut service, "::2", "GET /scrape HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nVary: Accept-Encoding\r\n";
    assert_eq!(reply, format!("{head}Connection: close\r\n\r\n"));
    assert!(matches!(next, Next::Stream(body) if !body.chunked && !body.keep_alive));
    assert_eq!(count(&service, Counter::FullScraped), 3);
    assert_eq!(count(&service, Counter::TcpScraped), 0);
}

#[test]
fn a_build_can_refuse_a_full_scrape_for_a_reason_of_its_own() {
    let mut service = fancy(Vec::new());
    let (reply, next) = ask(&mut service, "::9", "GET /scrape HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(
        reply,
        "HTTP/1.1 402 Payment Required\r\nRetry-After: 60\r\nContent-Type: text/html\r\nContent-Length: 47\r\n\
         Connection: keep-alive\r\n\r\n<title>402 Payment Required: nine pays</title>\n"
    );
    assert!(matches!(next, Next::KeepAlive));
    assert_eq!((count(&service, Counter::Http402), count(&service, Counter::FullScraped)), (1, 0));
    // The client is asked, not the connection.
    let (reply, _) = ask(&mut service, "::2", "GET /scrape HTTP/1.1\r\nX-Client: ::9\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 402 "), "{reply}");
}

#[test]
fn statistics_are_pages_or_full_scrapes() {
    let mut service = fancy(Vec::new());
    add_peer(&service, HASH, "[::2]:1", true);
    let peers = "1\n1\nopentracker serving 1 torrents\nopentracker";
    for target in ["/secret/numbers", "//secret%2fnumbers/?mode=peer", "/secret/numbers?mode=conn&mode=%70eer"] {
        assert_eq!(get(&mut service, "::1", target), ("200 OK".into(), peers.into()), "{target}");
    }
    let connections = "0\n0\n7200 seconds (2 hours)\nopentracker connections, 0 conns/s :: 0 success/s.";
    assert_eq!(get(&mut service, "::1", "/secret/numbers?mode=conn").1, connections);
    for (query, name) in [
        ("mode=tpbs", "Tpbs(Ben)"),
        ("mode=tpbs&format=bin", "Tpbs(Bin)"),
        ("format=txt&mode=tpbs", "Tpbs(Txt)"),
        ("mode=statedump&format=x", "Statedump"),
    ] {
        let head = format!("GET /secret/numbers?{query} HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
        let (reply, next) = ask(&mut service, "::1", &head);
        assert!(reply.contains("Transfer-Encoding: chunked\r\nConnection: close") && !next.keep_alive(), "{query}");
        assert_eq!(pieces(&service, next), name.as_bytes(), "{query}");
    }
    for query in
        ["mode=", "mode=nonsense", "mode=a-very-long-mode-indeed", "mode=%ff", "mode=%zz", "mode=tpbs&format=x"]
    {
        assert_eq!(get(&mut service, "::1", &format!("/secret/numbers?{query}")).0, BAD_PARAMETER, "{query}");
    }
    assert_eq!(get(&mut service, "::1", "/stats").0, "404 Not Found");
}

#[test]
fn statistics_always_close_the_connection() {
    let mut service = plain();
    for target in ["/stats", "/stats?mode=nonsense"] {
        let (reply, next) = ask(&mut service, CLIENT, &format!("GET {target} HTTP/1.1\nConnection: keep-alive\n\n"));
        assert!(reply.contains("\r\nConnection: close\r\n") && !next.keep_alive(), "{reply}");
    }
}

#[test]
fn statistics_are_for_whom_the_build_allows_whatever_the_query_says() {
    let mut service = fancy(Vec::new());
    let refused = || ("403 Access Denied".into(), "<title>403 Access Denied</title>\n".into());
    assert_eq!(get(&mut service, "::2", "/secret/numbers"), refused());
    assert_eq!(get(&mut service, "::2", "/secret/numbers?mode=tpbs&ip=::1"), refused());
    assert_eq!(get(&mut service, "::2", "/secret/numbers?mode=nonsense"), refused());
    let from_proxy = |client: &str| format!("GET /secret/numbers HTTP/1.1\r\nX-Client: {client}\r\n\r\n");
    assert!(ask(&mut service, "::1", &from_proxy("2001:db8::1")).0.starts_with("HTTP/1.1 403"));
    assert!(ask(&mut service, "::2", &from_proxy("::1")).0.starts_with("HTTP/1.1 200"));
    assert!(ask(&mut service, "::1", &from_proxy("nobody")).0.starts_with("HTTP/1.1 400"));
    assert_eq!(count(&service, Counter::Http403), 4);
}

#[test]
fn a_malformed_parameter_is_400() {
    let mut service = plain();
    let expected = (BAD_PARAMETER.to_owned(), page(BAD_PARAMETER));
    for target in [
        "/announce?info_hash=short&port=1",
        "/announce?port=x",
        &format!("/announce?{IS_HASH}&{IS_HASH}&port=1"),
        &format!("/announce?{IS_HASH}&port=65536"),
        "/scrape?",
        "/scrape?info_hash=",
        "/scrape?x=1",
        "/stats?mode=tpbs&format=x",
    ] {
        assert_eq!(get(&mut service, CLIENT, target), expected, "{target}");
    }
    assert_eq!(count(&service, Counter::Http400Parameter), 8);
    assert_eq!(count(&service, Counter::TcpScraped) + count(&service, Counter::TcpAnnounced), 0);
}

#[test]
fn a_connection_stays_open_when_the_client_asks_and_nothing_forbids() {
    let mut service = plain();
    let mut keeps = |fields: &str| {
        let head = format!("GET /announce?{IS_HASH}&port=1 HTTP/1.1\r\n{fields}\r\n");
        let (reply, next) = ask(&mut service, CLIENT, &head);
        assert_eq!(reply.contains("\r\nConnection: keep-alive\r\n"), next.keep_alive());
        assert_eq!(reply.contains("\r\nConnection: close\r\n"), !next.keep_alive());
        next.keep_alive()
    };
    assert!(!keeps("") && keeps("Connection: Keep-Alive\r\n"));
    assert!(!keeps("Connection: Keep-Alive, close\r\n"));
    assert!(!keeps("Connection: keep-alive\r\nContent-Length: 3\r\n"));
    assert!(ask(&mut service, CLIENT, "GET /nowhere HTTP/1.0\nConnection: keep-alive\n\n").1.keep_alive());
}

proptest! {
    #[test]
    fn no_request_is_too_strange(
        path in "/(announce|scrape|secret/numbers|)", query: Vec<u8>, fields in "(X-Client: .{0,9}\r\n)?",
    ) {
        let names = [IS_HASH, "info_hash", "port", "left", "event", "numwant", "compact", "mode"];
        let mut head = [b"GET ", path.as_bytes(), b"?"].concat();
        for byte in query {
            match names.get(usize::from(byte) % 16) {
                Some(name) => head.extend([b"&", name.as_bytes(), b"="].concat()),
                None => head.push(byte),
            }
        }
        head.extend([b" HTTP/1.1\r\n", fields.as_bytes(), b"\r\n"].concat());
        let mut slots = Request::slots();
        if let Ok(Some((request, _))) = Request::parse(&head, &mut slots) {
            let now = RequestTime { minute: NOW, uptime: Duration::ZERO };
            let mut out = Vec::new();
            fancy(Vec::new()).answer(&request, "::1".parse().unwrap(), now, &mut out);
            prop_assert!(out.starts_with(b"HTTP/1.1 "));
            prop_assert!(!out.starts_with(b"HTTP/1.1 500"));
        }
    }
}

#[test]
fn what_is_refused_is_counted_for_the_family_of_the_client() {
    let mut service = fancy(Vec::new());
    let target = |announce_query: &str| format!("/announce?{IS_HASH}&{announce_query}");
    get(&mut service, "::1", &target("port=1&ip=10.0.0.9"));
    get(&mut service, "::1", "/announce?info_hash=!!!!!!!!!!!!!!!!!!!!&port=1");
    get(&mut service, "::1", "/announce?port=1");
    // Who sends no number is not asked who he is.
    get(&mut service, CLIENT, &target("port=x&ip=::1"));
    let counters = &service.shared().counters;
    for (counter, expected) in
        [(Counter::TcpNoInfoHash, (0, 1)), (Counter::Http400Parameter, (1, 0)), (Counter::TcpAnnounced, (0, 0))]
    {
        let of = |family| counters.of(counter, family);
        assert_eq!((of(AddressFamily::Ipv4), of(AddressFamily::Ipv6)), expected, "{counter:?}");
    }
    for (reason, expected) in AnnounceError::ALL.into_iter().zip([(0, 1), (1, 0), (0, 0), (0, 0)]) {
        let of = |family| counters.refusals(Protocol::Http, reason, family);
        assert_eq!((of(AddressFamily::Ipv4), of(AddressFamily::Ipv6)), expected, "{reason}");
    }
}

#[test]
fn a_client_that_is_not_served_is_told_so_and_may_leave() {
    let text = "This tracker does not serve the BitTorrent client that you use. Please choose another one.";
    for (terms, expected) in [
        (None, format!("d14:failure reason{}:{text}e", text.len())),
        (
            Some(RefusalTerms { retry: Retry::Never, as_empty: true }),
            format!("d14:failure reason{}:{text}8:intervali86400e8:retry in5:nevere", text.len()),
        ),
    ] {
        let mut service = choosy(terms);
        let target = |rest: &str| format!("/announce?{IS_HASH}&port=9&{rest}");
        let refused = [
            "peer_id=-XX0012-abcdefghijkl",
            "peer_id=%2dXX&event=started",
            "peer_id=-XX0012-abcdefghijklm&event=completed",
            "peer_id=-YY&peer_id=-XX",
            "left=1",
            "peer_id=",
            "peer_id=-YY%zz",
        ];
        for rest in refused {
            assert_eq!(get(&mut service, CLIENT, &target(rest)), ("200 OK".into(), expected.clone()), "{rest}");
        }
        assert_eq!(service.shared().tracker.store().census().torrents, 0);
        for (rest, incomplete) in [("peer_id=-YY0012-abc", 1), ("peer_id=-XX&event=stopped", 0)] {
            let (_, body) = get(&mut service, CLIENT, &target(rest));
            assert!(body.contains(&format!("10:incompletei{incomplete}e")), "{rest}: {body}");
        }
        assert_eq!(count(&service, Counter::TcpAnnounced), 2);
        let counters = &service.shared().counters;
        let counted = counters.refusals(Protocol::Http, AnnounceError::ClientNotServed, AddressFamily::Ipv4);
        assert_eq!(counted, refused.len() as u64);
    }
}
