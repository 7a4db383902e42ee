//! Which server is tried next, and when. What goes wrong is heard here, and said in words.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Event, ReconnectToServer, Server, ServerAddr, ServerError};
use fastrand::Rng;
use tracing::{info, warn};

use crate::log::Complaints;

use super::causes::{Cause, CauseComplaints};
use super::servers::Servers;

/// The pause before the second attempt with a server; it doubles with each one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// When no attempt was needed for so long, the next one is the first again.
const CALM: Duration = Duration::from_secs(60);

/// Servers that others announce are tried up to so many.
const MAX_ANNOUNCED: usize = 64;

/// The longest piece of a server's text that the log repeats, in characters.
const MAX_QUOTE: usize = 200;

/// The servers that the tracker may connect to: those that are configured, and those that they announce.
pub(super) struct Pool {
    servers: Servers,
    /// What an operator looks at where the tracker's login is refused.
    login: &'static str,
    /// Who signs the certificates that are believed.
    trusted: &'static str,
    /// Ports within reach; none where all are.
    ports: Option<BTreeSet<u16>>,
    attempts: Mutex<Attempts>,
    causes: CauseComplaints,
    /// Connections that are lost: a server may take and drop them all the time.
    cuts: Complaints,
    /// Whether the log ends with nobody being connected, so that a connection is news.
    connection_is_news: AtomicBool,
    /// Servers that are left aside.
    aside: Complaints,
    /// Messages that found no room.
    lost: Complaints,
    /// What the server says of what the tracker does.
    said: Complaints,
}

#[derive(Debug)]
struct Attempts {
    /// Whether the next one may be made with a server that is not configured.
    announced_is_next: bool,
    /// The server of the last one.
    last: Option<SocketAddr>,
    at: Option<Instant>,
    /// How many there were since the last calm.
    many: u32,
    rng: Rng,
}

impl Pool {
    /// Makes one in which nothing has been tried.
    pub(super) fn new(
        servers: Servers,
        login: &'static str,
        trusted: &'static str,
        ports: Option<BTreeSet<u16>>,
        seed: u64,
    ) -> Self {
        Self {
            servers,
            login,
            trusted,
            ports,
            attempts: Mutex::new(Attempts {
                announced_is_next: false,
                last: None,
                at: None,
                many: 0,
                rng: Rng::with_seed(seed),
            }),
            causes: CauseComplaints::default(),
            cuts: Complaints::default(),
            connection_is_news: AtomicBool::new(true),
            aside: Complaints::default(),
            lost: Complaints::default(),
            said: Complaints::default(),
        }
    }

