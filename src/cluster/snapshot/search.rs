//! When a joiner asks for a snapshot, and whom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::error::SnapshotError;
use super::offer::Offer;
use super::shared::{Seeking, Snapshots, Taking, Turn};

/// How often is asked while the tracker is not ready.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// And how often from then on, as long as others are heard.
const ASK_EVERY_LATER: Duration = Duration::from_secs(10);
/// How long others have to make an offer, once somebody has.
const GATHER: Duration = Duration::from_secs(1);
/// After this time without hearing anybody a tracker takes itself for the only one.
const ALONE: Duration = Duration::from_secs(3);
/// How long to wait for another transport that takes a snapshot.
const TURN: Duration = Duration::from_millis(250);
/// How long is searched. A good part of the peers has announced itself by then.
const MAX_SEARCH: Duration = Duration::from_secs(5 * 60);
/// Seconds that may lie between the beginnings of two trackers that began together: whole ones, of clocks that are read
/// one after the other. Once the wait is over both have heard the same, unless one has found a snapshot: what that
/// knows from there, the other hears as its peers announce themselves.
const SAME_START: u32 = 1;
/// Most donors that are tried.
const MAX_DONORS: usize = 5;
/// Most offers that are kept.
const MAX_OFFERS: usize = 64;

/// Looks for a snapshot over one transport, on which donors are found at a `D`. Time is passed in; what is to be done
/// is asked of [`Self::next`], and whatever comes is told to it.
///
/// It asks every second until the wait is over, then every 10 s, as donors give only two at a time. It takes from the
/// tracker that has been up for longest, one second after the first offer; if that comes to nothing, from the next:
/// five at most. It takes from none that has not been up for longer than this one: by more than a second, once the wait
/// is over. It ends after 5 minutes; and after 3 s, or the wait, if nobody is heard.
#[derive(Debug)]
pub struct Search<D> {
    snapshots: Arc<Snapshots>,
    _seeking: Seeking,
    began: Instant,
    ask_at: Instant,
    /// Whether anybody has been heard who knows something.
    heard: bool,
    offers: Vec<(Offer, D)>,
    /// When the first of the present offers came.
    first_offer: Instant,
    /// Whether anybody has made an offer who has not been up for longer.
    younger: bool,
    /// Whether a donor has been chosen.
    chosen: bool,
    /// Those who have been tried in vain.
    tried: Vec<u64>,
    end: Option<End>,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Next<D> {
    /// Ask who can give a snapshot.
    Ask,
    /// Take one from this donor, and tell [`Search::taken`] or [`Search::failed`] what came of it.
    Take(Candidate<D>),
    /// Wait for offers, until this moment at most.
    Wait(Instant),
    /// The search is over.
    Over(End),
}

/// Who is to give a snapshot.
#[derive(Debug)]
pub struct Candidate<D> {
    /// What it has offered.
    pub offer: Offer,
    /// Where it is.
    pub donor: D,
    taking: Taking,
}

/// How a search has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A snapshot has been taken.
    Taken,
    /// One has been taken over another transport.
    TakenElsewhere,
    /// Nobody is there.
    Alone,
    /// Nobody who has been up for longer has offered one.
    Oldest,
    /// Somebody is there, and nobody has given one.
    InVain,
}

impl End {
    /// Logs it, unless a snapshot has been taken: that has been logged.
    pub fn log(self) {
        match self {
            Self::Taken | Self::TakenElsewhere => {}
            Self::Alone => info!("nobody in the cluster has answered: there is no snapshot to take"),
            Self::Oldest => info!("nobody in the cluster who has been up for longer has offered a snapshot"),
            Self::InVain => {
                warn!("no snapshot has been taken: this tracker knows whom it has heard of since its start")
            }
        }
    }
}

impl<D> Search<D> {
    /// Begins to search. Until the wait is over, or a snapshot has come, this tracker offers none.
    pub fn new(snapshots: &Arc<Snapshots>, now: Instant) -> Self {
        Self {
            snapshots: Arc::clone(snapshots),
            _seeking: snapshots.seek(),
            began: now,
            ask_at: now,
            heard: false,
            offers: Vec::new(),
            first_offer: now,
            younger: false,
            chosen: false,
            tried: Vec::new(),
            end: None,
        }
    }

