//! The wire format of BEP 15: reads requests from bytes, and writes replies to bytes. All numbers are big-endian.

use crate::tracker::{Event, InfoHash, PEER_ID_LEN, ScrapeCounts};

/// What a connect has where other requests have a connection id (BEP 15, "Connect").
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;
/// Bytes of the header of a request: connection id, action, transaction id.
pub const HEADER_LEN: usize = 16;
/// Bytes of an announce without the options of BEP 41.
pub const ANNOUNCE_LEN: usize = 98;
/// Bytes of the header of a reply: action, transaction id.
pub const REPLY_HEADER_LEN: usize = 8;
/// Bytes of the reply to an announce without its peers: action, transaction id, interval, leechers, seeders.
pub const ANNOUNCE_REPLY_LEN: usize = 20;
/// Bytes of an IPv4 peer in compact form.
pub const PEER_LEN: usize = 6;
/// Bytes of one torrent in the reply to a scrape: seeders, downloaded, leechers.
pub const SCRAPE_COUNTS_LEN: usize = 12;
/// Most info hashes that one scrape is answered for (BEP 15, "Scrape").
pub const MAX_SCRAPE: usize = 74;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// A well-formed request. Whether it is served depends on its connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpRequest<'a> {
    /// The connection id that the client claims to have been given; in a connect, [`PROTOCOL_ID`].
    pub connection_id: u64,
    /// Chosen by the client, and repeated in the reply.
    pub transaction_id: u32,
    /// What the client asks for.
    pub action: Action<'a>,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// A connection id.
    Connect,
    /// Peers.
    Announce(AnnounceBody),
    /// The counts of torrents.
    Scrape(Hashes<'a>),
    /// An action that is known, in a datagram that is too short for it.
    Truncated,
}

/// The info hashes of a scrape. Bytes behind the last whole one are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes<'a>(&'a [u8]);

impl Hashes<'_> {
    /// Returns the info hashes, but no more than the first [`MAX_SCRAPE`].
    pub fn iter(&self) -> impl Iterator<Item = InfoHash> {
        let whole = self.0.chunks_exact(InfoHash::LEN).take(MAX_SCRAPE);
        whole.filter_map(|chunk| chunk.try_into().ok()).map(InfoHash)
    }
}

/// The fields of an announce that are used. Ignored are the address (the datagram's sender is believed instead), the
/// key, the amount downloaded, and the options of BEP 41. The peer id stays where it is: see [`peer_id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceBody {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Bytes left to download.
    pub left: u64,
    /// Bytes uploaded.
    pub uploaded: u64,
    /// What happened.
    pub event: Event,
    /// How many peers are wanted; negative for as many as a reply holds.
    pub num_want: i32,
    /// The port that the client listens on.
    pub port: u16,
}

/// Reads a datagram. Returns `None` if it is no request of this protocol: it is to be dropped.
pub fn parse(datagram: &[u8]) -> Option<UdpRequest<'_>> {
    let (header, body) = datagram.split_first_chunk::<HEADER_LEN>()?;
    let [a, b, c, d, e, f, g, h, action @ .., t, u, v, w] = *header;
    let connection_id = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let action = match u32::from_be_bytes(action) {
        CONNECT if connection_id == PROTOCOL_ID => Action::Connect,
        ANNOUNCE => parse_announce(body).map_or(Action::Truncated, Action::Announce),
        SCRAPE => Action::Scrape(Hashes(body)),
        _ => return None,
    };
    Some(UdpRequest { connection_id, transaction_id: u32::from_be_bytes([t, u, v, w]), action })
}

fn parse_announce(body: &[u8]) -> Option<AnnounceBody> {
    let mut body = body.get(..ANNOUNCE_LEN - HEADER_LEN)?;
    let info_hash = InfoHash(take(&mut body)?);
    let _peer_id: [u8; PEER_ID_LEN] = take(&mut body)?;
    let _downloaded: [u8; 8] = take(&mut body)?;
    let left = u64::from_be_bytes(take(&mut body)?);
    let uploaded = u64::from_be_bytes(take(&mut body)?);
    let event = match u32::from_be_bytes(take(&mut body)?) {
        1 => Event::Completed,
        3 => Event::Stopped,
        _ => Event::Update,
    };
    let _address: [u8; 4] = take(&mut body)?;
    let _key: [u8; 4] = take(&mut body)?;
    let num_want = i32::from_be_bytes(take(&mut body)?);
    let port = u16::from_be_bytes(take(&mut body)?);
    Some(AnnounceBody { info_hash, left, uploaded, event, num_want, port })
}

