use proptest::prelude::*;

use super::*;
use crate::switches::fullscrape::bounds::LAST;
use crate::switches::fullscrape::tests::{NOW, announce, holder, nth, tracker};
use crate::tracker::testing::TestTracker;

const START: Duration = Duration::from_secs(1000);

fn seats(pages: usize) -> Arc<Seats> {
    Arc::new(Seats::new(Limits {
        pages,
        sorted_pages: pages,
        torrents: 1000,
        torrents_per_page: 100,
        min_torrents: 300,
    }))
}

/// What a page gathers that has so much room.
fn gathered(tracker: &TestTracker, share: usize) -> Range {
    let mut range = Range::new(None, LAST, Room::new(share));
    while !range.is_gathered() {
        range.gather(tracker.store());
    }
    range
}

fn full_tracker() -> TestTracker {
    let tracker = tracker();
    (0..1000).map(nth).for_each(|hash| announce(&tracker, hash, 1, NOW, true));
    tracker
}

#[test]
fn whoever_keeps_us_waiting_for_longest_gives_way() {
    let seats = seats(2);
    let at = |millis| START + Duration::from_millis(millis);
    let (first, mut first_end) = seats.take(true, holder(1), START).unwrap();
    let (second, mut second_end) = seats.take(false, holder(1), START).unwrap();
    assert_eq!(seats.take(true, holder(1), at(999)).unwrap_err(), Refusal::NO_SEAT);
    first.step(at(500));
    let (third, mut third_end) = seats.take(true, holder(1), at(1000)).unwrap();
    assert_eq!((first_end.has_come(), second_end.has_come(), third_end.has_come()), (false, true, false));
    // Its end frees no seat: that is taken.
    drop(second);
    assert_eq!(seats.take(true, holder(1), at(1001)).unwrap_err(), Refusal::NO_SEAT);
    first.step(at(2500));
    third.step(at(2400));
    let (_fourth, mut fourth_end) = seats.take(true, holder(1), at(3600)).unwrap();
    assert_eq!((first_end.has_come(), third_end.has_come(), fourth_end.has_come()), (false, true, false));
    drop(first);
    assert!(seats.take(true, holder(1), at(3600)).is_ok());
}

#[test]
fn pages_that_are_sorted_have_fewer_seats_and_leave_the_others_theirs() {
    let limits = Limits { pages: 4, sorted_pages: 1, torrents: 1000, torrents_per_page: 100, min_torrents: 300 };
    let seats = Arc::new(Seats::new(limits));
    let at = |millis| START + Duration::from_millis(millis);
    let (unsorted, mut unsorted_end) = seats.take(false, holder(1), START).unwrap();
    let (sorted, mut sorted_end) = seats.take(true, holder(1), at(100)).unwrap();
    assert_eq!(
        seats.take(true, holder(1), at(1050)).unwrap_err(),
        Refusal::NO_SEAT,
        "who stalls for longer is not sorted"
    );
    let (_second, _) = seats.take(false, holder(1), at(1050)).unwrap();
    assert!(!unsorted_end.has_come() && !sorted_end.has_come());
    let (third, _) = seats.take(true, holder(1), at(1100)).unwrap();
    assert!(!unsorted_end.has_come() && sorted_end.has_come());
    drop((third, unsorted, sorted));
    assert!(seats.take(true, holder(1), at(1100)).is_ok());
}

#[test]
fn the_address_that_has_most_gives_way_even_if_it_does_not_stall() {
    let seats = seats(4);
    let later = START + STALL_TIME;
    let mut of_one: Vec<_> = (0..4).map(|_| seats.take(true, holder(1), later).unwrap()).collect();
    assert_eq!(seats.take(true, holder(1), later).unwrap_err(), Refusal::NO_SEAT, "not for another of its own");
    let ends =
        |seats: &mut Vec<(Seat, LeaseEnd)>| -> Vec<_> { seats.iter_mut().map(|(_, end)| end.has_come()).collect() };
    let (_first, mut first_end) = seats.take(true, holder(2), later).unwrap();
    assert_eq!(ends(&mut of_one), [false, false, false, true], "the one that came last");
    let (_second, mut second_end) = seats.take(false, holder(2), later).unwrap();
    assert_eq!(ends(&mut of_one), [false, false, true, true]);
    assert_eq!(seats.take(true, holder(2), later).unwrap_err(), Refusal::NO_SEAT, "it would have more than the other");
    // Of those who stall too, the address that has most goes first, and of that one who stalls for longest.
    of_one[0].0.step(later + Duration::from_millis(1));
    of_one[1].0.step(later + Duration::from_millis(2));
    let stalled = later + STALL_TIME + Duration::from_millis(9);
    let (_third, mut third_end) = seats.take(true, holder(3), stalled).unwrap();
    assert_eq!((first_end.has_come(), second_end.has_come()), (false, true), "both addresses had two");
    let (_fourth, _end) = seats.take(true, holder(3), stalled).unwrap();
    assert_eq!(ends(&mut of_one), [true, false, true, true]);
    assert!(!first_end.has_come() && !third_end.has_come(), "each has one");
}

