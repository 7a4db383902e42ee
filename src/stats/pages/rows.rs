//! Pages with one count in each line.

use std::fmt::Write as _;

use crate::tracker::Flavour;
use crate::tracker::clock::PEER_LIFETIME;

use super::{Counter, Report};

impl<F: Flavour> Report<'_, F> {
    /// Lists each label with its own count: those of the original are shifted from the fifth on.
    pub(super) fn http_errors(&self) -> String {
        let rows = [
            ("302 RED", Counter::Http302),
            ("400 ...", Counter::Http400Parse),
            ("400 PAR", Counter::Http400Parameter),
            ("400 COM", Counter::Http400Compact),
            ("403 IP ", Counter::Http403),
            ("404 INV", Counter::Http404),
            ("500 SRV", Counter::Http500),
        ];
        rows.iter().fold(String::new(), |mut page, (label, count)| {
            // Writing to a string does not fail.
            let _ = writeln!(page, "{label} {}", self.counters.total(*count));
            page
        })
    }

    /// Lists how many peers came back after how many minutes.
    pub(super) fn renewals(&self) -> String {
        (0..PEER_LIFETIME as usize).fold(String::new(), |mut page, minutes| {
            let _ = writeln!(page, "{minutes:02} {}", self.counters.renewals(minutes));
            page
        })
    }
}
