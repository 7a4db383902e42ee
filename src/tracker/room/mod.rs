//! Makes room before it is needed, and takes it from those who hold too much.
//!
//! When no more than a twentieth of the room for torrents or peers is left, a thread is woken ([`Shortage`]) and makes
//! a tenth free. So whoever fills the tracker with torrents that he has made up keeps nobody out for long, and an
//! announce does nothing for it: it reads whether there is room, as ever.
//!
//! Who holds how much is told by networks: IPv4 /24, IPv6 /48. A torrent counts for a network when all its peers are of
//! it. A network's share is a sixty-fourth of the limit, or [`MIN_SHARE`] if that is more. What goes, in this order,
//! and nothing else:
//!
//! 1. Torrents of networks that hold more than their share, the youngest first, down to the share.
//! 2. Torrents without peers, which are kept for their downloads: those with the fewest first, of these the one that has
//!    been silent for longest.
//!
//! Of peers, those of networks that hold more than their share, the longest silent first, down to the share.
//!
//! How old a torrent is, is not kept: it would take memory in each. In its shard it stands behind all that came before
//! it, unless it has moved to where one was forgotten; so those who stand last count as the youngest. While somebody
//! adds many in little time, they are.
//!
//! It takes three walks: one finds the networks that may hold more than their share, one counts exactly what these
//! hold, and one takes. Together they need 256 KiB, whatever the size of the tracker. Meanwhile announces go on; what
//! changes between two walks is overlooked until the next time.
//!
//! - `network`: what a network is. `candidates`: finds the large ones. `quotas`: how many of whom.
//!
//! [`Shortage`]: super::shortage::Shortage

mod candidates;
mod network;
mod quotas;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::clock::{Minute, TORRENT_LIFETIME};
use super::families::{AddressFamilies, TorrentPeers};
use super::peer::PeerState;
use super::store::{Cursor, Fate, Position, Store, Torrent};

use candidates::Candidates;
use network::{MAX_LOOKED_AT, sole_network};
use quotas::{Quotas, Rank, Ranks};

pub use network::Network;

/// A network's share is this part of the limit.
const SHARES: u64 = 64;
/// A network's share where the limit is so low that a sixty-fourth of it is less: nobody who uses a few torrents holds
/// too much.
pub const MIN_SHARE: u64 = 16;

/// Torrents and peers that a walk looks at before it unlocks their shard, as a sweep does.
const PORTION: usize = 1024;

/// Networks that [`Taken`] names.
const MAX_NAMED: usize = 256;

/// What has been taken to make room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// How many torrents had to go, to make a tenth of the limit free.
    pub lacked_torrents: u64,
    /// How many peers had to go, besides those of the torrents that were taken.
    pub lacked_peers: u64,
    /// Torrents of networks that held more than their share.
    pub torrents: u64,
    /// Torrents without peers.
    pub empty_torrents: u64,
    /// Peers of networks that held more than their share, without those of the torrents above.
    pub peers: u64,
    /// How many torrents and peers each of the networks has lost. Where there are more than 256 networks, the others
    /// are not among them.
    pub networks: BTreeMap<Network, u64>,
}

impl Taken {
    /// Returns whether nothing has been taken.
    pub fn is_nothing(&self) -> bool {
        self.all() == 0
    }

    /// Returns whether it was of use: of torrents, or of peers, half of what had to go is gone at least. Or nothing had
    /// to: shards had taken room and not used it.
    pub fn is_of_use(&self) -> bool {
        let most_of = |taken: u64, lacked: u64| lacked > 0 && taken.saturating_mul(2) >= lacked;
        most_of(self.torrents + self.empty_torrents, self.lacked_torrents)
            || most_of(self.peers, self.lacked_peers)
            || self.lacked_torrents + self.lacked_peers == 0
    }

    /// Returns how many torrents and peers that is.
    pub fn all(&self) -> u64 {
        self.torrents + self.empty_torrents + self.peers
    }

