//! `gzip`: the pages of `fullscrape`, compressed for clients that ask for it. No other reply ever is.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use std::io::Write as _;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{ConfigError, Settings};
use crate::http::flavour::{FullScrape, Listing, Stream};
use crate::http::request::Request;
use crate::server::{Beginning, Opening, Plug, StartError, Threads};
use crate::tracker::store::Store;
use crate::tracker::{AddressFamilies, Flavour, Minute};

/// Seven tenths of what is then left of a page are info hashes, which nothing makes shorter: the levels above save an
/// eighth at most, at two to thirty times the cost.
const LEVEL: Compression = Compression::fast();

/// Pages that are compressed at a time. Each takes some 400 KB for as long as its client is slow, which is more than
/// strangers may have as often as they like. Further pages are sent as they are.
const MAX_AT_A_TIME: usize = 16;

/// The pages of `P`, compressed where the client wants it.
#[derive(Debug)]
pub struct Compressed<P> {
    pages: P,
    places: Arc<Semaphore>,
}

impl<P> Compressed<P> {
    fn new(pages: P) -> Self {
        Self { pages, places: Arc::new(Semaphore::new(MAX_AT_A_TIME)) }
    }
}

impl<P: Plug> Plug for Compressed<P> {
    type Opened = P::Opened;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        P::check(settings)
    }

    fn open(opening: &Opening<'_>) -> Result<P::Opened, StartError> {
        P::open(opening)
    }

    fn plug(opened: P::Opened, settings: &Settings) -> Result<Self, StartError> {
        P::plug(opened, settings).map(Self::new)
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        self.pages.begin(beginning)
    }

    fn reload(&self, threads: &mut Threads) {
        self.pages.reload(threads);
    }

    fn finish(&self, deadline: Instant) {
        self.pages.finish(deadline);
    }
}

impl<P: FullScrape> FullScrape for Compressed<P> {
    type Stream = Coded<P::Stream>;

    const NEGOTIATES: bool = true;

    fn open(&self, listing: Listing, request: &Request<'_>) -> Option<Self::Stream> {
        let page = self.pages.open(listing, request)?;
        let wanted = wants_gzip(request.header("accept-encoding"));
        let place = wanted.then(|| Arc::clone(&self.places).try_acquire_owned().ok()).flatten();
        Some(Coded { page, gzip: place.map(Gzip::new) })
    }
}

/// A page under way, compressed or not.
#[derive(Debug)]
pub struct Coded<S> {
    page: S,
    gzip: Option<Gzip>,
}

impl<S: Stream> Stream for Coded<S> {
    fn content_encoding(&self) -> Option<&'static str> {
        self.gzip.is_some().then_some("gzip")
    }

    fn next<F: AddressFamilies>(&mut self, store: &Store<F>, now: Minute, out: &mut Vec<u8>) -> bool {
        let Some(gzip) = &mut self.gzip else { return self.page.next(store, now, out) };
        let more = self.page.next(store, now, &mut gzip.plain);
        gzip.compress(more, out);
        more
    }
}

#[derive(Debug)]
struct Gzip {
    encoder: GzEncoder<Vec<u8>>,
    /// The piece that is being compressed.
    plain: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl Gzip {
    fn new(place: OwnedSemaphorePermit) -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), LEVEL), plain: Vec::new(), _place: place }
    }

    /// Nothing is flushed before the end, which would cost bytes: of its own accord the compressor keeps no more than
    /// some ten pieces back.
    fn compress(&mut self, more: bool, out: &mut Vec<u8>) {
        // The encoder writes to a vector of its own, whose place is taken by the one that is to be sent. Writing to a
        // vector does not fail.
        mem::swap(self.encoder.get_mut(), out);
        let _ = self.encoder.write_all(&self.plain);
        if !more {
            let _ = self.encoder.try_finish();
        }
        mem::swap(self.encoder.get_mut(), out);
        self.plain.clear();
    }
}

