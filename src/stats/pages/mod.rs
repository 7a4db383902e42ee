//! The bodies of `/stats`. Monitors parse them byte for byte, by line number and by position.
//!
//! - `blocks`: four lines each, as MRTG reads them.
//! - `rows`: one count in each line.
//! - `everything`: nearly all that is counted, in XML.
//! - `top`: the largest torrents.
//! - [`networks`]: rows of networks, and those with the most peers.
//!
//! Most pages show what is counted anyway. Some need a [`Walk`] over all torrents, which goes in steps.

mod blocks;
mod everything;
pub mod networks;
mod rows;
mod top;

use std::time::Duration;

use crate::tracker::store::{Cursor, Store};
use crate::tracker::{AddressFamilies, Cluster as _, Flavour, Minute, NetworkLog as _, Tracker, WantedLog as _};

use super::counters::{Counter, Counters, RENEWAL_ROWS};

use networks::Networks;
use top::TopLists;

/// How many torrents, or torrents and peers, a step of a walk looks at, or some more. It holds one lock at a time, each
/// for no more than some tens of microseconds.
const STEP_BUDGET: usize = 1024;

/// What pages are made from.
pub struct Report<'a, F: Flavour> {
    /// The torrents, and the plugs of the build.
    pub tracker: &'a Tracker<F>,
    /// The counters of all workers.
    pub counters: &'a Counters,
    /// The current minute.
    pub now: Minute,
    /// Time since the process was started.
    pub uptime: Duration,
}

/// A finished page, or the walk that makes it.
#[derive(Debug)]
pub enum Page {
    /// The whole page.
    Ready(String),
    /// The walk that makes it in its last step.
    Walk(Walk),
}

/// A walk over all torrents that makes a page, in steps. Announces go on meanwhile: what changes where the walk has
/// been is not seen, and what moves can be seen twice.
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
    /// How many torrents the walk has come by.
    Everything(u64),
    Top(TopLists),
    Networks(Networks),
}

/// Why a mode has no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPage {
    /// There is no such mode.
    Unknown,
    /// The mode is that of a feature which this build does not have.
    Needs(&'static str),
}

impl<F: Flavour> Report<'_, F> {
    /// Returns the page of a mode, or the walk that makes it. Pages that only show counts are there in every build,
    /// also in one in which nothing counts.
    ///
    /// # Errors
    ///
    /// There is no such page, in this build or in any.
    pub fn page(&self, mode: &str) -> Result<Page, NoPage> {
        let (mode, state) = match mode {
            "everything" => ("everything", WalkState::Everything(0)),
            "top10" => ("top10", WalkState::Top(TopLists::new(10))),
            "top100" => ("top100", WalkState::Top(TopLists::new(100))),
            "s24s" => ("s24s", WalkState::Networks(Networks::for_store(self.tracker.store()))),
            _ => return self.ready(mode).map(Page::Ready),
        };
        Ok(Page::Walk(Walk { mode, cursor: Some(Cursor::default()), state }))
    }

    /// Returns the page of a mode that takes no walk.
    fn ready(&self, mode: &str) -> Result<String, NoPage> {
        Ok(match mode {
            "peer" => self.peers(),
            "torr" => self.torrents(),
            "conn" => self.connections(),
            "tcp4" => self.tcp_connections(),
            "udp4" => self.udp_connections(),
            "scrp" => self.scrapes(),
            "fscr" => self.full_scrapes(),
            "completed" => self.completed(),
            "syncs" => self.syncs(),
            "herr" => self.http_errors(),
            "renew" => self.renewals(),
            "version" => version(),
            "busy" => self.tracker.flavour().network_log().busy(self.now).ok_or(NoPage::Needs("log-networks"))?,
            "woodpeckers" => {
                let page = self.tracker.flavour().network_log().woodpeckers(self.now);
                page.ok_or(NoPage::Needs("spot-woodpecker"))?
            }
            "numwants" => self.tracker.flavour().wanted_log().page().ok_or(NoPage::Needs("log-numwant"))?,
            _ => return Err(NoPage::Unknown),
        })
    }

    /// Returns how many changes other trackers of the cluster have sent, taken over or refused.
    fn synced(&self) -> u64 {
        let transports = self.tracker.flavour().cluster().transports();
        transports.iter().map(|transport| transport.counts.records_received + transport.counts.records_refused).sum()
    }
}

/// Returns the name and the version of the program, as one line.
fn version() -> String {
    concat!("opentracker ", env!("CARGO_PKG_VERSION"), "\n").into()
}

impl Walk {
    /// Returns the mode whose page the walk makes.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// Takes one step, of bounded length. Returns the page after the last one; `None` before.
    pub fn step<F: Flavour>(&mut self, report: &Report<'_, F>) -> Option<String> {
        let store = report.tracker.store();
        let mut budget = STEP_BUDGET;
        // Most shards of a small tracker are empty: a step goes over several.
        while let Some(cursor) = self.cursor.filter(|_| budget > 0) {
            self.cursor = self.state.walk_shard(store, cursor, &mut budget);
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
    /// Walks over one shard from `cursor` on, as far as the budget goes, and takes what it came by off the budget.
    /// Returns where to go on; `None` at the end.
    fn walk_shard<F: AddressFamilies>(
        &mut self,
        store: &Store<F>,
        cursor: Cursor,
        budget: &mut usize,
    ) -> Option<Cursor> {
        let mut torrents_seen = 0;
        let next = match self {
            Self::Everything(torrents) => {
                let next = store.walk(cursor, *budget, |_| torrents_seen += 1);
                *torrents += torrents_seen as u64;
                next
            }
            Self::Top(top) => store.walk(cursor, *budget, |torrent| {
                torrents_seen += 1;
                top.offer(torrent);
            }),
            Self::Networks(networks) => {
                let next = store.walk_peers(cursor, budget, |_, endpoint, _| networks.visit(endpoint.ip()));
                networks.count_visited();
                return next;
            }
        };
        *budget = budget.saturating_sub(torrents_seen);
        next
    }
}

#[cfg(test)]
mod tests;