/// Returns the peer id in the datagram of an announce.
pub fn peer_id(announce: &[u8]) -> &[u8] {
    const BEFORE: usize = HEADER_LEN + InfoHash::LEN;
    announce.get(BEFORE..BEFORE + PEER_ID_LEN).unwrap_or_default()
}

/// Takes the first `N` bytes off. Returns `None` if there are fewer.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Writes the reply to a connect: 16 bytes, as many as the connect has. Returns the length of the reply in bytes, 0 if
/// `reply` is too short for it; so do all functions below that write a reply.
#[inline]
pub fn write_connect(reply: &mut [u8], transaction_id: u32, connection_id: u64) -> usize {
    let words = (u128::from(header(CONNECT, transaction_id)) << 64) | u128::from(connection_id);
    put(reply, words.to_be_bytes())
}

/// Writes the header of the reply to an announce. Peers in compact form go behind the first [`ANNOUNCE_REPLY_LEN`]
/// bytes, and [`end_announce`] fills in what is between.
#[inline]
pub fn begin_announce(reply: &mut [u8], transaction_id: u32) {
    put(reply, header(ANNOUNCE, transaction_id).to_be_bytes());
}

/// Writes the interval (in seconds) and the counts, which [`begin_announce`] has left out.
#[inline]
pub fn end_announce(reply: &mut [u8], interval: u32, counts: ScrapeCounts) {
    if let Some((_, rest)) = reply.split_first_chunk_mut::<REPLY_HEADER_LEN>() {
        put_numbers(rest, [interval, counts.leechers, counts.seeders]);
    }
}

/// Turns the reply that [`begin_announce`] began into an error, with a text for the client's user. Returns its length.
pub fn refuse_announce(reply: &mut [u8], text: &str) -> usize {
    match reply.first_chunk::<REPLY_HEADER_LEN>() {
        Some([_, _, _, _, transaction_id @ ..]) => write_error(reply, u32::from_be_bytes(*transaction_id), text),
        None => 0,
    }
}

/// Writes the header of the reply to a scrape. The counts of each torrent go behind it, in the order of the request.
/// Returns its length.
#[inline]
pub fn begin_scrape(reply: &mut [u8], transaction_id: u32) -> usize {
    put(reply, header(SCRAPE, transaction_id).to_be_bytes())
}

/// Writes one torrent's counts behind the first `len` bytes of the reply to a scrape. Returns its new length.
#[inline]
pub fn add_scraped(reply: &mut [u8], len: usize, counts: ScrapeCounts) -> usize {
    let rest = reply.get_mut(len..).unwrap_or_default();
    len + put_numbers(rest, [counts.seeders, counts.downloaded, counts.leechers])
}

/// Writes an error, with a text for the client's user. Returns its length.
pub fn write_error(reply: &mut [u8], transaction_id: u32, text: &str) -> usize {
    match put(reply, header(ERROR, transaction_id).to_be_bytes()) {
        0 => 0,
        len => len + put_text(reply, text),
    }
}

/// Returns the first `most` bytes (20 or more) of a reply over IPv4, less the part of a peer or torrent that they would
/// end with. Returns a shorter reply as it is.
pub fn cut(reply: &[u8], most: usize) -> &[u8] {
    let (before, each) = match reply.first_chunk().map(|action| u32::from_be_bytes(*action)) {
        Some(ANNOUNCE) => (ANNOUNCE_REPLY_LEN, PEER_LEN),
        Some(SCRAPE) => (REPLY_HEADER_LEN, SCRAPE_COUNTS_LEN),
        _ => (0, 1),
    };
    let left_over = most.saturating_sub(before) % each;
    reply.get(..most - left_over).unwrap_or(reply)
}

