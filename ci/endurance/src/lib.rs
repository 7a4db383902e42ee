//! What `ci/hostile` and `ci/soak` share: a tracker under supervision, and the clients and strangers that talk to it.
//!
//! Everybody has an address of 127.0.0.0/8. Nothing else is ever sent to.

pub mod flood;
pub mod garbage;
pub mod good;
pub mod group;
pub mod requests;
pub mod tcp;
pub mod tracker;
pub mod udp;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What goes wrong with the machine or the tracker, in words.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where the tracker listens.
pub const TRACKER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The good client, in a network of its own.
pub const GOOD: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

/// The n-th address of the strangers: the first 254 are of one network.
pub fn stranger(n: u16) -> Ipv4Addr {
    let [high, low] = (n / 254 * 256 + n % 254 + 1).to_be_bytes();
    Ipv4Addr::new(127, 66, high, low)
}

/// The info hash of torrent `n` of a kind. Those of two kinds differ in several bytes.
pub fn info_hash(kind: &[u8; 4], n: u64) -> [u8; 20] {
    let mut hash = [0x5a; 20];
    hash[..4].copy_from_slice(kind);
    hash[8..16].copy_from_slice(&n.to_be_bytes());
    hash
}

/// Raises the limit of open files as far as it goes, and returns it.
pub fn raise_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    // What the tracker inherits is what an operator would have.
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

/// Whether SIGINT or SIGTERM has come. They are caught from the first call on: whoever asks ends in good order.
pub fn interrupted() -> bool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&flag)) {
                eprintln!("signal {signal} is not caught: {error}");
            }
        }
        flag
    });
    flag.load(Ordering::Relaxed)
}

/// The middle of what was measured; 0 of nothing.
pub fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_addresses_of_their_own() {
        let all: std::collections::BTreeSet<_> = (0..10_000).map(stranger).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|ip| !matches!(ip.octets()[3], 0 | 255)));
        assert_eq!(all.iter().filter(|ip| ip.octets()[2] == 0).count(), 254);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut []), 0);
        assert_eq!(median(&mut [3, 1, 2]), 2);
    }
}
