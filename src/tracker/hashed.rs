//! The peers of a large swarm: in tables.

use super::counts::SwarmCounts;
use super::keyed_hash::HashKey;
use super::peer::{Peer, PeerState};
use super::tables::Tables;

/// Peers in tables. Its functions are documented where [`Swarm`](super::swarm::Swarm) has them.
#[derive(Debug)]
pub(super) struct Hashed<P> {
    /// The peers.
    pub(super) tables: Tables<P>,
}

impl<P: Peer> Hashed<P> {
    pub(super) fn with_room_for(counts: SwarmCounts) -> Self {
        Self { tables: Tables::with_room_for(counts) }
    }

    #[inline]
    pub(super) fn upsert(
        &mut self,
        key: &HashKey,
        peer: P,
        seeder: bool,
        state: impl FnOnce(Option<PeerState>) -> PeerState,
    ) {
        let (own, other) = self.tables.of_kind_mut(seeder);
        if let Some(found) = own.get_mut(key, &peer) {
            *found = peer.with_state(state(Some(found.state())));
        } else {
            let old = other.remove(key, &peer).map(|peer| peer.state());
            own.insert(key, peer.with_state(state(old)));
        }
    }
}
