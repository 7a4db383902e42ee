//! Any bytes over HTTP, to a tracker with all that this build has of it.

use std::net::SocketAddr;
use std::sync::Arc;

use bendy::decoding::{Decoder, Object};
use fastrand::Rng;

use super::{
    ClientAddress, Clients, Codings, Families, RequestLog, RequestTimes, Routes, ScrapeLimit, StatsAccess, Wrappers,
};
use crate::config::{ClientId, Settings};
use crate::fuzz::Choices;
use crate::http::fuzz::converse;
use crate::http::testing::TestHttp;
use crate::http::{Service, Shared};
use crate::server::Plug;
use crate::stats::Counters;
use crate::tracker::testing::{NotThatOne, TestFlavour, key};
use crate::tracker::{
    AddressFamilies as _, AnnounceRequest, Capacity, Event, InfoHash, Intervals, Minute, PeerRequest, Standalone,
    Tracker, Unlogged, WantedUnlogged,
};

const NOW: Minute = Minute(29_000_000);

type Everything = TestHttp<
    TestFlavour<Families, NotThatOne, Standalone, Unlogged, WantedUnlogged, Clients>,
    ClientAddress,
    StatsAccess,
    Routes,
    Codings,
    ScrapeLimit,
    RequestTimes,
    Wrappers,
    RequestLog,
>;

/// Sends the bytes to a tracker with some torrents. The first bytes say from where, and where the stream is split; what
/// is answered must not depend on that.
pub(super) fn any_connection(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let how = choices.byte();
    let splits = [choices.byte(), choices.byte(), choices.byte()].map(usize::from);
    let from = match (how & 3, Families::IPV4) {
        (0 | 1, true) => "198.51.100.1:4000",
        (2 | 3, true) => "10.0.0.1:4000",
        (0 | 1, false) => "[2001:db8::1]:4000",
        (_, _) => "[2001:db8:ff::1]:4000",
    };
    let from = from.parse().expect("an endpoint");
    let settings = settings(how & 4 != 0, how & 16 != 0);
    let whole = converse(service(&settings), from, &[choices.0], usize::MAX);
    let asks_for_heads = choices.0.windows(4).any(|part| part == b"HEAD");
    check(&whole, asks_for_heads);
    let [a, b, c] = splits;
    let mut rest = choices.0;
    let mut pieces = Vec::new();
    for len in [a, b, c * 16] {
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    let in_pieces = converse(service(&settings), from, &pieces, if how & 8 == 0 { usize::MAX } else { a });
    check(&in_pieces, asks_for_heads);
    // Some replies say how long the process runs, how long requests took, or how long to wait.
    let is_timed = |replies: &[u8]| {
        replies.windows(9).any(|part| [b"# HELP op", b"<uptime>0", b"Retry-Aft"].iter().any(|mark| part == *mark))
    };
    if !is_timed(&whole) && !is_timed(&in_pieces) {
        assert_eq!(whole.escape_ascii().to_string(), in_pieces.escape_ascii().to_string());
    }
}

fn settings(proxy_protocol: bool, limits_full_scrapes: bool) -> Settings {
    let mut settings = Settings::default();
    if !limits_full_scrapes {
        settings.limits.full_scrape_interval = 0;
    }
    let networks = |texts: [&str; 2]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    settings.access.proxy = networks(["10.0.0.0/8", "2001:db8:ff::/48"]);
    settings.access.stats = networks(["198.51.100.0/24", "2001:db8::/48"]);
    settings.access.log_networks = networks(["198.51.100.0/24", "2001:db8::/32"]);
    settings.access.proxy_protocol = proxy_protocol;
    settings.access.client_ids_denied.extend(ClientId::parse("-XX"));
    settings.tracker.redirect_url = Some("https://a.example/".to_owned());
    settings
}

fn plugged<P: Plug<Opened: Default>>(settings: &Settings) -> P {
    P::plug(Default::default(), settings).unwrap_or_else(|error| panic!("{error}"))
}

fn service(settings: &Settings) -> Service<Everything> {
    let flavour = TestHttp {
        tracker: TestFlavour::with_plugs(NotThatOne, Standalone).with_clients(plugged(settings)),
        client_address: plugged(settings),
        stats_access: plugged(settings),
        routes: plugged(settings),
        codings: plugged(settings),
        scrape_limit: plugged(settings),
        request_times: plugged(settings),
        wrappers: plugged(settings),
        request_log: plugged(settings),
    };
    let counters = Arc::<Counters>::default();
    let worker_counters = counters.for_worker();
    let tracker = Arc::new(Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour));
    let mut rng = Rng::with_seed(1);
    for n in 0..6_u8 {
        let address = if Families::IPV4 { format!("192.0.2.{n}:80") } else { format!("[2001:db8::{n}]:80") };
        let endpoint: SocketAddr = address.parse().expect("an endpoint");
        let (info_hash, event) = (InfoHash([b'a' + n % 3; 20]), Event::Completed);
        let announce = AnnounceRequest { info_hash, endpoint, seeder: n & 1 == 0, uploaded: false, event };
        tracker.announce(&announce, NOW, &mut rng, &mut PeerRequest::none()).expect("room for it");
    }
    let shared = Shared {
        tracker,
        counters,
        stats_path: settings.access.stats_path.clone(),
        redirect_url: settings.tracker.redirect_url.clone(),
    };
    Service::new(Arc::new(shared), worker_counters, rng)
}