    /// Returns what is to be done now.
    pub fn next(&mut self, now: Instant) -> Next<D> {
        let taken_elsewhere = self.snapshots.is_taken().then_some(End::TakenElsewhere);
        if let Some(end) = self.end.or(taken_elsewhere).or_else(|| self.given_up(now)) {
            self.end = Some(end);
            return Next::Over(end);
        }
        let mut wait = self.ask_at;
        if !self.offers.is_empty() {
            let gathered = self.first_offer + GATHER;
            if now < gathered {
                wait = wait.min(gathered);
            } else {
                match self.snapshots.begin_taking() {
                    Turn::Yours(taking) => {
                        if let Some((offer, donor)) = self.take_best() {
                            return Next::Take(Candidate { offer, donor, taking });
                        }
                    }
                    Turn::Wait => wait = wait.min(now + TURN),
                    Turn::Over => {
                        self.end = Some(End::TakenElsewhere);
                        return Next::Over(End::TakenElsewhere);
                    }
                }
            }
        }
        if now < self.ask_at {
            return Next::Wait(wait);
        }
        self.ask_at = now + if self.waits(now) { ASK_EVERY } else { ASK_EVERY_LATER };
        Next::Ask
    }

    /// Takes note of an offer.
    pub fn offered(&mut self, offer: Offer, donor: D, now: Instant) {
        self.heard = true;
        let own = self.snapshots.uptime_seconds(now);
        let is_late = u64::from(own) > self.snapshots.limits().wait.as_secs();
        let least = if is_late { own.saturating_add(SAME_START) } else { own };
        if offer.uptime_seconds <= least {
            self.younger = true;
            return;
        }
        if self.tried.contains(&offer.id) {
            return;
        }
        if self.offers.is_empty() {
            self.first_offer = now;
        }
        self.offers.retain(|(known, _)| known.id != offer.id);
        self.offers.push((offer, donor));
        if self.offers.len() > MAX_OFFERS {
            // The worst makes room.
            if let Some(worst) = self.offers.iter().enumerate().min_by_key(|(_, (offer, _))| *offer).map(|(at, _)| at) {
                self.offers.swap_remove(worst);
            }
        }
    }

    /// Takes note of another tracker of the cluster that knows something. One that asks for a snapshot itself is none.
    pub fn heard(&mut self) {
        self.heard = true;
    }

    /// A whole snapshot has been taken.
    pub fn taken(&mut self, candidate: Candidate<D>) {
        candidate.taking.finish();
        self.end = Some(End::Taken);
    }

    /// A candidate's snapshot came to nothing. The next one is asked; whoever is busy may be asked again.
    pub fn failed(&mut self, candidate: Candidate<D>, error: &SnapshotError) {
        match error {
            SnapshotError::Busy => {}
            SnapshotError::TooLarge(_) => {
                candidate.taking.finish();
                self.end = Some(End::InVain);
            }
            _ => self.tried.push(candidate.offer.id),
        }
    }

    fn given_up(&self, now: Instant) -> Option<End> {
        let passed = now.saturating_duration_since(self.began);
        let is_over = self.tried.len() >= MAX_DONORS || passed >= MAX_SEARCH;
        match () {
            () if is_over && self.younger && !self.chosen => Some(End::Oldest),
            () if is_over => Some(End::InVain),
            () if !self.heard && passed >= ALONE.min(self.snapshots.limits().wait) => Some(End::Alone),
            () => None,
        }
    }

    fn waits(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < self.snapshots.limits().wait
    }

    fn take_best(&mut self) -> Option<(Offer, D)> {
        self.chosen = true;
        let best = self.offers.iter().enumerate().max_by_key(|(_, (offer, _))| *offer).map(|(at, _)| at)?;
        Some(self.offers.swap_remove(best))
    }
}

#[cfg(test)]
mod tests;
