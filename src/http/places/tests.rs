use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::http::stream::LeaseEnd;

const NOW: Duration = Duration::from_secs(1000);

/// A connection as a test sees it.
#[derive(Debug)]
struct Connection {
    slot: Slot,
    holder: Option<u8>,
    activity: Arc<Activity>,
    lease_end: LeaseEnd,
}

/// What a connection does: whose turn it is, for how many milliseconds, and how many bytes it has said.
type Doing = (Turn, u64, usize);

fn holder(n: u8) -> Holder {
    IpAddr::from([192, 0, 2, n]).into()
}

fn activity((turn, waited, said): Doing) -> Activity {
    Activity::new(turn, NOW - Duration::from_millis(waited), said)
}

fn enter(places: &mut Places, of: Option<u8>, doing: Doing) -> Connection {
    let (lease, lease_end) = Lease::new();
    let activity = Arc::new(activity(doing));
    let slot = places.enter(of.map(holder), Arc::clone(&activity), lease, NOW);
    Connection { slot, holder: of, activity, lease_end }
}

/// Which of these connections make room for silent newcomers from elsewhere, in this order.
fn order(max: usize, connections: &[(Option<u8>, Doing)]) -> Vec<usize> {
    let mut places = Places::new(max, usize::MAX);
    let mut open: Vec<_> = connections.iter().map(|&(of, doing)| Some(enter(&mut places, of, doing))).collect();
    let mut order = Vec::new();
    while order.len() < connections.len() {
        places.make_room(Some(holder(200)), &activity((Turn::Ask, 0, 0)), NOW).unwrap();
        let cut_off = open
            .iter_mut()
            .position(|connection| connection.as_mut().is_some_and(|connection| connection.lease_end.has_come()));
        let cut_off = cut_off.expect("one makes room");
        places.leave(open[cut_off].take().unwrap().slot);
        order.push(cut_off);
    }
    assert!(places.held.is_empty());
    order
}

#[test]
fn what_goes_on_is_told_whole() {
    for (turn, since, said, expected) in [
        (Turn::Ours, 0, 0, 0),
        (Turn::Ask, 1, 1, 1),
        (Turn::Read, 10_000_000_000, 8192, 8192),
        (Turn::Proxy, 5, 65_535, 65_535),
        (Turn::Ask, 5, usize::MAX >> 2, 65_535),
    ] {
        let activity = Activity::new(turn, Duration::from_millis(since), said);
        assert_eq!(activity.get(), (turn, since, expected));
        activity.set_said(7);
        assert_eq!(activity.get(), (turn, since, 7));
        activity.set(Turn::Read, Duration::from_millis(9), 8);
        assert_eq!(activity.get(), (Turn::Read, 9, 8));
    }
}

#[test]
fn of_one_address_who_has_said_least_makes_room_and_who_is_in_a_request_last() {
    let connections = [
        (Some(1), (Turn::Ours, 20_000, 0)),
        (Some(1), (Turn::Ours, 10_000, 0)),
        (Some(1), (Turn::Read, 20_000, 0)),
        (Some(1), (Turn::Read, 29_000, 0)),
        (Some(1), (Turn::Ask, 5, 0)),
        (Some(1), (Turn::Ask, 10_000, 0)),
        // A trickle counts little, a head that is nearly whole counts.
        (Some(1), (Turn::Ask, 10_000, 3)),
        (Some(1), (Turn::Ask, 300, 290)),
    ];
    assert_eq!(order(8, &connections), [5, 6, 7, 4, 3, 2, 1, 0]);
}

#[test]
fn the_address_that_holds_most_makes_room_first_whatever_it_does() {
    let (idle, reading) = ((Turn::Ask, 20_000, 0), (Turn::Read, 1, 0));
    let connections = [(Some(1), idle), (Some(2), reading), (Some(2), reading), (Some(2), idle), (Some(3), idle)];
    let order = order(5, &connections);
    assert_eq!(order[0], 3);
    assert!([1, 2].contains(&order[1]), "{order:?}");
}

#[test]
fn below_its_share_no_address_holds_too_many() {
    let (idle, reading) = ((Turn::Ask, 20_000, 0), (Turn::Read, 1, 0));
    assert_eq!(order(64 * 2, &[(Some(1), idle), (Some(2), reading), (Some(2), reading)])[0], 0);
    let crowd = [(Some(1), idle), (Some(2), reading), (Some(2), reading), (Some(2), reading)];
    assert_ne!(order(64 * 2, &crowd)[0], 0);
}

