//! The table.

use std::time::Duration;

use opentracker_endurance::good::Record;

/// A good client that is not answered at all for so long is not served.
const MAX_SILENCE: Duration = Duration::from_secs(10);

pub(crate) const HEAD: &str = "\
case                             sent  seconds   UDP answered      median   worst   HTTP answered     median   worst    peak  bound  verdict
                                                      of asked         ms      ms        of asked         ms      ms     MiB    MiB";

/// What was seen in a case.
pub(crate) struct Row {
    sent: u64,
    /// Of the attack, and of the good client alone afterwards.
    time: [Duration; 2],
    records: [Record; 2],
    /// The most memory, and how much it may be.
    memory: [u64; 2],
    pub(crate) failures: Vec<String>,
}

impl Row {
    /// Adds what the good client and the memory say to the failures.
    pub(crate) fn new(
        sent: u64,
        time: [Duration; 2],
        records: [Record; 2],
        memory: [u64; 2],
        mut failures: Vec<String>,
    ) -> Self {
        for (protocol, record) in ["UDP", "HTTP"].iter().zip(&records) {
            if record.silence > MAX_SILENCE {
                failures.push(format!("the good client is not answered over {protocol} for {:.1?}", record.silence));
            } else if record.answered * 2 < record.asked {
                let Record { asked, answered, .. } = record;
                failures.push(format!("the good client is answered over {protocol} {answered} times of {asked}"));
            }
            if !record.takes_new() {
                let refused = record.refused;
                failures.push(format!(
                    "new torrents are refused over {protocol} ({refused} times), {:.0?} after all is over",
                    time[1]
                ));
            }
        }
        let [peak, bound] = memory;
        if peak > bound {
            failures.push(format!("it takes {} MiB of {}", mib(peak), mib(bound)));
        }
        Self { sent, time, records, memory, failures }
    }

    pub(crate) fn line(&self, name: &str) -> String {
        use std::fmt::Write as _;
        let mut line = format!("{name:<26} {:>10} {:>8.1}", self.sent, self.time[0].as_secs_f64());
        for record in &self.records {
            let [median, worst] = record.milliseconds();
            let _ = write!(line, "  {:>6} of {:>6} {median:>9.2} {worst:>7.0}", record.answered, record.asked);
        }
        let verdict = if self.failures.is_empty() { "passed" } else { "FAILED" };
        let [peak, bound] = self.memory.map(mib);
        let _ = write!(line, "  {peak:>6} {bound:>6}  {verdict}, {:.0?} later", self.time[1]);
        line
    }
}

/// In MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
