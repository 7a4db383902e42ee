//! Takes over the changes that other trackers of the cluster publish.

use thiserror::Error;

use super::announce::{Event, upsert_peer};
use super::clock::Minute;
use super::departures::Departure;
use super::families::TorrentPeers as _;
use super::flavour::{Change, Cluster as _, Flavour};
use super::hosts::is_host;
use super::keyed_hash::HashKey;
use super::peer::PeerState;
use super::select::Plan;
use super::stops::Stop;
use super::store::{Full, GROUP, KeyedHash, LockedShard, Torrent};
use super::{AnnounceError, AnnounceOutcome, AnnounceRequest, Tracker};

/// Why a change is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AbsorbError {
    /// The peer would be refused if it announced itself here.
    #[error(transparent)]
    Refused(#[from] AnnounceError),
    /// The peer has port 0, where nobody could connect to it.
    #[error("the peer has no port")]
    NoPort,
    /// The peer has an address that no host has: see [`is_host`].
    #[error("no host has the peer's address")]
    NoHost,
    /// The peer was last seen longer ago than peers are kept.
    #[error("the peer has been silent for too long")]
    TooOld,
}

/// Minutes that two changes have to be apart for sure that the later one was announced later: each is told in whole
/// minutes, comes by its own way, and may be told again. No peer becomes a leecher again so soon, as far as a cluster
/// is told: only what completes is published sooner than after [`PeerState::REPUBLISH_AFTER`] minutes.
pub(super) const DOUBT: u32 = PeerState::REPUBLISH_AFTER / 2;

/// A change that is being taken over together with others.
struct InFlight<'a> {
    change: &'a Change,
    hash: KeyedHash,
    outcome: Outcome,
}

/// The outcome, and the changes to forward to the other transports.
type Outcome = Result<(AnnounceOutcome, [Option<Change>; 2]), AnnounceError>;

impl<F: Flavour> Tracker<F> {
    /// Takes over changes that another tracker of the cluster published; changes of the same torrent keep their order.
    /// Calls `done` with the outcome of each, while nothing is locked.
    ///
    /// Of a change and what is known of its peer, the one with the later minute counts; in the same minute, the change.
    /// If they are no more than some minutes apart, who has everything by one of them has it, as nobody knows for sure
    /// which came first. A completed download is counted once, however old the change. Where [stops](super::stops) are
    /// remembered, what a peer announced before it stopped does not bring it back. What is new here is forwarded by the
    /// transports that it did not come in by. Locks one shard for each change, and waits for memory as seldom as
    /// [`Self::announce_group`].
    pub fn absorb_group(
        &self,
        changes: &[Change],
        now: Minute,
        mut done: impl FnMut(&Change, Result<AnnounceOutcome, AbsorbError>),
    ) {
        for changes in changes.chunks(GROUP) {
            let mut group = [const { None }; GROUP];
            let mut slots = group.iter_mut();
            for change in changes {
                if let Err(error) = self.check_change(change, now) {
                    done(change, Err(error));
                } else if let Some(slot) = slots.next() {
                    let hash = self.store().hash(&change.info_hash);
                    *slot = Some(InFlight { change, hash, outcome: Err(AnnounceError::Full) });
                }
            }
            let mut rest = group.as_mut_slice();
            while rest.first().is_some_and(Option::is_some) {
                let many = self.absorb_prefix(rest, now);
                rest = rest.get_mut(many..).unwrap_or_default();
            }
            for InFlight { change, outcome, .. } in group.into_iter().flatten() {
                for forwarded in outcome.iter().flat_map(|(_, changes)| changes).flatten() {
                    self.publish(forwarded, now);
                }
                done(change, outcome.map(|(outcome, _)| outcome).map_err(AbsorbError::from));
            }
        }
    }

    /// Refuses what no state of the store would allow.
    fn check_change(&self, change: &Change, now: Minute) -> Result<(), AbsorbError> {
        self.check(&announce_of(change))?;
        if change.endpoint.port() == 0 {
            return Err(AbsorbError::NoPort);
        }
        if !is_host(change.endpoint.ip()) {
            return Err(AbsorbError::NoHost);
        }
        let is_too_old = now.since(change.seen) > self.intervals().peer_lifetime();
        if is_too_old { Err(AbsorbError::TooOld) } else { Ok(()) }
    }

