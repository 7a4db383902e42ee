//! Pages with one count in each line.

use std::fmt::Write as _;

use crate::tracker::Flavour;

use super::{Counter, RENEWAL_ROWS, Report};

impl<F: Flavour> Report<'_, F> {
    /// `mode=herr`: HTTP errors. Each label stands with its own count; in the original, labels are shifted from the
    /// fifth on.
    pub(super) fn http_errors(&self) -> String {
        let rows = [
            ("302 RED", Counter::Http302),
            ("400 ...", Counter::Http400Parse),
            ("400 PAR", Counter::Http400Parameter),
            ("400 COM", Counter::Http400Compact),
            ("403 IP ", Counter::Http403),
            ("404 INV", Counter::Http404),
            ("500 SRV", Counter::Http500),
            // Here the original's page ends.
            ("402 PAY", Counter::Http402),
        ];
        let mut page = String::new();
        for (label, counter) in rows {
            // Writing to a string does not fail.
            let _ = writeln!(page, "{label} {}", self.counters.total(counter));
        }
        page
    }

    /// `mode=renew`: how many announces came how many minutes after the previous one of the same peer.
    pub(super) fn renewals(&self) -> String {
        let mut page = String::new();
        for minutes in 0..RENEWAL_ROWS {
            let _ = writeln!(page, "{minutes:02} {}", self.counters.renewals(minutes));
        }
        page
    }
}
