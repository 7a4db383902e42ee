//! The bounds on what strangers can make the tracker hold, from the settings or from what the machine has.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::sysinfo::sysinfo;
use tracing::warn;

use crate::config;
use crate::core::Limits;

/// A torrent with its part of the index and of the room to grow, in bytes.
const TORRENT_BYTES: u64 = 80;
/// An IPv6 peer likewise.
const PEER_BYTES: u64 = 24;
/// Files that are open beside connections: sockets, timers, standard streams, a list being read.
const OTHER_FILES: u64 = 32;

/// How many torrents and peers to hold. Where the settings leave it open, each may take a quarter of the memory.
pub(super) fn store(limits: &config::Limits) -> Limits {
    let memory = sysinfo().map_or(u64::MAX, |info| info.ram_total());
    let or = |chosen: u64, bytes: u64| if chosen == 0 { (memory / 4 / bytes).max(1) } else { chosen };
    Limits { torrents: or(limits.torrents, TORRENT_BYTES), peers: or(limits.peers, PEER_BYTES) }
}

/// How many connections to hold open: what the settings say, but no more than the limit of open files leaves room
/// for beside `sockets`. Raises that limit as far as it goes.
pub(super) fn connections(limits: &config::Limits, sockets: usize) -> usize {
    let files = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() => hard,
        Ok((soft, _)) => soft,
        Err(_) => 1024,
    };
    let room = files.saturating_sub(OTHER_FILES + sockets as u64).max(1);
    if limits.connections > room {
        warn!(
            "limits.connections is {}, but the limit of {files} open files leaves room for {room}: raise it (ulimit -n)",
            limits.connections
        );
    }
    let connections = if limits.connections == 0 { room } else { limits.connections.min(room) };
    usize::try_from(connections).unwrap_or(usize::MAX)
}
