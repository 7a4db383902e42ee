//! What is sent back: heads, bencoded bodies (BEP 3), and every error in one place.

use std::fmt::Display;
use std::net::IpAddr;

use bendy::encoding::{Encoder, SingleItemEncoder};
use thiserror::Error;

use crate::stats::pages::NoPage;
use crate::stats::{Counter, WorkerCounters};
use crate::tracker::{AnnounceError, Retry};

use super::address::BadAddress;
use super::coding::NoEncoder;
use super::decimal::Decimal;
use super::method::BadHead;
use super::query::BadEscape;

/// Why a request is not served. All of it is for the client to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// The head is not that of a request, or too long, or too slow.
    #[error("400 Invalid Request")]
    Malformed,
    /// The method is known, and served for no page.
    #[error("405 Method Not Allowed")]
    MethodNotAllowed,
    /// The method is not known.
    #[error("501 Not Implemented")]
    UnknownMethod,
    /// A parameter is missing or malformed.
    #[error("400 Invalid Parameter")]
    Parameter,
    /// An announce without a torrent.
    #[error("Your client forgot to send your torrent's info_hash. Please upgrade your client.")]
    NoInfoHash,
    /// The tracker refuses the announce, and perhaps says when the client may ask again.
    #[error("{0}")]
    Announce(AnnounceError, Option<Retry>),
    /// Statistics, from where they are not allowed.
    #[error("403 Access Denied")]
    StatsDenied,
    /// No such page.
    #[error("404 Not Found")]
    NotFound,
    /// A page of a switch that this build does not have, for the reason given.
    #[error("404 Not Found: {0}")]
    Absent(&'static str),
    /// A page that a feature would make, which this build does not have.
    #[error("404 Not Found: this build does not have the feature {0}")]
    NeedsFeature(&'static str),
    /// A page that a switch does not send now, or not to this client.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The tracker made a mistake.
    #[error("500 Internal Server Error")]
    Internal,
}

/// Why a switch refuses a page, and how the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{status}{}{}", if reason.is_empty() { "" } else { ": " }, reason)]
pub struct Refusal {
    /// The status, with its phrase: `429 Too Many Requests`.
    pub status: &'static str,
    /// The reason, for whoever reads the page; empty where the status is all that is said.
    pub reason: &'static str,
    /// Seconds after which the client may ask again (RFC 9110, section 10.2.3).
    pub retry_after: Option<u32>,
    /// The counter of such refusals, if they are counted.
    pub counter: Option<Counter>,
}

impl Refusal {
    /// What a client is told who asks for a full scrape while there are too many.
    pub const NO_SEAT: Self = Self {
        status: "503 Service Unavailable",
        reason: "too many full scrapes are under way, please try again later",
        retry_after: Some(30),
        counter: Some(Counter::Http503),
    };
}

impl Error {
    /// Appends the reply that tells the client of the error, and counts it for the family of `from`, the other end of
    /// the connection.
    pub(super) fn refuse(self, counters: &WorkerCounters, from: IpAddr, keep_alive: bool, out: &mut Vec<u8>) {
        if let Some(counter) = self.counter() {
            counters.count_from(counter, from);
        }
        self.write(keep_alive, out);
    }

    /// Returns the counter of such errors. A refused announce is counted elsewhere, where the client is known.
    fn counter(self) -> Option<Counter> {
        match self {
            Self::Announce(..) => None,
            Self::NoInfoHash => Some(Counter::TcpNoInfoHash),
            Self::Malformed => Some(Counter::Http400Parse),
            Self::MethodNotAllowed | Self::UnknownMethod => Some(Counter::HttpMethod),
            Self::Parameter => Some(Counter::Http400Parameter),
            Self::StatsDenied => Some(Counter::Http403),
            Self::NotFound | Self::Absent(_) | Self::NeedsFeature(_) => Some(Counter::Http404),
            Self::Internal => Some(Counter::Http500),
            Self::Refused(refusal) => refusal.counter,
        }
    }

    /// Appends the reply: a failure reason (BEP 3), which clients show to their users, or an HTTP error with a title
    /// for browsers.
    fn write(self, keep_alive: bool, out: &mut Vec<u8>) {
        let status = match self {
            Self::NoInfoHash | Self::Announce(..) => {
                let retry = if let Self::Announce(_, retry) = self { retry } else { None };
                return match failure_body(&self.to_string(), retry) {
                    Ok(body) => write(OK, TEXT, keep_alive, &body, out),
                    Err(error) => error.write(keep_alive, out),
                };
            }
            Self::Malformed => "400 Invalid Request",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::UnknownMethod => "501 Not Implemented",
            Self::Parameter => "400 Invalid Parameter",
            Self::StatsDenied => "403 Access Denied",
            Self::NotFound | Self::Absent(_) | Self::NeedsFeature(_) => "404 Not Found",
            Self::Refused(refusal) => refusal.status,
            Self::Internal => "500 Internal Server Error",
        };
        let field = match self {
            Self::Refused(Refusal { retry_after: Some(seconds), .. }) => format!("Retry-After: {seconds}\r\n"),
            Self::MethodNotAllowed => "Allow: GET, HEAD\r\n".into(),
            _ => String::new(),
        };
        let body = title(self);
        let fields = format!("{field}Content-Type: {HTML}\r\nContent-Length: {}\r\n", body.len());
        head(status, keep_alive, &[fields.as_bytes()], out);
        out.extend_from_slice(body.as_bytes());
    }
}

impl From<bendy::encoding::Error> for Error {
    fn from(_: bendy::encoding::Error) -> Self {
        Self::Internal
    }
}

impl From<NoPage> for Error {
    fn from(error: NoPage) -> Self {
        match error {
            NoPage::Unknown => Self::Parameter,
            NoPage::Needs(feature) => Self::NeedsFeature(feature),
        }
    }
}

impl From<BadHead> for Error {
    fn from(error: BadHead) -> Self {
        match error {
            BadHead::Malformed => Self::Malformed,
            BadHead::MethodNotAllowed => Self::MethodNotAllowed,
            BadHead::UnknownMethod => Self::UnknownMethod,
        }
    }
}

impl From<NoEncoder> for Error {
    fn from(_: NoEncoder) -> Self {
        Self::Refused(Refusal::NO_SEAT)
    }
}

impl From<BadAddress> for Error {
    fn from(_: BadAddress) -> Self {
        Self::Parameter
    }
}

impl From<BadEscape> for Error {
    fn from(_: BadEscape) -> Self {
        Self::Parameter
    }
}

/// The status of every reply that is no error.
pub(super) const OK: &str = "200 OK";

/// The type of announces, scrapes and statistics, so that a browser shows them.
pub(super) const TEXT: &str = "text/plain";

/// The type of pages that name every torrent.
pub(super) const BINARY: &str = "application/octet-stream";

const HTML: &str = "text/html";

/// Appends a reply with its body.
pub(super) fn write(status: &str, content_type: &str, keep_alive: bool, body: &[u8], out: &mut Vec<u8>) {
    let len = Decimal::new(body.len() as u64);
    let fields = [b"Content-Type: ", content_type.as_bytes(), b"\r\nContent-Length: ", len.bytes(), b"\r\n"];
    head(status, keep_alive, &fields, out);
    out.extend_from_slice(body);
}

/// Appends a reply that is no error, whose body is [`TEXT`] in several parts. Its head, the same for nearly all that is
/// sent, is not put together from more parts than it takes.
pub(super) fn write_text(keep_alive: bool, body: &[&[u8]], out: &mut Vec<u8>) {
    const START: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ";
    let len = Decimal::new(body.iter().map(|part| part.len() as u64).sum::<u64>());
    append(&[START, len.bytes(), b"\r\n", connection(keep_alive)], out);
    append(body, out);
}

/// Appends the head of a reply without the length of its body, which is not sent.
pub(super) fn write_header(content_type: &str, keep_alive: bool, out: &mut Vec<u8>) {
    head(OK, keep_alive, &[b"Content-Type: ", content_type.as_bytes(), b"\r\n"], out);
}

/// Cuts off the body of the reply that begins at `start`.
pub(super) fn cut_body(start: usize, out: &mut Vec<u8>) {
    const END: &[u8] = b"\r\n\r\n";
    let reply = out.get(start..).unwrap_or_default();
    if let Some(len) = reply.windows(END.len()).position(|bytes| bytes == END) {
        out.truncate(start + len + END.len());
    }
}

/// Appends a reply whose head has these fields too.
pub(super) fn write_with(
    fields: &[(&str, &str)],
    content_type: &str,
    keep_alive: bool,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let fields = format!("Content-Type: {content_type}\r\n{fields}Content-Length: {}\r\n", body.len());
    head(OK, keep_alive, &[fields.as_bytes()], out);
    out.extend_from_slice(body);
}

/// Appends a reply that redirects the client to `url`.
pub(super) fn write_redirect(url: &str, keep_alive: bool, out: &mut Vec<u8>) {
    let body = title("302 Found");
    let fields = format!("Location: {url}\r\nContent-Type: {HTML}\r\nContent-Length: {}\r\n", body.len());
    head("302 Found", keep_alive, &[fields.as_bytes()], out);
    out.extend_from_slice(body.as_bytes());
}

/// Appends the head of a reply whose body comes in pieces: chunks (RFC 9112, section 7.1), or all there is until the
/// connection is closed. `kind` is its type, `encoding` is the content coding, if there is one; `varies` says whether
/// another `Accept-Encoding` could get another.
pub(super) fn write_stream_head(
    kind: &str,
    chunked: bool,
    encoding: Option<&str>,
    varies: bool,
    keep_alive: bool,
    out: &mut Vec<u8>,
) {
    let (encoding_name, encoding, encoding_end) = match encoding {
        Some(encoding) => ("Content-Encoding: ", encoding, "\r\n"),
        None => ("", "", ""),
    };
    let transfer = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    let vary = if varies { "Vary: Accept-Encoding\r\n" } else { "" };
    head(
        OK,
        keep_alive,
        &["Content-Type: ", kind, "\r\n", encoding_name, encoding, encoding_end, vary, transfer].map(str::as_bytes),
        out,
    );
}

/// Appends the head of a reply. Each field ends its own line.
fn head(status: &str, keep_alive: bool, fields: &[&[u8]], out: &mut Vec<u8>) {
    append(&[b"HTTP/1.1 ", status.as_bytes(), b"\r\n"], out);
    append(fields, out);
    out.extend_from_slice(connection(keep_alive));
}

/// Returns the last line of a head, with the empty one behind it.
fn connection(keep_alive: bool) -> &'static [u8] {
    if keep_alive { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" }
}

/// Appends all parts, for which memory is taken once.
fn append(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Returns a page that shows its text as the title of the browser's window.
fn title(text: impl Display) -> String {
    format!("<title>{text}</title>\n")
}

/// Returns the body of a reply to an announce that is refused (BEP 3). When the client may ask again is said twice: in
/// minutes (BEP 31), and as an interval for clients that read nothing else.
fn failure_body(reason: &str, retry: Option<Retry>) -> Result<Vec<u8>, Error> {
    bencode(|value| {
        value.emit_dict(|mut dict| {
            dict.emit_pair(b"failure reason", reason)?;
            let Some(retry) = retry else { return Ok(()) };
            dict.emit_pair(b"interval", retry.interval())?;
            match retry {
                Retry::InMinutes(minutes) => dict.emit_pair(b"retry in", minutes.get()),
                Retry::Never => dict.emit_pair(b"retry in", "never"),
            }
        })
    })
}

/// Returns what `value` writes.
pub(super) fn bencode(
    value: impl FnOnce(SingleItemEncoder<'_>) -> Result<(), bendy::encoding::Error>,
) -> Result<Vec<u8>, Error> {
    let mut encoder = Encoder::new();
    encoder.emit_with(value)?;
    Ok(encoder.get_output()?)
}

#[cfg(test)]
mod tests;
