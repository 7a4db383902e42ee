//! Answers requests for a page that is not one of the tracker's own.

use crate::http::exchange::{Answer, Exchange};
use crate::http::flavour::{HttpFlavour, RouteTarget, Routes};
use crate::http::listing::Listing;
use crate::http::reply::Error;

/// Has the switch answer that brings the page. If this build does not have that switch, the reply says so. Returns
/// `None` if no switch brings such a page.
pub(super) fn answer<F: HttpFlavour>(target: RouteTarget<'_>, exchange: &mut Exchange<'_, F>) -> Option<Answer<F>> {
    let shared = exchange.shared;
    shared.tracker.flavour().routes().route(target, exchange).or_else(|| {
        let absent = F::ABSENT.iter().find(|route| (route.covers)(target))?;
        Some(Err(Error::Absent(absent.reason)))
    })
}

/// Has the switch answer that brings the page that names every torrent.
pub(super) fn answer_listing<F: HttpFlavour>(listing: Listing, exchange: &mut Exchange<'_, F>) -> Answer<F> {
    answer(RouteTarget::Listing(listing), exchange).unwrap_or(Err(Error::NotFound))
}
