//! Many TCP connections of one address that say little, and come again when they are closed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::requests::{Announce, Event, get};
use crate::{info_hash, tcp};

/// How often each connection is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Connections opened in a tick.
const MAX_OPENED: usize = 1000;
/// Bytes that the system buffers for a slow reader.
const BUFFER: usize = 8 << 10;

/// What each connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Silent,
    /// Sends a byte of a head that never ends, so often.
    Trickling(Duration),
    /// Stays open, and announces so often.
    KeptAlive(Duration),
    /// Takes a full scrape, so many bytes a second.
    Reading(usize),
}

/// What came of a flood.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    pub opened: u64,
    /// Closed by the tracker.
    pub closed: u64,
    /// Bytes that came back.
    pub received: u64,
}

struct Connection {
    stream: TcpStream,
    /// When it says something again, and how much it has said.
    due: Option<Instant>,
    said: usize,
    opened: Instant,
    read: usize,
}

/// Holds `count` connections open, as far as it is let, until `is_over` says so.
pub fn run(manner: Manner, count: usize, ip: Ipv4Addr, tracker: SocketAddr, is_over: impl Fn() -> bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connections: Vec<Option<Connection>> = (0..count).map(|_| None).collect();
    while !is_over() {
        let mut may_open = MAX_OPENED;
        for place in &mut connections {
            if place.as_mut().is_some_and(|connection| !connection.drive(manner, &mut outcome)) {
                outcome.closed += 1;
                *place = None;
            }
            if place.is_none() && may_open > 0 {
                may_open -= 1;
                *place = Connection::open(manner, ip, tracker);
                outcome.opened += u64::from(place.is_some());
            }
        }
        sleep(TICK);
    }
    outcome
}

impl Connection {
    fn open(manner: Manner, ip: Ipv4Addr, tracker: SocketAddr) -> Option<Self> {
        let buffer = matches!(manner, Manner::Reading(_)).then_some(BUFFER);
        let stream = tcp::begin(ip, tracker, buffer).ok()?;
        let now = Instant::now();
        let due = (manner != Manner::Silent).then_some(now);
        Some(Self { stream, due, said: 0, opened: now, read: 0 })
    }

    /// Reads what is there, and says what is due. Returns whether the connection is still open.
    fn drive(&mut self, manner: Manner, outcome: &mut Outcome) -> bool {
        let now = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            let may_read = match manner {
                Manner::Reading(rate) => {
                    let by_now = rate as u128 * (now - self.opened).as_millis() / 1000;
                    usize::try_from(by_now).unwrap_or(usize::MAX).saturating_sub(self.read).min(buffer.len())
                }
                _ => buffer.len(),
            };
            match self.stream.read(&mut buffer[..may_read]) {
                Ok(0) if may_read > 0 => return false,
                Ok(0) => break,
                Ok(len) => {
                    self.read += len;
                    outcome.received += len as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        if self.due.is_none_or(|due| now < due) {
            return true;
        }
        match self.stream.write(&self.says(manner)) {
            Ok(_) => self.said += 1,
            // It is not connected yet: it asks for a place all the time.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
        self.due = match manner {
            Manner::Trickling(every) | Manner::KeptAlive(every) => Some(now + every),
            Manner::Silent | Manner::Reading(_) => None,
        };
        true
    }

    fn says(&self, manner: Manner) -> Vec<u8> {
        let head = b"GET /announce?info_hash=";
        match manner {
            Manner::Silent => Vec::new(),
            Manner::Trickling(_) => vec![head.get(self.said).copied().unwrap_or(b'x')],
            Manner::KeptAlive(_) => {
                let announce = Announce { info_hash: info_hash(b"kept", 1), port: 9, left: 1, event: Event::None };
                announce.http("keep-alive").into_bytes()
            }
            // Who is told to come later stays.
            Manner::Reading(_) => get("/scrape").replace("close", "keep-alive").into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::TcpListener;

    use super::*;
    use crate::{TRACKER, stranger};

    /// Runs a flood of two connections against a server that takes what comes, as often as each is looked at.
    fn against(manner: Manner, looks: usize, mut serve: impl FnMut(Vec<TcpStream>) -> Vec<TcpStream>) -> Outcome {
        let listener = TcpListener::bind((TRACKER, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let served = RefCell::new((0, Vec::new(), &mut serve));
        run(manner, 2, stranger(9), listener.local_addr().unwrap(), || {
            let mut served = served.borrow_mut();
            served.0 += 1;
            let mut streams = std::mem::take(&mut served.1);
            streams.extend(listener.incoming().map_while(Result::ok));
            served.1 = (served.2)(streams);
            served.0 > looks
        })
    }

    #[test]
    fn what_is_closed_comes_again() {
        let outcome = against(Manner::Silent, 4, |_| Vec::new());
        assert!(outcome.opened > 2 && outcome.closed == outcome.opened - 2, "{outcome:?}");
    }

    #[test]
    fn each_manner_says_what_it_says() {
        let day = Duration::from_secs(86_400);
        let says = |manner| {
            let mut said = Vec::new();
            let outcome = against(manner, 3, |mut streams| {
                for stream in &mut streams {
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.read_to_end(&mut said);
                }
                streams
            });
            assert_eq!((outcome.opened, outcome.closed), (2, 0));
            String::from_utf8(said).unwrap()
        };
        assert_eq!(says(Manner::Silent), "");
        assert_eq!(says(Manner::Trickling(day)), "GG");
        assert_eq!(says(Manner::KeptAlive(day)).matches("Connection: keep-alive").count(), 2);
        assert_eq!(says(Manner::Reading(1)).matches("GET /scrape HTTP").count(), 2);
    }
}
