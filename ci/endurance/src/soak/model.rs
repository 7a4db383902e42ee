//! What the tracker has to know of the peers of some clients, when every one of their announces was answered.

use std::collections::BTreeMap;

use fastrand::Rng;
use opentracker_endurance::info_hash;
use opentracker_endurance::requests::{Announce, Event};

/// Torrents that all clients share, and peers that each client may have in one: no more than an address may have.
pub(crate) const TORRENTS: u64 = 2000;
const PORTS: u16 = 8;

/// The peers of one client, that is of one address.
#[derive(Debug, Default, Clone)]
pub(crate) struct Model {
    peers: BTreeMap<(u64, u16), State>,
    downloads: BTreeMap<u64, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Leecher,
    Seeder,
}

/// What a scrape says of a torrent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) seeders: u32,
    pub(crate) downloads: u32,
    pub(crate) leechers: u32,
}

impl Model {
    /// Draws what happens next to one of the peers, keeps it, and returns the announce that tells the tracker.
    pub(crate) fn step(&mut self, rng: &mut Rng) -> Announce {
        let peer = (rng.u64(..TORRENTS), rng.u16(..PORTS));
        let (state, event) = match (self.peers.get(&peer), rng.u8(..4)) {
            (None, 0) => (Some(State::Seeder), Event::Started),
            (None, _) => (Some(State::Leecher), Event::Started),
            (Some(State::Leecher), 0) => (Some(State::Seeder), Event::Completed),
            (Some(_), 1) => (None, Event::Stopped),
            (Some(state), _) => (Some(*state), Event::None),
        };
        match state {
            Some(state) => drop(self.peers.insert(peer, state)),
            None => drop(self.peers.remove(&peer)),
        }
        if event == Event::Completed {
            *self.downloads.entry(peer.0).or_default() += 1;
        }
        let left = u64::from(state != Some(State::Seeder));
        Announce { info_hash: torrent(peer.0), port: 10_000 + peer.1, left, event }
    }

    /// Adds its counts to those of others.
    pub(crate) fn add_to(&self, all: &mut [Counts]) {
        let mut count = |torrent: u64, add: &dyn Fn(&mut Counts)| {
            usize::try_from(torrent).ok().and_then(|torrent| all.get_mut(torrent)).into_iter().for_each(add);
        };
        for ((torrent, _), state) in &self.peers {
            match state {
                State::Leecher => count(*torrent, &|counts| counts.leechers += 1),
                State::Seeder => count(*torrent, &|counts| counts.seeders += 1),
            }
        }
        for (torrent, downloads) in &self.downloads {
            count(*torrent, &|counts| counts.downloads += downloads);
        }
    }
}

pub(crate) fn torrent(n: u64) -> [u8; 20] {
    info_hash(b"modl", n)
}

/// Takes a full scrape apart (BEP 48), strictly; `None` if it is no whole one.
pub(crate) fn full_scrape(page: &[u8]) -> Option<BTreeMap<[u8; 20], Counts>> {
    let mut rest = page.strip_prefix(b"d5:filesd")?;
    let mut torrents = BTreeMap::new();
    while let Some(torrent) = rest.strip_prefix(b"20:") {
        let (hash, after) = torrent.split_first_chunk::<20>()?;
        let (seeders, after) = number(after.strip_prefix(b"d8:completei")?)?;
        let (downloads, after) = number(after.strip_prefix(b"e10:downloadedi")?)?;
        let (leechers, after) = number(after.strip_prefix(b"e10:incompletei")?)?;
        rest = after.strip_prefix(b"ee")?;
        torrents.insert(*hash, Counts { seeders, downloads, leechers });
    }
    (rest == b"ee").then_some(torrents)
}

fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_from_what_was_announced() {
        let (mut model, mut rng) = (Model::default(), Rng::with_seed(1));
        let mut naive: BTreeMap<([u8; 20], u16), bool> = BTreeMap::new();
        let mut completed = 0;
        for _ in 0..200_000 {
            let Announce { info_hash, port, left, event } = model.step(&mut rng);
            completed += u32::from(event == Event::Completed);
            match event {
                Event::Stopped => drop(naive.remove(&(info_hash, port))),
                _ => drop(naive.insert((info_hash, port), left == 0)),
            }
        }
        let mut all = vec![Counts::default(); 2000];
        model.add_to(&mut all);
        let sum = |count: fn(&Counts) -> u32| usize::try_from(all.iter().map(count).sum::<u32>()).unwrap();
        assert_eq!(sum(|counts| counts.seeders), naive.values().filter(|is_seeder| **is_seeder).count());
        assert_eq!(sum(|counts| counts.leechers), naive.values().filter(|is_seeder| !**is_seeder).count());
        assert_eq!(all.iter().map(|counts| counts.downloads).sum::<u32>(), completed);
        assert!(completed > 1000 && sum(|counts| counts.seeders) > 1000);
    }

    #[test]
    fn a_full_scrape_is_whole_or_none() {
        let hash = [b'e'; 20];
        let torrent = [b"20:", &hash[..], b"d8:completei1e10:downloadedi22e10:incompletei3ee"].concat();
        let page = [b"d5:filesd", &torrent[..], b"ee"].concat();
        let counts = Counts { seeders: 1, downloads: 22, leechers: 3 };
        assert_eq!(full_scrape(&page), Some(BTreeMap::from([(hash, counts)])));
        assert_eq!(full_scrape(b"d5:filesdee"), Some(BTreeMap::new()));
        for len in 0..page.len() {
            assert_eq!(full_scrape(&page[..len]), None);
        }
    }
}