    /// Adds what has been taken later.
    pub fn add(&mut self, later: &Self) {
        self.lacked_torrents += later.lacked_torrents;
        self.lacked_peers += later.lacked_peers;
        self.torrents += later.torrents;
        self.empty_torrents += later.empty_torrents;
        self.peers += later.peers;
        later.networks.iter().for_each(|(network, taken)| self.add_of(*network, *taken));
    }

    /// Returns the network that has lost most.
    pub fn largest(&self) -> Option<Network> {
        let largest = self.networks.iter().max_by_key(|(_, taken)| **taken);
        largest.map(|(network, _)| *network)
    }

    fn add_of(&mut self, network: Network, taken: u64) {
        if self.networks.len() < MAX_NAMED || self.networks.contains_key(&network) {
            *self.networks.entry(network).or_default() += taken;
        }
    }
}

/// Makes a tenth of the torrents and of the peers free, as far as the order above goes. Locks one shard at a time, for
/// a bounded number of torrents and peers, and calls `go_on` after each time: if that returns false, it ends.
pub(super) fn make<F: AddressFamilies>(store: &Store<F>, now: Minute, mut go_on: impl FnMut() -> bool) -> Taken {
    let mut taken = Taken::default();
    store.gather_unused_room();
    let torrents = store.torrent_allowance().lacking();
    if torrents > 0 {
        take_torrents(store, torrents, now, &mut taken, &mut go_on);
    }
    let peers = store.peer_allowance().lacking();
    if peers > 0 {
        take_peers(store, peers, now, &mut taken, &mut go_on);
    }
    (taken.lacked_torrents, taken.lacked_peers) = (torrents, peers);
    taken
}

/// Takes `lacking` torrents, or as many as may be taken.
fn take_torrents<F: AddressFamilies>(
    store: &Store<F>,
    lacking: u64,
    now: Minute,
    taken: &mut Taken,
    go_on: &mut impl FnMut() -> bool,
) {
    let mut candidates = Candidates::default();
    let mut seen = Vec::new();
    walk(go_on, |cursor| {
        let next = store.take_torrents(cursor, PORTION, MAX_LOOKED_AT, |_, torrent, key| {
            seen.extend(sole_network(&torrent.peers, key));
            Fate::Stays
        });
        // The shard is unlocked now.
        seen.drain(..).for_each(|network| candidates.count(network));
        next
    });

    let (mut quotas, mut empty) = (Quotas::new(candidates.networks()), Ranks::new(EMPTY_RANKS));
    let mut seen = Vec::new();
    walk(go_on, |cursor| {
        let next = store.take_torrents(cursor, PORTION, MAX_LOOKED_AT, |position, torrent, key| {
            if let Some(rank) = empty_rank(torrent, now) {
                empty.count(rank);
            } else if let Some(network) = sole_network(&torrent.peers, key) {
                seen.push((network, position_rank(position)));
            }
            Fate::Stays
        });
        seen.drain(..).for_each(|(network, rank)| quotas.count(network, rank));
        next
    });

    let of_networks = quotas.allot(share(store.torrent_allowance().limit()), lacking);
    let without_peers = empty.allot(lacking - of_networks);
    if of_networks + without_peers == 0 {
        return;
    }
    walk(go_on, |cursor| {
        store.take_torrents(cursor, PORTION, MAX_LOOKED_AT, |position, torrent, key| {
            if let Some(rank) = empty_rank(torrent, now) {
                let goes = empty.take(rank);
                taken.empty_torrents += u64::from(goes);
                return Fate::goes_if(goes);
            }
            let network = sole_network(&torrent.peers, key);
            let Some(network) = network.filter(|network| quotas.take(*network, position_rank(position))) else {
                return Fate::Stays;
            };
            taken.torrents += 1;
            taken.add_of(network, 1);
            Fate::Goes
        })
    });
}

