//! The load: each part of it is a thread that runs until it is told to stop, and says what it did.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use opentracker_endurance::garbage::Garbage;
use opentracker_endurance::requests::{Announce, ERROR, Event, get, scrape};
use opentracker_endurance::{Result, info_hash, interrupted, stranger, tcp, udp};

use crate::model::{Model, TORRENTS, full_scrape, torrent};

/// One request of a client in so many goes over HTTP, and one is a scrape.
const HTTP: u64 = 16;
const SCRAPE: u64 = 20;
/// Announces a second of each client whose state is known, and of the churn; datagrams of garbage; requests of garbage.
const CLIENT_RATE: u32 = 500;
const CHURN_RATE: u32 = 2000;
const DATAGRAM_RATE: u32 = 2000;
const REQUEST_RATE: u32 = 50;
/// Requests after which a client has come to each of its peers four times: from then on about as many come as go.
const CLIENT_WARM: u64 = 64_000;
/// Torrents that come and go: so many are there at a time.
const CHURNING: u64 = 20_000;
/// Garbage begins anew after so much of it: what it leaves behind is as much in the end as it was soon.
const DATAGRAMS: u64 = 20_000;
const REQUESTS: u64 = 1000;
/// How often the list changes, and how long a change may take.
const RELOAD: Duration = Duration::from_secs(2);
const RELOADED: Duration = Duration::from_secs(10);
/// How often a full scrape is taken.
const PAGE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);

/// The parts that are warm sooner or later: the clients, the churn, and both sorts of garbage.
pub(crate) const WARM: usize = CLIENTS as usize + 3;
/// Clients whose state is known.
pub(crate) const CLIENTS: u8 = 4;

/// What all parts know.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) stop: &'a AtomicBool,
    /// How many parts have done so much without a pause that all they do from now on leaves about as much behind.
    pub(crate) warm: &'a AtomicUsize,
}

