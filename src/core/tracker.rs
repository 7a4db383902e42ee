//! What an announce, a scrape and a passing minute do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use fastrand::Rng;
use thiserror::Error;

use super::InfoHash;
use super::clock::Minute;
use super::family::{Family, Handout, Swarms};
use super::flavour::{Admission, Change, Cluster, Flavour, NetworkLog};
use super::keyed_hash::Key;
use super::limits::Limits;
use super::peer::Stamp;
use super::store::{Cursor, Full, Store, Torrent};

/// Seconds until a client should announce again, in the middle of [`INTERVAL_SPREAD`].
pub const INTERVAL: u32 = 1800;
/// Seconds by which the interval differs at random, so that clients that came together do not come back together.
pub const INTERVAL_SPREAD: u32 = 180;

/// Torrents and peers that a sweep looks at before it gives the lock back. Some microseconds, or some ten of them where
/// all have expired.
const SWEEP_PORTION: usize = 1024;

/// What happens at the client (BEP 3, `event`; BEP 15, offset 80).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Event {
    /// Nothing in particular, or something that changes nothing here: `started`, `paused` (BEP 21), anything unknown.
    #[default]
    Update,
    /// The download has just been completed.
    Completed,
    /// The client leaves the swarm.
    Stopped,
}

/// An announce, whatever protocol it came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the client can be reached.
    pub endpoint: SocketAddr,
    /// `left=0`.
    pub seeder: bool,
    /// What happened.
    pub event: Event,
}

/// The numbers of one torrent (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Seeders: `complete`.
    pub seeders: u32,
    /// Leechers: `incomplete`.
    pub leechers: u32,
    /// Completed downloads: `downloaded`.
    pub downloaded: u32,
}

/// What an announce has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Announced {
    /// The torrent's numbers, the client included.
    pub totals: Totals,
    /// Minutes since the client's previous announce, if it was known and stays.
    pub back_after: Option<u32>,
    /// A download was counted.
    pub counted_download: bool,
}

/// Why an announce is refused. The text is for the client, and for its user to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// By the access list.
    #[error("Requested download is not authorized for use with this tracker.")]
    NotAdmitted,
    /// Port 0.
    #[error("Your client announced port 0, where nobody can reach it. Please check its settings.")]
    NoPort,
    /// An IPv4 client at an IPv6 tracker, or the reverse.
    #[error("This tracker does not serve your address family.")]
    FamilyNotServed,
    /// No room: see [`Limits`].
    #[error("This tracker is full. Please try again later.")]
    Full,
}

/// A tracker: torrents, and what this build plugs in around them.
pub struct Tracker<F: Flavour> {
    store: Store<F::Family>,
    last_sweep: AtomicU32,
    /// Which torrents are served.
    pub admission: F::Admission,
    /// Who else hears of a change.
    pub cluster: F::Cluster,
    /// Who counts the networks that ask.
    pub network_log: F::NetworkLog,
}

impl<F: Flavour> Tracker<F> {
    /// An empty tracker.
    pub fn new(
        key: Key,
        limits: Limits,
        now: Minute,
        admission: F::Admission,
        cluster: F::Cluster,
        network_log: F::NetworkLog,
    ) -> Self {
        Self { store: Store::new(key, limits), last_sweep: AtomicU32::new(now.0), admission, cluster, network_log }
    }

    /// All torrents.
    pub fn store(&self) -> &Store<F::Family> {
        &self.store
    }

    /// A random number of this run: the one that its cluster knows it by, if it is one of a cluster.
    pub fn id(&self) -> u32 {
        self.cluster.id().unwrap_or_else(|| self.store.id())
    }

    /// Takes note of the client and hands it other peers. A client that stops is handed none. One that there is no
    /// room for is handed peers too, if there are any, but is not remembered.
    ///
    /// Locks one shard, once.
    pub fn announce(
        &self,
        announce: &Announce,
        now: Minute,
        rng: &mut Rng,
        handout: Handout<'_>,
    ) -> Result<Announced, Refusal> {
        let Announce { info_hash, endpoint, .. } = announce;
        self.network_log.saw(endpoint.ip(), now, rng);
        self.check(announce)?;
        if announce.event == Event::Stopped {
            let announced = self.remove(announce, now);
            // Of a peer that is not known here as well: it may have announced itself to another tracker of the cluster.
            if F::Cluster::LISTENS {
                self.tell(announce, false);
            }
            return Ok(announced);
        }
        let note = |torrent: &mut Torrent<F::Family>, key: &Key, room: bool| {
            if !room && !torrent.swarms.contains(key, *endpoint) {
                // Whoever fills the tracker up is not to keep others from each other: a client that cannot be
                // remembered can still be helped.
                torrent.swarms.hand_out(None, announce.seeder, rng, handout);
                let known = torrent.swarms.counts().peers() > 0;
                let announced = Announced { totals: totals(torrent), ..Announced::default() };
                return if known { Ok((announced, false)) } else { Err(Refusal::Full) };
            }
            torrent.swarms.look_ahead(*endpoint, announce.seeder, rng, &handout);
            let noted = note_peer::<F>(torrent, key, announce, now);
            torrent.swarms.hand_out(Some(*endpoint), announce.seeder, rng, handout);
            Ok(noted)
        };
        let (announced, tell) = self.store.upsert(info_hash, now, note).unwrap_or(Err(Refusal::Full))?;
        if tell {
            self.tell(announce, announced.counted_download);
        }
        Ok(announced)
    }

