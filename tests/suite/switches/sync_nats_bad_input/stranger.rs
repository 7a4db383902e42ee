//! A client of NATS that says on a cluster's subjects whatever a test wants, and hears what trackers say there.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use crate::clients::cluster::Record;
use crate::clients::nats::Server;
use crate::wait::{MAX_WAIT, retry_interrupted};

/// The name of the cluster, and what its subjects begin with.
pub(crate) const CLUSTER: &str = "opentracker";

pub(crate) struct Stranger {
    stream: BufReader<TcpStream>,
    /// Subject and payload of what has come and has not been asked for yet.
    heard: VecDeque<(String, Vec<u8>)>,
}

impl Stranger {
    /// Connects, and hears from now on all that others say in the cluster.
    pub(crate) fn new(server: &Server) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        let mut stranger = Self { stream: BufReader::new(stream), heard: VecDeque::new() };
        assert!(stranger.line().starts_with("INFO "));
        stranger.write(b"CONNECT {\"verbose\":false,\"protocol\":1,\"echo\":false}\r\n");
        stranger.write(format!("SUB {CLUSTER}.> 1\r\n").as_bytes());
        stranger.flush();
        stranger
    }

    /// Says something on the cluster's subject of this name.
    pub(crate) fn publish(&mut self, name: &str, payload: &[u8]) {
        let line = format!("PUB {CLUSTER}.{name} {}\r\n", payload.len());
        self.write(&[line.as_bytes(), payload, b"\r\n"].concat());
    }

    /// Waits until the server has had all that was said.
    pub(crate) fn flush(&mut self) {
        self.write(b"PING\r\n");
        while self.read() != "PONG" {}
    }

    /// Waits for a message on the cluster's subject of this name, for which there is an answer. Those before it are
    /// passed over.
    #[track_caller]
    pub(crate) fn wait_for<T>(&mut self, name: &str, mut read: impl FnMut(&[u8]) -> Option<T>) -> T {
        loop {
            if let Some(answer) = self.try_for(name, &mut read) {
                return answer;
            }
            self.read();
        }
    }

    /// The same among what has come already.
    pub(crate) fn try_for<T>(&mut self, name: &str, mut read: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let subject = format!("{CLUSTER}.{name}");
        while let Some((on, payload)) = self.heard.pop_front() {
            if let Some(answer) = (on == subject).then(|| read(&payload)).flatten() {
                return Some(answer);
            }
        }
        None
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Reads what the server says next, and keeps it if it is a message. Returns its line.
    fn read(&mut self) -> String {
        let line = self.line();
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "MSG" => {
                let mut payload = vec![0; words.last().unwrap().parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut payload).unwrap();
                payload.truncate(payload.len() - 2);
                self.heard.push_back((words[1].to_owned(), payload));
            }
            "PING" => self.write(b"PONG\r\n"),
            "PONG" | "INFO" => {}
            _ => panic!("the server says {line:?}"),
        }
        line
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        retry_interrupted(|| self.stream.read_line(&mut line)).unwrap();
        line.strip_suffix("\r\n").expect("a whole line").to_owned()
    }
}

/// What stands before the records of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) magic: [u8; 4],
    pub(crate) cluster: &'static str,
    pub(crate) sender: u64,
    pub(crate) sequence: u64,
    pub(crate) made_up: [u64; 2],
    pub(crate) waited: u8,
    pub(crate) kind: u8,
}

impl Batch {
    /// The first of this sender, with records of the family of this one.
    pub(crate) fn first(sender: u64, record: &Record) -> Self {
        let kind = if record.endpoint.is_ipv4() { 4 } else { 6 };
        Self { magic: *b"OTB\x01", cluster: CLUSTER, sender, sequence: 1, made_up: [0, 0], waited: 0, kind }
    }

    /// The batch with these records.
    pub(crate) fn with(&self, records: &[u8]) -> Vec<u8> {
        let numbers = [self.sender, self.sequence, self.made_up[0], self.made_up[1]].map(u64::to_be_bytes).concat();
        let member = &self.sender.to_be_bytes()[4..];
        let name = [&[u8::try_from(self.cluster.len()).unwrap()], self.cluster.as_bytes()].concat();
        [&self.magic[..], &name, &numbers, member, &[self.waited, self.kind], records].concat()
    }
}

/// A record that is so many minutes old.
pub(crate) fn aged(record: &Record, minutes: u8) -> Vec<u8> {
    let mut bytes = record.bytes();
    *bytes.last_mut().unwrap() = minutes;
    bytes
}

/// Reads a number off the front.
pub(crate) fn number(bytes: &mut &[u8]) -> u64 {
    let (number, rest) = bytes.split_first_chunk().unwrap();
    *bytes = rest;
    u64::from_be_bytes(*number)
}
