//! `gzip`: full scrapes, compressed for clients that ask for it (RFC 1952). No other reply ever is.

use std::io::Write as _;
use std::mem;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::Settings;
use crate::http::coding::{Coding, Encoder, EncoderLimit, EncoderPermit};
use crate::server::{Plug, StartError, opens_nothing};

/// The fastest level. Seven tenths of what it leaves of a page are info hashes, which nothing makes shorter: the levels
/// above save an eighth at most, at two to thirty times the cost.
const LEVEL: Compression = Compression::fast();

/// Pages that may be compressed at the same time. Each takes some 400 KB.
pub(super) const MAX_PAGES: usize = 16;

/// The content coding, and how many use it.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "in a build with gzip-always it belongs to that alone")]
pub struct Gzip {
    limit: EncoderLimit,
}

impl Gzip {
    fn new() -> Self {
        Self::with_max_pages(MAX_PAGES)
    }

    /// Compresses so many pages at the same time.
    pub(super) fn with_max_pages(max: usize) -> Self {
        Self { limit: EncoderLimit::new(max) }
    }
}

impl Plug for Gzip {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self::new())
    }
}

impl Coding for Gzip {
    fn names(&self) -> &'static [&'static str] {
        &["gzip", "x-gzip"]
    }

    fn encoder(&self) -> Option<Box<dyn Encoder>> {
        let permit = self.limit.take()?;
        Some(Box::new(Page { encoder: GzEncoder::new(Vec::new(), LEVEL), _permit: permit }))
    }
}

/// A page that is being compressed.
struct Page {
    encoder: GzEncoder<Vec<u8>>,
    _permit: EncoderPermit,
}

impl Encoder for Page {
    /// Nothing is flushed before the end, which would cost bytes: of its own accord the compressor keeps no more than
    /// some ten pieces back.
    fn encode(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>) {
        // The encoder writes to a vector of its own, whose place is taken by the one that is to be sent. Writing to a
        // vector does not fail.
        mem::swap(self.encoder.get_mut(), out);
        let _ = self.encoder.write_all(piece);
        if is_last {
            let _ = self.encoder.try_finish();
        }
        mem::swap(self.encoder.get_mut(), out);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Returns what is sent for each piece of a page.
    fn sent<P: AsRef<[u8]>>(gzip: &Gzip, pieces: &[P]) -> Vec<Vec<u8>> {
        let mut encoder = gzip.encoder().unwrap();
        let mut sent = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let mut out = b"head".to_vec();
            encoder.encode(piece.as_ref(), n + 1 == pieces.len(), &mut out);
            assert!(out.starts_with(b"head"), "it is appended");
            sent.push(out.split_off(4));
        }
        sent
    }

    fn unzipped(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(bytes);
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain).unwrap();
        assert!(decoder.into_inner().is_empty(), "something behind the end");
        plain
    }

    #[test]
    fn a_page_of_several_pieces_is_one_member() {
        let pieces: [&[u8]; 3] = [b"d5:files", b"", b"dee"];
        assert_eq!(unzipped(&sent(&Gzip::new(), &pieces).concat()), b"d5:filesdee");
    }

    #[test]
    fn no_more_pages_than_the_maximum_are_compressed_at_a_time() {
        let gzip = Gzip::new();
        let mut pages: Vec<_> = (0..MAX_PAGES).map(|_| gzip.encoder().unwrap()).collect();
        assert!(gzip.encoder().is_none());
        pages.pop();
        assert!(gzip.encoder().is_some());
    }

    #[test]
    fn progress_is_steady_and_what_is_kept_is_bounded() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut torrent = || [&[0; 20].map(|_: u8| rng.u8(..))[..], b"d8:completei1e10:downloadedi0e"].concat();
        let pieces: Vec<_> = (0..200).map(|_| (0..256).flat_map(|_| torrent()).collect::<Vec<u8>>()).collect();
        let sent = sent(&Gzip::new(), &pieces);
        let silent = sent.split(|piece| !piece.is_empty()).map(<[_]>::len).max().unwrap();
        assert!(silent < 12, "{silent} pieces without anything to send");
        assert!(sent.iter().all(|sent| sent.len() < 12 * pieces[0].len()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_compressed_is_the_page(
            pieces in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..3), 0..9000_usize), 1..20),
        ) {
            let pieces: Vec<Vec<u8>> =
                pieces.into_iter().map(|(byte, head, len)| [head, vec![byte; len]].concat()).collect();
            prop_assert_eq!(unzipped(&sent(&Gzip::new(), &pieces).concat()), pieces.concat());
        }
    }
}
