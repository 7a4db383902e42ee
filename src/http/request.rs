//! The head of a request (RFC 9112), as lenient as the clients in the wild need it.

use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Status};

use crate::tracker::Minute;

use super::method::{self, BadHead, Method};
use super::path::Path;
use super::query::{Query, split_once};

/// Maximum number of header fields in a head; browsers send about 15, proxies add a handful.
const MAX_HEADERS: usize = 64;

/// Maximum length of a head, in bytes, with the empty line at its end.
pub const MAX_HEAD: usize = 8 * 1024;

/// Where the header fields of a [`Request`] are kept while it is answered.
pub type HeaderSlots<'a> = [Header<'a>; MAX_HEADERS];

/// A version of HTTP that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunked coding.
    Http10,
    /// HTTP/1.1
    Http11,
}

/// What a client wants done with a connection once it has its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// To be closed.
    Close,
    /// To stay open for another request.
    KeepAlive,
}

/// When a request came.
#[derive(Debug, Clone, Copy)]
pub struct RequestTime {
    /// The minute, for the tracker.
    pub minute: Minute,
    /// Time since the process started, for the statistics.
    pub uptime: Duration,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    method: Method,
    path: Path<'a>,
    query: Option<Query<'a>>,
    version: Version,
    headers: &'a [Header<'a>],
}

impl<'a> Request<'a> {
    /// Returns empty slots for [`Self::parse`].
    pub fn slots() -> HeaderSlots<'a> {
        [EMPTY_HEADER; MAX_HEADERS]
    }

    /// Reads the head at the beginning of `bytes`. Returns the request with the length of its head in bytes; `None` if
    /// its end has not come yet.
    ///
    /// The request line is taken apart here, not by `httparse`, which refuses what some clients send: everything
    /// between the method and the version is the target, stray spaces included. Lines may end in a bare LF, and empty
    /// lines may come first (RFC 9112, section 2.2). Header fields are read strictly.
    ///
    /// # Errors
    ///
    /// This is not going to be the head of a request that is served, whatever follows.
    pub fn parse(bytes: &'a [u8], slots: &'a mut HeaderSlots<'a>) -> Result<Option<(Self, usize)>, BadHead> {
        let bounded = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let blank_len = bounded.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let head = bounded.get(blank_len..).unwrap_or_default();
        let Some((method, rest)) = method::split(head)? else { return incomplete(bytes) };
        let Some((line, fields)) = split_once(rest, b'\n') else { return incomplete(bytes) };
        let (target, version) = request_line(line)?;
        let method = method?;
        let fields_read = httparse::parse_headers(fields, slots).map_err(|_| BadHead::Malformed)?;
        let Status::Complete((fields_len, headers)) = fields_read else { return incomplete(bytes) };
        let (path, query) = match split_once(target, b'?') {
            Some((path, query)) => (path, Some(Query::new(query))),
            None => (target, None),
        };
        let request = Self { method, path: Path(path.trim_ascii_end()), query, version, headers };
        Ok(Some((request, bounded.len() - fields.len() + fields_len)))
    }

    /// Returns the method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns whether the request is for the path `name`, given without slashes around it. Those in the request do not
    /// matter.
    pub fn path_is(&self, name: &str) -> bool {
        self.path.is(name)
    }

    /// Returns whether the path begins with `start`, given without slashes before it. Those in the request do not
    /// matter.
    pub fn path_begins_with(&self, start: &str) -> bool {
        self.path.begins_with(start)
    }

    /// Returns what stands behind the `?`, if there is one.
    pub fn query(&self) -> Option<Query<'a>> {
        self.query
    }

    /// Returns the version of HTTP that the client speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the values of a header field, in the order in which they came: a proxy's may come several times.
    pub fn header(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// Returns what the client wants done with the connection once it has its reply; `None` if it does not say.
    /// Whatever else is in its list, or in several of them, `close` wins (RFC 9112, section 9.3).
    pub fn persistence(&self) -> Option<Persistence> {
        let mut persistence = None;
        for token in self.header("connection").flat_map(|value| value.split(|&byte| byte == b',')) {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"close") {
                return Some(Persistence::Close);
            }
            if token.eq_ignore_ascii_case(b"keep-alive") {
                persistence = Some(Persistence::KeepAlive);
            }
        }
        persistence
    }

    /// Returns whether a body follows the head (RFC 9112, section 6). It is never read.
    pub fn has_body(&self) -> bool {
        let empty = |length: &[u8]| length.iter().all(|&digit| digit == b'0');
        self.header("transfer-encoding").next().is_some() || !self.header("content-length").all(empty)
    }
}

/// Returns that the head is not complete.
///
/// # Errors
///
/// [`MAX_HEAD`] bytes have come without an end.
fn incomplete<T>(bytes: &[u8]) -> Result<Option<T>, BadHead> {
    if bytes.len() < MAX_HEAD { Ok(None) } else { Err(BadHead::Malformed) }
}