impl Load<'_> {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || interrupted()
    }

    /// Waits as long as it takes to do things at this rate, of which this is the n-th, once `warm` are done.
    fn pace(&self, n: u64, rate: u32, warm: u64) {
        if n == warm {
            self.warm.fetch_add(1, Ordering::Relaxed);
        }
        if n > warm && n.is_multiple_of(64) {
            sleep(Duration::from_secs(64) / rate);
        }
    }

    /// A client whose state is known, and which never has an announce without an answer. Returns that state, and how
    /// many requests there were.
    pub(crate) fn client(&self, n: u8) -> Result<(Model, u64)> {
        let ip = Ipv4Addr::new(127, 88, n, 1);
        let (mut model, mut rng) = (Model::default(), Rng::with_seed(n.into()));
        let mut client = udp::Client::connect(ip, self.udp)?;
        let mut renewed = Instant::now();
        let mut requests = 0;
        while !self.is_over() {
            requests += 1;
            self.pace(requests, CLIENT_RATE, CLIENT_WARM);
            if renewed.elapsed() > Duration::from_secs(1800) {
                client.renew()?;
                renewed = Instant::now();
            }
            if rng.u64(..SCRAPE) == 0 {
                let hashes = [(); 10].map(|()| torrent(rng.u64(..TORRENTS)));
                let reply = client.ask(|id, transaction| scrape(id, transaction, &hashes))?;
                if reply.len() != 8 + 12 * hashes.len() {
                    return Err("a scrape of ten torrents is not answered with ten".into());
                }
                continue;
            }
            let announce = model.step(&mut rng);
            if rng.u64(..HTTP) == 0 {
                self.announce_over_http(ip, &announce)?;
            } else if client.ask(|id, transaction| announce.udp(id, transaction))?.get(..4)
                == Some(&ERROR.to_be_bytes())
            {
                return Err("an announce is refused".into());
            }
        }
        Ok((model, requests))
    }

    fn announce_over_http(&self, ip: Ipv4Addr, announce: &Announce) -> Result<()> {
        for _ in 0..10 {
            match tcp::ask(ip, self.tcp, announce.http("close").as_bytes(), PATIENCE) {
                Ok(reply) if tcp::body(&reply).starts_with(b"d8:complete") => return Ok(()),
                // It is under pressure, and closes some connections.
                _ => sleep(Duration::from_millis(100)),
            }
        }
        Err("an announce over HTTP is not answered".into())
    }

    /// Torrents that come, and go when so many others have come; in the end all of them go.
    pub(crate) fn churn(&self) -> Result<u64> {
        let mut client = udp::Client::connect(Ipv4Addr::new(127, 89, 0, 1), self.udp)?;
        let mut say = |n: u64, event| {
            let announce = Announce { info_hash: info_hash(b"chrn", n), port: 6881, left: n % 2, event };
            client.send(&announce.udp(client.id, 1))
        };
        let mut n = 0;
        while !self.is_over() {
            say(n, Event::Started)?;
            if let Some(old) = n.checked_sub(CHURNING) {
                say(old, Event::Stopped)?;
            }
            n += 1;
            self.pace(n, CHURN_RATE, 2 * CHURNING);
        }
        (n.saturating_sub(CHURNING)..n).try_for_each(|old| say(old, Event::Stopped))?;
        client.sync()?;
        Ok(n)
    }

    pub(crate) fn datagrams(&self) -> Result<u64> {
        let mut client = udp::Client::connect(stranger(1), self.udp)?;
        let mut garbage = Garbage::new(1);
        let mut n = 0;
        while !self.is_over() {
            client.send(&garbage.datagram(client.id))?;
            n += 1;
            if n % DATAGRAMS == 0 {
                garbage = Garbage::new(1);
            }
            self.pace(n, DATAGRAM_RATE, DATAGRAMS);
        }
        Ok(n)
    }

    pub(crate) fn requests(&self) -> Result<u64> {
        let mut garbage = Garbage::new(2);
        let mut n = 0;
        while !self.is_over() {
            let (request, _) = garbage.request();
            // Most of them are never whole.
            let _ = tcp::ask(stranger(2), self.tcp, &request, Duration::from_millis(5));
            n += 1;
            if n % REQUESTS == 0 {
                garbage = Garbage::new(2);
            }
            self.pace(n, REQUEST_RATE, REQUESTS);
        }
        Ok(n)
    }

    /// Full scrapes; every second one is compressed. Returns how many were whole. One that is cut off, or told to come
    /// later, makes room for others, and is no error.
    pub(crate) fn pages(&self) -> Result<[u64; 2]> {
        let (mut asked, mut whole) = (0, 0);
        while !self.is_over() {
            asked += 1;
            let coding = if asked % 2 == 0 { "Accept-Encoding: gzip\r\n" } else { "" };
            let request = format!("GET /scrape HTTP/1.0\r\nHost: tracker\r\n{coding}\r\n");
            if let Ok(reply) = tcp::ask(stranger(3), self.tcp, request.as_bytes(), Duration::from_secs(60)) {
                let is_page = reply.starts_with(b"HTTP/1.1 200") || reply.starts_with(b"HTTP/1.0 200");
                if is_page && coding.is_empty() && full_scrape(tcp::body(&reply)).is_none() {
                    return Err("a full scrape is not well-formed".into());
                }
                whole += u64::from(is_page);
            }
            self.wait(PAGE);
        }
        Ok([asked, whole])
    }

    /// Changes the list again and again, and has it read. Returns how often; each time another torrent is refused.
    pub(crate) fn reloads(&self, list: &Path, reload: impl Fn() -> Result<()>) -> Result<u64> {
        let mut client = udp::Client::connect(Ipv4Addr::new(127, 90, 0, 1), self.udp)?;
        let mut n = 0;
        while !self.is_over() {
            n += 1;
            let (listed, other) = (n % 2, (n + 1) % 2);
            fs::write(list.with_extension("new"), lines(listed, n))?;
            fs::rename(list.with_extension("new"), list)?;
            reload()?;
            let began = Instant::now();
            while !refuses(&mut client, listed)? || refuses(&mut client, other)? {
                if began.elapsed() > RELOADED {
                    return Err(format!("the list is not read again within {RELOADED:?}").into());
                }
                sleep(Duration::from_millis(20));
            }
            self.wait(RELOAD);
        }
        Ok(n)
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_over() && Instant::now() < until {
            sleep(Duration::from_millis(50));
        }
    }
}

/// The first list: it names one of two torrents, and some that nobody asks for.
pub(crate) fn lines(listed: u64, length: u64) -> String {
    let hex = |hash: [u8; 20]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let others = (0..1000 + length % 7 * 1000).map(|n| hex(info_hash(b"none", n)));
    others.chain([hex(info_hash(b"list", listed))]).collect()
}

fn refuses(client: &mut udp::Client, n: u64) -> Result<bool> {
    let announce = Announce { info_hash: info_hash(b"list", n), port: 9, left: 1, event: Event::None };
    let reply = client.ask(|id, transaction| announce.udp(id, transaction))?;
    Ok(reply.get(..4) == Some(&ERROR.to_be_bytes()))
}

/// A page of the tracker as it is in the end.
pub(crate) fn last_page(tracker: SocketAddr) -> Result<Vec<u8>> {
    let request = get("/scrape").replace("HTTP/1.1", "HTTP/1.0");
    let reply = tcp::ask(stranger(3), tracker, request.as_bytes(), Duration::from_secs(60))?;
    Ok(tcp::body(&reply).to_vec())
}
