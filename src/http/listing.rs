//! The pages that name every torrent: which there are, and in which formats.

use super::query::{MAX_WORD, Query};
use super::reply::Error;

/// A page that names every torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `GET /scrape` without a query.
    Scrape,
    /// `/stats?mode=tpbs`, in one of its formats.
    Tpbs(TpbsFormat),
    /// `/stats?mode=statedump`.
    Statedump,
}

/// `format=` of `mode=tpbs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpbsFormat {
    /// Bencode, as `GET /scrape` gives it.
    Ben,
    /// 20 bytes, then seeders and leechers as 32-bit big-endian numbers.
    Bin,
    /// The info hash in percent-encoding.
    Url,
    /// `HEX:seeders:leechers`
    Txt,
    /// `HEX:seeders:leechers:downloaded`
    Txtp,
}

impl Listing {
    /// Returns the page of a mode of the statistics; `None` if the mode has no such page.
    ///
    /// # Errors
    ///
    /// The query names no format that there is.
    pub(super) fn of_mode(mode: &str, query: Query<'_>) -> Result<Option<Self>, Error> {
        match mode {
            "tpbs" => TpbsFormat::read(query).map(|format| Some(Self::Tpbs(format))),
            "statedump" => Ok(Some(Self::Statedump)),
            _ => Ok(None),
        }
    }
}

impl TpbsFormat {
    fn read(query: Query<'_>) -> Result<Self, Error> {
        match query.word("format", "ben", &mut [0; MAX_WORD]) {
            Some("ben") => Ok(Self::Ben),
            Some("bin") => Ok(Self::Bin),
            Some("url") => Ok(Self::Url),
            Some("txt") => Ok(Self::Txt),
            Some("txtp") => Ok(Self::Txtp),
            _ => Err(Error::Parameter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_a_page_and_one_of_them_has_formats() {
        let of = |mode, query: &'static str| Listing::of_mode(mode, Query::new(query.as_bytes()));
        for (query, format) in [
            ("mode=tpbs", TpbsFormat::Ben),
            ("mode=tpbs&format=ben", TpbsFormat::Ben),
            ("mode=tpbs&format=bin", TpbsFormat::Bin),
            ("mode=tpbs&format=url", TpbsFormat::Url),
            ("format=txt&mode=tpbs", TpbsFormat::Txt),
            ("mode=tpbs&format=x&format=%74xtp", TpbsFormat::Txtp),
        ] {
            assert_eq!(of("tpbs", query), Ok(Some(Listing::Tpbs(format))), "{query}");
        }
        for query in ["format=", "format=x", "format=TXT", "format=%zz", "format=ben&format=a-very-long-format"] {
            assert_eq!(of("tpbs", query), Err(Error::Parameter), "{query}");
            assert_eq!(of("statedump", query), Ok(Some(Listing::Statedump)));
            assert_eq!(of("peer", query), Ok(None));
        }
    }
}
