//! `dashboard`: `GET /dashboard` shows people what there is and what the last hour and day were like, and
//! `GET /dashboard.json` tells it to the page, and to scripts.
//!
//! - [`page`]: the page: one file with its style and its program, which asks for the numbers every few seconds.
//! - [`json`]: the numbers, as they are written.
//! - [`sample`]: the numbers of one moment, read from what every build counts.
//! - [`history`]: how they were, minute by minute, and quarter hour by quarter hour.
//! - [`memory`]: how much memory the process has.
//!
//! Nothing is done for a request of a client. Once a minute a thread reads what workers have counted.

mod history;
mod json;
mod memory;
mod page;
mod sample;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use nix::libc;

use crate::config::Settings;
use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{Access, HttpFlavour, Route, RouteTarget};
use crate::http::reply::Refusal;
use crate::server::{Beginning, MonotonicClock, Opening, Plug, StartError};
use crate::stats::Counters;
use crate::stop::StopToken;
use crate::tracker::{Clock as _, Flavour, Tracker};

use history::History;
use json::Report;
use memory::ResidentMemory;
use sample::Sample;

/// The route of the page and of its numbers.
#[derive(Debug)]
pub struct Dashboard {
    memory: Arc<ResidentMemory>,
    recorder: OnceLock<Arc<Recorder>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The page for people.
    Html,
    /// Its numbers.
    Json,
}

impl Plug for Dashboard {
    type Opened = ResidentMemory;

    /// The process will not see the file with its memory any more, so it is left open.
    fn open(opening: &mut Opening<'_>) -> Result<ResidentMemory, StartError> {
        opening.needs.system_calls(&[libc::SYS_pread64]);
        Ok(ResidentMemory::open())
    }

    fn plug(memory: ResidentMemory, _: &Settings) -> Result<Self, StartError> {
        Ok(Self { memory: Arc::new(memory), recorder: OnceLock::new() })
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let (tracker, counters) = (Arc::clone(beginning.tracker), Arc::clone(beginning.counters));
        let first = Sample::take(&tracker, &counters, self.memory.bytes());
        let recorder = Arc::new(Recorder {
            clock: beginning.clock,
            usable_memory: beginning.memory,
            memory: Arc::clone(&self.memory),
            history: Mutex::new(History::new(first.counts, Instant::now())),
        });
        let recorder = Arc::clone(self.recorder.get_or_init(|| recorder));
        beginning.threads.spawn("dashboard", move |stop| recorder.run(&tracker, &counters, &stop))
    }
}

impl Route for Dashboard {
    type Page = Page;

    const ACCESS: Access = Access::Statistics;

    /// The paths are the same in every tracker, as that of the page for Prometheus is.
    fn find(target: RouteTarget<'_>) -> Option<Page> {
        match target {
            _ if target.is_path("dashboard") => Some(Page::Html),
            _ if target.is_path("dashboard.json") => Some(Page::Json),
            _ => None,
        }
    }

    fn answer<F: HttpFlavour>(&self, page: Page, exchange: &mut Exchange<'_, F>) -> Answer<F> {
        match page {
            Page::Html => Ok(exchange.respond_with(&page::FIELDS, "text/html; charset=utf-8", page::HTML.as_bytes())),
            Page::Json => {
                let recorder = self.recorder.get().ok_or(NOT_BEGUN)?;
                let shared = exchange.shared;
                let json = recorder.json(&shared.tracker, &shared.counters, exchange.now.uptime.as_secs_f64());
                Ok(exchange.respond_with(&[page::NOT_STORED, page::NOT_GUESSED], "application/json", json.as_bytes()))
            }
        }
    }
}

/// Nobody is answered before the plugs have begun.
const NOT_BEGUN: Refusal = Refusal {
    status: "503 Service Unavailable",
    reason: "the tracker is starting",
    retry_after: Some(1),
    counter: None,
};

/// Keeps the history.
#[derive(Debug)]
struct Recorder {
    clock: MonotonicClock,
    /// The memory that this process may use, in bytes.
    usable_memory: u64,
    memory: Arc<ResidentMemory>,
    /// Locked to add a row, and to copy all.
    history: Mutex<History>,
}

impl Recorder {
    /// Records until it is told to stop.
    fn run<F: Flavour>(&self, tracker: &Tracker<F>, counters: &Counters, stop: &StopToken) {
        loop {
            // Not locked while it sleeps.
            let due = self.history().due();
            if stop.sleep(due.saturating_duration_since(Instant::now())) {
                return;
            }
            let sample = Sample::take(tracker, counters, self.memory.bytes());
            let now = self.clock.second();
            self.history().record(&sample, now, Instant::now());
        }
    }

    /// Returns the numbers as they are now, and as they were. Whoever asks records a minute that is over, so that none
    /// is missing because the thread had to wait for its turn.
    fn json<F: Flavour>(&self, tracker: &Tracker<F>, counters: &Counters, uptime: f64) -> String {
        let sample = Sample::take(tracker, counters, self.memory.bytes());
        let now = self.clock.second();
        let history = {
            let mut history = self.history();
            history.record(&sample, now, Instant::now());
            history.clone()
        };
        Report { tracker, counters, sample, history, now, uptime, usable_memory: self.usable_memory }.json()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
