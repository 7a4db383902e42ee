//! What the query of a scrape asks for.

use crate::tracker::{InfoHash, PendingScrape};

use super::query::Query;
use super::reply::Error;

/// Maximum number of info hashes that are looked at in one scrape; the rest is ignored.
const MAX_SCRAPED: usize = 64;

/// The torrents that a scrape asks for (BEP 48), each once and in the order in which bencode wants them.
pub(super) struct ScrapeQuery {
    scrapes: [PendingScrape; MAX_SCRAPED],
    len: usize,
}

impl ScrapeQuery {
    /// Reads the parameters. All but `info_hash` are skipped.
    ///
    /// # Errors
    ///
    /// There is no info hash, or one is malformed.
    pub(super) fn read(query: Query<'_>) -> Result<Self, Error> {
        let (mut hashes, mut many) = ([InfoHash::default(); MAX_SCRAPED], 0);
        let values = query.pairs().filter(|(key, _)| key.is(b"info_hash"));
        for (place, (_, value)) in hashes.iter_mut().zip(values) {
            *place = value.info_hash()?.ok_or(Error::Parameter)?;
            many += 1;
        }
        let hashes = hashes.get_mut(..many).filter(|hashes| !hashes.is_empty()).ok_or(Error::Parameter)?;
        hashes.sort_unstable();
        let mut scrape = Self { scrapes: [PendingScrape::default(); MAX_SCRAPED], len: 0 };
        let each_once = hashes.chunk_by(|one, next| one == next).filter_map(<[_]>::first);
        for (place, &info_hash) in scrape.scrapes.iter_mut().zip(each_once) {
            place.info_hash = info_hash;
            scrape.len += 1;
        }
        Ok(scrape)
    }

    /// Returns the torrents, sorted and each once, to be scraped.
    pub(super) fn scrapes(&mut self) -> &mut [PendingScrape] {
        self.scrapes.get_mut(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scraped(query: &str) -> Result<Vec<InfoHash>, Error> {
        let mut scrape = ScrapeQuery::read(Query::new(query.as_bytes()))?;
        Ok(scrape.scrapes().iter().map(|one| one.info_hash).collect())
    }

    #[test]
    fn info_hashes_are_sorted_and_each_comes_once() {
        let hash = |letter: u8| InfoHash([letter; 20]);
        let text = |letter: char| format!("info_hash={}&", String::from(letter).repeat(20));
        let query = format!("{}x=1&{}{}{}", text('c'), text('a'), text('c'), text('b'));
        assert_eq!(scraped(&query), Ok(vec![hash(b'a'), hash(b'b'), hash(b'c')]));
        for query in ["", "x=1", "info_hash=", "info_hash=a", &format!("{}info_hash=a", text('a')), "info_hash=%zz"] {
            assert_eq!(scraped(query), Err(Error::Parameter), "{query}");
        }
    }

    #[test]
    fn what_comes_after_64_info_hashes_is_ignored() {
        let query: String = (10..75).map(|n| format!("info_hash=aaaaaaaaaaaaaaaaaa{n}&")).collect();
        let hashes = scraped(&format!("{query}info_hash=a")).unwrap();
        assert_eq!(hashes.len(), 64);
        assert_eq!(hashes.last(), Some(&InfoHash(*b"aaaaaaaaaaaaaaaaaa73")));
    }
}