    /// Takes over as many changes, from the first on, as [`Store::lock_group`](super::store::Store::lock_group) locks
    /// shards for. Returns how many.
    fn absorb_prefix(&self, group: &mut [Option<InFlight<'_>>], now: Minute) -> usize {
        let mut locked = [const { None }; GROUP];
        let sought = |n: usize| group.get(n)?.as_ref().map(|in_flight| (in_flight.hash, &in_flight.change.info_hash));
        let many = self.store().lock_group(sought, &mut locked);
        for (locked, InFlight { change, .. }) in locked.iter().flatten().zip(group.iter().flatten()) {
            locked.prefetch(change.endpoint, announce_of(change).preference(), &Plan::NONE, 0);
        }
        for (slot, InFlight { change, outcome, .. }) in locked.iter_mut().zip(group.iter_mut().flatten()) {
            if let Some(locked) = slot {
                *outcome = run::<F>(change, locked, now);
            }
            // Unlocks the shard.
            *slot = None;
        }
        many
    }
}

/// Returns the announce that tells the same of the peer.
fn announce_of(change: &Change) -> AnnounceRequest {
    let event = match change {
        Change { stopped: true, .. } => Event::Stopped,
        Change { completed: true, .. } => Event::Completed,
        _ => Event::Update,
    };
    let Change { info_hash, endpoint, seeder, .. } = *change;
    // It is handed no peers here, so what it has uploaded does not matter.
    AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event }
}

/// Takes a change over into its torrent.
fn run<F: Flavour>(change: &Change, locked: &mut LockedShard<'_, F::Families>, now: Minute) -> Outcome {
    let forward = |is_new: bool, change: Change| [(F::Cluster::BRIDGES && is_new).then_some(change), None];
    let announce = announce_of(change);
    let AnnounceRequest { info_hash, endpoint, .. } = announce;
    // The clock of another machine may be ahead of ours.
    let seen = change.seen.min(now);
    // Whether what is known of the peer is later than the change. Nothing is later than the present minute.
    let is_later = |known: PeerState| seen < now && known.seen(now) > seen;
    let completes = announce.event == Event::Completed && announce.seeder;
    let last_stop = if F::Cluster::REMEMBERS_STOPS { locked.stop_of(endpoint, now) } else { None };
    let stop = last_stop.filter(|stop| stop.precedes(seen, Some(change.origin), completes));
    if announce.event == Event::Stopped {
        // Of a peer that has started again since, the late copy of a stop is outdated too.
        let is_copy = stop.is_some();
        let removed = locked.modify(now, |torrent, key| {
            let known = if seen < now || is_copy { torrent.peers.state(key, endpoint) } else { None };
            let is_outdated = known.is_some_and(|known| is_copy || is_later(known));
            let removed = if is_outdated { None } else { torrent.peers.remove(key, endpoint) };
            torrent.peers.set_empty_since(now);
            (torrent.scrape_counts(), removed, is_outdated)
        });
        let (counts, removed, is_outdated) = removed.unwrap_or_default();
        // Of a peer that is not known, the stop that was heard of a moment ago.
        let copied = last_stop.filter(|stop| removed.is_none() && !stop.is_long_before(seen));
        if F::Cluster::REMEMBERS_STOPS && !is_outdated {
            let counted = removed.is_some_and(PeerState::completed);
            // A transport without ages brings a copy as if the peer had stopped just now.
            let minute = copied.map_or(seen, |stop| stop.minute.min(seen));
            locked.note_stop(endpoint, Stop::new(minute, Some(change.origin), counted), now);
        }
        let removed = removed.is_some();
        if removed {
            locked.note_departure(Departure { info_hash, endpoint, downloaded: counts.downloaded, left: now });
        }
        // Who has just started does not know who is there, but others do. Not forwarded if it was heard of a moment
        // ago: so what goes round in a ring of bridges comes to an end.
        let is_news = F::Cluster::REMEMBERS_STOPS && !is_outdated && copied.is_none();
        return Ok((AnnounceOutcome { counts, ..AnnounceOutcome::default() }, forward(removed || is_news, *change)));
    }
    if let Some(stop) = stop {
        let state = |torrent: &mut Torrent<F::Families>, key: &HashKey| torrent.peers.state(key, endpoint);
        // It may have started again in the minute of the stop, and completed on another way.
        let mut is_counted = || locked.modify(now, state).flatten().is_some_and(PeerState::completed);
        let counts_download = completes && !stop.counted && !is_counted();
        return run_late::<F>(change, counts_download, stop, locked, now);
    }
    let limit = locked.address_limit(now);
    let upsert = |torrent: &mut Torrent<F::Families>, key: &HashKey, room: bool| {
        if !room && !torrent.peers.has_place(key, endpoint, limit) {
            return Err(AnnounceError::Full);
        }
        // What is later stays as it is, but for a download that is to be counted.
        let known = torrent.peers.state(key, endpoint);
        let is_later = known.is_some_and(is_later);
        let (seeder, seen) = match known.map(|known| (known.seeder(), known.seen(now))) {
            // Which of both came first is not known. Whoever has got everything keeps it.
            Some((was_seeder, before)) if before.0.abs_diff(seen.0) <= DOUBT => {
                (announce.seeder || was_seeder, seen.max(before))
            }
            Some(known) if is_later => known,
            _ => (announce.seeder, seen),
        };
        let announce = AnnounceRequest { seeder, ..announce };
        let (mut outcome, publish) = upsert_peer::<F>(torrent, key, &announce, limit, seen);
        if is_later {
            outcome.back_after = None;
        }
        Ok((outcome, forward(publish, Change { seeder, completed: outcome.counted_download, seen, ..*change })))
    };
    locked.upsert(&info_hash, now, upsert).unwrap_or(Err(AnnounceError::Full))
}

