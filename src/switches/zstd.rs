//! `zstd`: full scrapes, compressed for clients that ask for it (RFC 8878). No other reply ever is.

use zstd_safe::zstd_sys::ZSTD_EndDirective::{self, ZSTD_e_continue, ZSTD_e_end};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, SafeResult, compress_bound};

use crate::config::Settings;
use crate::http::coding::{Coding, Encoder, EncoderLimit, EncoderPermit};
use crate::server::{Plug, StartError, opens_nothing};

/// The strongest of the fast levels. Level 1 makes a page of info hashes and small numbers no smaller; level 3 makes it
/// smaller by less than a hundredth and takes five times the memory.
const LEVEL: i32 = -1;

/// The window is 16 KB (2 to the power of this): what repeats on a page does so in every row, and info hashes never do.
/// Twice as much makes a page smaller by less than a hundredth and takes 110 KB more of memory. RFC 9659 allows 8 MB.
const WINDOW_LOG: u32 = 14;

/// Pages that may be compressed at the same time. Each takes some 170 KB, from its beginning to its end.
pub(super) const MAX_PAGES: usize = 16;

/// The content coding, and how many use it.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "in a build with zstd-always it belongs to that alone")]
pub struct Zstd {
    limit: EncoderLimit,
}

impl Zstd {
    fn new() -> Self {
        Self::with_max_pages(MAX_PAGES)
    }

    /// Compresses so many pages at the same time.
    pub(super) fn with_max_pages(max: usize) -> Self {
        Self { limit: EncoderLimit::new(max) }
    }

    /// Begins a page; `None` if there are too many, or no memory for one more.
    fn page(&self) -> Option<Page> {
        let permit = self.limit.take()?;
        let mut context = CCtx::try_create()?;
        context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
        context.set_parameter(CParameter::WindowLog(WINDOW_LOG)).ok()?;
        let mut page = Page { context, _permit: permit };
        // Takes all memory that will be needed. Where there is none, the page can still be sent in another way.
        page.compress(&mut InBuffer::around(&[]), &mut Vec::new(), ZSTD_e_continue).ok()?;
        Some(page)
    }
}

impl Plug for Zstd {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self::new())
    }
}

impl Coding for Zstd {
    fn names(&self) -> &'static [&'static str] {
        &["zstd"]
    }

    fn encoder(&self) -> Option<Box<dyn Encoder>> {
        Some(Box::new(self.page()?))
    }
}

/// A page that is being compressed, as one frame.
struct Page {
    context: CCtx<'static>,
    _permit: EncoderPermit,
}

impl Page {
    /// Compresses some of `input`, and appends what comes of it to `out`. Returns how much is still held back.
    fn compress(&mut self, input: &mut InBuffer<'_>, out: &mut Vec<u8>, directive: ZSTD_EndDirective) -> SafeResult {
        let (begin, piece) = (out.len(), input.src.len());
        out.reserve(compress_bound(piece));
        self.context.compress_stream2(&mut OutBuffer::around_pos(out, begin), input, directive)
    }
}

impl Encoder for Page {
    /// Nothing is flushed before the end, which would cost bytes: of its own accord the compressor keeps no more than
    /// the window back, which is less than a piece.
    fn encode(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>) {
        let mut input = InBuffer::around(piece);
        let directive = if is_last { ZSTD_e_end } else { ZSTD_e_continue };
        loop {
            let result = self.compress(&mut input, out, directive);
            debug_assert!(result.is_ok(), "all memory has been taken, and nothing else can fail");
            match result {
                Ok(held_back) if input.pos() < piece.len() || (is_last && held_back > 0) => (),
                // What is cut off so is a frame without an end, which no receiver takes for a whole one.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;
    use ruzstd::decoding::StreamingDecoder;

    use super::*;

    /// Returns what is sent for each piece of a page.
    fn sent<P: AsRef<[u8]>>(page: &mut Page, pieces: &[P]) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let mut out = b"head".to_vec();
            page.encode(piece.as_ref(), n + 1 == pieces.len(), &mut out);
            assert!(out.starts_with(b"head"), "it is appended");
            sent.push(out.split_off(4));
        }
        sent
    }

    /// Decompresses one frame with a library that has nothing in common with the one under test.
    fn decompressed(mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = StreamingDecoder::new(&mut bytes).unwrap();
        decoder.read_to_end(&mut plain).unwrap();
        assert!(bytes.is_empty(), "something behind the end");
        plain
    }

    /// Pieces as they are on a full scrape of so many times 256 torrents.
    fn torrents(pieces: usize) -> Vec<Vec<u8>> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut torrent = || {
            let counts =
                format!("d8:completei{}e10:downloadedi{}e10:incompletei{}ee", rng.u8(..9), rng.u8(..), rng.u8(..3));
            [b"20:", &[0; 20].map(|_: u8| rng.u8(..))[..], counts.as_bytes()].concat()
        };
        (0..pieces).map(|_| (0..256).flat_map(|_| torrent()).collect()).collect()
    }

    #[test]
    fn a_page_of_several_pieces_is_one_frame() {
        let pieces: [&[u8]; 3] = [b"d5:files", b"", b"dee"];
        assert_eq!(decompressed(&sent(&mut Zstd::new().page().unwrap(), &pieces).concat()), b"d5:filesdee");
        assert_eq!(decompressed(&sent(&mut Zstd::new().page().unwrap(), &[b""]).concat()), b"");
    }

    #[test]
    fn no_more_pages_than_the_maximum_are_compressed_at_a_time() {
        let zstd = Zstd::new();
        let mut pages: Vec<_> = (0..MAX_PAGES).map(|_| zstd.encoder().unwrap()).collect();
        assert!(zstd.encoder().is_none());
        pages.pop();
        assert!(zstd.encoder().is_some());
    }

    #[test]
    fn progress_is_steady_and_what_a_page_takes_is_bounded_from_its_beginning() {
        let pieces = torrents(200);
        let mut page = Zstd::new().page().unwrap();
        let taken = page.context.sizeof();
        assert!(taken < 180_000, "{taken} bytes");
        let sent = sent(&mut page, &pieces);
        assert_eq!(page.context.sizeof(), taken);
        // The first piece may be kept back whole, and each of the others comes with what was left of the one before.
        let silent = sent.split(|piece| !piece.is_empty()).map(<[_]>::len).max().unwrap();
        assert!(silent < 2, "{silent} pieces without anything to send");
        assert!(sent.iter().all(|sent| sent.len() < pieces[0].len()));
        let (plain, compressed) = (pieces.concat(), sent.concat());
        assert_eq!(decompressed(&compressed), plain);
        assert!(compressed.len() < plain.len() * 2 / 5, "{} of {} bytes", compressed.len(), plain.len());
    }

    #[test]
    fn a_receiver_needs_no_more_than_the_window() {
        let frame = sent(&mut Zstd::new().page().unwrap(), &torrents(1)).concat();
        // RFC 8878, section 3.1.1.1: no dictionary, no size and no single segment, so that a window follows.
        let [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] = frame[..] else { panic!("no frame") };
        assert_eq!((descriptor & 0b1110_0011, window >> 3, window & 7), (0, (WINDOW_LOG - 10) as u8, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_compressed_is_the_page(
            pieces in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300), 0..90_000_usize), 1..20),
        ) {
            let pieces: Vec<Vec<u8>> =
                pieces.into_iter().map(|(byte, head, len)| [head, vec![byte; len]].concat()).collect();
            prop_assert_eq!(decompressed(&sent(&mut Zstd::new().page().unwrap(), &pieces).concat()), pieces.concat());
        }
    }
}
