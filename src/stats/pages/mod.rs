//! The bodies of `/stats`. Monitors parse them byte for byte, by line number and by position.
//!
//! - `blocks`: four lines each, as MRTG reads them.
//! - `rows`: one count in each line.
//! - `everything`: nearly all of that in XML.
//! - `top`: the largest torrents.
//! - [`networks`]: rows of networks, and those with the most peers.
//!
//! Most pages are made of what is counted anyway. Some need a [`Walk`] over all torrents, in steps.

mod blocks;
mod everything;
pub mod networks;
mod rows;
mod top;

use std::time::Duration;

use crate::tracker::store::{Cursor, Store};
use crate::tracker::{AddressFamilies, Cluster as _, Flavour, Minute, NetworkLog as _, Tracker};

use super::counters::{Counter, Counters};

use networks::Networks;
use top::Top;

/// Torrents, or peers, that a step of a walk looks at. It holds one lock at a time, each for no more than some tens of
/// microseconds.
const STEP: usize = 1024;

/// What a page is made from.
pub struct Report<'a, F: Flavour> {
    /// The torrents.
    pub tracker: &'a Tracker<F>,
    /// The counters.
    pub counters: &'a Counters,
    /// The minute in which it is asked for.
    pub now: Minute,
    /// Since the start.
    pub uptime: Duration,
}

/// A finished page, or the walk that makes it.
#[derive(Debug)]
pub enum Page {
    /// The page.
    Ready(String),
    /// The walk that it takes.
    Walk(Walk),
}

/// Makes a page in steps, in which all torrents are walked over. Announces go on meanwhile: what changes where the walk
/// has been is not seen, and what moves can be seen twice.
#[derive(Debug)]
pub struct Walk {
    mode: &'static str,
    /// Where to go on; `None` at the end.
    cursor: Option<Cursor>,
    state: WalkState,
}

/// What the walk has gathered so far.
#[derive(Debug)]
enum WalkState {
    /// How many torrents there are.
    Everything(u64),
    Top(Top),
    Networks(Networks),
}

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPage {
    /// There is no such mode.
    Unknown,
    /// The mode is that of a feature which this build does not have.
    Needs(&'static str),
}

impl<F: Flavour> Report<'_, F> {
    /// Makes the page of a mode. Those that only tell counts are there in every build, also where nothing counts them
    /// up.
    ///
    /// # Errors
    ///
    /// There is no such page, in this build or in any.
    pub fn page(&self, mode: &str) -> Result<Page, NoPage> {
        let (mode, state) = match mode {
            "everything" => ("everything", WalkState::Everything(0)),
            "top10" => ("top10", WalkState::Top(Top::new(10))),
            "top100" => ("top100", WalkState::Top(Top::new(100))),
            "s24s" => ("s24s", WalkState::Networks(Networks::of(self.tracker.store()))),
            _ => return self.ready(mode).map(Page::Ready),
        };
        Ok(Page::Walk(Walk { mode, cursor: Some(Cursor::default()), state }))
    }

    fn ready(&self, mode: &str) -> Result<String, NoPage> {
        match mode {
            "peer" => Ok(self.peers()),
            "torr" => Ok(self.torrents()),
            "conn" => Ok(self.connections()),
            "tcp4" => Ok(self.tcp_connections()),
            "udp4" => Ok(self.udp_connections()),
            "scrp" => Ok(self.scrapes()),
            "fscr" => Ok(self.full_scrapes()),
            "completed" => Ok(self.completed()),
            "syncs" => Ok(self.syncs()),
            "herr" => Ok(self.http_errors()),
            "renew" => Ok(self.renewals()),
            "version" => Ok(version()),
            "busy" => self.tracker.flavour().network_log().busy(self.now).ok_or(NoPage::Needs("log-networks")),
            _ => Err(NoPage::Unknown),
        }
    }

    /// Returns how many changes other trackers of the cluster have told, whatever became of them.
    fn synced(&self) -> u64 {
        let transports = self.tracker.flavour().cluster().transports();
        transports.iter().map(|transport| transport.counts.records_received + transport.counts.records_refused).sum()
    }
}

fn version() -> String {
    concat!("opentracker ", env!("CARGO_PKG_VERSION"), "\n").into()
}

impl Walk {
    /// Returns the mode of the page.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// Takes one step of bounded length. Returns the page at the end, and is not to be called again then.
    pub fn step<F: Flavour>(&mut self, report: &Report<'_, F>) -> Option<String> {
        let store = report.tracker.store();
        let mut budget = STEP;
        // Most shards of a small tracker are empty: a step goes over several.
        while let Some(cursor) = self.cursor.filter(|_| budget > 0) {
            self.cursor = self.state.look(store, cursor, &mut budget);
            budget = budget.saturating_sub(1);
        }
        if self.cursor.is_some() {
            return None;
        }
        match &mut self.state {
            WalkState::Everything(torrents) => Some(report.everything(*torrents)),
            WalkState::Top(top) => Some(top.page()),
            WalkState::Networks(networks) => {
                if networks.finish_walk() {
                    self.cursor = Some(Cursor::default());
                    return None;
                }
                Some(networks.page())
            }
        }
    }
}

impl WalkState {
    /// Looks at one shard from `cursor` on, as far as the budget goes. Returns where to go on; `None` at the end.
    fn look<F: AddressFamilies>(&mut self, store: &Store<F>, cursor: Cursor, budget: &mut usize) -> Option<Cursor> {
        let mut seen = 0;
        let next = match self {
            Self::Everything(torrents) => {
                let next = store.walk(cursor, *budget, |_| seen += 1);
                *torrents += seen as u64;
                next
            }
            Self::Top(top) => store.walk(cursor, *budget, |torrent| {
                seen += 1;
                top.offer(torrent);
            }),
            Self::Networks(networks) => {
                let next = store.walk_peers(cursor, budget, |_, endpoint, _| networks.visit(endpoint.ip()));
                networks.count();
                return next;
            }
        };
        *budget = budget.saturating_sub(seen);
        next
    }
}

#[cfg(test)]
mod tests;