    /// Returns the server that is to be tried next: of those within reach that have failed least often, any. Every
    /// second attempt is made with one that is configured, so that no server can lead the tracker away from all of
    /// these; of those that servers announce the first 64 are looked at. Says what was wrong with the last one. None if
    /// no server is within reach, which cannot be while one is configured.
    pub(super) fn choose(&self, servers: &[Server], now: Instant) -> Option<ReconnectToServer> {
        let last = self.attempts().last;
        let failed = servers.iter().find(|one| last.is_some_and(|last| address(&one.addr) == Some(last)));
        if let Some((server, error)) = failed.and_then(|one| Some((one, one.last_error.as_deref()?))) {
            self.complain(&server.addr, error);
        }
        let (configured, announced): (Vec<_>, Vec<_>) = servers
            .iter()
            .filter_map(|one| Some((one, self.within_reach(one)?)))
            .partition(|(one, _)| !one.is_discovered);
        let announced = announced.into_iter().take(MAX_ANNOUNCED);
        let mut attempts = self.attempts();
        let takes_announced = configured.is_empty() || attempts.announced_is_next;
        let within_reach: Vec<_> = if takes_announced && announced.len() > 0 {
            configured.into_iter().chain(announced).collect()
        } else {
            configured
        };
        attempts.announced_is_next = !takes_announced;
        let least = within_reach.iter().map(|(one, _)| one.failed_attempts).min()?;
        let best: Vec<_> = within_reach.iter().filter(|(one, _)| one.failed_attempts == least).collect();
        let (server, address) = attempts.rng.choice(best)?;
        let delay = attempts.next(*address, within_reach.len(), now);
        Some(ReconnectToServer { addr: server.addr.clone(), delay: Some(delay) })
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address of a server that can be connected to. A name cannot be looked up.
    fn within_reach(&self, server: &Server) -> Option<SocketAddr> {
        let found = address(&server.addr);
        let port = server.addr.port();
        let port_is_open = self.ports.as_ref().is_none_or(|ports| ports.contains(&port));
        if found.is_none() || !port_is_open {
            self.aside.say(|| {
                let why = if found.is_none() { "it is a name" } else { "Landlock permits only configured ports" };
                let host = shown(server.addr.host());
                info!("the server of NATS announces {host}, port {port}, which is left aside: {why}");
            });
        }
        found.filter(|_| port_is_open)
    }

    /// Says why there is no connection to a server.
    fn complain(&self, server: &ServerAddr, error: &str) {
        let cause = Cause::of(error);
        self.causes.say(cause, || {
            let called = address(server).map_or_else(|| shown(server.host()), |address| self.servers.called(address));
            let why = cause.in_words(self.login, self.trusted);
            warn!("cannot connect to NATS at {called}: {why} ({}); trying again", shown(error));
            self.connection_is_news.store(true, Ordering::Relaxed);
        });
    }

    /// Hears what becomes of the connection.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                // As often as what was said before it, which is limited.
                if self.connection_is_news.swap(false, Ordering::Relaxed) {
                    info!("connected to NATS at {}", self.last());
                }
            }
            Event::Disconnected => self.cuts.say(|| {
                warn!("the connection to NATS at {} is lost; what it may have missed is told again later", self.last());
                self.connection_is_news.store(true, Ordering::Relaxed);
            }),
            Event::SlowConsumer(_) => self.lost.say(|| {
                warn!(
                    "messages from NATS are lost, as the tracker does not read as fast as they come; it asks for them"
                );
            }),
            Event::ServerError(ServerError::Other(text)) => self.said.say(|| {
                let text = shown(text);
                if text.to_lowercase().contains("permissions violation") {
                    warn!("NATS does not permit what the tracker needs: {text}; see the subjects of sync.nats.subject");
                } else {
                    warn!("NATS at {} says: {text}", self.last());
                }
            }),
            Event::ServerError(error) => self.said.say(|| warn!("NATS at {} says: {error}", self.last())),
            Event::LameDuckMode => info!("NATS at {} is about to stop", self.last()),
            // What went wrong with an attempt is known better when the next one is made.
            Event::ClientError(_) | Event::Draining | Event::Closed => {}
        }
    }

    /// Returns what the server is called that was tried last.
    fn last(&self) -> String {
        let last = self.attempts().last;
        last.map_or_else(|| "a server".into(), |address| self.servers.called(address))
    }
}

impl Attempts {
    /// Notes an attempt with a server, of so many. Returns how long it waits for its turn.
    fn next(&mut self, address: SocketAddr, servers: usize, now: Instant) -> Duration {
        let calm = self.at.is_none_or(|before| now.saturating_duration_since(before) >= CALM);
        self.many = if calm { 0 } else { self.many.saturating_add(1) };
        // The very first does not wait at all; of the first ones after a cut, all trackers of a cluster make one at a
        // time.
        let round = self.many / u32::try_from(servers).unwrap_or(u32::MAX).max(1);
        let longest = LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << round.min(10)));
        let delay =
            if self.last.is_none() { Duration::ZERO } else { longest.mul_f64(self.rng.f64().mul_add(0.5, 0.5)) };
        self.last = Some(address);
        self.at = Some(now + delay);
        delay
    }
}

/// Returns the address of a server that is named by its number.
fn address(server: &ServerAddr) -> Option<SocketAddr> {
    let ip: IpAddr = server.host().parse().ok()?;
    Some(SocketAddr::new(ip, server.port()))
}