#[test]
fn a_proxys_connections_are_not_counted_until_a_client_has_them() {
    let pooled = |waited| (None, (Turn::Ask, waited, 0));
    let connections = [
        pooled(20_000),
        pooled(1),
        (None, (Turn::Ours, 1, 0)),
        (Some(1), (Turn::Ask, 1, 0)),
        (Some(2), (Turn::Read, 1, 0)),
        (Some(3), (Turn::Ours, 1, 0)),
    ];
    assert_eq!(order(6, &connections)[..4], [3, 4, 0, 1]);

    let mut places = Places::new(4, usize::MAX);
    let mut brought: Vec<_> = (0..4).map(|_| enter(&mut places, None, (Turn::Read, 1, 0))).collect();
    let to = [1, 2, 2, 3];
    brought.iter().zip(to).for_each(|(connection, to)| places.hand_over(connection.slot, Some(holder(to)), NOW));
    places.make_room(None, &activity((Turn::Ask, 0, 0)), NOW).unwrap();
    let cut_off: Vec<_> = brought.iter_mut().map(|connection| connection.lease_end.has_come()).collect();
    assert!(matches!(cut_off[..], [false, true, false, false] | [false, false, true, false]), "{cut_off:?}");
    brought.iter().for_each(|connection| places.hand_over(connection.slot, None, NOW));
    assert!(places.held.is_empty());
}

#[test]
fn who_would_only_wait_for_us_gives_way_to_those_for_whom_we_work() {
    let ours = (Turn::Ours, 20_000, 0);
    let tell = |others: &[u8], newcomer: Option<u8>, turn| {
        let mut places = Places::new(others.len(), usize::MAX);
        let _open: Vec<_> = others.iter().map(|&other| enter(&mut places, Some(other), ours)).collect();
        places.make_room(newcomer.map(holder), &activity((turn, 0, 0)), NOW)
    };
    assert_eq!(tell(&[1, 2], Some(3), Turn::Ours), Err(NoRoom));
    assert_eq!(tell(&[1, 2], None, Turn::Ours), Err(NoRoom));
    assert_eq!(tell(&[1, 1, 2], Some(1), Turn::Ours), Err(NoRoom));
    assert_eq!(tell(&[1, 1, 2], Some(2), Turn::Ours), Err(NoRoom), "it would hold as many");
    assert_eq!(tell(&[1, 1, 2], Some(3), Turn::Ours), Ok(()), "another address has more");
    assert_eq!(tell(&[1, 2], Some(1), Turn::Ask), Ok(()));
    assert_eq!(tell(&[1, 2], Some(1), Turn::Read), Ok(()));
    assert_eq!(tell(&[], Some(1), Turn::Ours), Ok(()), "all are being cut off");
}

#[test]
fn an_address_with_as_many_as_it_may_have_makes_room_for_itself() {
    let mut places = Places::new(1000, 2);
    let mut others: Vec<_> = (0..2).map(|_| enter(&mut places, Some(2), (Turn::Ask, 29_000, 0))).collect();
    let mut first = enter(&mut places, Some(1), (Turn::Ask, 1, 0));
    let mut second = enter(&mut places, Some(1), (Turn::Ask, 2, 0));
    let mut third = enter(&mut places, Some(1), (Turn::Ask, 0, 0));
    assert!(!first.lease_end.has_come() && second.lease_end.has_come() && !third.lease_end.has_come());
    // It has not left yet, and does not count.
    let mut of_proxy = enter(&mut places, None, (Turn::Ours, 0, 0));
    let _more: Vec<_> = (0..9).map(|_| enter(&mut places, None, (Turn::Ask, 0, 0))).collect();
    places.leave(third.slot);
    places.hand_over(of_proxy.slot, Some(holder(1)), NOW);
    assert!(!first.lease_end.has_come() && !of_proxy.lease_end.has_come());
    let _fourth = enter(&mut places, Some(1), (Turn::Ask, 0, 0));
    assert!(first.lease_end.has_come() && !of_proxy.lease_end.has_come());
    assert!(others.iter_mut().all(|other| !other.lease_end.has_come()));
}

#[test]
fn among_many_those_of_an_address_that_holds_too_many_are_found() {
    let mut places = Places::new(10_000, usize::MAX);
    let reading = (Turn::Read, 1, 0);
    let mut good: Vec<_> = (0..5000_u16).map(|n| enter(&mut places, Some((n % 100) as u8), reading)).collect();
    let mut bad: Vec<_> = (0..5000).map(|_| enter(&mut places, Some(150), reading)).collect();
    let cut_off = |connections: &mut Vec<Connection>| {
        connections.iter_mut().map(|connection| usize::from(connection.lease_end.has_come())).sum::<usize>()
    };
    for _ in 0..4000 {
        places.make_room(Some(holder(200)), &activity((Turn::Ask, 0, 0)), NOW).unwrap();
    }
    assert_eq!((cut_off(&mut bad), cut_off(&mut good)), (4000, 0));
    // Whatever is compared, there is room as long as anybody can make some.
    for _ in 4000..10_000 {
        places.make_room(Some(holder(200)), &activity((Turn::Ask, 0, 0)), NOW).unwrap();
    }
    assert_eq!((cut_off(&mut bad), cut_off(&mut good)), (5000, 5000));
}

fn doing() -> impl Strategy<Value = Doing> {
    let turn = prop_oneof![Just(Turn::Ours), Just(Turn::Read), Just(Turn::Ask)];
    (turn, 0..40_u64, 0..20_usize)
}

#[derive(Debug, Clone)]
enum Step {
    Enter(Option<u8>, Doing),
    Leave(usize),
    Do(usize, Doing),
    HandOver(usize, Option<u8>),
    MakeRoom(Option<u8>, Doing),
}