#[test]
fn who_lost_the_seat_gathers_in_vain_and_keeps_nothing() {
    let (tracker, seats) = (full_tracker(), seats(1));
    let (first, mut end) = seats.take(true, holder(1), START).unwrap();
    let _second = seats.take(true, holder(1), START + STALL_TIME).unwrap();
    assert!(end.has_come());
    first.keep(gathered(&tracker, 100));
    assert!(first.step(START + STALL_TIME).is_none());
}

#[test]
fn shares_are_equal_and_leave_room_for_the_pages_themselves() {
    let seats = seats(8);
    let (first, _end) = seats.take(true, holder(1), START).unwrap();
    assert_eq!(first.share(START), 900);
    let (second, _end) = seats.take(true, holder(1), START).unwrap();
    assert_eq!((first.share(START), second.share(START)), (400, 400));
    let unsorted: Vec<_> = (0..4).map(|_| seats.take(false, holder(1), START).unwrap()).collect();
    assert_eq!(first.share(START), 200);
    let more: Vec<_> = (0..2).map(|_| seats.take(true, holder(1), START).unwrap()).collect();
    assert_eq!(first.share(START), 300 / 4, "there is a minimum to be shared out");
    drop((unsorted, more, second));
    assert_eq!(first.share(START), 900);
}

#[test]
fn who_has_more_than_the_share_loses_it_and_who_has_less_does_not() {
    let (tracker, seats) = (full_tracker(), seats(8));
    let (first, _end) = seats.take(true, holder(1), START).unwrap();
    first.keep(gathered(&tracker, first.share(START)));
    let range = first.step(START).expect("it is kept");
    first.keep(range);
    let (second, _end) = seats.take(true, holder(1), START).unwrap();
    assert!(first.step(START).is_none(), "too much for two");
    second.keep(gathered(&tracker, second.share(START)));
    let in_step = second.step(START).expect("just enough for two");
    // Another comes while the second makes a step.
    let _third = seats.take(true, holder(1), START).unwrap();
    second.keep(in_step);
    assert!(second.step(START).is_none());
    second.keep(gathered(&tracker, 10));
    let _fourth = seats.take(true, holder(1), START).unwrap();
    assert!(second.step(START).is_some());
}

#[test]
fn who_stalls_has_no_share_until_the_client_goes_on() {
    let (tracker, seats) = (full_tracker(), seats(8));
    let (first, _end) = seats.take(true, holder(1), START).unwrap();
    let (second, _end) = seats.take(true, holder(1), START).unwrap();
    first.keep(gathered(&tracker, first.share(START)));
    second.keep(Range::new(None, LAST, Room::new(300)));
    // Who gathers waits for nobody but for its turn.
    let later = START + STALL_TIME;
    let (third, _end) = seats.take(true, holder(1), later).unwrap();
    assert!(first.step(START).is_none());
    assert_eq!(third.share(later), 700 / 2);
    assert!(second.step(later).is_some());
    first.step(later);
    assert_eq!(first.share(later), 700 / 3);
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Take(bool),
    Leave(usize),
    Gather(usize),
    Step(usize),
    Wait(u64),
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        any::<bool>().prop_map(Action::Take),
        any::<usize>().prop_map(Action::Leave),
        any::<usize>().prop_map(Action::Gather),
        any::<usize>().prop_map(Action::Step),
        (0..1500_u64).prop_map(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn all_together_never_keep_more_than_there_is(actions in prop::collection::vec(actions(), 1..60)) {
        let (tracker, seats) = (full_tracker(), seats(6));
        let (mut pages, mut now) = (Vec::new(), START);
        for action in actions {
            let len = pages.len().max(1);
            let page = |n: usize| pages.get(n % len);
            match action {
                Action::Take(is_sorted) => match seats.take(is_sorted, holder(1), now) {
                    Ok((seat, end)) => pages.push((seat, end, is_sorted)),
                    Err(refusal) => prop_assert_eq!(refusal, Refusal::NO_SEAT),
                },
                Action::Leave(n) if !pages.is_empty() => drop(pages.swap_remove(n % len)),
                Action::Gather(n) => if let Some((seat, _, true)) = page(n) {
                    let range = seat.step(now).unwrap_or_else(|| gathered(&tracker, seat.share(now)));
                    seat.keep(range);
                },
                Action::Step(n) => if let Some((seat, _, _)) = page(n) {
                    if let Some(range) = seat.step(now) {
                        seat.keep(range);
                    }
                },
                Action::Wait(millis) => now += Duration::from_millis(millis),
                Action::Leave(_) => (),
            }
            let state = seats.lock();
            let kept: usize = state.taken.iter().filter_map(|seat| seat.range.as_ref()).map(Range::taken).sum();
            let whole = (1000 - 100 * state.taken.len()).max(300);
            prop_assert!(kept <= whole, "{} of {}", kept, whole);
            prop_assert!(state.taken.len() <= 6);
        }
        let open = pages.iter_mut().filter_map(|(_, end, _)| (!end.has_come()).then_some(())).count();
        prop_assert_eq!(open, seats.lock().taken.len());
    }
}