/// Shortens what others have written. The log escapes it.
fn shown(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(texts: &[&str], ports: Option<&[u16]>) -> Pool {
        let servers = Servers::resolve(&super::super::servers::tests::servers(texts)).unwrap();
        Pool::new(servers, "", "", ports.map(|ports| ports.iter().copied().collect()), 1)
    }

    fn server(url: &str, failed_attempts: usize) -> Server {
        let addr = url.parse().unwrap();
        Server { addr, failed_attempts, did_connect: false, is_discovered: false, last_error: None }
    }

    fn chosen(pool: &Pool, servers: &[Server]) -> Option<String> {
        pool.choose(servers, Instant::now()).map(|chosen| chosen.addr.host().to_owned())
    }

    #[test]
    fn the_next_server_is_one_that_has_failed_least_often() {
        let pool = pool(&["192.0.2.1", "192.0.2.2"], None);
        let servers = [server("nats://192.0.2.1", 2), server("nats://192.0.2.2", 1), server("nats://192.0.2.3", 1)];
        let all: BTreeSet<_> = (0..100).filter_map(|_| chosen(&pool, &servers)).collect();
        assert_eq!(all, BTreeSet::from(["192.0.2.2".into(), "192.0.2.3".into()]));
    }

    #[test]
    fn servers_that_are_announced_do_not_keep_a_tracker_from_those_that_are_configured() {
        let pool = pool(&["192.0.2.1"], None);
        let mut servers = vec![server("nats://192.0.2.1", 1000)];
        servers.extend((0..1000).map(|n| {
            let url = format!("nats://10.0.{}.{}", n / 250, n % 250);
            Server { is_discovered: true, ..server(&url, 0) }
        }));
        let all: Vec<_> = (0..2000).filter_map(|_| chosen(&pool, &servers)).collect();
        assert!(all.iter().step_by(2).all(|host| host == "192.0.2.1"));
        let announced: BTreeSet<_> = all.iter().skip(1).step_by(2).collect();
        assert_eq!(announced.len(), MAX_ANNOUNCED);
        assert!(!announced.contains(&"192.0.2.1".to_owned()));
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_said_once_a_minute_and_the_log_ends_with_what_is_true() {
        let pool = pool(&["192.0.2.1"], None);
        let is_news = || pool.connection_is_news.load(Ordering::Relaxed);
        assert!(is_news(), "of the first one nothing was said");
        pool.hear(&Event::Connected);
        pool.hear(&Event::Disconnected);
        assert!(is_news(), "the log says that it is lost");
        pool.hear(&Event::Connected);
        pool.hear(&Event::Disconnected);
        assert!(!is_news(), "a second cut within the minute is not said, so the next connection is not");
        pool.complain(&"nats://192.0.2.1".parse().unwrap(), "Connection refused");
        assert!(is_news(), "the log says that there is none");
    }

    #[test]
    fn names_and_ports_out_of_reach_are_left_aside() {
        let servers =
            [server("nats.example.org", 0), server("192.0.2.3:4223", 0), server("nats://[2001:db8::1]:4222", 5)];
        assert_eq!(chosen(&pool(&["192.0.2.1"], Some(&[4222])), &servers).as_deref(), Some("2001:db8::1"));
        let anywhere = pool(&["192.0.2.1"], None);
        assert_eq!(chosen(&anywhere, &servers).as_deref(), Some("192.0.2.3"));
        assert_eq!(chosen(&anywhere, &servers[..1]), None);
    }

    #[test]
    fn pauses_grow_up_to_ten_seconds_and_begin_anew_after_a_calm() {
        let mut attempts = Attempts { announced_is_next: false, last: None, at: None, many: 0, rng: Rng::with_seed(1) };
        let address = ([192, 0, 2, 1], 4222).into();
        let mut now = Instant::now();
        assert_eq!(attempts.next(address, 2, now), Duration::ZERO, "the tracker has just started");
        let mut longest = FIRST_PAUSE;
        for round in 0..20 {
            for _ in 0..2 {
                // The first one is in the first round already.
                if (round, attempts.many) == (0, 1) {
                    continue;
                }
                let delay = attempts.next(address, 2, now);
                assert!((longest / 2..=longest).contains(&delay), "{delay:?} of {longest:?}");
                now += delay;
            }
            longest = LONGEST_PAUSE.min(longest * 2);
        }
        assert_eq!(longest, LONGEST_PAUSE);
        assert!(attempts.next(address, 2, now + CALM) <= FIRST_PAUSE);
    }
}
