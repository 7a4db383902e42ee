//! `spot-woodpecker` (`WANT_SPOT_WOODPECKER`): counts for each network how often its peers come back too soon, for
//! `/stats?mode=woodpeckers`.
//!
//! A peer is known by its torrent, its address and its port. It comes back too soon after 1 to 19 minutes, as the
//! original has it: whole minutes of the clock, so that who announces something else within the same one does not
//! count. [`network_counts`](super::network_counts) says how networks are counted, and in how much memory.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use fastrand::Rng;

use crate::config::Settings;
use crate::server::{Plug, StartError, opens_nothing};
use crate::tracker::{AddressFamilies, Minute, NetworkLog};

use super::network_counts::NetworkCounts;

/// Minutes after which it is too soon to come back.
const TOO_SOON: RangeInclusive<u32> = 1..=19;

/// The networks from which peers come back too soon to a tracker which serves the families `F`.
pub struct Woodpeckers<F>(NetworkCounts<F>);

impl<F: AddressFamilies> NetworkLog for Woodpeckers<F> {
    // It is who holds too much that the log names, not who knocks too often.
    const COUNTS: bool = false;
    const HEARS_RETURNS: bool = true;

    #[inline]
    fn record(&self, _: IpAddr, _: Minute, _: &mut Rng) {}

    #[inline]
    fn came_back(&self, address: IpAddr, after: u32, now: Minute, rng: &mut Rng) {
        if TOO_SOON.contains(&after) {
            self.0.count(address, now, rng);
        }
    }

    fn busy(&self, _: Minute) -> Option<String> {
        None
    }

    fn woodpeckers(&self, now: Minute) -> Option<String> {
        Some(self.0.page(now))
    }
}

impl<F: AddressFamilies> Plug for Woodpeckers<F> {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        NetworkCounts::new().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::testing::{Ipv6Only, TestFlavour, key};
    use crate::tracker::{
        AnnounceRequest, Capacity, Event, Flavour as _, InfoHash, Intervals, Ipv4Only, Open, PeerRequest, Standalone,
        Tracker, WantedUnlogged,
    };

    const NOW: Minute = Minute(29_000_000);

    fn woodpeckers<F: AddressFamilies>() -> Woodpeckers<F> {
        Woodpeckers::plug((), &Settings::default()).unwrap()
    }

    #[test]
    fn who_comes_back_after_1_to_19_minutes_counts() {
        for (after, counts) in
            [(0, false), (1, true), (2, true), (19, true), (20, false), (44, false), (u32::MAX, false)]
        {
            let woodpeckers = woodpeckers::<Ipv4Only>();
            woodpeckers.came_back([192, 0, 2, 7].into(), after, NOW, &mut Rng::with_seed(1));
            let rows = if counts { ["00000001: 192.0.2.0\n", "00000001: 192.0.0.0\n"] } else { ["", ""] };
            let page = format!("Networks, limit /24:\n{}\nNetworks, limit /16:\n{}\n", rows[0], rows[1]);
            assert_eq!(woodpeckers.woodpeckers(NOW), Some(page), "{after}");
        }
    }

    #[test]
    fn requests_are_not_what_it_counts() {
        let woodpeckers = woodpeckers::<Ipv6Only>();
        woodpeckers.record([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), NOW, &mut Rng::with_seed(1));
        let empty = "Networks, limit /48:\n\nNetworks, limit /32:\n\n";
        assert_eq!((woodpeckers.woodpeckers(NOW).as_deref(), woodpeckers.busy(NOW)), (Some(empty), None));
    }

    #[test]
    fn a_peer_that_announces_itself_every_few_minutes_is_found_among_others() {
        let woodpeckers = woodpeckers::<Ipv4Only>();
        let flavour = TestFlavour::<Ipv4Only, _, _, _, _>::with_logs(Open, Standalone, woodpeckers, WantedUnlogged);
        let tracker = Tracker::new(key(), Capacity::NONE, Intervals::default(), NOW, flavour);
        let mut rng = Rng::with_seed(1);
        let mut announce = |address: [u8; 4], event, now| {
            let endpoint = (address, 6881).into();
            let announce =
                AnnounceRequest { info_hash: InfoHash([7; 20]), endpoint, seeder: false, uploaded: false, event };
            tracker.announce(&announce, now, &mut rng, &mut PeerRequest::none()).unwrap();
        };
        for minute in 0..60 {
            if minute % 30 == 0 {
                announce([10, 0, 0, 1], Event::Update, NOW + minute);
            }
            if minute % 2 == 0 {
                announce([10, 1, 0, 1], Event::Update, NOW + minute);
            }
            // Who has left is not known any more when it comes back.
            announce([10, 2, 0, 1], Event::Update, NOW + minute);
            announce([10, 2, 0, 1], Event::Stopped, NOW + minute);
        }
        let page = tracker.flavour().network_log().woodpeckers(NOW + 59).unwrap();
        let rows: Vec<_> = page.lines().filter(|line| line.contains(": ")).collect();
        let [one, other] = rows[..] else { panic!("{page}") };
        assert!(one.ends_with(": 10.1.0.0") && other == one, "{page}");
        let count: u32 = one[..8].parse().unwrap();
        assert!((6..=9).contains(&count), "those of the last quarter of an hour: {page}");
    }
}
