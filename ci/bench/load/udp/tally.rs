//! What came back.

use std::time::Duration;

use crate::latency::Latencies;
use opentracker_bench::arguments::Arguments;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) connects: u64,
    pub(crate) announces: u64,
    pub(crate) scrapes: u64,
    /// Answered with an error, or with what is not an answer.
    pub(crate) errors: u64,
    /// Peers handed out in all announces.
    pub(crate) peers: u64,
    /// Requests sent again because no answer came.
    pub(crate) resent: u64,
    /// Requests given up.
    pub(crate) lost: u64,
    /// System calls that received something.
    pub(crate) batches: u64,
    /// With a fixed rate: from the time at which a request was due.
    pub(crate) latencies: Latencies,
}

impl Tally {
    /// One line of JSON.
    pub(crate) fn print(&mut self, elapsed: Duration, arguments: &Arguments) {
        let seconds = elapsed.as_secs_f64();
        let answered = self.connects + self.announces + self.scrapes;
        let per = |sum: u64, count: u64| sum as f64 / count.max(1) as f64;
        print!(
            r#"{{"seconds": {seconds:.3}, "responses": {answered}, "per_second": {:.0}, "connects": {}, "#,
            answered as f64 / seconds.max(1e-9),
            self.connects,
        );
        print!(
            r#""announces": {}, "scrapes": {}, "errors": {}, "resent": {}, "lost": {}, "#,
            self.announces, self.scrapes, self.errors, self.resent, self.lost,
        );
        print!(
            r#""peers_per_announce": {:.2}, "responses_per_batch": {:.1}"#,
            per(self.peers, self.announces),
            per(answered + self.errors, self.batches),
        );
        if let (Some(rate), Some([p50, p99, p999])) = (arguments.rate, self.latencies.percentiles([0.5, 0.99, 0.999])) {
            print!(r#", "rate": {rate}, "p50_us": {p50:.1}, "p99_us": {p99:.1}, "p999_us": {p999:.1}"#);
        }
        println!("}}");
    }
}
