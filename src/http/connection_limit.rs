//! How many connections all workers may have open together.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{self, OwnedSemaphorePermit, Semaphore};

use crate::atomic::AtomicU64;
use crate::log::Complaints;
use crate::tracker::Holder;

use super::page_cache::PageCache;
use super::places::{Activity, NoRoom, Places, Slot, Turn};
use super::stream::{Lease, LeaseEnd};

/// Bounds how many connections all workers may have open together, and how many may walk over all torrents at a time:
/// one. Only connections that stay come here; those that are answered at once do not.
#[derive(Debug)]
pub struct ConnectionLimit {
    free: Arc<Semaphore>,
    /// Locked for some microseconds by a connection that comes to stay, or ends.
    places: Mutex<Places>,
    /// Locked by the connection that walks.
    page_cache: sync::Mutex<PageCache>,
    max: usize,
    /// How many were told to make room for others.
    cut_off: AtomicU64,
    full: Complaints,
}

impl ConnectionLimit {
    /// Returns a limit of `max` connections, of which one address (of IPv6, one network of 64 bits) may have
    /// `max_per_address`.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            places: Mutex::new(Places::new(max, max_per_address)),
            page_cache: sync::Mutex::default(),
            max,
            cut_off: AtomicU64::new(0),
            full: Complaints::default(),
        })
    }

    /// Gives a connection a place. If none is free, that connection is cut off which is most in the way, and its end is
    /// waited for: it takes as long as its worker's other connections take for a step. Where more workers wait than
    /// there are places, who gets one is cut off for the next.
    ///
    /// # Errors
    ///
    /// All others have more right to a place.
    pub(super) async fn place(self: &Arc<Self>, newcomer: Newcomer) -> Result<(Place, LeaseEnd), NoRoom> {
        let Newcomer { holder, turn, said, now } = newcomer;
        let activity = Arc::new(Activity::new(turn, now, said));
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.make_room(holder, &activity, now)?;
                // Nobody closes it.
                Arc::clone(&self.free).acquire_owned().await.map_err(|_| NoRoom)?
            }
        };
        let (lease, lease_end) = Lease::new();
        let slot = self.places().enter(holder, Arc::clone(&activity), lease, now);
        Ok((Place { limit: Arc::clone(self), slot, activity, _permit: permit }, lease_end))
    }

    fn make_room(&self, holder: Option<Holder>, activity: &Activity, now: Duration) -> Result<Waiting<'_>, NoRoom> {
        let made = self.places().make_room(holder, activity, now).map(|()| Waiting(self));
        let cut_off = self.cut_off.fetch_add(u64::from(made.is_ok()), Ordering::Relaxed) + u64::from(made.is_ok());
        self.full.say(|| {
            tracing::warn!(
                "all {} TCP connections are in use: those that say least make room, {cut_off} since the start \
                 (limits.connections, ulimit -n)",
                self.max
            );
        });
        made
    }

    /// Locks the page cache. Whoever has it locked may walk over all torrents, and nobody else.
    pub(super) async fn lock_page_cache(&self) -> sync::MutexGuard<'_, PageCache> {
        self.page_cache.lock().await
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it is locked.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that comes to stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newcomer {
    /// Whose it is; nobody's if it is a proxy's.
    pub(super) holder: Option<Holder>,
    /// Whose turn it is.
    pub(super) turn: Turn,
    /// Bytes of a request that have come.
    pub(super) said: usize,
    /// When it came, since the process started.
    pub(super) now: Duration,
}

/// A newcomer waits for a place, until this is dropped.
struct Waiting<'a>(&'a ConnectionLimit);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.places().stop_waiting();
    }
}

/// Lets one connection be open, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    limit: Arc<ConnectionLimit>,
    slot: Slot,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Returns what goes on over the connection.
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Counts the connection for somebody else, or for nobody.
    pub(super) fn hand_over(&self, holder: Option<Holder>, now: Duration) {
        self.limit.places().hand_over(self.slot, holder, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limit.places().leave(self.slot);
    }
}
