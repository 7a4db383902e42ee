//! `sync-nats`: a cluster of trackers tells each other their peers over NATS, where multicast does not reach.

use tracing::warn;

use crate::config::Settings;
use crate::server::{Opening, Plug, StartError};
use crate::tracker::{Change, Cluster, Origin};

/// What this transport is called where transports are told apart.
const NAME: &str = "nats";

/// This tracker as a member of the cluster.
pub struct Node;

impl Cluster for Node {
    const LISTENS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin == Origin::Transport(NAME)
    }

    fn publish(&self, _: &Change) -> bool {
        true
    }
}

impl Plug for Node {
    type Opened = ();

    fn open(_: &mut Opening<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        warn!("sync.nats.servers is not configured: this tracker is in no cluster over NATS");
        Ok(Self)
    }
}
