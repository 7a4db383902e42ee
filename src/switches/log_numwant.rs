//! `log-numwant` (`WANT_LOG_NUMWANT`): counts how many peers announces ask for, for `/stats?mode=numwants`.
//!
//! What is counted is what a client says, whatever becomes of its announce and however many peers it is handed. More
//! than [`MAX_WANTED`] count as that many. Where a client does not say, it is what the tracker takes that for: over
//! HTTP 50; over UDP, where -1 stands for it, as many as there are.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::atomic::AtomicU64;
use crate::config::Settings;
use crate::server::{Plug, StartError, opens_nothing};
use crate::stats::counters::add;
use crate::tracker::{WantedLog, WorkerWanted};

/// The greatest number that has a row of its own: nobody is handed more peers.
const MAX_WANTED: usize = 200;

/// The counts of each worker. Locked to make a worker's or a page, never for an announce.
#[derive(Debug, Default)]
pub struct Numwants(Mutex<Vec<Arc<Counts>>>);

/// The counts of one worker, one for each number of peers, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Counts([AtomicU64; MAX_WANTED + 1]);

impl Plug for Numwants {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self::default())
    }
}

impl WantedLog for Numwants {
    type OfWorker = OfWorker;

    fn for_worker(&self) -> OfWorker {
        let counts = Arc::new(Counts([const { AtomicU64::new(0) }; MAX_WANTED + 1]));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counts));
        OfWorker(counts)
    }

    /// A row for each number of peers, also where nobody has asked for so many: readers go by the position of a row.
    fn page(&self) -> Option<String> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut page = String::new();
        for wanted in 0..=MAX_WANTED {
            let cells = workers.iter().filter_map(|counts| counts.0.get(wanted));
            let announces: u64 = cells.map(|cell| cell.load(Ordering::Relaxed)).sum();
            // Writing to a string does not fail.
            let _ = writeln!(page, "{wanted:03} => {announces}");
        }
        Some(page)
    }
}

/// How many peers the clients of one worker ask for.
#[derive(Debug)]
pub struct OfWorker(Arc<Counts>);

impl WorkerWanted for OfWorker {
    #[inline]
    fn count(&self, wanted: usize) {
        add(self.0.0.get(wanted.min(MAX_WANTED)), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page with these rows, and zeros in all others.
    fn page_with(rows: &[(usize, u64)]) -> String {
        let announces = |wanted| rows.iter().find(|row| row.0 == wanted).map_or(0, |row| row.1);
        (0..=200).map(|wanted| format!("{wanted:03} => {}\n", announces(wanted))).collect()
    }

    #[test]
    fn there_is_a_row_for_each_number_of_peers_before_anybody_has_asked() {
        let numwants = Numwants::default();
        assert_eq!(numwants.page(), Some(page_with(&[])));
        let page = page_with(&[]);
        assert!(page.starts_with("000 => 0\n001 => 0\n") && page.ends_with("\n200 => 0\n"));
        assert_eq!(page.lines().count(), 201);
    }

    #[test]
    fn what_workers_count_adds_up_and_too_many_count_as_the_most() {
        let numwants = Numwants::default();
        let (one, other) = (numwants.for_worker(), numwants.for_worker());
        for wanted in [0, 50, 50, 199, 200, 201, usize::MAX] {
            one.count(wanted);
        }
        other.count(50);
        assert_eq!(numwants.page(), Some(page_with(&[(0, 1), (50, 3), (199, 1), (200, 3)])));
        drop(one);
        numwants.for_worker().count(7);
        let expected = [(0, 1), (7, 1), (50, 3), (199, 1), (200, 3)];
        assert_eq!(numwants.page(), Some(page_with(&expected)), "what a worker has counted stays when it is gone");
    }
}
