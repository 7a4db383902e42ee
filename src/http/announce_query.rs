//! What the query of an announce asks for.

use crate::tracker::{Event, InfoHash, PEER_ID_LEN};

use super::query::{Encoded, Number, Query};
use super::reply::Error;

/// How many peers are handed out to a client that does not say how many it wants.
const DEFAULT_WANTED: usize = 50;

/// Maximum number of peers that are handed out in one reply.
pub(super) const MAX_WANTED: usize = 200;

/// Length, in bytes, of the longest keys and values that matter as text: `info_hash` and `completed`.
const MAX_TEXT: usize = 9;

/// The parameters of an announce (BEP 3). Those that change nothing here (`key`, `downloaded`, ...) are skipped, and so
/// are `ip`, which is the matter of [`ClientAddress`](super::flavour::ClientAddress), and `peer_id`: see [`peer_id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnnounceQuery {
    pub(super) info_hash: InfoHash,
    /// 0 where the query has none.
    pub(super) port: u16,
    /// `left=0`.
    pub(super) seeder: bool,
    /// `left=0`, and `uploaded` is more than 0.
    pub(super) uploaded: bool,
    pub(super) event: Event,
    /// Maximum number of peers that the client wants to be handed: `numwant`, at most [`MAX_WANTED`].
    pub(super) wanted: usize,
}

impl AnnounceQuery {
    /// Reads the parameters. A bad escape in a key, or in a value that does not matter, is skipped.
    ///
    /// # Errors
    ///
    /// There is no info hash, or more than one, or a value that matters is malformed.
    pub(super) fn read(query: Query<'_>) -> Result<Self, Error> {
        let mut info_hash = None;
        let (mut port, mut seeder, mut uploaded) = (0, false, None);
        let (mut event, mut wanted) = (Event::Update, DEFAULT_WANTED);
        for (key, value) in query.pairs() {
            let mut buffer = [0; MAX_TEXT];
            match key.decode(&mut buffer) {
                Ok(Some(b"info_hash")) if info_hash.is_none() => {
                    info_hash = Some(value.info_hash()?.ok_or(Error::Parameter)?)
                }
                Ok(Some(b"info_hash")) => return Err(Error::Parameter),
                Ok(Some(b"port")) => port = u16::try_from(natural(value)?).map_err(|_| Error::Parameter)?,
                // Who cannot say what is left is not believed to have everything.
                Ok(Some(b"left")) => seeder = value.number()? == Some(Number::Natural(0)),
                Ok(Some(b"uploaded")) => uploaded = Some(value),
                Ok(Some(b"event")) => event = read_event(value)?,
                Ok(Some(b"numwant")) => {
                    wanted = match value.number()?.ok_or(Error::Parameter)? {
                        Number::Negative => DEFAULT_WANTED,
                        Number::Natural(wanted) => usize::try_from(wanted).unwrap_or(MAX_WANTED).min(MAX_WANTED),
                    }
                }
                // Every reply is in compact form; BEP 23 allows that whatever the client prefers.
                Ok(Some(b"compact")) => {
                    value.number()?.ok_or(Error::Parameter)?;
                }
                _ => (),
            }
        }
        let info_hash = info_hash.ok_or(Error::NoInfoHash)?;
        // Of no interest in a leecher. It is nothing that is kept, so what makes no sense is no upload, and no error.
        let has_uploaded = |value: Encoded<'_>| matches!(value.number(), Ok(Some(Number::Natural(1..))));
        let uploaded = seeder && uploaded.is_some_and(has_uploaded);
        Ok(Self { info_hash, port, seeder, uploaded, event, wanted })
    }
}

/// Returns the peer id in the query of an announce: the last one, and of one that is too long the beginning, lest a
/// byte more hide whose it is. Empty if there is none, or one with a bad escape.
pub(super) fn peer_id<'r>(query: Query<'_>, buffer: &'r mut [u8; PEER_ID_LEN]) -> &'r [u8] {
    query.last("peer_id").and_then(|value| value.beginning(buffer).ok()).unwrap_or_default()
}

fn read_event(value: Encoded<'_>) -> Result<Event, Error> {
    let mut buffer = [0; MAX_TEXT];
    Ok(match value.decode(&mut buffer)? {
        Some(b"completed") => Event::Completed,
        Some(b"stopped") => Event::Stopped,
        _ => Event::Update,
    })
}

