//! One torrent, as each page names it, to the byte: programs parse these pages.

use std::io::Write as _;

use crate::http::decimal::Decimal;
use crate::http::listing::{Listing, TpbsFormat};
use crate::tracker::store::Torrent;
use crate::tracker::{AddressFamilies, InfoHash, Minute, ScrapeCounts, TorrentPeers as _};

/// Torrents in a piece: some 20 KB, encoded when no lock is held. Between two pieces other connections of the worker
/// have their turn, and for a client that stalls one piece is kept.
pub(super) const TORRENTS_PER_PIECE: usize = 256;

/// What a page says of one torrent: a copy, so that its shard can be unlocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) info_hash: InfoHash,
    pub(super) counts: ScrapeCounts,
    /// When a peer was last heard of; right only for a state dump, which alone says it.
    pub(super) touched: Minute,
}

impl Row {
    /// Copies what this listing says of the torrent.
    pub(super) fn of<F: AddressFamilies>(torrent: &Torrent<F>, listing: Listing, now: Minute) -> Self {
        let quiet = if listing == Listing::Statedump { torrent.peers.quiet_for(now) } else { 0 };
        Self {
            info_hash: torrent.info_hash,
            counts: torrent.scrape_counts(),
            touched: Minute(now.0.saturating_sub(quiet)),
        }
    }

    /// Appends the torrent's part of the page.
    pub(super) fn write(&self, listing: Listing, out: &mut Vec<u8>) {
        let Self { info_hash, counts, touched } = self;
        let ScrapeCounts { seeders, leechers, downloaded } = counts;
        // Writing to a vector does not fail.
        let _ = match listing {
            Listing::Scrape | Listing::Tpbs(TpbsFormat::Ben) => {
                bencode(info_hash, *counts, out);
                Ok(())
            }
            Listing::Tpbs(TpbsFormat::Bin) => {
                out.extend_from_slice(&info_hash.0);
                out.extend_from_slice(&seeders.to_be_bytes());
                out.extend_from_slice(&leechers.to_be_bytes());
                Ok(())
            }
            Listing::Tpbs(TpbsFormat::Url) => {
                info_hash.0.iter().for_each(|byte| percent(*byte, out));
                writeln!(out, ":{seeders}:{leechers}")
            }
            Listing::Tpbs(TpbsFormat::Txt) => {
                hex(info_hash, out);
                writeln!(out, ":{seeders}:{leechers}")
            }
            Listing::Tpbs(TpbsFormat::Txtp) => {
                hex(info_hash, out);
                writeln!(out, ":{seeders}:{leechers}:{downloaded}")
            }
            Listing::Statedump => {
                hex(info_hash, out);
                writeln!(out, ":{}:{downloaded}", touched.0)
            }
        };
    }
}

/// What stands before the first torrent of a bencoded page and behind the last.
pub(super) const BENCODE_FRAME: (&[u8], &[u8]) = (b"d5:filesd", b"ee");

/// Appends a torrent as it stands on a bencoded page.
pub(super) fn bencode(info_hash: &InfoHash, counts: ScrapeCounts, out: &mut Vec<u8>) {
    let ScrapeCounts { seeders, leechers, downloaded } = counts;
    let [seeders, downloaded, leechers] = [seeders, downloaded, leechers].map(Decimal::new);
    for part in [b"20:", &info_hash.0[..], b"d8:completei", seeders.bytes(), b"e10:downloadedi"] {
        out.extend_from_slice(part);
    }
    for part in [downloaded.bytes(), b"e10:incompletei", leechers.bytes(), b"ee"] {
        out.extend_from_slice(part);
    }
}

/// Appends what [`InfoHash`]'s `Display` writes, without the cost of formatting each byte.
fn hex(info_hash: &InfoHash, out: &mut Vec<u8>) {
    out.extend(info_hash.0.iter().flat_map(|byte| [digit(byte >> 4, b'A'), digit(byte & 15, b'A')]));
}

/// Appends a byte, percent-encoded as the original does it: these bytes stand for themselves, the digits of others are
/// lowercase.
fn percent(byte: u8, out: &mut Vec<u8>) {
    if byte.is_ascii_alphanumeric() || b"$/.=~".contains(&byte) {
        out.push(byte);
    } else {
        out.extend_from_slice(&[b'%', digit(byte >> 4, b'a'), digit(byte & 15, b'a')]);
    }
}

/// Returns the hexadecimal digit of a number below 16; `ten` is the digit of 10.
fn digit(number: u8, ten: u8) -> u8 {
    if number < 10 { b'0' + number } else { ten + number - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(listing: Listing) -> Vec<u8> {
        let row = Row {
            info_hash: InfoHash(*b"AZaz09$/.=~-_:% \0\x0a\xab\xff"),
            counts: ScrapeCounts { seeders: 12, leechers: 0, downloaded: u32::MAX },
            touched: Minute(29_000_000),
        };
        let mut out = Vec::new();
        row.write(listing, &mut out);
        out
    }

    const HEX: &str = "415A617A3039242F2E3D7E2D5F3A2520000AABFF";

    #[test]
    fn each_format_is_right_to_the_byte() {
        let hash = &b"AZaz09$/.=~-_:% \0\x0a\xab\xff"[..];
        let ben = [b"20:", hash, b"d8:completei12e10:downloadedi4294967295e10:incompletei0ee"].concat();
        assert_eq!(written(Listing::Scrape), ben);
        assert_eq!(written(Listing::Tpbs(TpbsFormat::Ben)), ben);
        assert_eq!(written(Listing::Tpbs(TpbsFormat::Bin)), [hash, &[0, 0, 0, 12, 0, 0, 0, 0]].concat());
        let url = "AZaz09$/.=~%2d%5f%3a%25%20%00%0a%ab%ff:12:0\n";
        assert_eq!(String::from_utf8(written(Listing::Tpbs(TpbsFormat::Url))).unwrap(), url);
        for (listing, rest) in [
            (Listing::Tpbs(TpbsFormat::Txt), ":12:0\n"),
            (Listing::Tpbs(TpbsFormat::Txtp), ":12:0:4294967295\n"),
            (Listing::Statedump, ":29000000:4294967295\n"),
        ] {
            assert_eq!(String::from_utf8(written(listing)).unwrap(), format!("{HEX}{rest}"));
        }
    }
}