/// Takes a request line apart, after its method: the target, as a path with perhaps a query, and the version.
fn request_line(line: &[u8]) -> Result<(&[u8], Version), BadHead> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let at = line.iter().rposition(|&byte| byte == b' ').ok_or(BadHead::Malformed)?;
    let (target, version) = line.split_at_checked(at).ok_or(BadHead::Malformed)?;
    let version = match version {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        _ => return Err(BadHead::Malformed),
    };
    let target = target.trim_ascii();
    // Not `any`: without the early end this is a few vector instructions.
    let control = target.iter().fold(false, |found, byte| found | byte.is_ascii_control());
    if target.is_empty() || control {
        return Err(BadHead::Malformed);
    }
    Ok((origin_form(target), version))
}

/// Returns a target without the scheme and the host that an absolute one begins with (RFC 9112, section 3.2.2).
fn origin_form(target: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"http://";
    match target.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let host = rest.iter().take_while(|byte| !matches!(byte, b'/' | b'?')).count();
            rest.get(host..).unwrap_or_default()
        }
        _ => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query::Encoded;
    use proptest::prelude::*;

    /// Path, query and length of a head that is expected to be well formed.
    fn parsed(head: &str) -> (String, Option<String>, usize) {
        let mut slots = Request::slots();
        let (request, len) = Request::parse(head.as_bytes(), &mut slots).expect("well formed").expect("complete");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let query = request.query().map(|query| {
            let pairs = query.pairs().map(|(key, value)| {
                let decode = |part: Encoded<'_>| text(&part.bytes().collect::<Result<Vec<_>, _>>().unwrap());
                format!("{}={}", decode(key), decode(value))
            });
            pairs.collect::<Vec<_>>().join("&")
        });
        (text(request.path.0), query, len)
    }

    fn refused(head: &[u8]) -> bool {
        refusal(head) == Some(BadHead::Malformed)
    }

    fn refusal(head: &[u8]) -> Option<BadHead> {
        Request::parse(head, &mut Request::slots()).err()
    }

    fn with<T>(head: &str, look: impl FnOnce(&Request<'_>) -> T) -> T {
        let mut slots = Request::slots();
        look(&Request::parse(head.as_bytes(), &mut slots).unwrap().unwrap().0)
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let head = "GET /announce?a=1 HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
        let expected = ("/announce".into(), Some("a=1".into()), head.len());
        assert_eq!(parsed(head), expected);
        assert_eq!(parsed(&format!("{head}GET /next HTTP/1.1\r\n")), expected);
        assert_eq!(parsed("GET / HTTP/1.0\n\n"), ("/".into(), None, 16));
        assert_eq!(parsed("\r\n\nGET /? HTTP/1.0\nA: b\n\nrest"), ("/".into(), Some(String::new()), 25));
        for end in 0..head.len() {
            assert!(Request::parse(&head.as_bytes()[..end], &mut Request::slots()).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn stray_spaces_do_no_harm() {
        for (target, path, query) in [
            ("/announce ?info_hash=a", "/announce", "info_hash=a"),
            ("/announce   ?a=1", "/announce", "a=1"),
            (" /announce?a=1 ", "/announce", "a=1"),
            ("/announce?a=1 2&b=3", "/announce", "a=1 2&b=3"),
            ("/announce?a= HTTP/1.1", "/announce", "a= HTTP/1.1"),
        ] {
            let (found, found_query, _) = parsed(&format!("GET {target} HTTP/1.1\r\n\r\n"));
            assert_eq!((found.as_str(), found_query.as_deref()), (path, Some(query)), "{target}");
        }
    }

    #[test]
    fn absolute_targets_are_understood() {
        for (target, path, query) in [
            ("http://a.example:6969/announce?b=1", "/announce", Some("b=1")),
            ("HTTP://[::1]/scrape", "/scrape", None),
            ("http://a.example?b=1", "", Some("b=1")),
            ("http://a.example", "", None),
            ("http:/scrape", "http:/scrape", None),
        ] {
            let (found, found_query, _) = parsed(&format!("GET {target} HTTP/1.1\r\n\r\n"));
            assert_eq!((found.as_str(), found_query.as_deref()), (path, query), "{target}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_as_soon_as_it_shows() {
        for head in [
            &b"GET\t"[..],
            b"X(",
            b"nonsense\r\n",
            b"POST /\r\n",
            b"POST / HTTP/2.0\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"\x16\x03\x01\x02",
            b"GET / HTTP/2.0\r\n",
            b"GET / http/1.1\r\n",
            b"GET / HTTP/1.1 \r\n",
            b"GET /\r\n",
            b"GET HTTP/1.1\r\n",
            b"GET  HTTP/1.1\r\n",
            b"GET /\0 HTTP/1.1\r\n",
            b"GET /\r/ HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
            b"GET / HTTP/1.1\r\n A: b\r\n\r\n",
        ] {
            assert!(refused(head), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn methods_that_are_not_served_are_told_apart_once_their_line_is_there() {
        for (method, expected) in [
            ("POST", BadHead::MethodNotAllowed),
            ("OPTIONS", BadHead::MethodNotAllowed),
            ("CONNECT", BadHead::MethodNotAllowed),
            ("get", BadHead::UnknownMethod),
            ("PROPFIND", BadHead::UnknownMethod),
        ] {
            for target in ["/announce?a=b", "*", "a.example:80"] {
                let line = format!("\r\n{method} {target} HTTP/1.1\r\n");
                assert_eq!(refusal(line.as_bytes()), Some(expected), "{line}");
                assert_eq!(refusal(&[line.as_bytes(), b"no colon"].concat()), Some(expected), "{line}");
                for end in 0..line.len() {
                    assert_eq!(refusal(&line.as_bytes()[..end]), None, "{line}: {end}");
                }
            }
            let endless = format!("{method} /{}", "a".repeat(MAX_HEAD));
            assert!(refused(endless.as_bytes()) && refused(method.repeat(MAX_HEAD).as_bytes()));
        }
        let head = "HEAD /scrape?a HTTP/1.1\r\nA: b\r\n\r\n";
        assert_eq!(with(head, |request| (request.method(), request.path_is("scrape"))), (Method::Head, true));
        assert_eq!(parsed(&format!("{head}GET")).2, head.len());
        assert_eq!(with("GET / HTTP/1.0\n\n", |request| request.method()), Method::Get);
    }

    #[test]
    fn a_head_may_have_64_fields_and_8_kib() {
        let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(!refused(fields(64).as_bytes()) && refused(fields(65).as_bytes()));
        let sized = |n: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(n - 18));
        assert_eq!(parsed(&sized(MAX_HEAD)).2, MAX_HEAD);
        assert!(refused(sized(MAX_HEAD + 1).as_bytes()));
        assert!(!refused(&sized(MAX_HEAD + 1).as_bytes()[..MAX_HEAD - 1]));
        assert!(refused(&[b'\n'; MAX_HEAD]) && refused(format!("GET /{}", "a".repeat(MAX_HEAD)).as_bytes()));
        assert_eq!(parsed(&format!("{}{}", sized(100), "x".repeat(MAX_HEAD))).2, 100);
    }

    #[test]
    fn header_names_are_found_in_either_case_and_values_in_order() {
        let head = "GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nB:\r\nx-forwarded-FOR:  3.3.3.3 \r\n\r\n";
        with(head, |request| {
            let values: Vec<_> = request.header("X-Forwarded-For").collect();
            assert_eq!(values, [&b"1.1.1.1, 2.2.2.2"[..], b"3.3.3.3"]);
            assert_eq!(request.header("b").next_back(), Some(&b""[..]));
            assert_eq!(request.header("c").next(), None);
            assert_eq!(request.version(), Version::Http11);
        });
    }

    #[test]
    fn the_client_says_whether_it_keeps_the_connection_and_close_wins() {
        let persistence =
            |fields: &str| with(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), |request| request.persistence());
        for fields in
            ["Connection: keep-alive\r\n", "connection: Upgrade,  Keep-Alive \r\n", "CONNECTION:KEEP-ALIVE\r\n"]
        {
            assert_eq!(persistence(fields), Some(Persistence::KeepAlive), "{fields}");
        }
        assert_eq!(persistence("Connection: x\r\nConnection: keep-alive\r\n"), Some(Persistence::KeepAlive));
        for fields in [
            "Connection: close\r\n",
            "Connection: keep-alive, close\r\n",
            "Connection: Close,keep-alive\r\n",
            "Connection: x\t, , \tCLOSE\t,\r\n",
            "Connection: keep-alive\r\nA: b\r\nconnection: close\r\n",
            "Connection: close\r\nConnection: keep-alive\r\n",
        ] {
            assert_eq!(persistence(fields), Some(Persistence::Close), "{fields}");
        }
        for fields in ["", "Connection:\r\n", "Connection: keep-alive2, closed, clos e\r\n", "Keep-Alive: close\r\n"] {
            assert_eq!(persistence(fields), None, "{fields}");
        }
    }

    #[test]
    fn a_body_is_seen() {
        let body = |fields: &str| with(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), |request| request.has_body());
        assert!(!body("") && !body("Content-Length: 0\r\n"));
        assert!(body("Content-Length: 5\r\n") && body("Content-Length: 0\r\nContent-length: x\r\n"));
        assert!(body("Transfer-Encoding: chunked\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(
            bytes: Vec<u8>, tail: Vec<u8>, line in "(GET|HEAD) [ /?a-z%&=]{0,20} HTTP/1.1\r?\n",
        ) {
            for head in [bytes.clone(), [line.as_bytes(), &bytes, b"\n\n", &tail].concat()] {
                if let Ok(Some((request, len))) = Request::parse(&head, &mut Request::slots()) {
                    prop_assert!(len <= head.len());
                    let _ = (request.path_is("announce"), request.persistence(), request.has_body());
                }
            }
        }
    }
}
