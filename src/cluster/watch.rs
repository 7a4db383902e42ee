//! What the log says of a transport: once a minute, and only while something is wrong. No log, no clock.

use std::mem;
use std::time::{Duration, Instant};

use crate::tracker::{TransportCounts, TransportStatus};

/// How much time a summary is of.
const PAUSE: Duration = Duration::from_secs(60);

/// Compares what a transport has counted with what it had counted a minute before.
#[derive(Debug)]
pub struct Watch {
    due: Instant,
    before: TransportCounts,
}

impl Watch {
    /// Begins the first minute, of a transport that has counted nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { due: now + PAUSE, before: TransportCounts::default() }
    }

    /// Returns what to log if a minute is over in which something went wrong: the transport is not connected, or has
    /// lost its connection; packets were lost, refused or missing, or changes published anew; or more changes were
    /// refused than taken over. Some are refused wherever trackers differ in what they serve. Asks for the status only
    /// when a minute is over.
    pub fn look(&mut self, now: Instant, status: impl FnOnce() -> TransportStatus) -> Option<String> {
        if now < self.due {
            return None;
        }
        self.due = now + PAUSE;
        let status = status();
        let before = mem::replace(&mut self.before, status.counts);
        let minute = Minute { now: status.counts, before };
        let wrong = minute.what_is_wrong(&status);
        (!wrong.is_empty()).then(|| minute.summary(&status, &wrong))
    }
}

/// What was counted at the end of a minute and before it.
struct Minute {
    now: TransportCounts,
    before: TransportCounts,
}

/// Reads one number of a transport.
type Number = fn(&TransportCounts) -> u64;

/// What is wrong if it is not 0.
const WRONG: [(&str, Number); 6] = [
    ("packets lost", |counts| counts.packets_lost),
    ("packets refused", |counts| counts.packets_refused),
    ("gaps in those received", |counts| counts.gaps),
    ("reconnects", |counts| counts.reconnects),
    ("changes published anew", |counts| counts.republished),
    ("changes refused", |counts| counts.records_refused),
];

impl Minute {
    fn counted(&self, number: Number) -> u64 {
        number(&self.now).saturating_sub(number(&self.before))
    }

    /// Returns all that is wrong, in words; nothing if it is no more than changes that are refused here and there.
    fn what_is_wrong(&self, status: &TransportStatus) -> Vec<String> {
        let taken = self.counted(|counts| counts.records_received);
        let refused = self.counted(|counts| counts.records_refused);
        let counted = WRONG.map(|(name, number)| (name, self.counted(number)));
        let troubles = counted.iter().filter(|(_, number)| *number > 0).count() - usize::from(refused > 0);
        let unconnected = status.connected == Some(false);
        if troubles == 0 && !unconnected && refused <= taken {
            return Vec::new();
        }
        let counted =
            counted.iter().filter(|(_, number)| *number > 0).map(|(name, number)| format!("{name}: {number}"));
        unconnected.then(|| "not connected".to_owned()).into_iter().chain(counted).collect()
    }

