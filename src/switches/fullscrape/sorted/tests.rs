use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::http::listing::Listing;
use crate::http::stream::LeaseEnd;
use crate::switches::fullscrape::seats::{Limits, Seats};
use crate::switches::fullscrape::tests::{
    NOW, Page, after, announce, holder, leave, nth, page, strictly_read, tracker,
};

/// Seats for pages that may gather so many torrents, if there is but one.
fn seats(torrents: usize) -> Arc<Seats> {
    Arc::new(Seats::new(Limits { pages: 4, sorted_pages: 4, torrents, torrents_per_page: 0, min_torrents: torrents }))
}

/// An info hash of nobody's choice.
fn random(n: u32) -> InfoHash {
    InfoHash(fastrand::Rng::with_seed(n.into()).u128(..).to_be_bytes().repeat(2)[..20].try_into().unwrap())
}

#[test]
fn a_page_of_many_ranges_names_what_stays_once_while_others_come_and_go() {
    for hash_of in [nth, random] {
        let tracker = tracker();
        let (staying, going): (Vec<_>, Vec<_>) = (0..20_000).partition(|n| n % 4 > 0);
        let staying: BTreeSet<_> = staying.into_iter().map(hash_of).collect();
        staying.iter().for_each(|hash| announce(&tracker, *hash, 1, NOW, true));
        let mut going = going.into_iter().map(hash_of).cycle();
        let ((mut page, _), mut out, mut step) = (page(Listing::Scrape, &seats(1000), after(0)), Vec::new(), 0);
        while page.next(tracker.store(), after(step), &mut out) {
            // They come, and leave when half of them have come.
            for hash in going.by_ref().take(10) {
                if step % 500 < 250 { announce(&tracker, hash, 2, NOW, true) } else { leave(&tracker, hash, 2) }
            }
            step += 1;
        }
        let named = strictly_read(&out);
        assert!(named.len() > staying.len(), "some of those that come and go are named");
        let named: BTreeSet<_> = named.into_iter().collect();
        assert!(staying.is_subset(&named));
    }
}

#[test]
fn numbers_are_those_of_the_walk() {
    let (tracker, seats) = (tracker(), seats(1000));
    (0..600).map(nth).for_each(|hash| announce(&tracker, hash, 1, NOW, true));
    let ((mut page, _), mut out) = (page(Listing::Scrape, &seats, after(0)), Vec::new());
    while out.len() < 100 {
        assert!(page.next(tracker.store(), after(0), &mut out));
    }
    // It has been passed, and is not named yet.
    announce(&tracker, nth(599), 2, NOW, true);
    while page.next(tracker.store(), after(0), &mut out) {}
    let row = [b"20:", &nth(599).0[..], b"d8:completei1e"].concat();
    assert!(out.windows(row.len()).any(|window| window == row));
}

#[test]
fn ranges_follow_the_number_of_torrents() {
    let walks = |torrents: u32, room: usize, hash_of: fn(u32) -> InfoHash| {
        let (tracker, seats) = (tracker(), seats(room));
        (0..torrents).for_each(|n| announce(&tracker, hash_of(n), 1, NOW, true));
        let (seat, _end) = seats.take(true, holder(1), after(0).uptime).unwrap();
        let (mut page, mut out, mut ranges) = (SortedPage::new(seat, ()), Vec::new(), BTreeSet::new());
        while page.next(tracker.store(), after(0), &mut out) {
            let range = page.seat.step(after(0).uptime);
            ranges.extend(range.as_ref().filter(|range| range.is_gathered()).map(Range::until));
            range.into_iter().for_each(|range| page.seat.keep(range));
        }
        assert_eq!(strictly_read(&out).len(), torrents as usize);
        ranges.len()
    };
    assert_eq!(walks(900, 1000, random), 1);
    assert!((10..=12).contains(&walks(10_000, 1000, random)));
    // One range tells that these cannot be estimated.
    assert!((10..=20).contains(&walks(10_000, 1000, nth)));
}

/// What happens while pages are made.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// One more page is asked for.
    Begin,
    /// The client of this page takes so many pieces.
    Read(usize, u8),
    /// This client goes away.
    Leave(usize),
    /// Nobody does anything for so many milliseconds.
    Wait(u64),
    /// A torrent comes, or goes.
    Change(u8, bool),
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::Begin),
        8 => (any::<usize>(), 0..12_u8).prop_map(|(n, pieces)| Action::Read(n, pieces)),
        1 => any::<usize>().prop_map(Action::Leave),
        2 => (0..1200_u64).prop_map(Action::Wait),
        8 => any::<(u8, bool)>().prop_map(|(n, comes)| Action::Change(n, comes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_page_ends_and_names_what_stays_whatever_others_do(
        staying in prop::collection::btree_set((0..3_u32, 0..400_u32), 0..120),
        actions in prop::collection::vec(actions(), 0..150),
        room in 8..100_usize,
    ) {
        let (tracker, seats) = (tracker(), seats(room));
        let staying: BTreeSet<_> =
            staying.into_iter().map(|(kind, n)| if kind == 0 { random(n) } else { nth(n) }).collect();
        staying.iter().for_each(|hash| announce(&tracker, *hash, 1, NOW, true));
        let mut pages: Vec<((Page, LeaseEnd), Vec<u8>)> = Vec::new();
        let mut now = 0;
        let check = |out: &[u8]| {
            let named: BTreeSet<_> = strictly_read(out).into_iter().collect();
            assert!(staying.is_subset(&named));
        };
        for action in actions {
            let len = pages.len().max(1);
            match action {
                Action::Begin if pages.len() < 4 => {
                    pages.push((page(Listing::Scrape, &seats, after(now)), Vec::new()));
                }
                Action::Read(n, pieces) if !pages.is_empty() => {
                    let ((page, _), out) = &mut pages[n % len];
                    if (0..pieces).any(|_| !page.next(tracker.store(), after(now), out)) {
                        check(out);
                        pages.swap_remove(n % len);
                    }
                }
                Action::Leave(n) if !pages.is_empty() => drop(pages.swap_remove(n % len)),
                Action::Wait(millis) => now += millis,
                Action::Change(n, true) => announce(&tracker, nth(1000 + u32::from(n)), 1, NOW, true),
                Action::Change(n, false) => leave(&tracker, nth(1000 + u32::from(n)), 1),
                _ => (),
            }
        }
        // In turn, with others that come for a moment and take a share: still each gets to its end.
        for turn in 0.. {
            assert!(turn < 5000, "some page gets nowhere");
            // Whoever stalls can lose the seat to one of them, and is cut off.
            pages.retain_mut(|((_, lease_end), _)| !lease_end.has_come());
            let Some(((page, _), out)) = pages.first_mut() else { break };
            let guests: Vec<_> = (0..turn % 3).map_while(|_| seats.take(true, holder(1), after(now).uptime).ok()).collect();
            let more = page.next(tracker.store(), after(now), out);
            drop(guests);
            if more {
                pages.rotate_left(1);
            } else {
                check(out);
                pages.remove(0);
            }
        }
    }
}
