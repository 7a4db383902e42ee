//! What others owe that are heard on this transport, and who may die before they tell it.

use super::*;
use crate::cluster::members::{DEAD_AFTER, MAX_APART};

#[test]
fn what_is_held_of_one_who_is_heard_here_is_not_sent() {
    let now = Instant::now();
    let (mut batcher, members) = among(now);
    [told(2, 1), told(4, 2), told(6, 1), told(8, 0)].iter().for_each(|change| _ = batcher.hold(change, now));
    let [soon, later] = [now, now + DEAD_AFTER];
    members.hear(1, soon);
    batcher.set_forwarding(true, now - RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, now), [packet(&[4, 8])]);
    members.hear(1, later);
    batcher.set_forwarding(true, later);
    assert_eq!(drain(&mut batcher, later + DEAD_AFTER), []);
    assert!(batcher.owed.is_empty());
}

#[test]
fn what_somebody_owes_who_falls_silent_is_sent_by_the_one_that_forwards() {
    for forwards in [true, false] {
        let now = Instant::now();
        let (mut batcher, members) = among(now);
        members.hear(1, now);
        batcher.set_forwarding(forwards, now - RELEASE_DELAY);
        for port in [2, 4, 6, 8, 10] {
            let owed = told(port, 1);
            assert_eq!(if forwards { batcher.add(&owed, now) } else { batcher.hold(&owed, now) }, AddResult::Batched);
        }
        // It has told one itself, of another it has told something else, and two have been elsewhere since.
        batcher.hear(&Change { origin: Origin::Transport { name: "this", member: 1 }, ..change(2) });
        let other = Origin::Transport { name: "this", member: 1 };
        batcher.hear(&Change { origin: other, stopped: true, ..change(4) });
        batcher.hear(&Change { origin: THIS, seeder: true, ..change(6) });
        batcher.add(&change(8), now);
        assert_eq!(drain(&mut batcher, now), [packet(&[8])]);
        let silent = now + DEAD_AFTER - Duration::from_millis(1);
        batcher.set_forwarding(forwards, silent);
        assert_eq!(drain(&mut batcher, silent), []);
        let dead = now + DEAD_AFTER;
        batcher.set_forwarding(true, dead - RELEASE_DELAY);
        assert_eq!(drain(&mut batcher, dead), [packet(&[4, 10])]);
        batcher.add(&told(12, 1), dead);
        assert_eq!(drain(&mut batcher, dead), [packet(&[12])], "it is dead");
    }
}

#[test]
fn what_is_owed_is_not_outdated_by_what_somebody_tells_who_does_not_know_it() {
    let now = Instant::now();
    let (mut batcher, members) = among(now);
    members.hear(1, now);
    let owed = Change { stopped: true, seen: Minute(9), ..told(2, 1) };
    let walked = Change { origin: THIS, seen: Minute(8), ..change(2) };
    let late = Origin::Late { name: "this", member: 1 };
    batcher.hold(&owed, now);
    batcher.hear(&walked);
    for minute in [9, 10] {
        batcher.hear(&Change { origin: late, seen: Minute(minute), ..owed });
    }
    batcher.hold(&Change { seen: Minute(8), ..told(2, 2) }, now);
    assert_eq!(batcher.owed.first(), Some((owed, now)));
    batcher.hear(&Change { seen: Minute(9), ..walked });
    assert!(batcher.owed.is_empty(), "the peer is back elsewhere");
}

#[test]
fn what_is_owed_is_kept_no_longer_than_until_it_is_surely_told() {
    let now = Instant::now();
    let (mut batcher, members) = among(now);
    members.hear(1, now);
    batcher.hold(&told(2, 1), now);
    let later = now + MAX_APART;
    batcher.set_forwarding(false, later);
    assert!(!batcher.owed.is_empty());
    members.hear(1, later);
    batcher.set_forwarding(false, later);
    assert!(batcher.owed.is_empty());
}

#[test]
fn what_a_dead_one_owes_is_held_while_nobody_forwards_and_does_not_hold_up_the_rest() {
    let now = Instant::now();
    let (mut batcher, members) = among(now);
    [1, 2].into_iter().for_each(|member| _ = members.hear(member, now));
    batcher.hold(&told(2, 1), now);
    batcher.hold(&told(4, 2), now);
    let dead = now + DEAD_AFTER;
    members.hear(2, dead);
    batcher.set_forwarding(false, dead);
    assert_eq!((batcher.held.first(), batcher.owed.is_empty()), (Some((told(2, 1), now)), true));
    // As many as have room come from one who is alive.
    (0..=MAX_HELD).for_each(|_| _ = batcher.hold(&told(4, 2), dead));
    batcher.set_forwarding(true, dead - RELEASE_DELAY);
    assert_eq!(drain(&mut batcher, dead), [packet(&[2])]);
}

#[test]
fn a_few_are_settled_in_one_go_and_the_thread_comes_back_for_the_rest() {
    for forwards in [false, true] {
        let now = Instant::now();
        let (mut batcher, members) = among(now);
        members.hear(1, now);
        (0..2 * MAX_SETTLED).for_each(|_| _ = batcher.hold(&told(2, 1), now));
        members.hear(2, now);
        batcher.hold(&told(4, 2), now);
        let told_by = now + DEAD_AFTER;
        members.hear(1, told_by);
        batcher.set_forwarding(forwards, told_by);
        if forwards {
            batcher.set_forwarding(true, told_by + RELEASE_DELAY);
        }
        assert!(batcher.is_waiting() && batcher.owed.first() == Some((told(2, 1), now)));
        assert_eq!(if forwards { None } else { batcher.take_any(told_by) }, None, "at the end they stay");
        if forwards {
            assert_eq!(said(batcher.take_any(told_by + RELEASE_DELAY)), Some(packet(&[4])));
        } else {
            (0..2).for_each(|_| batcher.set_forwarding(false, told_by));
            assert_eq!(batcher.held.first(), Some((told(4, 2), now)));
        }
        assert!(batcher.owed.is_empty() && !batcher.is_waiting());
    }
}

#[test]
fn what_is_owed_by_a_dead_one_is_held_before_others_push_it_out() {
    let now = Instant::now();
    let (mut batcher, members) = among(now);
    members.hear(1, now);
    batcher.hold(&told(2, 1), now);
    let dead = now + DEAD_AFTER;
    members.hear(2, dead);
    (0..MAX_HELD).for_each(|_| _ = batcher.hold(&told(4, 2), dead));
    assert_eq!((batcher.held.first(), batcher.owed.first()), (Some((told(2, 1), now)), Some((told(4, 2), dead))));
}

/// A batcher that knows who is heard here.
fn among(now: Instant) -> (Batcher<Ports>, Arc<Members>) {
    let members = Arc::new(Members::new(60 * SECOND, now));
    let mut batcher = Batcher::new(Ports, DELAY, now);
    batcher.members = Some(Arc::clone(&members));
    (batcher, members)
}

/// A change that this tracker has told by another transport.
fn told(port: u16, member: u32) -> Change {
    Change { origin: Origin::Transport { name: "other", member }, ..change(port) }
}
