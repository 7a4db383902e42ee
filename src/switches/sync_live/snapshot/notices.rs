//! What the thread that receives packets tells the one of snapshots.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::cluster::snapshot::Offer;

/// Most offers that wait to be looked at. More are passed over: their donors make them again.
const MAX_OFFERS: usize = 64;

/// What has been heard and not been looked at.
#[derive(Debug, Default)]
pub(in super::super) struct Notices {
    /// Whether anybody has been heard who knows something.
    heard: AtomicBool,
    offers: Mutex<Vec<(Offer, SocketAddr)>>,
    offered: Notify,
    asked: Notify,
}

impl Notices {
    /// Another tracker of the cluster has told of peers, or has no time at present.
    pub(in super::super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Somebody asks for a snapshot.
    pub(in super::super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// A donor at this address has made an offer.
    pub(in super::super) fn offer(&self, offer: Offer, donor: SocketAddr) {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        if offers.len() < MAX_OFFERS {
            offers.push((offer, donor));
        }
        drop(offers);
        self.offered.notify_one();
    }

    /// Returns whether anybody has been heard who knows something.
    pub(in super::super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Waits until somebody has asked since it was last waited for.
    pub(in super::super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Waits until an offer has been made since it was last waited for.
    pub(super) async fn offered(&self) {
        self.offered.notified().await;
    }

    /// Takes the offers away.
    pub(in super::super) fn take_offers(&self) -> Vec<(Offer, SocketAddr)> {
        std::mem::take(&mut *self.offers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_no_more_than_so_many_offers_wait() {
        let notices = Notices::default();
        let offer = |id| Offer { id, uptime_seconds: 1, torrents: 0, peers: 0 };
        (0..100).for_each(|id| notices.offer(offer(id), ([192, 0, 2, 1], 1).into()));
        assert!(!notices.has_heard());
        notices.hear();
        assert!(notices.has_heard());
        let taken: Vec<_> = notices.take_offers().into_iter().map(|(offer, _)| offer.id).collect();
        assert_eq!(taken, (0..64).collect::<Vec<_>>());
        assert_eq!(notices.take_offers(), []);
    }
}
