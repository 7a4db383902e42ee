//! Answers requests for a page that is not one of the tracker's own.

use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{HttpFlavour, RouteTarget, Routes};
use crate::http::reply::Error;

/// Has the switch answer that brings the page. If this build does not have that switch, the reply says so.
pub(super) fn answer<F: HttpFlavour>(target: RouteTarget<'_>, exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let shared = exchange.shared;
    shared.tracker.flavour().routes().route(target, exchange).unwrap_or_else(|| {
        let absent = F::ABSENT.iter().find(|route| (route.covers)(target));
        Err(absent.map_or(Error::NotFound, |route| Error::Absent(route.reason)))
    })
}
