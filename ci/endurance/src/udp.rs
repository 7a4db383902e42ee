//! A UDP socket of a client or a stranger (BEP 15).

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::Result;
use crate::requests::{ANNOUNCE, CONNECT, ERROR, MAGIC, header};

/// Datagrams that are sent before a sender waits until they are worked off: else most of a flood would be dropped by
/// the kernel, and never reach the program.
pub const WINDOW: u32 = 128;
/// How long an answer may take before the question is asked again, and how often it is.
const RESEND: Duration = Duration::from_millis(500);
const TRIES: u32 = 40;
/// Transaction ids of [`Client::sync`] begin with these bytes.
const SYNC: u32 = 0xfeed_0000;

pub struct Client {
    socket: UdpSocket,
    pub id: u64,
    transaction: u32,
    /// Datagrams since the last that were known to be worked off.
    in_flight: u32,
    /// Replies to announces that were seen, and errors.
    pub announced: u64,
    pub refused: u64,
}

impl Client {
    /// Binds a socket to this address, and fetches a connection id.
    pub fn connect(ip: Ipv4Addr, tracker: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.connect(tracker)?;
        let mut client = Self { socket, id: 0, transaction: 0, in_flight: 0, announced: 0, refused: 0 };
        client.renew()?;
        Ok(client)
    }

    /// Fetches another connection id.
    pub fn renew(&mut self) -> Result<()> {
        let reply = self.ask(|_, transaction| header(MAGIC, CONNECT, transaction))?;
        let id = reply.get(8..16).and_then(|id| id.try_into().ok()).ok_or("a short answer to a connect")?;
        self.id = u64::from_be_bytes(id);
        Ok(())
    }

    /// Sends a request with a connection id and a transaction id until it is answered, and returns the answer.
    pub fn ask(&mut self, request: impl Fn(u64, u32) -> Vec<u8>) -> Result<Vec<u8>> {
        self.transaction = (self.transaction + 1) & 0x00ff_ffff;
        let transaction = self.transaction;
        let mut reply = [0; 4096];
        for _ in 0..TRIES {
            survive(self.socket.send(&request(self.id, transaction)))?;
            let sent = Instant::now();
            while let Some(left) = RESEND.checked_sub(sent.elapsed()).filter(|left| !left.is_zero()) {
                self.socket.set_read_timeout(Some(left))?;
                let len = survive(self.socket.recv(&mut reply))?;
                if reply.get(4..8) == Some(&transaction.to_be_bytes()) && len >= 8 {
                    return Ok(reply.get(..len).unwrap_or_default().to_vec());
                }
            }
        }
        Err("a UDP request is not answered".into())
    }

    /// Sends a request, and does not wait.
    pub fn post(&self, request: &[u8]) {
        let _ = self.socket.send(request);
    }

    /// Waits for the next reply for so long, and returns its action and its transaction id.
    pub fn take(&self, timeout: Duration) -> Option<(u32, u32)> {
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1)))).ok()?;
        let mut reply = [0; 2048];
        let len = self.socket.recv(&mut reply).ok()?;
        (len >= 8).then(|| (word(&reply, 0), word(&reply, 4)))
    }

    /// Sends a datagram of a flood, and waits now and then until all that were sent are worked off.
    pub fn send(&mut self, datagram: &[u8]) -> Result<()> {
        survive(self.socket.send(datagram))?;
        self.in_flight += 1;
        if self.in_flight >= WINDOW { self.sync() } else { Ok(()) }
    }

    /// Connects, which is answered after all that was sent before; a lost one is given up soon.
    pub fn sync(&mut self) -> Result<()> {
        self.in_flight = 0;
        self.transaction = self.transaction.wrapping_add(1) & 0xffff;
        let transaction = SYNC | self.transaction;
        let mut reply = [0; 2048];
        // Else there might be no room for the answer.
        self.socket.set_nonblocking(true)?;
        while let Ok(len) = self.socket.recv(&mut reply) {
            self.count(&reply, len);
        }
        self.socket.set_nonblocking(false)?;
        survive(self.socket.send(&header(MAGIC, CONNECT, transaction)))?;
        self.socket.set_read_timeout(Some(RESEND))?;
        let begun = Instant::now();
        while begun.elapsed() < RESEND {
            let len = survive(self.socket.recv(&mut reply))?;
            if len >= 8 && word(&reply, 0) == CONNECT && word(&reply, 4) == transaction {
                break;
            }
            self.count(&reply, len);
        }
        Ok(())
    }

    fn count(&mut self, reply: &[u8; 2048], len: usize) {
        match word(reply, 0) {
            ANNOUNCE if len >= 8 => self.announced += 1,
            ERROR if len >= 8 => self.refused += 1,
            _ => {}
        }
    }
}

fn word(reply: &[u8; 2048], at: usize) -> u32 {
    u32::from_be_bytes([0, 1, 2, 3].map(|n| reply[at + n]))
}

/// What a full buffer, a datagram that is too long or a timeout says is no error; 0 is nothing. That nobody listens is.
fn survive(result: io::Result<usize>) -> Result<usize> {
    match result {
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err("nobody listens for UDP any more".into()),
        Err(_) => Ok(0),
    }
}