fn header(action: u32, transaction_id: u32) -> u64 {
    (u64::from(action) << 32) | u64::from(transaction_id)
}

/// Writes all of `bytes`, or nothing where there is no room. Returns how many bytes.
#[inline]
fn put<const N: usize>(room: &mut [u8], bytes: [u8; N]) -> usize {
    let Some(place) = room.first_chunk_mut() else { return 0 };
    *place = bytes;
    N
}

/// Writes all three numbers, or nothing where there is no room. Returns how many bytes.
#[inline]
fn put_numbers(room: &mut [u8], numbers: [u32; 3]) -> usize {
    let [a, b, c] = numbers.map(u32::to_be_bytes);
    let ([e, f, g, h], [i, j, k, l], [m, n, o, p]) = (a, b, c);
    put(room, [e, f, g, h, i, j, k, l, m, n, o, p])
}

/// Writes as much of a text behind the header as there is room for. Returns how many bytes.
fn put_text(reply: &mut [u8], text: &str) -> usize {
    let room = reply.get_mut(REPLY_HEADER_LEN..).unwrap_or_default();
    room.iter_mut().zip(text.bytes()).map(|(place, byte)| *place = byte).count()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a request as a client writes it.
    pub(crate) fn request(connection_id: u64, action: u32, transaction_id: u32, body: &[u8]) -> Vec<u8> {
        [&connection_id.to_be_bytes()[..], &action.to_be_bytes(), &transaction_id.to_be_bytes(), body].concat()
    }

    /// Returns the body of an announce as a client writes it.
    pub(crate) fn announce_body(announce: &AnnounceBody, event: u32) -> Vec<u8> {
        let mut body = announce.info_hash.0.to_vec();
        body.extend([0xaa; 20]); // peer id
        body.extend([0xbb; 8]); // downloaded
        body.extend(announce.left.to_be_bytes());
        body.extend(announce.uploaded.to_be_bytes());
        body.extend(event.to_be_bytes());
        body.extend([9, 9, 9, 9]); // an address, to be ignored
        body.extend([0xdd; 4]); // key
        body.extend(announce.num_want.to_be_bytes());
        body.extend(announce.port.to_be_bytes());
        assert_eq!(body.len() + HEADER_LEN, ANNOUNCE_LEN);
        body
    }

    fn announce() -> AnnounceBody {
        AnnounceBody {
            info_hash: InfoHash([7; 20]),
            left: 1 << 32,
            uploaded: 1 << 48,
            event: Event::Update,
            num_want: -1,
            port: 6881,
        }
    }

    #[test]
    fn a_connect_is_known_by_its_magic_number() {
        let connect = request(PROTOCOL_ID, 0, 5, &[]);
        assert_eq!(connect.len(), 16);
        let expected = UdpRequest { connection_id: PROTOCOL_ID, transaction_id: 5, action: Action::Connect };
        assert_eq!(parse(&connect), Some(expected));
        assert_eq!(parse(&request(PROTOCOL_ID + 1, 0, 5, &[])), None);
    }

    #[test]
    fn every_field_of_an_announce_is_read_from_its_place() {
        let events = [Event::Update, Event::Completed, Event::Update, Event::Stopped, Event::Update];
        for (number, event) in (0..).zip(events) {
            let body = AnnounceBody { event, ..announce() };
            let mut datagram = request(42, 1, 5, &announce_body(&body, number));
            let expected = UdpRequest { connection_id: 42, transaction_id: 5, action: Action::Announce(body) };
            assert_eq!(parse(&datagram), Some(expected));
            assert_eq!(peer_id(&datagram), [0xaa; 20]);
            datagram.extend(*b"\x02\x04/abc"); // BEP 41
            assert_eq!(parse(&datagram), Some(expected));
        }
    }

    #[test]
    fn what_is_too_short_says_so_or_is_dropped() {
        let datagram = request(42, 1, 5, &announce_body(&announce(), 0));
        for len in 0..datagram.len() {
            let parsed = parse(&datagram[..len]).map(|request| request.action);
            assert_eq!(parsed, (len >= HEADER_LEN).then_some(Action::Truncated), "{len}");
        }
    }

    #[test]
    fn unknown_actions_are_dropped() {
        for action in [3, 4, 255, 1 << 16, u32::MAX] {
            assert_eq!(parse(&request(PROTOCOL_ID, action, 5, &[0; 82])), None);
        }
    }

    #[test]
    fn a_scrape_is_cut_after_74_whole_hashes() {
        for len in [0, 19, 20, 39, 40, 74 * 20 - 1, 74 * 20, 74 * 20 + 1, 100 * 20] {
            let datagram = request(42, 2, 5, &vec![1; len]);
            let Some(UdpRequest { action: Action::Scrape(hashes), .. }) = parse(&datagram) else { panic!("{len}") };
            assert_eq!(hashes.iter().count(), (len / 20).min(74));
        }
    }

    #[test]
    fn replies_are_written_as_bep_15_says() {
        let counts = ScrapeCounts { seeders: 1, leechers: 2, downloaded: 3 };
        let mut out = [0xff; 30];
        let len = write_connect(&mut out, 0x0102_0304, 0x1122_3344_5566_7788);
        assert_eq!(out[..len], [0, 0, 0, 0, 1, 2, 3, 4, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        begin_announce(&mut out, 0x0102_0304);
        out[20] = 0xee;
        end_announce(&mut out, 1800, counts);
        assert_eq!(out[..21], [0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 7, 8, 0, 0, 0, 2, 0, 0, 0, 1, 0xee]);
        let len = refuse_announce(&mut out, "no");
        assert_eq!(out[..len], [0, 0, 0, 3, 1, 2, 3, 4, b'n', b'o']);
        let len = begin_scrape(&mut out, 0x0102_0304);
        let len = add_scraped(&mut out, len, counts);
        assert_eq!(out[..len], [0, 0, 0, 2, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2]);
        let len = write_error(&mut out, 0x0102_0304, "no");
        assert_eq!(out[..len], [0, 0, 0, 3, 1, 2, 3, 4, b'n', b'o']);
    }

    #[test]
    fn what_does_not_fit_the_memory_is_left_out() {
        let counts = ScrapeCounts::default();
        assert_eq!(write_connect(&mut [0; 15], 1, 2), 0);
        assert_eq!(begin_scrape(&mut [0; 7], 1), 0);
        assert_eq!(add_scraped(&mut [0; 31], 20, counts), 20);
        assert_eq!(add_scraped(&mut [0; 32], 20, counts), 32);
        assert_eq!(write_error(&mut [0; 7], 1, "no"), 0);
        assert_eq!(write_error(&mut [0; 9], 1, "no"), 9);
        assert_eq!(refuse_announce(&mut [0; 7], "no"), 0);
        end_announce(&mut [0; 19], 1, counts);
    }

    #[test]
    fn a_reply_is_cut_between_peers_and_between_torrents() {
        let reply = |action| [&[0, 0, 0, action][..], &[action; 1216]].concat();
        for (action, most, left) in [
            (1, 1220, 1220),
            (1, 1219, 1214),
            (1, 1214, 1214),
            (1, 548, 548),
            (1, 524, 524),
            (1, 523, 518),
            (1, 26, 26),
            (1, 25, 20),
            (1, 20, 20),
            (2, 1220, 1220),
            (2, 548, 548),
            (2, 524, 524),
            (2, 523, 512),
            (2, 20, 20),
            (2, 19, 8),
            (0, 523, 523),
            (3, 523, 523),
        ] {
            assert_eq!(cut(&reply(action), most), &reply(action)[..left], "{action}, {most}");
        }
        for whole in [0, 1, 4, 20, 518] {
            let reply = &reply(1)[..whole];
            assert_eq!(cut(reply, 523), reply, "short enough");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_is_too_strange(datagram: Vec<u8>, action in 0..4_u32) {
            let _ = parse(&datagram);
            let _ = parse(&request(PROTOCOL_ID, action, 1, &datagram));
        }
    }
}
