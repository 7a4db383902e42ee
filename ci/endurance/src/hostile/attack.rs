//! Carries attacks out.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use opentracker_endurance::garbage::Garbage;
use opentracker_endurance::requests::{Announce, Event};
use opentracker_endurance::tracker::Tracker;
use opentracker_endurance::{Result, flood, info_hash, interrupted, stranger, tcp, udp};

use crate::cases::Attack;

/// Threads that send datagrams, and that send requests.
const UDP_SENDERS: u64 = 2;
const HTTP_SENDERS: u64 = 16;
/// Addresses of one network that spray, and ports of each in a torrent.
const SPRAYERS: u16 = 64;
const PORTS: u16 = 16;
/// Torrents that a full scrape names: a page that no buffer of the system takes whole.
const NAMED: u64 = 200_000;
/// How long a stranger waits for an answer to his request: once he has closed his side, and before.
const CLOSED: Duration = Duration::from_secs(2);
const OPEN: Duration = Duration::from_millis(10);

/// Gives the tracker what an attack needs to be one.
pub(crate) fn prepare(attack: Attack, tracker: &Tracker) -> Result<()> {
    if matches!(attack, Attack::Flood(flood::Manner::Reading(_), ..)) {
        let mut client = udp::Client::connect(stranger(300), tracker.udp)?;
        for n in 0..NAMED {
            let announce = Announce { info_hash: info_hash(b"page", n), port: 7, left: 1, event: Event::None };
            client.send(&announce.udp(client.id, 1))?;
        }
        client.sync()?;
    }
    Ok(())
}

/// Carries it out until it is over, or `deadline`, and returns how much was sent.
pub(crate) fn run(attack: Attack, tracker: &Tracker, deadline: Instant) -> Result<u64> {
    let is_over = || interrupted() || Instant::now() >= deadline;
    match attack {
        Attack::Datagrams(count) => shared(UDP_SENDERS, count, |n, count| datagrams(n, count, tracker, is_over)),
        Attack::Requests(count) => shared(HTTP_SENDERS, count, |n, count| requests(n, count, tracker, is_over)),
        Attack::Flood(manner, count, time) => {
            let end = deadline.min(Instant::now() + time);
            let is_over = || interrupted() || Instant::now() >= end;
            Ok(flood::run(manner, count, stranger(0), tracker.tcp, is_over).opened)
        }
        Attack::Torrents(count) => shared(UDP_SENDERS, count, |n, count| torrents(n, count, tracker, is_over)),
        Attack::Peers(count) => shared(UDP_SENDERS, count, |n, count| peers(n, count, tracker, is_over)),
    }
}

/// Shares the count out among threads, and adds up what they have sent.
fn shared(threads: u64, count: u64, send: impl Fn(u64, u64) -> Result<u64> + Sync) -> Result<u64> {
    thread::scope(|scope| {
        let send = &send;
        let senders: Vec<_> = (0..threads).map(|n| scope.spawn(move || send(n, count / threads))).collect();
        senders.into_iter().map(|sender| sender.join().map_err(|_| "a stranger panicked")?).sum()
    })
}

fn datagrams(n: u64, count: u64, tracker: &Tracker, is_over: impl Fn() -> bool) -> Result<u64> {
    let mut client = udp::Client::connect(stranger(u16::try_from(n)?), tracker.udp)?;
    let mut garbage = Garbage::new(n);
    for sent in 0..count {
        if sent % 1024 == 0 && is_over() {
            return Ok(sent);
        }
        client.send(&garbage.datagram(client.id))?;
    }
    client.sync()?;
    Ok(count)
}

fn requests(n: u64, count: u64, tracker: &Tracker, is_over: impl Fn() -> bool) -> Result<u64> {
    let mut garbage = Garbage::new(n);
    let mut reply = [0; 16 << 10];
    for sent in 0..count {
        if is_over() {
            return Ok(sent);
        }
        let (request, closes) = garbage.request();
        let ip = stranger(u16::try_from((n + sent * HTTP_SENDERS) % 250)?);
        let Ok(mut stream) = tcp::connect(ip, tracker.tcp, CLOSED) else { continue };
        stream.set_write_timeout(Some(CLOSED))?;
        stream.set_read_timeout(Some(if closes { CLOSED } else { OPEN }))?;
        // It may be closed, or answered, before all is sent.
        let _ = stream.write_all(&request);
        if closes {
            let _ = stream.shutdown(Shutdown::Write);
        }
        while stream.read(&mut reply).is_ok_and(|len| len > 0) {}
    }
    Ok(count)
}

/// A peer in each torrent. Of every fourth he completes and leaves at once: a count of downloads is to be kept.
fn torrents(n: u64, count: u64, tracker: &Tracker, is_over: impl Fn() -> bool) -> Result<u64> {
    let mut sprayers = Sprayers::connect(tracker)?;
    for sent in 0..count {
        if sent % 1024 == 0 && is_over() {
            return Ok(sent);
        }
        let info_hash = info_hash(b"spry", (n << 32) + sent);
        let events: &[Event] = if sent % 4 == 0 { &[Event::Completed, Event::Stopped] } else { &[Event::None] };
        for event in events {
            sprayers.send(sent, Announce { info_hash, port: 6881, left: 0, event: *event })?;
        }
    }
    Ok(count)
}

/// The same few ports of all addresses in each torrent.
fn peers(n: u64, count: u64, tracker: &Tracker, is_over: impl Fn() -> bool) -> Result<u64> {
    let mut sprayers = Sprayers::connect(tracker)?;
    let (addresses, ports) = (u64::from(SPRAYERS), u64::from(PORTS));
    for sent in 0..count {
        if sent % 1024 == 0 && is_over() {
            return Ok(sent);
        }
        let info_hash = info_hash(b"crwd", (n << 32) + sent / (addresses * ports));
        let port = 7000 + u16::try_from(sent % ports)?;
        sprayers.send(sent / ports, Announce { info_hash, port, left: sent % 2, event: Event::None })?;
    }
    Ok(count)
}

/// The strangers of one network, in turn. Together they wait for the tracker as often as one of them would.
struct Sprayers {
    clients: Vec<udp::Client>,
    in_flight: u32,
}

impl Sprayers {
    fn connect(tracker: &Tracker) -> Result<Self> {
        let clients = (0..SPRAYERS).map(|n| udp::Client::connect(stranger(n), tracker.udp)).collect::<Result<_>>()?;
        Ok(Self { clients, in_flight: 0 })
    }

    fn send(&mut self, turn: u64, announce: Announce) -> Result<()> {
        let client = &mut self.clients[usize::try_from(turn % u64::from(SPRAYERS))?];
        client.post(&announce.udp(client.id, 1));
        self.in_flight += 1;
        if self.in_flight < udp::WINDOW {
            return Ok(());
        }
        self.in_flight = 0;
        client.sync()
    }
}
