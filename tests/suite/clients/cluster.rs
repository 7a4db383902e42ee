//! A member of a tracker's cluster (live sync) that can also send malformed packets.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::tracker::Tracker;
use crate::wait::{MAX_WAIT, retry_interrupted};

pub(crate) const SEEDING: u8 = 0x80;
pub(crate) const COMPLETED: u8 = 0x40;
pub(crate) const STOPPED: u8 = 0x20;

/// The types of packets that trackers of this program alone send begin here.
pub(crate) const OWN_TYPES: u32 = 16;
/// The types of a question for a snapshot and of an offer.
pub(crate) const ASK: u32 = 17;
pub(crate) const OFFER: u32 = 18;

/// What a member publishes about one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) info_hash: [u8; 20],
    pub(crate) endpoint: SocketAddr,
    pub(crate) flags: u8,
}

/// A member on the loopback interface, where a tracker receives its own packets too.
pub(crate) struct Member {
    group: SocketAddr,
    /// Its tracker id.
    id: [u8; 4],
    sender: UdpSocket,
    receiver: UdpSocket,
    /// The tracker's id, once it is known.
    tracker: RefCell<Option<[u8; 4]>>,
}

impl Record {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ip = match self.endpoint.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        [&self.info_hash[..], &ip, &self.endpoint.port().to_be_bytes(), &[self.flags, 0]].concat()
    }
}

impl Member {
    /// Joins the cluster that the tracker names in its log.
    pub(crate) fn of(tracker: &Tracker) -> Self {
        let log = tracker.log();
        let (_, group) = log.split_once("live sync with group ").unwrap_or_else(|| panic!("no cluster:\n{log}"));
        let group: SocketAddr = group.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(group.ip(), Ipv4Addr::new(224, 0, 23, 5));
        let receiver = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        receiver.set_reuse_address(true).unwrap();
        receiver.bind(&group.into()).unwrap();
        receiver.join_multicast_v4(&Ipv4Addr::new(224, 0, 23, 5), &Ipv4Addr::LOCALHOST).unwrap();
        receiver.set_read_timeout(Some(MAX_WAIT)).unwrap();
        let (sender, tracker) = (sender_at(Ipv4Addr::LOCALHOST), RefCell::new(None));
        Self { group, id: *b"test", sender, receiver: receiver.into(), tracker }
    }

    /// The same member, but its packets come from another loopback address.
    pub(crate) fn moved_to(self, ip: Ipv4Addr) -> Self {
        Self { sender: sender_at(ip), ..self }
    }

    /// The port of the cluster.
    pub(crate) fn port(&self) -> u16 {
        self.group.port()
    }

    /// A packet of this member.
    pub(crate) fn packet(&self, kind: u8, records: &[Record]) -> Vec<u8> {
        packet(self.id, kind, records)
    }

    /// Sends a well-formed packet. All records are of one family.
    #[track_caller]
    pub(crate) fn publish(&self, records: &[Record]) {
        let kind = u8::from(records[0].endpoint.is_ipv6());
        self.send(&self.packet(kind, records));
    }

    #[track_caller]
    pub(crate) fn send(&self, packet: &[u8]) {
        assert_eq!(self.sender.send_to(packet, self.group).unwrap(), packet.len());
    }

    /// Waits for the tracker's next packet of a type that the original sends. Returns the id in it, and the rest.
    #[track_caller]
    pub(crate) fn receive(&self) -> ([u8; 4], Vec<u8>) {
        self.receive_of(|code| code < OWN_TYPES)
    }

    /// Waits for the tracker's next packet of this type. Returns the id in it, and what follows the type.
    #[track_caller]
    pub(crate) fn receive_type(&self, code: u32) -> ([u8; 4], Vec<u8>) {
        let (id, rest) = self.receive_of(|found| found == code);
        (id, rest[4..].to_vec())
    }

    #[track_caller]
    fn receive_of(&self, is_wanted: impl Fn(u32) -> bool) -> ([u8; 4], Vec<u8>) {
        loop {
            let mut packet = [0; 2000];
            let len = retry_interrupted(|| self.receiver.recv(&mut packet)).expect("the tracker tells something");
            assert!(len <= 1480);
            let (id, rest) = packet[..len].split_first_chunk().unwrap();
            let code = u32::from_be_bytes(*rest.first_chunk().unwrap());
            if *id != self.id && is_wanted(code) {
                let known = *self.tracker.borrow_mut().get_or_insert(*id);
                assert_eq!(*id, known, "it keeps its id");
                return (*id, rest.to_vec());
            }
        }
    }

    /// Returns whether the tracker sends no packet of this type for so long.
    pub(crate) fn hears_none(&self, code: u32, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut packet = [0; 2000];
        let mut heard = false;
        while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero() && !heard) {
            self.receiver.set_read_timeout(Some(rest)).unwrap();
            let len = self.receiver.recv(&mut packet).unwrap_or(0);
            heard = len > 8 && packet[..4] != self.id && packet[4..8] == code.to_be_bytes();
        }
        self.receiver.set_read_timeout(Some(MAX_WAIT)).unwrap();
        !heard
    }

    /// Waits for the tracker's next packet, which has to be of this kind. Returns its records.
    #[track_caller]
    pub(crate) fn receive_records(&self, kind: u8) -> Vec<Vec<u8>> {
        let (_, rest) = self.receive();
        assert_eq!(rest[..4], [0, 0, 0, kind]);
        rest[4..].chunks(if kind == 0 { 28 } else { 40 }).map(<[u8]>::to_vec).collect()
    }
}

/// A packet of a member with this id. `kind` is 0 for IPv4 records and 1 for IPv6 records.
pub(crate) fn packet(id: [u8; 4], kind: u8, records: &[Record]) -> Vec<u8> {
    let records: Vec<_> = records.iter().flat_map(Record::bytes).collect();
    [&id[..], &[0, 0, 0, kind], &records].concat()
}

fn sender_at(ip: Ipv4Addr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    socket.into()
}
