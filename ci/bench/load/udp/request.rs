//! BEP 15 as a client writes and reads it.

use opentracker_bench::hashes::info_hash;
use opentracker_bench::population::Peer;

/// Hashes in one scrape.
pub(crate) const SCRAPED: usize = 10;
/// The longest request: a scrape.
pub(crate) const MAX_REQUEST: usize = 16 + 20 * SCRAPED;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// The event of most announces.
pub(crate) const NO_EVENT: u32 = 0;
/// The event of a peer that leaves.
pub(crate) const STOPPED: u32 = 3;

const PROTOCOL_ID: u64 = 0x0417_2710_1980;

/// A datagram to a tracker, kept so that it can be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: [u8; MAX_REQUEST],
    len: usize,
}

/// What a tracker says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The connection id.
    Connect(u64),
    /// How many peers it hands out.
    Announce {
        peers: usize,
    },
    Scrape,
    Error,
}

impl Request {
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_REQUEST], len: 0 };

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn connect(&mut self, transaction_id: u32) {
        self.begin(PROTOCOL_ID, CONNECT, transaction_id);
    }

    pub(crate) fn announce(&mut self, connection_id: u64, transaction_id: u32, peer: Peer, event: u32, wanted: i32) {
        self.begin(connection_id, ANNOUNCE, transaction_id);
        self.push(&info_hash(peer.torrent));
        self.push(b"-BENCH0-");
        self.push(&transaction_id.to_be_bytes().repeat(3));
        let [downloaded, left, uploaded] = [0, u64::from(!peer.is_seeder), 0_u64];
        for amount in [downloaded, left, uploaded] {
            self.push(&amount.to_be_bytes());
        }
        let [address, key] = [0_u32; 2];
        for field in [event, address, key] {
            self.push(&field.to_be_bytes());
        }
        self.push(&wanted.to_be_bytes());
        self.push(&peer.port.to_be_bytes());
    }

    pub(crate) fn scrape(&mut self, connection_id: u64, transaction_id: u32, torrents: impl Iterator<Item = u64>) {
        self.begin(connection_id, SCRAPE, transaction_id);
        for torrent in torrents.take(SCRAPED) {
            self.push(&info_hash(torrent));
        }
    }

    fn begin(&mut self, connection_id: u64, action: u32, transaction_id: u32) {
        self.len = 0;
        self.push(&connection_id.to_be_bytes());
        self.push(&action.to_be_bytes());
        self.push(&transaction_id.to_be_bytes());
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// Reads a reply and its transaction id. What makes no sense, such as an announce that is cut off, is an error.
pub(crate) fn read(datagram: &[u8]) -> Option<(u32, Reply)> {
    let number = |at: usize| Some(u32::from_be_bytes(*datagram.get(at..)?.first_chunk()?));
    let (action, transaction_id) = (number(0)?, number(4)?);
    let reply = match (action, datagram.len()) {
        (CONNECT, 16) => Reply::Connect(u64::from_be_bytes(*datagram.get(8..)?.first_chunk()?)),
        (ANNOUNCE, len @ 20..) if (len - 20) % 6 == 0 => Reply::Announce { peers: (len - 20) / 6 },
        (SCRAPE, len) if len == 8 + 12 * SCRAPED => Reply::Scrape,
        (ERROR, _) | (_, _) => Reply::Error,
    };
    Some((transaction_id, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_lengths_of_bep_15() {
        let mut request = Request::EMPTY;
        request.connect(7);
        assert_eq!(request.bytes().len(), 16);
        request.announce(1, 7, Peer { torrent: 0, port: 1, is_seeder: true }, STOPPED, 30);
        assert_eq!(request.bytes().len(), 98);
        assert_eq!(request.bytes()[80..84], [0, 0, 0, 3]);
        assert_eq!(request.bytes()[92..], [0, 0, 0, 30, 0, 1]);
        request.scrape(1, 7, 0..);
        assert_eq!(request.bytes().len(), MAX_REQUEST);
    }

    #[test]
    fn replies_are_told_apart() {
        let reply = |action: u8, len: usize| {
            let mut datagram = vec![0; len];
            datagram[3] = action;
            datagram[7] = 9;
            datagram
        };
        assert_eq!(read(&reply(0, 16)), Some((9, Reply::Connect(0))));
        assert_eq!(read(&reply(1, 32)), Some((9, Reply::Announce { peers: 2 })));
        assert_eq!(read(&reply(1, 21)), Some((9, Reply::Error)));
        assert_eq!(read(&reply(2, 128)), Some((9, Reply::Scrape)));
        assert_eq!(read(&reply(3, 30)), Some((9, Reply::Error)));
        assert_eq!(read(&[0; 7]), None);
    }
}
