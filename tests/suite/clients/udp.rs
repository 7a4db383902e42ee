//! A UDP client (BEP 15) that can also send malformed datagrams.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::flavour;
use crate::wait::{MAX_WAIT, retry_interrupted, wait_until};

pub(crate) const MAGIC: u64 = 0x0417_2710_1980;
pub(crate) const CONNECT: u32 = 0;
pub(crate) const ANNOUNCE: u32 = 1;
pub(crate) const SCRAPE: u32 = 2;
pub(crate) const ERROR: u32 = 3;

pub(crate) const COMPLETED: u32 = 1;
pub(crate) const STARTED: u32 = 2;
pub(crate) const STOPPED: u32 = 3;

/// A socket that talks to one address of a tracker.
pub(crate) struct Client {
    socket: UdpSocket,
    tracker: SocketAddr,
    /// The connection id, as the tracker gave it; 0 before.
    pub(crate) id: u64,
    last_transaction: Cell<u32>,
}

/// The fields of an announce that tests choose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announce {
    pub(crate) info_hash: [u8; 20],
    pub(crate) left: u64,
    pub(crate) uploaded: u64,
    pub(crate) event: u32,
    pub(crate) address: u32,
    pub(crate) num_want: i32,
    pub(crate) port: u16,
}

/// The reply to an announce.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AnnounceReply {
    pub(crate) interval: u32,
    pub(crate) leechers: u32,
    pub(crate) seeders: u32,
    pub(crate) peers: Vec<SocketAddr>,
}

/// What the reply to a scrape says of one torrent, in the order of the packet.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct ScrapeCounts {
    pub(crate) seeders: u32,
    pub(crate) completed: u32,
    pub(crate) leechers: u32,
}

impl Announce {
    /// An announce of a leecher that leaves the number of peers to the tracker.
    pub(crate) fn leecher(info_hash: [u8; 20], port: u16) -> Self {
        Self { info_hash, left: 1, uploaded: 0x2222, event: 0, address: 0, num_want: -1, port }
    }

    /// An announce of a seeder that has uploaded.
    pub(crate) fn seeder(info_hash: [u8; 20], port: u16) -> Self {
        Self { left: 0, ..Self::leecher(info_hash, port) }
    }

    pub(crate) fn event(self, event: u32) -> Self {
        Self { event, ..self }
    }

    pub(crate) fn packet(&self, id: u64, transaction: u32) -> Vec<u8> {
        let mut packet = header(id, ANNOUNCE, transaction);
        packet.extend(self.info_hash);
        packet.extend(b"-TEST00-abcdefghijkl");
        packet.extend(0x1111_u64.to_be_bytes()); // downloaded
        packet.extend(self.left.to_be_bytes());
        packet.extend(self.uploaded.to_be_bytes());
        packet.extend(self.event.to_be_bytes());
        packet.extend(self.address.to_be_bytes());
        packet.extend(0x3333_u32.to_be_bytes()); // key
        packet.extend(self.num_want.to_be_bytes());
        packet.extend(self.port.to_be_bytes());
        assert_eq!(packet.len(), 98);
        packet
    }
}

/// The first 16 bytes of every request.
pub(crate) fn header(id: u64, action: u32, transaction: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &action.to_be_bytes(), &transaction.to_be_bytes()].concat()
}

pub(crate) fn scrape_packet(id: u64, transaction: u32, hashes: &[[u8; 20]]) -> Vec<u8> {
    [header(id, SCRAPE, transaction), hashes.concat()].concat()
}

/// Asserts that a reply begins with this action and transaction id.
#[track_caller]
pub(crate) fn assert_header(reply: &[u8], action: u32, transaction: u32) {
    assert_eq!(reply.get(..8), Some(&header(0, action, transaction)[8..]), "{reply:02x?}");
}

impl Client {
    /// Connects from the first loopback address of the tracker's family.
    pub(crate) fn new(tracker: SocketAddr) -> Self {
        Self::at(flavour::client(tracker.ip(), 1), tracker)
    }

    /// Connects from this address.
    pub(crate) fn at(ip: IpAddr, tracker: SocketAddr) -> Self {
        let mut client = Self::unconnected(ip, tracker);
        client.id = client.connect();
        client
    }

    /// A client at this address that has no connection id.
    pub(crate) fn unconnected(ip: IpAddr, tracker: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
        Self { socket, tracker, id: 0, last_transaction: Cell::new(0x7fff_0000) }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.socket.local_addr().unwrap().ip()
    }

