//! `metrics`: `GET /metrics` in the text format of OpenMetrics, for Prometheus.
//!
//! - [`page`]: what is on it, under which names.
//! - [`histogram`]: how long requests took, which nobody but this page wants to know.
//!
//! Workers count as they do in every build. A page is a registry that is filled with what they have counted so far,
//! written out, and thrown away.

mod histogram;
mod page;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text;

use crate::config::Settings;
use crate::http::flavour::{Durations, Metrics};
use crate::server::{Opening, Plug, StartError};
use crate::stats::Counters;
use crate::tracker::{Flavour, Tracker};

use histogram::{Histogram, Sum};
use page::Snapshot;

/// What makes the page.
#[derive(Debug)]
pub struct Exporter {
    started: SystemTime,
    workers: Mutex<Vec<Arc<Histogram>>>,
}

impl Plug for Exporter {
    type Opened = ();

    fn open(_: &Opening<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self { started: SystemTime::now(), workers: Mutex::default() })
    }
}

impl Metrics for Exporter {
    type Durations = Worker;

    fn durations(&self) -> Worker {
        let histogram = Arc::<Histogram>::default();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&histogram));
        Worker(histogram)
    }

    fn page<F: Flavour>(&self, tracker: &Tracker<F>, counters: &Counters) -> Option<String> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let durations = Sum::of(workers.iter().map(|histogram| &**histogram));
        let snapshot = Snapshot { tracker, counters, durations, started: self.started };
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut page, &snapshot.registry());
        Some(page)
    }
}

/// How long the requests of one worker took.
#[derive(Debug)]
pub struct Worker(Arc<Histogram>);

impl Durations for Worker {
    #[inline]
    fn add(&self, took: impl FnOnce() -> Duration) {
        self.0.add(took());
    }
}

#[cfg(test)]
mod tests;
