//! Answers who asks for a page that is not one of the tracker's own.

use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{Asked, HttpFlavour, Routes};
use crate::http::reply::Error;

/// Has a switch answer whose page is asked for. If it is that of a switch that this build does not have, the reply says
/// so.
pub(super) fn answer<F: HttpFlavour>(asked: Asked<'_>, exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let shared = exchange.shared;
    shared.tracker.flavour().routes().route(asked, exchange).unwrap_or_else(|| {
        let absent = F::ABSENT.iter().find(|route| (route.is_asked)(asked));
        Err(absent.map_or(Error::NotFound, |route| Error::Absent(route.reason)))
    })
}