/// Takes over what a peer announced before it stopped: of a late copy nothing but a download that has not been counted.
#[cold]
fn run_late<F: Flavour>(
    change: &Change,
    counts_download: bool,
    stop: Stop,
    locked: &mut LockedShard<'_, F::Families>,
    now: Minute,
) -> Outcome {
    let counts_of = |torrent: &Torrent<F::Families>| torrent.scrape_counts();
    if !counts_download {
        let counts = locked.torrent().map(counts_of).unwrap_or_default();
        return Ok((AnnounceOutcome { counts, ..AnnounceOutcome::default() }, [None, None]));
    }
    let limit = locked.address_limit(now);
    let count = |torrent: &mut Torrent<F::Families>, key: &HashKey, _| {
        torrent.downloaded = torrent.downloaded.saturating_add(1);
        let known = torrent.peers.state(key, change.endpoint);
        if let Some(known) = known {
            // It has started again. Who had everything a moment ago still has it.
            let seen = known.seen(now);
            let seeder = known.seeder() || seen.0.abs_diff(change.seen.min(now).0) <= DOUBT;
            let state = PeerState::new(seen, seeder, true).published_with(known);
            torrent.peers.upsert(key, change.endpoint, seeder, limit, |_| state);
        }
        torrent.peers.set_empty_since(now);
        (torrent.scrape_counts(), known.is_some())
    };
    let (counts, is_there) = locked.upsert(&change.info_hash, now, count).map_err(|Full| AnnounceError::Full)?;
    locked.note_stop(change.endpoint, stop.with_download_counted(), now);
    let forward = |change: Change| F::Cluster::BRIDGES.then_some(change);
    // Those who do not remember stops are told again that it has, unless it has started again since.
    let stopped = Change { completed: false, stopped: true, seen: stop.minute, ..*change };
    let outcome = AnnounceOutcome { counts, counted_download: true, ..AnnounceOutcome::default() };
    Ok((outcome, [forward(*change), if is_there { None } else { forward(stopped) }]))
}

#[cfg(test)]
mod tests;