    /// The endpoint of a peer at this client's address with this port.
    pub(crate) fn endpoint(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    pub(crate) fn next_transaction(&self) -> u32 {
        self.last_transaction.set(self.last_transaction.get() + 1);
        self.last_transaction.get()
    }

    /// Sends a datagram, and returns the next one that comes back. It has to come from the address that was asked.
    #[track_caller]
    pub(crate) fn exchange(&self, datagram: &[u8]) -> Vec<u8> {
        self.send(datagram);
        self.receive()
    }

    #[track_caller]
    pub(crate) fn send(&self, datagram: &[u8]) {
        assert_eq!(self.socket.send_to(datagram, self.tracker).unwrap(), datagram.len());
    }

    #[track_caller]
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut reply = [0; 4096];
        match retry_interrupted(|| self.socket.recv_from(&mut reply)) {
            Ok((len, from)) => {
                assert_eq!(from, self.tracker, "the reply comes from where the question went");
                reply[..len].to_vec()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer"),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> u64 {
        let transaction = self.next_transaction();
        let reply = self.exchange(&header(MAGIC, CONNECT, transaction));
        assert_header(&reply, CONNECT, transaction);
        u64::from_be_bytes(reply[8..].try_into().unwrap())
    }

    /// Asserts that the datagram is not answered: the next reply is the one to the next request.
    #[track_caller]
    pub(crate) fn gets_no_answer_to(&self, datagram: &[u8]) {
        self.send(datagram);
        self.connect();
    }

    #[track_caller]
    pub(crate) fn announce(&self, announce: &Announce) -> AnnounceReply {
        let transaction = self.next_transaction();
        let reply = self.exchange(&announce.packet(self.id, transaction));
        assert_header(&reply, ANNOUNCE, transaction);
        let peers = if self.tracker.is_ipv4() { compact_ipv4(&reply[20..]) } else { compact_ipv6(&reply[20..]) };
        AnnounceReply { interval: number(&reply, 8), leechers: number(&reply, 12), seeders: number(&reply, 16), peers }
    }

    /// Announces, and returns the text of the error in the reply.
    #[track_caller]
    pub(crate) fn refusal(&self, announce: &Announce) -> String {
        let transaction = self.next_transaction();
        error(&self.exchange(&announce.packet(self.id, transaction)), transaction)
    }

    #[track_caller]
    pub(crate) fn scrape(&self, hashes: &[[u8; 20]]) -> Vec<ScrapeCounts> {
        let transaction = self.next_transaction();
        let reply = self.exchange(&scrape_packet(self.id, transaction, hashes));
        assert_header(&reply, SCRAPE, transaction);
        assert_eq!((reply.len() - 8) % 12, 0);
        let totals =
            |row: &[u8]| ScrapeCounts { seeders: number(row, 0), completed: number(row, 4), leechers: number(row, 8) };
        reply[8..].chunks(12).map(totals).collect()
    }

    /// Scrapes one torrent, and returns its seeders, downloads and leechers.
    #[track_caller]
    pub(crate) fn counts(&self, info_hash: [u8; 20]) -> (u32, u32, u32) {
        let totals = self.scrape(&[info_hash])[0];
        (totals.seeders, totals.completed, totals.leechers)
    }

    /// Waits until a torrent has so many seeders, downloads and leechers.
    #[track_caller]
    pub(crate) fn wait_for_counts(&self, info_hash: [u8; 20], expected: (u32, u32, u32)) {
        let mut seen = (0, 0, 0);
        let found = wait_until(|| {
            seen = self.counts(info_hash);
            (seen == expected).then_some(())
        });
        assert!(found.is_some(), "{seen:?}, not {expected:?}");
    }
}

/// The text of an error packet.
#[track_caller]
pub(crate) fn error(reply: &[u8], transaction: u32) -> String {
    assert_header(reply, ERROR, transaction);
    String::from_utf8(reply[8..].to_vec()).unwrap()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Peers of 6 bytes each (BEP 23).
#[track_caller]
pub(crate) fn compact_ipv4(bytes: &[u8]) -> Vec<SocketAddr> {
    compact::<4, 6>(bytes)
}

/// Peers of 18 bytes each (BEP 7).
#[track_caller]
pub(crate) fn compact_ipv6(bytes: &[u8]) -> Vec<SocketAddr> {
    compact::<16, 18>(bytes)
}

#[track_caller]
fn compact<const IP: usize, const PEER: usize>(bytes: &[u8]) -> Vec<SocketAddr>
where
    IpAddr: From<[u8; IP]>,
{
    assert_eq!(bytes.len() % PEER, 0, "half a peer");
    let peer = |bytes: &[u8]| {
        let (ip, port) = bytes.split_first_chunk::<IP>().unwrap();
        SocketAddr::new((*ip).into(), u16::from_be_bytes(port.try_into().unwrap()))
    };
    bytes.chunks(PEER).map(peer).collect()
}
