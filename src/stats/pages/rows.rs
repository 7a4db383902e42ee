//! Pages with one count in each line.

use std::fmt::Write as _;

use crate::core::Flavour;
use crate::core::clock::PEER_LIFETIME;

use super::{Count, Report};

impl<F: Flavour> Report<'_, F> {
    /// Each label with its own count: the original's are shifted from the fifth on.
    pub(super) fn http_errors(&self) -> String {
        let rows = [
            ("302 RED", Count::Http302),
            ("400 ...", Count::Http400Parse),
            ("400 PAR", Count::Http400Parameter),
            ("400 COM", Count::Http400Compact),
            ("403 IP ", Count::Http403),
            ("404 INV", Count::Http404),
            ("500 SRV", Count::Http500),
        ];
        rows.iter().fold(String::new(), |mut page, (label, count)| {
            // Writing to a string does not fail.
            let _ = writeln!(page, "{label} {}", self.board.total(*count));
            page
        })
    }

    /// After how many minutes peers came back.
    pub(super) fn renewals(&self) -> String {
        (0..PEER_LIFETIME as usize).fold(String::new(), |mut page, minutes| {
            let _ = writeln!(page, "{minutes:02} {}", self.board.renewals(minutes));
            page
        })
    }
}
