//! Takes over the changes that other trackers of the cluster publish.

use thiserror::Error;

use super::announce::{Event, upsert_peer};
use super::clock::Minute;
use super::departures::Departure;
use super::families::TorrentPeers as _;
use super::flavour::{Change, Cluster as _, Flavour};
use super::hosts::is_host;
use super::keyed_hash::HashKey;
use super::select::Plan;
use super::store::{GROUP, KeyedHash, LockedShard, Torrent};
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

/// A change that is being taken over together with others.
struct InFlight<'a> {
    change: &'a Change,
    hash: KeyedHash,
    outcome: Outcome,
}

/// The outcome, and the change to forward to the other transports.
type Outcome = Result<(AnnounceOutcome, Option<Change>), AnnounceError>;

impl<F: Flavour> Tracker<F> {
    /// Takes over changes that another tracker of the cluster published; changes of the same torrent keep their order.
    /// Calls `done` with the outcome of each, while nothing is locked.
    ///
    /// Of a change and what is known of its peer, the one with the later minute counts; in the same minute, the change.
    /// A completed download is counted once, however old the change. What is new here is forwarded by the transports
    /// that it did not come in by. Locks one shard for each change, and waits for memory as seldom as
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
                if let Ok((_, Some(forwarded))) = &outcome {
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
    let forward = |is_new: bool, change: Change| (F::Cluster::BRIDGES && is_new).then_some(change);
    let announce = announce_of(change);
    let AnnounceRequest { info_hash, endpoint, .. } = announce;
    // The clock of another machine may be ahead of ours.
    let seen = change.seen.min(now);
    // What is known of the peer, if it is later than the change. Nothing is later than the present minute.
    let later = |torrent: &Torrent<F::Families>, key: &HashKey| {
        let known = if seen < now { torrent.peers.state(key, endpoint) } else { None };
        known.filter(|known| known.seen(now) > seen)
    };
    if announce.event == Event::Stopped {
        let removed = locked.modify(now, |torrent, key| {
            let removed = if later(torrent, key).is_none() { torrent.peers.remove(key, endpoint) } else { None };
            torrent.peers.set_empty_since(now);
            (torrent.scrape_counts(), removed.is_some())
        });
        let (counts, removed) = removed.unwrap_or_default();
        if removed {
            locked.note_departure(Departure { info_hash, endpoint, downloaded: counts.downloaded, left: now });
        }
        // Not forwarded if the peer is not known here: so what goes round in a ring of bridges comes to an end.
        return Ok((AnnounceOutcome { counts, ..AnnounceOutcome::default() }, forward(removed, *change)));
    }
    let limit = locked.address_limit(now);
    let upsert = |torrent: &mut Torrent<F::Families>, key: &HashKey, room: bool| {
        if !room && !torrent.peers.has_place(key, endpoint, limit) {
            return Err(AnnounceError::Full);
        }
        // What is later stays as it is, but for a download that is to be counted.
        let later = later(torrent, key);
        let (seeder, seen) = later.map_or((announce.seeder, seen), |known| (known.seeder(), known.seen(now)));
        let announce = AnnounceRequest { seeder, ..announce };
        let (mut outcome, publish) = upsert_peer::<F>(torrent, key, &announce, limit, seen);
        if later.is_some() {
            outcome.back_after = None;
        }
        Ok((outcome, forward(publish, Change { seeder, completed: outcome.counted_download, seen, ..*change })))
    };
    locked.upsert(&info_hash, now, upsert).unwrap_or(Err(AnnounceError::Full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::flavour::Origin;
    use crate::tracker::model::config;
    use crate::tracker::store::Cursor;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{Capacity, InfoHash, Intervals, Ipv4Only};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};

    const START: Minute = Minute(29_000_191);
    const LIFETIME: u32 = Intervals::MIN_PEER_LIFETIME;

    fn change(torrent: u8, peer: u8, seen: Minute) -> Change {
        Change {
            info_hash: InfoHash([torrent; 20]),
            endpoint: (Ipv4Addr::new(10, 0, 0, peer), 6881).into(),
            seeder: false,
            completed: false,
            stopped: false,
            seen,
            origin: Origin::Transport("test"),
        }
    }

    type Outcomes = Vec<(Change, Result<AnnounceOutcome, AbsorbError>)>;

    fn absorb(tracker: &TestTracker, changes: &[Change], now: Minute) -> Outcomes {
        let mut outcomes = Vec::new();
        tracker.absorb_group(changes, now, |change, outcome| outcomes.push((*change, outcome)));
        outcomes
    }

    /// Of each peer: is it a seeder, was its download counted, and when was it last seen?
    type Known = BTreeMap<(InfoHash, SocketAddr), (bool, bool, u32)>;

    fn known(tracker: &TestTracker, now: Minute) -> Known {
        let mut known = Known::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = tracker.store().walk_peers(from, &mut 1000, |info_hash, endpoint, state| {
                known.insert((*info_hash, endpoint), (state.seeder(), state.completed(), state.seen(now).0));
            });
        }
        known
    }

    /// Takes a change over as it is documented. Returns whether a download is counted.
    fn absorb_into(known: &mut Known, change: &Change, now: Minute) -> bool {
        let (name, seen) = ((change.info_hash, change.endpoint), change.seen.min(now).0);
        if now.0 - seen > LIFETIME {
            return false;
        }
        let before = known.get(&name).copied();
        let later = before.filter(|(_, _, known)| *known > seen);
        if change.stopped {
            if later.is_none() {
                known.remove(&name);
            }
            return false;
        }
        let (seeder, _, seen) = later.unwrap_or((change.seeder, false, seen));
        let counted = before.is_some_and(|(_, counted, _)| counted);
        let completes = change.completed && seeder && !counted;
        known.insert(name, (seeder, counted || completes, seen));
        completes
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_later_minute_counts_in_groups_and_one_by_one(
            packets in prop::collection::vec(
                (
                    0..20_u32,
                    prop::collection::vec((0..4_u8, 0..90_u8, prop::bits::u8::masked(7), 0..60_u32), 1..60),
                ),
                1..12,
            ),
        ) {
            let together = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
            let one_by_one = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
            let (mut expected, mut downloads, mut now) = (Known::new(), 0, START);
            for (minutes, records) in packets {
                now = now + minutes;
                together.sweep(now, || {});
                one_by_one.sweep(now, || {});
                expected.retain(|_, (_, _, seen)| now.0 - *seen <= LIFETIME);
                let changes: Vec<_> = records
                    .into_iter()
                    .map(|(torrent, peer, flags, age)| {
                        // Most are of this minute, some of the next.
                        let seen = Minute(now.0 + 1 - age.saturating_sub(10));
                        let (seeder, completed, stopped) = (flags & 1 != 0, flags & 2 != 0, flags == 4);
                        // Torrents of few and of many peers; and a port that is refused.
                        let mut change = change(torrent / (1 + peer / 20), peer, seen);
                        change.endpoint.set_port(if peer == 13 { 0 } else { 6881 });
                        Change { seeder, completed, stopped, ..change }
                    })
                    .collect();
                for change in changes.iter().filter(|change| change.endpoint.port() != 0) {
                    downloads += u32::from(absorb_into(&mut expected, change, now));
                }
                let mut outcomes = absorb(&together, &changes, now);
                let mut singly: Outcomes =
                    changes.iter().flat_map(|change| absorb(&one_by_one, &[*change], now)).collect();
                prop_assert_eq!(outcomes.len(), changes.len());
                // `done` may hear earlier of what is refused.
                outcomes.sort_by_key(|(change, outcome)| (change.info_hash.0, outcome.is_err()));
                singly.sort_by_key(|(change, outcome)| (change.info_hash.0, outcome.is_err()));
                prop_assert_eq!(outcomes, singly);
                prop_assert_eq!(&known(&together, now), &expected);
            }
            let counted = (0..4).filter_map(|torrent| together.scrape(&InfoHash([torrent; 20])));
            prop_assert_eq!(counted.map(|counts| counts.downloaded).sum::<u32>(), downloads);
        }
    }

    #[test]
    fn what_is_older_than_peers_are_kept_is_refused_and_what_is_ahead_is_of_this_minute() {
        for intervals in [300, 1800, 3600].map(|interval| Intervals::new(interval, None)) {
            let tracker = TestTracker::<Ipv4Only>::with_intervals(intervals, START);
            let (now, lifetime) = (START + 100, intervals.peer_lifetime());
            let changes = [
                change(1, 1, Minute(now.0 - lifetime - 1)),
                change(1, 2, Minute(now.0 - lifetime)),
                change(1, 3, now + 1000),
                Change { stopped: true, ..change(1, 2, START) },
            ];
            let refused: Vec<_> =
                absorb(&tracker, &changes, now).into_iter().map(|(_, outcome)| outcome.err()).collect();
            assert_eq!(refused, [Some(AbsorbError::TooOld), Some(AbsorbError::TooOld), None, None]);
            let seen: Vec<_> = known(&tracker, now).into_values().map(|(_, _, seen)| seen).collect();
            assert_eq!(seen, [now.0 - lifetime, now.0]);
            tracker.sweep(now + 1, || {});
            assert_eq!(known(&tracker, now + 1).len(), 1);
        }
    }

    #[test]
    fn changes_are_refused_like_the_announces_that_they_tell_of() {
        let tracker = TestTracker::<Ipv4Only>::plain(Capacity { torrents: 1, peers: 1, ..Capacity::NONE }, START);
        let without_port = Change { endpoint: (Ipv4Addr::LOCALHOST, 0).into(), ..change(1, 1, START) };
        let changes =
            [change(1, 1, START), without_port, change(1, 2, START), change(2, 1, START), change(1, 1, START)];
        let refused: Vec<_> = absorb(&tracker, &changes, START).into_iter().map(|(_, outcome)| outcome.err()).collect();
        let (full, no_port) = (Some(AnnounceError::Full.into()), Some(AbsorbError::NoPort));
        assert_eq!(refused, [no_port, None, full, full, None]);
    }

    #[test]
    fn whom_no_host_can_be_is_refused_and_who_is_near_is_taken_as_from_a_client() {
        let tracker = TestTracker::<Ipv4Only>::plain(Capacity::NONE, START);
        let at = |ip: [u8; 4]| Change { endpoint: (ip, 6881).into(), ..change(1, 1, START) };
        let nobody = [[0, 0, 0, 0], [224, 0, 23, 5], [239, 1, 2, 3], [255, 255, 255, 255]];
        let near = [[127, 0, 0, 1], [10, 0, 0, 1], [192, 168, 0, 255]];
        for stopped in [false, true] {
            let changes: Vec<_> = nobody.iter().chain(&near).map(|ip| Change { stopped, ..at(*ip) }).collect();
            let refused = absorb(&tracker, &changes, START).into_iter().filter_map(|(change, outcome)| {
                assert_eq!(outcome.err().unwrap_or(AbsorbError::NoHost), AbsorbError::NoHost);
                outcome.is_err().then_some(change)
            });
            assert_eq!(refused.collect::<Vec<_>>(), changes[..nobody.len()]);
            assert_eq!(tracker.store().census().peers.peers(), if stopped { 0 } else { near.len() });
        }
    }
}
