//! The naive form of the limit to the peers of one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ModelTorrent;
use crate::tracker::families::{AddressFamilies, TorrentPeers as _};
use crate::tracker::testing::{TestTracker, key};
use crate::tracker::{AnnounceRequest, Event, InfoHash};

/// Returns where the n-th peer of few addresses is: of half of the peers one in a hundred shares an address, of the
/// others one in three.
pub(super) fn crowded(stranger: SocketAddr, n: u16) -> SocketAddr {
    let address = if n % 2 == 0 { n % 100 } else { 200 + n % 3 };
    let ip = match stranger.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from(0x0a00_0000 + u32::from(address))),
        // One /64 has many addresses.
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, address, n, 0, 0, 1)),
    };
    SocketAddr::new(ip, n + 1)
}

/// Takes those out of the model who have been displaced by an announce, and checks that they had to be: nobody, or
/// the oldest of the address.
pub(super) fn displace<F: AddressFamilies>(
    tracker: &TestTracker<F>,
    torrent: Option<&mut ModelTorrent>,
    announce: &AnnounceRequest,
    limit: u32,
) {
    let Some(torrent) = torrent else { return };
    let at = announce.endpoint;
    if limit == 0 || announce.event == Event::Stopped || at.port() == 0 || torrent.peers.contains_key(&at) {
        return;
    }
    let (most, many) = (torrent.most(limit), torrent.of_address(at.ip()).len());
    let gone = if many > most { 2 } else { usize::from(many == most) };
    torrent.oldest_are_gone(at.ip(), gone, |peer| is_there(tracker, announce.info_hash, peer));
}

/// Takes those out of the model who have been removed by a sweep because their address had too many, and checks that
/// they were its oldest. Whether they are removed is the swarm's business, which is too small for it or not.
pub(super) fn trim<F: AddressFamilies>(tracker: &TestTracker<F>, model: &mut BTreeMap<u8, ModelTorrent>, limit: u32) {
    for (name, torrent) in model.iter_mut().filter(|_| limit > 0) {
        let is_there = |peer| is_there(tracker, InfoHash([*name; 20]), peer);
        let most = torrent.most(limit);
        // One of each network.
        let ips: BTreeMap<_, _> = torrent.peers.keys().map(|peer| (network(peer.ip()), peer.ip())).collect();
        for ip in ips.into_values() {
            let peers = torrent.of_address(ip);
            let gone = peers.iter().filter(|peer| !is_there(**peer)).count();
            assert!(gone == 0 || peers.len() - gone == most, "{gone} of {} are gone, {most} may be there", peers.len());
            torrent.oldest_are_gone(ip, gone, is_there);
        }
    }
}

/// Returns what counts as one address.
fn network(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip) >> 64,
    }
}

fn is_there<F: AddressFamilies>(tracker: &TestTracker<F>, info_hash: InfoHash, peer: SocketAddr) -> bool {
    let locked = tracker.store().lock(&info_hash);
    locked.torrent().is_some_and(|torrent| torrent.peers.contains(&key(), peer))
}

impl ModelTorrent {
    /// How many peers an address may have.
    fn most(&self, limit: u32) -> usize {
        (self.peers.len() / 16).max(limit as usize)
    }

    fn of_address(&self, ip: IpAddr) -> Vec<SocketAddr> {
        self.peers.keys().filter(|peer| network(peer.ip()) == network(ip)).copied().collect()
    }

    /// Removes so many of the address's peers: those that are not there, of whom none may be younger than those who
    /// are.
    fn oldest_are_gone(&mut self, ip: IpAddr, many: usize, is_there: impl Fn(SocketAddr) -> bool) {
        let (stayed, gone): (Vec<_>, Vec<_>) = self.of_address(ip).into_iter().partition(|peer| is_there(*peer));
        assert_eq!(gone.len(), many, "{gone:?} are gone, {stayed:?} are not");
        let seen = |peer: &SocketAddr| self.peers[peer].seen;
        let first_stayed = stayed.iter().map(seen).min().unwrap_or(u32::MAX);
        assert!(gone.iter().all(|peer| seen(peer) <= first_stayed), "{gone:?} were there later than {stayed:?}");
        for peer in gone {
            self.peers.remove(&peer);
        }
    }
}