    /// The numbers of one torrent; `None` if it is not known or not served.
    pub fn scrape(&self, info_hash: &InfoHash) -> Option<Totals> {
        if !self.admission.admits(info_hash) {
            return None;
        }
        self.store.read(info_hash, totals)
    }

    /// Forgets peers and torrents that have been silent for too long, and torrents that are no longer served. Made to
    /// be called once a minute; calls `pause` between two portions, while no lock is held.
    pub fn sweep(&self, now: Minute, mut pause: impl FnMut()) {
        let before = Minute(self.last_sweep.swap(now.0, Ordering::Relaxed));
        let everybody = now.since(before) > Stamp::LONGEST_SWEEP_GAP;
        let keep = |info_hash: &InfoHash| !F::Admission::RESTRICTS || self.admission.admits(info_hash);
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.store.sweep(from, now, SWEEP_PORTION, everybody, keep);
            pause();
        }
    }

    /// Takes over what another tracker of the cluster tells. It is not told on.
    ///
    /// # Errors
    ///
    /// What would be refused if the peer itself announced it.
    pub fn absorb(&self, change: &Change, now: Minute) -> Result<Announced, Refusal> {
        let event = match change {
            Change { stopped: true, .. } => Event::Stopped,
            Change { completed: true, .. } => Event::Completed,
            _ => Event::Update,
        };
        let Change { info_hash, endpoint, seeder, .. } = *change;
        let announce = Announce { info_hash, endpoint, seeder, event };
        self.check(&announce)?;
        if event == Event::Stopped {
            return Ok(self.remove(&announce, now));
        }
        let note = |torrent: &mut Torrent<F::Family>, key: &Key, room: bool| {
            if !room && !torrent.swarms.contains(key, endpoint) {
                return Err(Refusal::Full);
            }
            Ok(note_peer::<F>(torrent, key, &announce, now).0)
        };
        self.store.upsert(&info_hash, now, note).unwrap_or(Err(Refusal::Full))
    }

    /// Remembers a torrent from before a restart, with its downloads and when it was last heard of. What is known
    /// already is not changed, and what would have been forgotten by now is not remembered.
    ///
    /// # Errors
    ///
    /// There is no room, or the torrent is not served.
    pub fn restore(&self, info_hash: &InfoHash, downloaded: u32, touched: Minute, now: Minute) -> Result<(), Refusal> {
        if !self.admission.admits(info_hash) {
            return Err(Refusal::NotAdmitted);
        }
        let remember = |torrent: &mut Torrent<F::Family>, _: &Key, _| {
            if torrent.downloaded == 0 {
                torrent.downloaded = downloaded;
                torrent.swarms.set_empty_since(touched.min(now));
            }
        };
        self.store.upsert(info_hash, now, remember).map_err(|Full| Refusal::Full)
    }

    fn check(&self, announce: &Announce) -> Result<(), Refusal> {
        if announce.endpoint.port() == 0 {
            Err(Refusal::NoPort)
        } else if !F::Family::serves(announce.endpoint.ip()) {
            Err(Refusal::FamilyNotServed)
        } else if !self.admission.admits(&announce.info_hash) {
            Err(Refusal::NotAdmitted)
        } else {
            Ok(())
        }
    }

    fn remove(&self, announce: &Announce, now: Minute) -> Announced {
        let left = self.store.modify(&announce.info_hash, now, |torrent, key| {
            torrent.swarms.remove(key, announce.endpoint);
            torrent.swarms.set_empty_since(now);
            totals(torrent)
        });
        Announced { totals: left.unwrap_or_default(), ..Announced::default() }
    }

    fn tell(&self, announce: &Announce, completed: bool) {
        self.cluster.tell(Change {
            info_hash: announce.info_hash,
            endpoint: announce.endpoint,
            seeder: announce.seeder,
            completed,
            stopped: announce.event == Event::Stopped,
        });
    }
}

/// Adds or refreshes the peer and counts a download. Says also whether the cluster is to be told.
fn note_peer<F: Flavour>(
    torrent: &mut Torrent<F::Family>,
    key: &Key,
    announce: &Announce,
    now: Minute,
) -> (Announced, bool) {
    let mut announced = Announced::default();
    let mut tell = false;
    let completes = announce.event == Event::Completed && announce.seeder;
    torrent.swarms.upsert(key, announce.endpoint, announce.seeder, |old| {
        let counted_before = old.is_some_and(Stamp::completed);
        announced.counted_download = completes && !counted_before;
        announced.back_after = old.map(|old| old.age(now));
        let stamp = Stamp::new(now, announce.seeder, completes || counted_before);
        match old {
            Some(old) if !announced.counted_download && old.told_age(now) < Stamp::TELL_AGAIN => stamp.told_with(old),
            _ => {
                tell = F::Cluster::LISTENS;
                stamp
            }
        }
    });
    if announced.counted_download {
        torrent.downloaded = torrent.downloaded.saturating_add(1);
    }
    announced.totals = totals(torrent);
    (announced, tell)
}

fn totals<F: Family>(torrent: &Torrent<F>) -> Totals {
    let counts = torrent.swarms.counts();
    let number = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
    Totals { seeders: number(counts.seeders), leechers: number(counts.leechers), downloaded: torrent.downloaded }
}