/// Looks at each reply: it has a head that says where it ends, and what is bencoded is read by a strict reader. Only a
/// reply to HEAD need not say how long one to GET would be (RFC 9110, section 8.6).
fn check(replies: &[u8], asks_for_heads: bool) {
    let mut rest = replies;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|part| part == b"\r\n\r\n").expect("a head that ends");
        let head = std::str::from_utf8(&rest[..end]).expect("a head of text");
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let status = lines.next().expect("a status line");
        assert!(status.starts_with("HTTP/1.1 ") || status.starts_with("HTTP/1.0 "), "{head}");
        assert!(lines.all(|line| line.split_once(": ").is_some()), "{head}");
        let has = |field: &str| head.contains(field);
        let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
        let closes = has("\r\nConnection: close");
        let body = if has("\r\nTransfer-Encoding: chunked") {
            unchunked(&mut rest)
        } else if let Some(len) = field("Content-Length: ") {
            let len: usize = len.parse().expect("a length");
            // The reply to HEAD has none.
            if rest.len() < len || rest.starts_with(b"HTTP/1.") && len > 0 {
                Vec::new()
            } else {
                let (body, behind) = rest.split_at(len);
                rest = behind;
                body.to_vec()
            }
        } else if closes {
            std::mem::take(&mut rest).to_vec()
        } else {
            let has_no_body = asks_for_heads && (rest.is_empty() || rest.starts_with(b"HTTP/1."));
            assert!(has_no_body, "{head}: nothing says where its body ends");
            Vec::new()
        };
        assert!(!closes || rest.is_empty(), "{head}: more comes behind the last reply");
        let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        if status.ends_with(" 200 OK") && body.starts_with(b"d") && !has("\r\nContent-Encoding: ") {
            bencoded(&body);
        } else if !status.ends_with(" 200 OK") {
            assert!(body.iter().all(is_text), "{}", body.escape_ascii());
        }
    }
}

/// Takes a chunked body off; none, if it was not asked for.
fn unchunked(rest: &mut &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if rest.is_empty() || rest.starts_with(b"HTTP/1.") {
        return body;
    }
    loop {
        let end = rest.windows(2).position(|part| part == b"\r\n").expect("a line with a length");
        let digits = std::str::from_utf8(&rest[..end]).expect("digits");
        let len = usize::from_str_radix(digits, 16).expect("a length");
        body.extend(&rest[end + 2..end + 2 + len]);
        assert_eq!(rest[end + 2 + len..end + 4 + len], *b"\r\n");
        *rest = &rest[end + 4 + len..];
        if len == 0 {
            return body;
        }
    }
}

/// Reads bencode whose keys have to be sorted, to its end.
fn bencoded(body: &[u8]) {
    fn read(object: Object<'_, '_>) -> Result<(), bendy::decoding::Error> {
        match object {
            Object::List(mut list) => {
                while let Some(item) = list.next_object()? {
                    read(item)?;
                }
            }
            Object::Dict(mut dict) => {
                while let Some((_, value)) = dict.next_pair()? {
                    read(value)?;
                }
            }
            Object::Integer(_) | Object::Bytes(_) => {}
        }
        Ok(())
    }
    let mut decoder = Decoder::new(body);
    let object = decoder.next_object().unwrap_or_else(|error| panic!("{error}: {}", body.escape_ascii()));
    object.map(read).expect("something").unwrap_or_else(|error| panic!("{error}: {}", body.escape_ascii()));
    assert!(decoder.next_object().is_ok_and(|more| more.is_none()), "{}", body.escape_ascii());
}
