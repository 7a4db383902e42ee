//! What the log says of swarms that have been taken over.

use std::fmt::{self, Display};

use crate::tracker::{LeftOut, MergeCounts};

/// Says how much has been taken over, and how much has not, and why.
#[derive(Debug)]
pub struct Report<'a>(pub &'a MergeCounts);

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MergeCounts { torrents, peers, downloads, displaced, left_out, .. } = *self.0;
        write!(f, "{torrents} torrents, {peers} peers, {downloads} downloads")?;
        let LeftOut { not_admitted, family_not_served, no_port, no_host, expired, no_room } = left_out;
        let reasons = [
            (not_admitted, "of torrents that are not served here"),
            (family_not_served, "of an address family that is not served here"),
            (no_port, "without a port"),
            (no_host, "at an address that no host has"),
            (expired, "not heard of for too long"),
            (no_room, "for want of room (limits.torrents, limits.peers)"),
            (displaced, "of addresses that have too many (limits.peers_per_address)"),
        ];
        let reasons: Vec<_> = reasons.iter().filter(|(number, _)| *number > 0).collect();
        for (at, (number, reason)) in reasons.into_iter().enumerate() {
            write!(f, "{} {number} {reason}", if at == 0 { "; left out:" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_left_out_and_why() {
        let mut counts = MergeCounts { torrents: 1, peers: 2, downloads: 3, ..MergeCounts::default() };
        assert_eq!(Report(&counts).to_string(), "1 torrents, 2 peers, 3 downloads");
        counts.left_out.expired = 4;
        counts.displaced = 5;
        let left_out = "4 not heard of for too long, 5 of addresses that have too many (limits.peers_per_address)";
        assert_eq!(Report(&counts).to_string(), format!("1 torrents, 2 peers, 3 downloads; left out: {left_out}"));
    }
}
