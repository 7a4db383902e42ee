//! The command line of a loader: a task, then `--name value` pairs.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Every peer of the population announces once.
    Fill,
    /// Every peer of the population leaves: with the event `stopped`.
    Leave,
    /// Connects, announces and scrapes in turn, drawn at random.
    Mix,
    /// HTTP announces, a connection each.
    Close,
    /// HTTP announces, over connections that are kept alive.
    KeepAlive,
    /// Prints the info hashes of the population.
    Hashes,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    pub task: Task,
    /// Where the tracker listens.
    pub to: SocketAddr,
    pub torrents: u64,
    /// Peers that a torrent has at most.
    pub peers: u64,
    /// 1: all torrents are asked for alike; more: the first ones more often.
    pub skew: f64,
    /// Asks for so long; `None`: until it has sent `count` requests.
    pub seconds: Option<Duration>,
    /// Requests at most.
    pub count: u64,
    /// Requests a second; `None`: as fast as it is answered.
    pub rate: Option<u32>,
    /// Connects in a hundred requests.
    pub connects: f64,
    /// Scrapes in a hundred requests.
    pub scrapes: f64,
    /// Peers wanted in an announce.
    pub wanted: i32,
    pub seed: u64,
    /// Each has an address of its own.
    pub sockets: u64,
    /// Requests in flight on each socket.
    pub in_flight: usize,
    /// The hashes that `aquatic_udp_load_test` asks for instead of our own.
    pub aquatic: bool,
    /// Looks for replies all the time. Else it sleeps when there are none, and the tracker's replies have to wake it.
    pub spins: bool,
    /// Each line of the standard input ends a phase, which is printed on a line of its own; its end ends the last one.
    pub phases: bool,
}

impl Arguments {
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let task = match words.next().as_deref() {
            Some("fill") => Task::Fill,
            Some("leave") => Task::Leave,
            Some("mix") => Task::Mix,
            Some("hashes") => Task::Hashes,
            Some("close") => Task::Close,
            Some("keep-alive") => Task::KeepAlive,
            other => return Err(format!("expected a task, not {:?}", other.unwrap_or_default())),
        };
        let mut arguments = Self {
            task,
            to: SocketAddr::from(([127, 0, 0, 1], 6969)),
            torrents: 10_000,
            peers: 128,
            skew: 3.0,
            seconds: None,
            count: u64::MAX,
            rate: None,
            connects: 50.0,
            scrapes: 1.0,
            wanted: 30,
            seed: 1,
            sockets: 8,
            in_flight: 32,
            aquatic: false,
            spins: false,
            phases: false,
        };
        while let Some(name) = words.next() {
            if name == "--aquatic" {
                arguments.aquatic = true;
                continue;
            }
            if name == "--spins" {
                arguments.spins = true;
                continue;
            }
            if name == "--phases" {
                arguments.phases = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
            arguments.set(&name, &value)?;
        }
        if arguments.peers.div_ceil(arguments.sockets) > u64::from(u16::MAX) {
            return Err("an address has not so many ports: more --sockets, or fewer --peers".into());
        }
        let bounded = arguments.seconds.is_some() || arguments.count < u64::MAX;
        if matches!(task, Task::Mix | Task::Close | Task::KeepAlive) && !bounded {
            return Err("it would go on for ever: --seconds or --count".into());
        }
        Ok(arguments)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--to" => self.to = read(name, value, |_| true)?,
            "--torrents" => self.torrents = read(name, value, |&torrents| torrents > 0)?,
            "--peers" => self.peers = read(name, value, |&peers| peers > 0)?,
            "--skew" => self.skew = read(name, value, |&skew| skew >= 1.0)?,
            "--seconds" => {
                let seconds = read(name, value, |seconds| (0.1..=600.0).contains(seconds))?;
                self.seconds = Some(Duration::from_secs_f64(seconds));
            }
            "--count" => self.count = read(name, value, |_| true)?,
            "--rate" => self.rate = Some(read(name, value, |rate| (1..=10_000_000).contains(rate))?),
            "--connects" => self.connects = read(name, value, |share| (0.0..=100.0).contains(share))?,
            "--scrapes" => self.scrapes = read(name, value, |share| (0.0..=100.0).contains(share))?,
            "--wanted" => self.wanted = read(name, value, |_| true)?,
            "--seed" => self.seed = read(name, value, |_| true)?,
            "--sockets" => self.sockets = read(name, value, |sockets| (1..=200).contains(sockets))?,
            "--in-flight" => self.in_flight = read(name, value, |in_flight| (1..=1024).contains(in_flight))?,
            _ => return Err(format!("unknown option {name}")),
        }
        Ok(())
    }
}

fn read<T: FromStr>(name: &str, value: &str, makes_sense: impl FnOnce(&T) -> bool) -> Result<T, String> {
    value.parse().ok().filter(makes_sense).ok_or_else(|| format!("{name} makes no sense: {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let arguments = parse("mix --to 127.0.0.1:80 --seconds 0.5 --rate 1000 --aquatic").unwrap();
        assert_eq!(arguments.to, "127.0.0.1:80".parse().unwrap());
        assert_eq!(arguments.seconds, Some(Duration::from_millis(500)));
        assert_eq!(arguments.rate, Some(1000));
        assert!(arguments.aquatic);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "mux",
            "mix",
            "mix --seconds",
            "mix --seconds 0",
            "fill --peers 0",
            "mix --count 1 --skew x",
            "fill --peers 1000000",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