fn step() -> impl Strategy<Value = Step> {
    let of = || prop::option::of(0..4_u8);
    prop_oneof![
        4 => (of(), doing()).prop_map(|(of, doing)| Step::Enter(of, doing)),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => (any::<usize>(), doing()).prop_map(|(at, doing)| Step::Do(at, doing)),
        1 => (any::<usize>(), of()).prop_map(|(at, of)| Step::HandOver(at, of)),
        1 => (of(), doing()).prop_map(|(of, doing)| Step::MakeRoom(of, doing)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_makes_room_is_most_in_the_way_of_all(
        max in 1..500_usize,
        max_per_holder in prop_oneof![Just(usize::MAX), 1..5_usize],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut places = Places::new(max, max_per_holder);
        let share = (max / 64).max(1);
        let mut open: Vec<Connection> = Vec::new();
        for step in steps {
            // How each stands before the step, by looking at all.
            let held = |of: Option<u8>| open.iter().filter(|one| of.is_some() && one.holder == of).count();
            let excess = |of| held(of).saturating_sub(share);
            let standing = |one: &Connection| Standing::new(excess(one.holder), one.holder.is_some(), &one.activity, NOW);
            let before: Vec<_> = open.iter().map(|one| (one.slot, one.holder, standing(one))).collect();
            let worst_of = |of: Option<u8>, but: Option<Slot>| {
                let all = before.iter().filter(|(slot, holder, _)| *holder == of && Some(*slot) != but);
                all.map(|(_, _, standing)| *standing).max()
            };
            // The standing of the one that has to make room, if one has to.
            let mut expected = None;
            let mut at_limit = |of: Option<u8>, moved: Option<Slot>| {
                let others = before.iter().filter(|(slot, holder, _)| *holder == of && Some(*slot) != moved).count();
                if of.is_some() && others >= max_per_holder {
                    expected = worst_of(of, moved).map(|standing| (standing, moved.is_some()));
                }
            };
            match step {
                Step::Enter(of, doing) => {
                    at_limit(of, None);
                    let entered = enter(&mut places, of, doing);
                    open.push(entered);
                }
                Step::Leave(at) if !open.is_empty() => {
                    let one = open.swap_remove(at % open.len());
                    places.leave(one.slot);
                }
                Step::Do(at, (turn, waited, said)) if !open.is_empty() => {
                    let at = at % open.len();
                    open[at].activity.set(turn, NOW - Duration::from_millis(waited), said);
                }
                Step::HandOver(at, of) if !open.is_empty() => {
                    let at = at % open.len();
                    at_limit(of, Some(open[at].slot));
                    places.hand_over(open[at].slot, of.map(holder), NOW);
                    open[at].holder = of;
                }
                Step::MakeRoom(of, doing) => {
                    let worst = before.iter().map(|(_, _, standing)| *standing).max();
                    // Of several that stand alike, it depends on whose makes room whether its holder gets one more.
                    let refusing = |own: usize| {
                        let newcomer = Standing::new(own.saturating_sub(share), of.is_some(), &activity(doing), NOW);
                        doing.0 == Turn::Ours && worst.is_some_and(|worst| newcomer >= worst)
                    };
                    let (as_it_is, with_one_more) = (held(of), held(of) + usize::from(of.is_some()));
                    let candidates: Vec<_> =
                        before.iter().filter(|(_, _, standing)| Some(*standing) == worst).map(|(_, of, _)| *of).collect();
                    let own = if of.is_some() && candidates.iter().all(|one| *one == of) { as_it_is } else { with_one_more };
                    let is_ambiguous = candidates.contains(&of) && candidates.iter().any(|one| *one != of);
                    if is_ambiguous {
                        continue;
                    }
                    let is_refused = refusing(own);
                    let made = places.make_room(of.map(holder), &activity(doing), NOW);
                    prop_assert_eq!(made.is_err(), is_refused);
                    if made.is_ok() {
                        // Else whoever enters next would make room as well.
                        places.stop_waiting();
                    }
                    expected = worst.filter(|_| !is_refused).map(|worst| (worst, false));
                }
                _ => (),
            }
            let cut_off: Vec<_> = (0..open.len()).rev().filter(|&at| open[at].lease_end.has_come()).collect();
            prop_assert_eq!(cut_off.len(), usize::from(expected.is_some()));
            for at in cut_off {
                let one = open.swap_remove(at);
                let found = before.iter().find(|(slot, ..)| *slot == one.slot).unwrap().2;
                let (mut standing, moved) = expected.unwrap();
                // One that is moved within its holder is not counted while room is made.
                if moved {
                    standing.excess = found.excess;
                }
                prop_assert_eq!(found, standing);
                places.leave(one.slot);
            }
            for of in 0..4 {
                let held = open.iter().filter(|one| one.holder == Some(of)).count();
                prop_assert_eq!(places.held_by(holder(of)), held);
                prop_assert!(held <= max_per_holder);
            }
        }
    }
}
