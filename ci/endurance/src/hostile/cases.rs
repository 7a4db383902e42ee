//! The attacks, how large they are, and how much memory the tracker may take under each.

use std::fmt::Write as _;
use std::time::Duration;

use opentracker_endurance::flood::Manner;

/// What a torrent, a peer and a connection take at most where `limits.*` are derived from memory, in bytes: an eighth
/// more than `src/server/limits.rs` reckons with.
const TORRENT: u64 = 68;
const PEER: u64 = 18;
const CONNECTION: u64 = 18 << 10;
/// What all full scrapes take, and what the allocator keeps beside that.
const FULL_SCRAPES: u64 = 13 << 20;
const BESIDE: u64 = 8 << 20;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) attack: Attack,
    /// Places for connections that matter to the attack, in a control group too.
    places: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Attack {
    /// Hostile datagrams.
    Datagrams(u64),
    /// Hostile requests.
    Requests(u64),
    Flood(Manner, usize, Duration),
    /// Torrents of one network, a peer in each.
    Torrents(u64),
    /// Peers of one network, a thousand in each torrent.
    Peers(u64),
}

/// The configured limits; what is none follows from the memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    torrents: Option<u64>,
    peers: Option<u64>,
    connections: Option<u64>,
}

/// All attacks, `scale` times as large as is promised. Connections are as many at every scale, for a shorter time;
/// fewer, if `files` may not be open at a time.
pub(crate) fn all(scale: f64, files: u64) -> Vec<Case> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 10^8")]
    let times = |count: f64, least: f64| (count * scale).max(least) as u64;
    let long = Duration::from_secs_f64((90.0 * scale).clamp(4.0, 600.0));
    let second = Duration::from_secs;
    let count = |wanted: u64| usize::try_from(wanted.min(files.saturating_sub(500))).unwrap_or(usize::MAX);
    let case = |name, attack| Case { name, attack, places: None };
    let flood = |name, manner, wanted, places| Case {
        name,
        attack: Attack::Flood(manner, count(wanted), long),
        places: Some(places),
    };
    vec![
        case("hostile datagrams", Attack::Datagrams(times(1e7, 1e4))),
        case("hostile requests", Attack::Requests(times(2e5, 1e3))),
        flood("5,000 silent", Manner::Silent, 5000, 1000),
        flood("1,000 trickling", Manner::Trickling(second(5)), 1000, 1000),
        flood("20 kept alive", Manner::KeptAlive(second(10)), 20, 20),
        flood("100 slow readers", Manner::Reading(20_000), 100, 100),
        // In the control group, more than it has room for at any scale.
        case("torrents", Attack::Torrents(times(1e7, 4e5))),
        case("peers", Attack::Peers(times(1e7, 1.2e6))),
    ]
}

impl Case {
    pub(crate) fn limits(&self, in_group: bool) -> Limits {
        if in_group {
            return Limits { connections: self.places, ..Limits::default() };
        }
        // A tenth of what is sprayed.
        let (torrents, peers) = match self.attack {
            Attack::Torrents(count) => (count / 10, 1_000_000),
            Attack::Peers(count) => (1_000_000, count / 10),
            Attack::Flood(..) => (1_000_000, 1_000_000),
            Attack::Datagrams(_) | Attack::Requests(_) => (100_000, 100_000),
        };
        let connections = Some(self.places.unwrap_or(1000));
        Limits { torrents: Some(torrents), peers: Some(peers), connections }
    }
}

impl Limits {
    pub(crate) fn config(self) -> String {
        let mut config = String::from("[limits]\n");
        for (name, value) in [("torrents", self.torrents), ("peers", self.peers), ("connections", self.connections)] {
            if let Some(value) = value {
                let _ = writeln!(config, "{name} = {value}");
            }
        }
        config
    }

    /// The bytes that the tracker may take beyond what it takes at the start, where all limits are configured.
    pub(crate) fn bytes(self) -> u64 {
        let take = |limit: Option<u64>, bytes| limit.unwrap_or(0) * bytes;
        let held = take(self.torrents, TORRENT) + take(self.peers, PEER) + take(self.connections, CONNECTION);
        held + FULL_SCRAPES + BESIDE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_control_group_only_the_places_that_matter_are_configured() {
        let cases = all(1.0, 20_000);
        let silent = cases.iter().find(|case| case.name.contains("silent")).unwrap();
        assert_eq!(silent.limits(true).config(), "[limits]\nconnections = 1000\n");
        let spray = cases.iter().find(|case| case.name == "torrents").unwrap();
        assert_eq!(spray.limits(true).config(), "[limits]\n");
        assert_eq!(spray.limits(false).config(), "[limits]\ntorrents = 1000000\npeers = 1000000\nconnections = 1000\n");
        assert!(spray.limits(false).bytes() > 1_000_000 * (TORRENT + PEER));
    }

    #[test]
    fn connections_are_no_more_than_files_may_be_open() {
        let most = |files| {
            all(1.0, files)
                .iter()
                .map(|case| match case.attack {
                    Attack::Flood(_, count, _) => count,
                    _ => 0,
                })
                .max()
        };
        assert_eq!((most(20_000), most(1024)), (Some(5000), Some(524)));
    }
}