/// Does a client with these `Accept-Encoding` fields want gzip (RFC 9110, section 12.5.3), and nothing rather than it?
fn wants_gzip<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for (coding, weight) in fields.flat_map(|field| field.split(|&byte| byte == b',')).filter_map(member) {
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            gzip = Some(weight);
        } else if coding.eq_ignore_ascii_case(b"identity") {
            identity = Some(weight);
        } else if coding == b"*" {
            any = Some(weight);
        }
    }
    // A page as it is will do for everybody, but where nobody asks for it, it is preferred to nothing.
    let (gzip, identity) = (gzip.or(any).unwrap_or(0), identity.or(any).unwrap_or(0));
    gzip > 0 && gzip >= identity
}

/// A coding and its weight in thousandths; `None` if the member is malformed, and to be ignored.
fn member(text: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = text.splitn(2, |&byte| byte == b';').map(<[u8]>::trim_ascii);
    let coding = parts.next()?;
    let Some(parameter) = parts.next() else { return Some((coding, 1000)) };
    match parameter {
        [b'q' | b'Q', b'=', value @ ..] => Some((coding, weight(value)?)),
        _ => None,
    }
}

/// A number from 0 to 1 with at most three decimals, in thousandths (RFC 9110, section 12.4.2).
fn weight(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let three = decimals.iter().chain(b"000").take(3);
    let thousandths = three.fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::tracker::Capacity;
    use crate::tracker::Ipv4Only;
    use crate::tracker::keyed_hash::HashKey;

    /// Pages that consist of these pieces.
    #[derive(Clone, Default)]
    struct Pieces(Vec<Vec<u8>>);

    impl FullScrape for Pieces {
        type Stream = Self;

        const NEGOTIATES: bool = false;

        fn open(&self, _: Listing, _: &Request<'_>) -> Option<Self> {
            Some(self.clone())
        }
    }

    impl Stream for Pieces {
        fn content_encoding(&self) -> Option<&'static str> {
            None
        }

        fn next<F: AddressFamilies>(&mut self, _: &Store<F>, _: Minute, out: &mut Vec<u8>) -> bool {
            out.append(&mut self.0.remove(0));
            !self.0.is_empty()
        }
    }

    fn open(pages: &Compressed<Pieces>, fields: &str) -> Coded<Pieces> {
        let head = format!("GET /scrape HTTP/1.1\r\n{fields}\r\n");
        let mut room = Request::room();
        let (request, _) = Request::parse(head.as_bytes(), &mut room).unwrap().unwrap();
        pages.open(Listing::Scrape, &request).unwrap()
    }

    /// What is sent for each piece.
    fn sent(page: &mut Coded<Pieces>) -> Vec<Vec<u8>> {
        let store = Store::<Ipv4Only>::new(HashKey::from_bytes(&[7; 48]), Capacity::NONE);
        let mut sent = Vec::new();
        loop {
            let mut out = b"head".to_vec();
            let more = page.next(&store, Minute(0), &mut out);
            assert!(out.starts_with(b"head"), "it is appended");
            sent.push(out.split_off(4));
            if !more {
                return sent;
            }
        }
    }

    fn unzipped(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(bytes);
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain).unwrap();
        assert!(decoder.into_inner().is_empty(), "something behind the end");
        plain
    }

    const GZIP: &str = "Accept-Encoding: gzip\r\n";

    #[test]
    fn the_client_chooses() {
        for (value, gzip) in [
            ("gzip", true),
            ("GZip", true),
            ("x-gzip", true),
            ("gzip, deflate, br", true),
            ("deflate,\tgzip\t; q=0.001", true),
            ("br;q=1.0, gzip;Q=0.8, *;q=0.1", true),
            ("gzip;q=1.000", true),
            ("gzip;q=1.", true),
            ("gzip;q=0.5, identity;q=0.5", true),
            ("gzip, identity;q=0", true),
            ("*", true),
            ("*;q=0.5", true),
            ("*, identity;q=0.9", true),
            ("gzip;q=0, x-gzip", true),
            ("", false),
            ("identity", false),
            ("deflate, br", false),
            ("gzipped", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("x-gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("*;q=0", false),
            ("*;q=0, identity", false),
            ("identity;q=0", false),
            ("identity, gzip;q=0.999", false),
            ("*, gzip;q=0.9", false),
            // Malformed members do not count.
            ("gzip;q=2", false),
            ("gzip;q=1.001", false),
            ("gzip;q=0.5000", false),
            ("gzip;q=-1", false),
            ("gzip;q=", false),
            ("gzip;q=.5", false),
            ("gzip;q = 1", false),
            ("gzip;", false),
            ("gzip;level=9", false),
            ("gzip;q=1;q=1", false),
            ("gzip;q=x, identity;q=y, *", true),
            (",,;,;q=1,gzip,", true),
        ] {
            assert_eq!(wants_gzip([value.as_bytes()].into_iter()), gzip, "{value}");
        }
        let fields = |fields: &[&'static str]| wants_gzip(fields.iter().map(|field| field.as_bytes()));
        assert!(!fields(&[]) && fields(&["br", "gzip"]) && !fields(&["gzip;q=0.5", "identity"]));
    }

    #[test]
    fn a_page_is_compressed_only_for_who_wants_it() {
        let pages = Compressed::new(Pieces(vec![b"d5:files".to_vec(), vec![], b"dee".to_vec()]));
        let mut plain = open(&pages, "");
        assert_eq!(plain.content_encoding(), None);
        assert_eq!(sent(&mut plain), [&b"d5:files"[..], b"", b"dee"]);
        let mut gzip = open(&pages, GZIP);
        assert_eq!(gzip.content_encoding(), Some("gzip"));
        assert_eq!(unzipped(&sent(&mut gzip).concat()), b"d5:filesdee");
    }

    #[test]
    fn so_many_pages_are_compressed_at_a_time_and_no_more() {
        let pages = Compressed::new(Pieces(vec![b"x".to_vec()]));
        let mut open_pages: Vec<_> = (0..MAX_AT_A_TIME).map(|_| open(&pages, GZIP)).collect();
        assert!(open_pages.iter().all(|page| page.gzip.is_some()));
        let mut further = open(&pages, GZIP);
        assert_eq!(further.content_encoding(), None);
        assert_eq!(sent(&mut further), [b"x"]);
        open_pages.pop();
        assert_eq!(open(&pages, GZIP).content_encoding(), Some("gzip"));
    }

    #[test]
    fn progress_is_steady_and_what_is_kept_is_bounded() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut torrent = || [&[0; 20].map(|_: u8| rng.u8(..))[..], b"d8:completei1e10:downloadedi0e"].concat();
        let pieces: Vec<_> = (0..200).map(|_| (0..256).flat_map(|_| torrent()).collect::<Vec<u8>>()).collect();
        let piece = pieces[0].len();
        let pages = Compressed::new(Pieces(pieces));
        let sent = sent(&mut open(&pages, GZIP));
        let silent = sent.split(|piece| !piece.is_empty()).map(<[_]>::len).max().unwrap();
        assert!(silent < 12, "{silent} pieces without anything to send");
        assert!(sent.iter().all(|sent| sent.len() < 12 * piece));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_compressed_is_the_page(
            pieces in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..3), 0..9000_usize), 1..20),
        ) {
            let pieces: Vec<Vec<u8>> =
                pieces.into_iter().map(|(byte, head, len)| [head, vec![byte; len]].concat()).collect();
            let pages = Compressed::new(Pieces(pieces.clone()));
            prop_assert_eq!(unzipped(&sent(&mut open(&pages, GZIP)).concat()), pieces.concat());
        }

        #[test]
        fn no_field_is_too_strange(bytes: Vec<u8>, text in "([a-z*]{0,3}|gzip)( ?;q=[0-9.]{0,6})?(,gzip;q=0)?") {
            wants_gzip([&bytes[..], text.as_bytes()].into_iter());
        }
    }
}