/// Takes `lacking` peers, or as many as may be taken.
fn take_peers<F: AddressFamilies>(
    store: &Store<F>,
    lacking: u64,
    now: Minute,
    taken: &mut Taken,
    go_on: &mut impl FnMut() -> bool,
) {
    let mut candidates = Candidates::default();
    let mut seen = Vec::new();
    walk(go_on, |cursor| {
        let next = store.walk_peers(cursor, &mut { PORTION }, |_, endpoint, _| seen.push(endpoint.ip()));
        seen.drain(..).for_each(|address| candidates.count(Network::of(address)));
        next
    });

    let mut quotas = Quotas::new(candidates.networks());
    let mut seen = Vec::new();
    walk(go_on, |cursor| {
        let next = store.walk_peers(cursor, &mut { PORTION }, |_, endpoint, state| {
            seen.push((endpoint.ip(), age_rank(state, now)));
        });
        seen.drain(..).for_each(|(address, rank)| quotas.count(Network::of(address), rank));
        next
    });

    if quotas.allot(share(store.peer_allowance().limit()), lacking) == 0 {
        return;
    }
    walk(go_on, |cursor| {
        store.take_peers(cursor, PORTION, now, |endpoint, state| {
            let network = Network::of(endpoint.ip());
            let goes = quotas.take(network, age_rank(state, now));
            if goes {
                taken.peers += 1;
                taken.add_of(network, 1);
            }
            Fate::goes_if(goes)
        })
    });
}

/// Goes through the store portion by portion, for as long as `go_on` says so.
fn walk(go_on: &mut impl FnMut() -> bool, mut portion: impl FnMut(Cursor) -> Option<Cursor>) {
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = portion(from).filter(|_| go_on());
    }
}

/// Returns how much a network may hold when room runs short.
fn share(limit: u64) -> u64 {
    (limit / SHARES).max(MIN_SHARE)
}

/// Returns the rank of a torrent by its position: the later, the higher.
fn position_rank(position: Position) -> Rank {
    let Position { at, of } = position;
    Rank::try_from(at * RANKS / of.max(1)).unwrap_or(Rank::MAX)
}

/// Returns the rank of a peer: the longer it has been silent, the higher.
fn age_rank(state: PeerState, now: Minute) -> Rank {
    Rank::try_from(state.age(now)).unwrap_or(Rank::MAX)
}

/// Number of ranks by position.
const RANKS: usize = Rank::MAX as usize + 1;

/// Numbers of downloads that are told apart. Greater ones are told apart by their binary digits, which are
/// [`DIGITS`] at most.
const EXACT_DOWNLOADS: u32 = 128;
/// Digits of the least number that is not told apart from the next, and of the greatest one.
const DIGITS: std::ops::RangeInclusive<u32> = EXACT_DOWNLOADS.ilog2()..=u32::MAX.ilog2();
/// Minutes of silence that are not told apart.
const SILENCE_STEP: u32 = 12;
/// Ranks of torrents with the same downloads, by their silence.
const SILENCES: usize = (TORRENT_LIFETIME / SILENCE_STEP + 1) as usize;
/// Classes of downloads.
const DOWNLOADS: usize = (EXACT_DOWNLOADS + *DIGITS.end() - *DIGITS.start() + 1) as usize;
/// Number of ranks of torrents without peers.
const EMPTY_RANKS: usize = DOWNLOADS * SILENCES;

/// Returns the rank of a torrent without peers: the fewer downloads the higher, then the longer it has been silent;
/// `None` if it has peers.
fn empty_rank<F: AddressFamilies>(torrent: &Torrent<F>, now: Minute) -> Option<usize> {
    let since = torrent.peers.empty_since()?;
    let downloads = match torrent.downloaded {
        few @ 0..EXACT_DOWNLOADS => few,
        many => EXACT_DOWNLOADS + many.ilog2() - DIGITS.start(),
    };
    let fewness = DOWNLOADS.saturating_sub(1 + downloads as usize);
    let silence = (now.since(since) / SILENCE_STEP) as usize;
    Some(fewness * SILENCES + silence.min(SILENCES - 1))
}
