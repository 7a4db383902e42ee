//! The reply to a scrape.

use bendy::encoding::SingleItemEncoder;

use crate::tracker::PendingScrape;

use super::reply::{self, Error};

/// Returns its body (BEP 48), with zeros for torrents without counts. They must come sorted by their info hashes, and
/// each once.
pub(super) fn body(scrapes: &[PendingScrape]) -> Result<Vec<u8>, Error> {
    let files = |value: SingleItemEncoder<'_>| {
        value.emit_dict(|mut dict| {
            for scrape in scrapes {
                let counts = scrape.counts.unwrap_or_default();
                dict.emit_pair_with(&scrape.info_hash.0, |value| {
                    value.emit_dict(|mut dict| {
                        dict.emit_pair(b"complete", counts.seeders)?;
                        dict.emit_pair(b"downloaded", counts.downloaded)?;
                        dict.emit_pair(b"incomplete", counts.leechers)
                    })
                })?;
            }
            Ok(())
        })
    };
    reply::bencode(|value| value.emit_dict(|mut dict| dict.emit_pair_with(b"files", files)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::{InfoHash, ScrapeCounts};

    #[test]
    fn a_scrape_lists_files() {
        let counts = Some(ScrapeCounts { seeders: 4, leechers: 5, downloaded: 6 });
        let one = PendingScrape { info_hash: InfoHash([b'1'; 20]), counts };
        let two = PendingScrape { info_hash: InfoHash([b'2'; 20]), counts: None };
        let scraped = body(&[one, two]).unwrap();
        let expected = "d5:filesd20:11111111111111111111d8:completei4e10:downloadedi6e10:incompletei5ee\
                        20:22222222222222222222d8:completei0e10:downloadedi0e10:incompletei0eeee";
        assert_eq!(String::from_utf8(scraped).unwrap(), expected);
        assert_eq!(body(&[]).unwrap(), b"d5:filesdee");
    }

    #[test]
    fn unsorted_keys_are_a_defect_that_is_noticed() {
        let scrapes = [2, 1].map(|n| PendingScrape { info_hash: InfoHash([n; 20]), counts: None });
        assert_eq!(body(&scrapes), Err(Error::Internal));
    }
}
