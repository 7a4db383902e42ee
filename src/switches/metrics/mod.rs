//! `metrics`: `GET /metrics` for Prometheus, in OpenMetrics for clients that name it, and in the older text format.
//!
//! - [`page`]: what is on it, under which names. [`exposition`]: how that is written.
//! - [`histogram`]: how long requests took, which nobody but this page wants to know.
//!
//! Workers count as they do in every build. A page is what they have counted so far.

mod exposition;
mod histogram;
mod page;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::config::Settings;
use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{Access, HttpFlavour, RequestTimes, Route, RouteTarget, TimesSum, WorkerTimes};
use crate::server::{Plug, StartError, opens_nothing};
use crate::stats::Counters;
use crate::tracker::Tracker;

use exposition::Format;
use histogram::Histogram;
use page::Snapshot;

/// The route of the page.
#[derive(Debug)]
pub struct Exporter {
    started: SystemTime,
}

impl Plug for Exporter {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self { started: SystemTime::now() })
    }
}

impl Route for Exporter {
    type Page = ();

    const ACCESS: Access = Access::Statistics;

    /// One path in every tracker, as scrapers expect.
    fn find(target: RouteTarget<'_>) -> Option<()> {
        target.is_path("metrics").then_some(())
    }

    fn answer<F: HttpFlavour>(&self, (): (), exchange: &mut Exchange<'_, F>) -> Answer<F> {
        let format = Format::accepted(exchange.request.header("accept"));
        let page = self.page(&exchange.shared.tracker, &exchange.shared.counters, format);
        Ok(exchange.respond_negotiated("Accept", format.content_type(), page.as_bytes()))
    }
}

impl Exporter {
    /// Returns the page as it is now.
    fn page<F: HttpFlavour>(&self, tracker: &Tracker<F>, counters: &Counters, format: Format) -> String {
        Snapshot { tracker, counters, started: self.started }.page(format)
    }
}

/// How long requests took: the histogram of each worker. Locked to make a worker's or a page, never for a request.
#[derive(Debug, Default)]
pub struct Times(Mutex<Vec<Arc<Histogram>>>);

impl Plug for Times {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self::default())
    }
}

impl RequestTimes for Times {
    type OfWorker = TimesOfWorker;

    const LISTENS: bool = true;

    fn for_worker(&self) -> TimesOfWorker {
        let histogram = Arc::<Histogram>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&histogram));
        TimesOfWorker(histogram)
    }

    fn sum(&self) -> Option<TimesSum> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(histogram::sum(workers.iter().map(|histogram| &**histogram)))
    }
}

/// How long requests took, of one worker.
#[derive(Debug)]
pub struct TimesOfWorker(Arc<Histogram>);

impl WorkerTimes for TimesOfWorker {
    #[inline]
    fn add(&self, time: Duration) {
        self.0.add(time);
    }
}

#[cfg(test)]
mod tests;
