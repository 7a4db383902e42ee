//! A good client, which announces over UDP and over HTTP ten times a second, and keeps a record of the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::requests::{ANNOUNCE, Announce, ERROR, Event};
use crate::{GOOD, Result, info_hash, median, tcp, udp};

const EVERY: Duration = Duration::from_millis(100);
/// An answer that comes later is none.
const LOST: Duration = Duration::from_secs(10);
/// One announce of so many is for a torrent that nobody knows; the others are for a few that it is in from the start.
const NEW: u64 = 10;
const KNOWN: u64 = 20;
/// Of its peers, one for each protocol.
const UDP_PORT: u16 = 7001;
const HTTP_PORT: u16 = 7002;

pub struct Good {
    stop: Arc<AtomicBool>,
    /// Whether the last new torrent was taken, over UDP and over HTTP.
    takes_new: [Arc<AtomicBool>; 2],
    udp: JoinHandle<Record>,
    http: JoinHandle<Record>,
}

/// What came of its announces over one protocol.
#[derive(Debug)]
pub struct Record {
    pub asked: u64,
    pub answered: u64,
    /// Answered with an error.
    pub refused: u64,
    takes_new: Arc<AtomicBool>,
    /// Microseconds that each answer took.
    latencies: Vec<u64>,
    /// The longest time without an answer.
    pub silence: Duration,
    last: Instant,
}

impl Good {
    /// Starts it. It is in its torrents when this returns.
    pub fn start(udp: SocketAddr, tcp: SocketAddr) -> Result<Self> {
        let mut client = udp::Client::connect(GOOD, udp)?;
        for n in 0..KNOWN {
            let announce =
                Announce { info_hash: info_hash(b"good", n), port: UDP_PORT, left: 1, event: Event::Started };
            client.ask(|id, transaction| announce.udp(id, transaction))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (for_udp, for_http) = (Arc::clone(&stop), Arc::clone(&stop));
        let records = [(); 2].map(|()| Record::new());
        let takes_new = records.each_ref().map(|record| Arc::clone(&record.takes_new));
        let [udp_record, http_record] = records;
        let udp = thread::spawn(move || announce_over_udp(client, &for_udp, udp_record));
        let http = thread::spawn(move || announce_over_http(tcp, &for_http, http_record));
        Ok(Self { stop, takes_new, udp, http })
    }

    /// Whether its last new torrent was taken, over both protocols.
    pub fn takes_new(&self) -> bool {
        self.takes_new.iter().all(|taken| taken.load(Ordering::Relaxed))
    }

    /// Stops it, and returns its records over UDP and over HTTP.
    pub fn stop(self) -> Result<[Record; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |thread: JoinHandle<Record>| thread.join().map_err(|_| "the good client panicked");
        Ok([ended(self.udp)?, ended(self.http)?])
    }
}

impl Record {
    fn new() -> Self {
        let (latencies, last) = (Vec::new(), Instant::now());
        let takes_new = Arc::new(AtomicBool::new(true));
        Self { asked: 0, answered: 0, refused: 0, takes_new, latencies, silence: Duration::ZERO, last }
    }

    /// Whether the last new torrent was taken.
    pub fn takes_new(&self) -> bool {
        self.takes_new.load(Ordering::Relaxed)
    }

    fn answer(&mut self, asked: Instant, is_new: bool, served: bool) {
        let now = Instant::now();
        self.answered += 1;
        self.refused += u64::from(!served);
        self.latencies.push(u64::try_from((now - asked).as_micros()).unwrap_or(u64::MAX));
        if is_new {
            self.takes_new.store(served, Ordering::Relaxed);
        }
        self.silence = self.silence.max(now - self.last);
        self.last = now;
    }

    fn finish(&mut self) {
        self.silence = self.silence.max(self.last.elapsed());
    }

    /// Milliseconds that an answer took, in the middle and at worst.
    pub fn milliseconds(&self) -> [f64; 2] {
        let worst = self.latencies.iter().copied().max().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "seconds in microseconds")]
        [median(&mut self.latencies.clone()), worst].map(|microseconds| microseconds as f64 / 1e3)
    }
}

fn announce(n: u64, port: u16) -> (Announce, bool) {
    let is_new = n % NEW == NEW - 1;
    let info_hash = if is_new { info_hash(b"new ", n << 16 | u64::from(port)) } else { info_hash(b"good", n % KNOWN) };
    (Announce { info_hash, port, left: n % 2, event: Event::None }, is_new)
}

fn announce_over_udp(client: udp::Client, stop: &AtomicBool, mut record: Record) -> Record {
    let mut waiting = BTreeMap::new();
    let mut due = Instant::now();
    let mut n = 0_u32;
    let mut ends: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if ends.is_none() && stop.load(Ordering::Relaxed) {
            ends = Some(now + Duration::from_secs(2));
            record.finish();
        }
        if ends.is_some_and(|ends| now >= ends || waiting.is_empty()) {
            return record;
        }
        if ends.is_none() && now >= due {
            let (announce, is_new) = announce(n.into(), UDP_PORT);
            client.post(&announce.udp(client.id, n));
            waiting.insert(n, (now, is_new));
            record.asked += 1;
            n += 1;
            // What could not be asked in time, since the machine stood still, is not asked in a burst.
            due = (due + EVERY).max(now);
        }
        waiting.retain(|_, (asked, _)| now - *asked < LOST);
        if let Some((action @ (ANNOUNCE | ERROR), transaction)) = client.take(due.saturating_duration_since(now))
            && let Some((asked, is_new)) = waiting.remove(&transaction)
        {
            record.answer(asked, is_new, action == ANNOUNCE);
        }
    }
}

fn announce_over_http(tracker: SocketAddr, stop: &AtomicBool, record: Record) -> Record {
    let record = Arc::new(Mutex::new(record));
    let mut asking = Vec::new();
    let mut due = Instant::now();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (announce, is_new) = announce(n, HTTP_PORT);
        let shared = Arc::clone(&record);
        shared.lock().unwrap_or_else(PoisonError::into_inner).asked += 1;
        // A thread each: those that wait do not keep the next one from asking.
        asking.push(thread::spawn(move || {
            let asked = Instant::now();
            let Ok(reply) = tcp::ask(GOOD, tracker, announce.http("close").as_bytes(), LOST) else { return };
            if reply.starts_with(b"HTTP/1.1 200") {
                let served = !reply.windows(14).any(|text| text == b"failure reason");
                shared.lock().unwrap_or_else(PoisonError::into_inner).answer(asked, is_new, served);
            }
        }));
        asking.retain(|thread| !thread.is_finished());
        due = (due + EVERY).max(Instant::now());
        sleep(due.saturating_duration_since(Instant::now()));
    }
    record.lock().unwrap_or_else(PoisonError::into_inner).finish();
    asking.into_iter().for_each(|thread| drop(thread.join()));
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *record, Record::new())
}
