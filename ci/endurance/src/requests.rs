//! Requests as good clients write them.

use std::fmt::Write as _;

pub const MAGIC: u64 = 0x0417_2710_1980;
pub const CONNECT: u32 = 0;
pub const ANNOUNCE: u32 = 1;
pub const SCRAPE: u32 = 2;
pub const ERROR: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    None,
    Completed,
    Started,
    Stopped,
}

/// The fields of an announce that matter here.
#[derive(Debug, Clone, Copy)]
pub struct Announce {
    pub info_hash: [u8; 20],
    pub port: u16,
    pub left: u64,
    pub event: Event,
}

impl Announce {
    pub fn udp(&self, id: u64, transaction: u32) -> Vec<u8> {
        let event = match self.event {
            Event::None => 0_u32,
            Event::Completed => 1,
            Event::Started => 2,
            Event::Stopped => 3,
        };
        let mut packet = header(id, ANNOUNCE, transaction);
        packet.extend(self.info_hash);
        packet.extend(b"-EN0001-abcdefghijkl");
        packet.extend(0_u64.to_be_bytes()); // downloaded
        packet.extend(self.left.to_be_bytes());
        packet.extend(0_u64.to_be_bytes()); // uploaded
        packet.extend(event.to_be_bytes());
        packet.extend(0_u32.to_be_bytes()); // address
        packet.extend(0x3333_u32.to_be_bytes()); // key
        packet.extend((-1_i32).to_be_bytes()); // peers wanted
        packet.extend(self.port.to_be_bytes());
        packet
    }

    pub fn http(&self, connection: &str) -> String {
        let event = match self.event {
            Event::None => "",
            Event::Completed => "&event=completed",
            Event::Started => "&event=started",
            Event::Stopped => "&event=stopped",
        };
        let (hash, port, left) = (percent(&self.info_hash), self.port, self.left);
        format!(
            "GET /announce?info_hash={hash}&peer_id=-EN0001-abcdefghijkl&port={port}&uploaded=0&downloaded=0&left={left}\
             &compact=1{event} HTTP/1.1\r\nHost: tracker\r\nUser-Agent: endurance\r\nConnection: {connection}\r\n\r\n"
        )
    }
}

/// The first 16 bytes of every request over UDP.
pub fn header(id: u64, action: u32, transaction: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &action.to_be_bytes(), &transaction.to_be_bytes()].concat()
}

pub fn scrape(id: u64, transaction: u32, hashes: &[[u8; 20]]) -> Vec<u8> {
    [header(id, SCRAPE, transaction), hashes.concat()].concat()
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: tracker\r\nConnection: close\r\n\r\n")
}

pub fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announce_has_98_bytes_over_udp_and_its_event_over_http() {
        let announce = Announce { info_hash: [0x41; 20], port: 0x1234, left: 0, event: Event::Stopped };
        let packet = announce.udp(7, 9);
        assert_eq!((packet.len(), &packet[80..84], &packet[96..]), (98, &[0, 0, 0, 3][..], &[0x12, 0x34][..]));
        let head = announce.http("close");
        assert!(head.contains("info_hash=%41%41") && head.contains("&event=stopped HTTP/1.1\r\n"), "{head}");
    }
}
