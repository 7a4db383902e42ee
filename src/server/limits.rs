//! The bounds on what strangers can make the tracker hold, from the settings or from what the machine has.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::cluster::snapshot;
use crate::config;
use crate::tracker::store::Torrent;
use crate::tracker::{AddressFamilies, Capacity};

/// Bytes that a torrent takes beside its entry: its part of the index, which can stand half empty, and of a block.
const TORRENT_EXTRA: u64 = 16;
/// Bytes that an IPv4 peer takes, with its part of the room to grow and of what growing leaves behind.
const IPV4_PEER: u64 = 16;
/// Bytes that an IPv6 peer takes likewise; in a dual-stack build the first one of a torrent takes an allocation of its
/// own.
const IPV6_PEER: u64 = 64;
/// Bytes that a connection with a head of the greatest length takes, the system's own buffers not counted.
const CONNECTION: u64 = 16 << 10;
/// Files that are open beside sockets and workers: standard streams, the service manager, a list being read.
const OTHER_FILES: usize = 32;

/// Returns what bounds the snapshots of a cluster.
pub(super) fn snapshots(sync: &config::SyncSettings) -> snapshot::Limits {
    let wait = Duration::from_secs(sync.snapshot_wait.into());
    snapshot::Limits { wait, rate: sync.snapshot_rate, max: sync.snapshot_max }
}

/// Returns how many torrents and peers to hold. Where the settings leave it open, each may take a quarter of the
/// memory.
pub(super) fn capacity<F: AddressFamilies>(limits: &config::LimitSettings, memory: u64) -> Capacity {
    let torrent = size_of::<Torrent<F>>() as u64 + TORRENT_EXTRA;
    let peer = if F::IPV6 { IPV6_PEER } else { IPV4_PEER };
    let or = |chosen: u64, bytes: u64| if chosen == 0 { (memory / 4 / bytes).max(1) } else { chosen };
    Capacity {
        torrents: or(limits.torrents, torrent),
        peers: or(limits.peers, peer),
        peers_per_address: limits.peers_per_address,
    }
}

/// Returns how many connections to hold open: what the settings say, else as many as fit an eighth of the memory, but
/// no more than the limit of open files leaves room for beside what the workers need. Raises that limit as far as it
/// goes.
pub(super) fn connections(limits: &config::LimitSettings, worker_files: usize, memory: u64) -> usize {
    let files = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() => hard,
        Ok((soft, _)) => soft,
        Err(_) => 1024,
    };
    // The system counts files in words of the machine, and connections are configured in 64 bits everywhere.
    let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES + worker_files).max(1);
    if limits.connections > room as u64 {
        warn!(
            "limits.connections is {}, but the limit of {files} open files leaves room for {room}: raise it (ulimit -n)",
            limits.connections
        );
    }
    let wanted = if limits.connections == 0 { (memory / 8 / CONNECTION).max(1) } else { limits.connections };
    usize::try_from(wanted).map_or(room, |wanted| wanted.min(room))
}

/// Returns how many connections to hold open for one address.
pub(super) fn connections_per_address(limits: &config::LimitSettings) -> usize {
    let chosen = if limits.connections_per_address == 0 { u64::MAX } else { limits.connections_per_address };
    usize::try_from(chosen).unwrap_or(usize::MAX)
}