    fn summary(&self, status: &TransportStatus, wrong: &[String]) -> String {
        let [packets_in, changes_in, bytes_in, packets_out, changes_out, bytes_out] = [
            self.counted(|counts| counts.packets_received),
            self.counted(|counts| counts.records_received),
            self.counted(|counts| counts.bytes_received),
            self.counted(|counts| counts.packets_sent),
            self.counted(|counts| counts.records_sent),
            self.counted(|counts| counts.bytes_sent),
        ];
        let TransportStatus { title, lag, .. } = status;
        format!(
            "{title} in the last minute: {}; changes in: {changes_in} (packets: {packets_in}, bytes: {bytes_in}), out: \
             {changes_out} (packets: {packets_out}, bytes: {bytes_out}); no change younger than {} s",
            wrong.join(", "),
            lag.as_secs(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn status(counts: TransportCounts) -> TransportStatus {
        TransportStatus { name: "one", title: "One", counts, lag: Duration::ZERO, members: 0, connected: None }
    }

    /// What is said after a minute in which so much was counted, by a transport that is connected.
    fn said(counts: TransportCounts) -> Option<String> {
        let start = Instant::now();
        let connected = TransportStatus { connected: Some(true), ..status(counts) };
        Watch::new(start).look(start + MINUTE, || connected)
    }

    #[test]
    fn of_a_transport_that_is_well_nothing_is_said() {
        assert_eq!(said(TransportCounts::default()), None);
        let busy = TransportCounts {
            packets_received: 1,
            packets_sent: 2,
            records_received: 5,
            records_sent: 3,
            records_refused: 5,
            bytes_received: 8,
            bytes_sent: 9,
            snapshots_given: 1,
            snapshots_given_ms: 1,
            snapshots_taken: 1,
            snapshots_taken_ms: 1,
            ..TransportCounts::default()
        };
        assert_eq!(said(busy), None);
    }

    #[test]
    fn each_thing_that_goes_wrong_is_said() {
        type Count = fn(&mut TransportCounts) -> &mut u64;
        let wrong: [(Count, &str); 6] = [
            (|counts| &mut counts.packets_lost, "packets lost: 7"),
            (|counts| &mut counts.packets_refused, "packets refused: 7"),
            (|counts| &mut counts.gaps, "gaps in those received: 7"),
            (|counts| &mut counts.reconnects, "reconnects: 7"),
            (|counts| &mut counts.republished, "changes published anew: 7"),
            (|counts| &mut counts.records_refused, "changes refused: 7"),
        ];
        for (count, words) in wrong {
            let mut counts = TransportCounts::default();
            *count(&mut counts) = 7;
            let said = said(counts).unwrap_or_default();
            assert!(said.starts_with(&format!("One in the last minute: {words}; changes in: 0")), "{said}");
        }
    }

    #[test]
    fn a_summary_has_what_came_and_went_in_the_minute_and_how_old_the_newest_change_is() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let before = TransportCounts { packets_lost: 100, packets_sent: 100, ..TransportCounts::default() };
        assert!(watch.look(start + MINUTE, || status(before)).is_some());
        let after = TransportCounts {
            packets_received: 1,
            packets_sent: 102,
            packets_lost: 103,
            records_received: 4,
            records_sent: 5,
            records_refused: 6,
            bytes_received: 7,
            bytes_sent: 8,
            ..TransportCounts::default()
        };
        let lag = Duration::from_millis(12_900);
        let status = TransportStatus { lag, connected: Some(false), ..status(after) };
        assert_eq!(
            watch.look(start + 2 * MINUTE, || status).unwrap(),
            "One in the last minute: not connected, packets lost: 3, changes refused: 6; changes in: 4 (packets: 1, bytes: \
             7), out: 5 (packets: 2, bytes: 8); no change younger than 12 s"
        );
    }

    #[test]
    fn it_is_said_once_a_minute_for_as_long_as_it_lasts_and_no_longer() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let mut counts = TransportCounts::default();
        let mut said = Vec::new();
        let mut asked = 0;
        for second in 0..300 {
            // A packet is lost in each of the first 150 seconds.
            counts.packets_lost += u64::from(second < 150);
            let summary = watch.look(start + Duration::from_secs(second), || {
                asked += 1;
                status(counts)
            });
            said.extend(summary.map(|summary| (second, summary)));
        }
        let lost = said.iter().map(|(second, said)| (*second, said.split(';').next().unwrap_or_default()));
        let expected = [(60, 61), (120, 60), (180, 29)]
            .map(|(second, lost)| (second, format!("One in the last minute: packets lost: {lost}")));
        assert!(lost.eq(expected.iter().map(|(second, lost)| (*second, lost.as_str()))), "{said:?}");
        assert_eq!(asked, 4);
    }

    #[test]
    fn a_transport_that_is_not_connected_says_so_each_minute() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        for minute in 1..4 {
            let unconnected = TransportStatus { connected: Some(false), ..status(TransportCounts::default()) };
            let said = watch.look(start + minute * MINUTE, || unconnected).unwrap();
            assert!(said.starts_with("One in the last minute: not connected; changes in: 0"), "{said}");
        }
    }
}