fn natural(value: Encoded<'_>) -> Result<u64, Error> {
    match value.number()? {
        Some(Number::Natural(natural)) => Ok(natural),
        _ => Err(Error::Parameter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "info_hash=%00%01abcdefghijklmnop%FE%ff";

    /// An announce with `HASH` and `rest`.
    fn announce(rest: &str) -> Result<AnnounceQuery, Error> {
        AnnounceQuery::read(Query::new(format!("{HASH}&{rest}").as_bytes()))
    }

    fn ok(rest: &str) -> AnnounceQuery {
        announce(rest).expect(rest)
    }

    #[test]
    fn an_announce_is_read_in_any_order_and_what_is_unknown_is_skipped() {
        let query = "peer_id=%zz&left=0&%zz=1&numwant=7&key=%4&event=completed&compact=1&supportcrypto=1&\
                     info%5fhash=aaaaaaaaaaaaaaaaaa%2b+&uploaded=x&ip=nonsense&p%6frt=68%381";
        let expected = AnnounceQuery {
            info_hash: InfoHash(*b"aaaaaaaaaaaaaaaaaa+ "),
            port: 6881,
            seeder: true,
            uploaded: false,
            event: Event::Completed,
            wanted: 7,
        };
        assert_eq!(AnnounceQuery::read(Query::new(query.as_bytes())), Ok(expected));
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let expected = AnnounceQuery {
            info_hash: InfoHash(*b"\x00\x01abcdefghijklmnop\xfe\xff"),
            port: 0,
            seeder: false,
            uploaded: false,
            event: Event::Update,
            wanted: 50,
        };
        assert_eq!(announce(""), Ok(expected));
    }

    #[test]
    fn an_info_hash_has_20_bytes_and_comes_once() {
        let read = |query: &str| AnnounceQuery::read(Query::new(query.as_bytes())).map(|announce| announce.info_hash);
        assert_eq!(read("port=1"), Err(Error::NoInfoHash));
        assert_eq!(read(""), Err(Error::NoInfoHash));
        for query in [
            "info_hash=",
            "info_hash",
            "info_hash=aaaaaaaaaaaaaaaaaaa",
            "info_hash=aaaaaaaaaaaaaaaaaaaaa",
            "info_hash=aaaaaaaaaaaaaaaaaaa%4",
            "info_hash=%zzaaaaaaaaaaaaaaaaaaa",
            "info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=aaaaaaaaaaaaaaaaaaaa",
            "info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=",
        ] {
            assert_eq!(read(query), Err(Error::Parameter), "{query}");
        }
    }

    #[test]
    fn a_port_is_a_number_up_to_65535() {
        assert_eq!((ok("port=65535").port, ok("port=0").port, ok("port=1&port=2").port), (65535, 0, 2));
        for value in ["", "65536", "-1", "a", "1a", " 1", "1+", "+1", "%zz", "99999999999999999999"] {
            assert_eq!(announce(&format!("port={value}")), Err(Error::Parameter), "{value}");
        }
        assert_eq!(announce("port"), Err(Error::Parameter));
    }

    #[test]
    fn only_left_0_makes_a_seeder() {
        assert!(ok("left=0").seeder && ok("left=00").seeder && ok("left=1&left=0").seeder);
        for value in ["", "1", "4294967296", "18446744073709551616", "99999999999999999999", "-1", "-0", "a", "0x0"] {
            assert!(!ok(&format!("left={value}")).seeder, "{value}");
        }
        assert_eq!(announce("left=%4"), Err(Error::Parameter));
    }

    #[test]
    fn only_a_number_above_0_is_an_upload() {
        for value in ["1", "01", "18446744073709551616", "99999999999999999999999"] {
            assert!(ok(&format!("uploaded={value}&left=0")).uploaded, "{value}");
        }
        for value in ["", "0", "000", "-1", "a", "%zz", "%4"] {
            assert!(!ok(&format!("uploaded={value}&left=0")).uploaded, "{value}");
        }
        assert!(!ok("uploaded=1&left=0&uploaded=0").uploaded, "the last one counts");
    }

    #[test]
    fn events_that_matter_are_completed_and_stopped() {
        let event = |value: &str| ok(&format!("event={value}")).event;
        assert_eq!((event("completed"), event("stopped"), event("s%74opped")), {
            (Event::Completed, Event::Stopped, Event::Stopped)
        });
        for value in ["", "started", "paused", "empty", "Completed", "stopped2", "completed-and-more"] {
            assert_eq!(event(value), Event::Update, "{value}");
        }
        assert_eq!(announce("event=%zz"), Err(Error::Parameter));
    }

    #[test]
    fn a_peer_id_is_what_there_is_of_it() {
        let id = |query: &str| peer_id(Query::new(query.as_bytes()), &mut [0; PEER_ID_LEN]).to_vec();
        assert_eq!(id("port=1&peer_id=-TR4%30%30&left=0"), b"-TR400");
        assert_eq!(id("peer_id=a&p%65er_id=b"), b"b", "the last one counts");
        assert_eq!(id(&format!("peer_id={}", "x".repeat(30))), [b'x'; 20]);
        for none in ["", "port=1", "peer_id", "peer_id=", "peer_id=ab%z", "peer_ids=a"] {
            assert_eq!(id(none), b"", "{none}");
        }
    }

    #[test]
    fn no_more_than_200_peers_are_handed_out() {
        let wanted = |value: &str| ok(&format!("numwant={value}")).wanted;
        assert_eq!((wanted("0"), wanted("199"), wanted("201"), wanted("-1")), (0, 199, 200, 50));
        assert_eq!((wanted("99999999999999999999"), wanted("-99999999999999999999")), (200, 50));
        for value in ["", "a", "%zz"] {
            assert_eq!(announce(&format!("numwant={value}")), Err(Error::Parameter), "{value}");
        }
    }

    #[test]
    fn compact_is_a_number_and_does_not_matter() {
        assert_eq!(ok("compact=0"), ok("compact=1"));
        for value in ["", "yes", "%4"] {
            assert_eq!(announce(&format!("compact={value}")), Err(Error::Parameter), "{value}");
        }
    }
}
