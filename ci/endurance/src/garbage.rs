//! What no good client sends: mutations of valid requests, random bytes, what is cut short or too long.

use fastrand::Rng;

use crate::info_hash;
use crate::requests::{ANNOUNCE, Announce, CONNECT, ERROR, Event, MAGIC, SCRAPE, get, header, percent, scrape};

/// Torrents that it asks for, when it leaves their info hashes as they are.
const TORRENTS: u64 = 4096;
/// The longest payload of a datagram over IPv4.
const MAX_DATAGRAM: usize = 65_507;

/// Draws datagrams and requests; of the same seed, the same ones.
pub struct Garbage {
    rng: Rng,
}

impl Garbage {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    /// Draws a datagram of a stranger whose connection id this is.
    pub fn datagram(&mut self, id: u64) -> Vec<u8> {
        let rng = &mut self.rng;
        let transaction = rng.u32(..);
        let mut valid = match rng.u8(..4) {
            0 => header(MAGIC, CONNECT, transaction),
            1 => scrape(id, transaction, &hashes(rng, 74)),
            _ => announce(rng).udp(id, transaction),
        };
        match rng.u8(..16) {
            0 => random(rng, 2048),
            1..=4 => mutated(rng, valid),
            5 | 6 => {
                valid.truncate(rng.usize(..=valid.len()));
                valid
            }
            7 => {
                // Some need several fragments.
                let extra = if rng.u8(..64) == 0 { MAX_DATAGRAM - valid.len() } else { rng.usize(1..1400) };
                valid.extend(random_of(rng, extra));
                valid
            }
            8 | 9 => {
                // A wrong connection id: made up, or the right one but for a bit.
                let wrong = if rng.bool() { rng.u64(..) } else { id ^ (1 << rng.u8(..64)) };
                valid.splice(..8, wrong.to_be_bytes());
                valid
            }
            10 => [&header(id, ERROR, transaction)[8..], b"Connection ID missmatch.\0"].concat(),
            11 => {
                // Every action there could be, and what trackers send.
                let action = if rng.bool() { rng.u32(..8) } else { rng.u32(..) };
                valid.splice(8..12, action.to_be_bytes());
                valid
            }
            12 => [&header(id, [ANNOUNCE, SCRAPE, CONNECT][rng.usize(..3)], transaction)[8..], &random(rng, 1200)]
                .concat(),
            13 => {
                // A scrape of none, of too many, and of a part of an info hash.
                let count = [0, 1, 75, 200][rng.usize(..4)];
                let mut packet = scrape(id, transaction, &hashes(rng, count));
                packet.extend(random(rng, 20));
                packet
            }
            14 => extreme(rng, id, transaction),
            _ => valid,
        }
    }

    /// Draws a request, and says whether the stranger then closes his side.
    pub fn request(&mut self) -> (Vec<u8>, bool) {
        let rng = &mut self.rng;
        let valid = match rng.u8(..8) {
            0 => get(&format!("/scrape?info_hash={}", percent(&hashes(rng, 1).concat()))),
            1 => get(["/", "/stats", "/stats?mode=everything", "/stats?mode=top10", "/metrics", "/x"][rng.usize(..6)]),
            2 => get(&format!("/stats?mode={}", percent(&random(rng, 40)))),
            _ => announce(rng).http(if rng.bool() { "close" } else { "keep-alive" }),
        };
        let bytes = match rng.u8(..16) {
            0 => random(rng, 4096),
            1..=4 => mutated(rng, valid.into_bytes()),
            5 | 6 => {
                let mut bytes = valid.into_bytes();
                bytes.truncate(rng.usize(..=bytes.len()));
                bytes
            }
            7 => valid.replacen(" HTTP", &format!("&{}=1 HTTP", "x".repeat(rng.usize(..70_000))), 1).into_bytes(),
            8 => valid.replacen("Host", &format!("{}Host", "A: b\r\n".repeat(rng.usize(..4000))), 1).into_bytes(),
            9 => valid
                .replacen("GET", ["POST", "HEAD", "OPTIONS", "get", "", "PRI", "\0"][rng.usize(..7)], 1)
                .into_bytes(),
            10 => valid
                .replacen("HTTP/1.1", ["HTTP/9.9", "HTTP/1.0", "", "HTTP/2.0", "\n"][rng.usize(..5)], 1)
                .into_bytes(),
            11 => {
                let body = ["Content-Length: 18446744073709551616", "Transfer-Encoding: chunked", "Content-Length: 9"];
                let head = valid.replacen("Host", &format!("{}\r\nHost", body[rng.usize(..3)]), 1);
                [head.into_bytes(), random(rng, 3000)].concat()
            }
            12 => [valid.as_bytes(), b"GET /announce"].concat().repeat(rng.usize(1..20)),
            13 => {
                let greetings: [&[u8]; 4] = [
                    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
                    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
                    b"\x16\x03\x01\x02",
                    b"\r\n\r\n",
                ];
                [greetings[rng.usize(..4)], valid.as_bytes()].concat()
            }
            14 => {
                let names = ["port", "left", "numwant", "compact", "info_hash", "event", "ip", "key", "peer_id"];
                let query: String = (0..rng.usize(..60))
                    .map(|_| format!("{}={}&", names[rng.usize(..9)], percent(&random(rng, 24))))
                    .collect();
                get(&format!("/announce?{query}")).into_bytes()
            }
            _ => valid.replace("\r\n", "\n").into_bytes(),
        };
        (bytes, rng.bool())
    }
}

fn announce(rng: &mut Rng) -> Announce {
    let event = [Event::None, Event::Started, Event::Completed, Event::Stopped][rng.usize(..4)];
    let [info_hash] = [info_hash(b"junk", rng.u64(..TORRENTS))];
    Announce { info_hash, port: rng.u16(..), left: rng.u64(..2), event }
}

/// An announce with fields at their ends.
fn extreme(rng: &mut Rng, id: u64, transaction: u32) -> Vec<u8> {
    let mut packet = announce(rng).udp(id, transaction);
    for field in [56..64, 64..72, 72..80, 80..84, 84..88, 88..92, 92..96, 96..98] {
        if rng.bool() {
            let byte = [0, 0x7f, 0x80, 0xff][rng.usize(..4)];
            packet[field].fill(byte);
        }
    }
    packet
}

fn hashes(rng: &mut Rng, count: usize) -> Vec<[u8; 20]> {
    (0..count).map(|_| info_hash(b"junk", rng.u64(..TORRENTS))).collect()
}

/// Fewer than `max` bytes, or so many.
fn random(rng: &mut Rng, max: usize) -> Vec<u8> {
    let len = rng.usize(..=max);
    random_of(rng, len)
}

fn random_of(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// Changes, inserts or removes up to eight bytes.
fn mutated(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..6) {
            0 => bytes.insert(at, rng.u8(..)),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte = rng.u8(..)),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_same_seed_it_is_the_same() {
        let draw = |seed| {
            let mut garbage = Garbage::new(seed);
            (0..2000).map(|_| (garbage.datagram(7), garbage.request())).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_action_is_among_it_and_no_datagram_is_too_long() {
        let mut garbage = Garbage::new(3);
        let all: Vec<_> = (0..20_000).map(|_| garbage.datagram(7)).collect();
        assert!(all.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
        assert!(all.iter().any(|datagram| datagram.is_empty()));
        assert!(all.iter().any(|datagram| datagram.len() == MAX_DATAGRAM));
        for action in 0..8_u32 {
            assert!(all.iter().any(|datagram| datagram.get(8..12) == Some(&action.to_be_bytes())), "{action}");
        }
    }
}
