//! Who there is: torrents, and the peers of each. Peers are spread over the loader's sockets, which have an address
//! each.

use fastrand::Rng;

/// Peer `k` of torrent `t` announces from socket `(k + t) % sockets`, and its port tells those of one socket apart.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    pub torrents: u64,
    /// Peers of each torrent, once all have announced.
    pub peers: u64,
    /// The n-th of N torrents is the one at `N * u^skew` for a uniform `u`: with 3, a hundredth of the torrents gets a
    /// fifth of the announces.
    pub skew: f64,
    pub sockets: u64,
}

/// One peer of one torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    pub torrent: u64,
    /// Its port. Never 0: no tracker takes that.
    pub port: u16,
    pub is_seeder: bool,
}

impl Population {
    pub fn torrent(&self, rng: &mut Rng) -> u64 {
        let place = rng.f64().powf(self.skew) * self.torrents as f64;
        (place as u64).min(self.torrents - 1)
    }

    /// One of the peers that announce from this socket.
    pub fn peer(&self, socket: u64, rng: &mut Rng) -> Option<Peer> {
        // With fewer peers in a torrent than there are sockets, some torrents have none here.
        for _ in 0..1000 {
            let torrent = self.torrent(rng);
            let first = self.first(socket, torrent);
            if first < self.peers {
                let choices = (self.peers - first).div_ceil(self.sockets);
                return Some(self.nth(torrent, first + self.sockets * rng.u64(..choices)));
            }
        }
        None
    }

    /// All peers that announce from this socket, each once: the first of every torrent, then the second, ...
    pub fn all(self, socket: u64) -> impl Iterator<Item = Peer> {
        let step = usize::try_from(self.sockets).unwrap_or(usize::MAX);
        (0..self.peers).flat_map(move |k| {
            (self.first(socket, k)..self.torrents).step_by(step).map(move |torrent| self.nth(torrent, k))
        })
    }

    /// The first peer of torrent `n` that announces from this socket, and the first torrent whose peer `n` does.
    fn first(&self, socket: u64, n: u64) -> u64 {
        (socket + self.sockets - n % self.sockets) % self.sockets
    }

    /// One in four is a seeder.
    fn nth(&self, torrent: u64, k: u64) -> Peer {
        let port = u16::try_from(k / self.sockets + 1).unwrap_or(u16::MAX);
        Peer { torrent, port, is_seeder: (torrent + k + k / self.sockets).is_multiple_of(4) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const POPULATION: Population = Population { torrents: 100, peers: 10, skew: 3.0, sockets: 8 };

    #[test]
    fn every_peer_is_filled_in_once_and_drawn_from_the_same_socket() {
        let mut rng = Rng::with_seed(1);
        let mut seen = HashSet::new();
        for socket in 0..8 {
            let all: HashSet<Peer> = POPULATION.all(socket).collect();
            assert!((0..1000).all(|_| all.contains(&POPULATION.peer(socket, &mut rng).unwrap())));
            assert!(all.iter().all(|peer| seen.insert((peer.torrent, socket, peer.port))));
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn few_torrents_get_most_announces() {
        let mut rng = Rng::with_seed(1);
        let popular = (0..10_000).filter(|_| POPULATION.torrent(&mut rng) == 0).count();
        // The cube root of a hundredth is 0.215.
        assert!((2000..2300).contains(&popular), "{popular}");
    }
}
