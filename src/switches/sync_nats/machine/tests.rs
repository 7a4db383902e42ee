//! Several trackers, a network that loses what it likes, and a naive model of who is there and what was completed.

mod world;

use super::*;
use world::{Faults, World};

#[test]
fn what_happens_at_one_tracker_is_known_to_all_within_two_seconds() {
    World::with(3, 1, |world| {
        world.run(30, &Faults::NONE);
        world.pause(2);
        world.check();
        assert!(world.counted(|counts| counts.republished + counts.gaps + counts.packets_refused) == [0, 0, 0]);
    });
}

#[test]
fn lost_batches_cuts_and_partitions_lose_nothing_in_the_end() {
    for seed in 0..5 {
        World::with(5, seed, |world| {
            // What a tracker has missed that has just begun to listen is what it asks a snapshot for.
            world.pause(20);
            for _ in 0..3 {
                world.run(60, &Faults { loss: 0.1, ..Faults::NONE });
                world.run(60, &Faults { loss: 0.05, cuts: 0.01, silent_cuts: 0.005, ..Faults::NONE });
                world.run(90, &Faults { partition: true, ..Faults::NONE });
                world.run(60, &Faults::NONE);
            }
            world.pause(90);
            world.check();
            let gaps: u64 = world.counted(|counts| counts.gaps).iter().sum();
            let republished: u64 = world.counted(|counts| counts.republished).iter().sum();
            assert!(gaps > 0 && republished > 0, "there were faults");
        });
    }
}

#[test]
fn all_come_back_after_a_minute_without_a_server() {
    for seed in 10..13 {
        World::with(4, seed, |world| {
            world.run(120, &Faults::NONE);
            world.run(60, &Faults { dark: true, ..Faults::NONE });
            world.run(30, &Faults::NONE);
            world.pause(30);
            world.check();
        });
    }
}

#[test]
fn what_the_journal_has_no_room_for_is_made_up_for_by_a_walk() {
    for seed in 20..24 {
        World::with(4, seed, |world| {
            world.keep_batches(3);
            // Stops that are lost age out.
            let no_stops = Faults { stops: false, ..Faults::NONE };
            world.run(120, &no_stops);
            world.run(90, &Faults { dark: true, ..no_stops });
            world.run(60, &no_stops);
            world.run(90, &Faults { partition: true, ..no_stops });
            world.run(60, &Faults { loss: 0.1, ..no_stops });
            world.pause(120);
            world.check();
            let lost: u64 = world.counted(|counts| counts.packets_lost).iter().sum();
            assert!(lost > 0, "the journal was too small");
        });
    }
}

#[test]
fn one_that_starts_again_has_another_number_and_misses_nothing_from_then_on() {
    for seed in 30..33 {
        World::with(4, seed, |world| {
            world.pause(20);
            world.run(120, &Faults { loss: 0.05, ..Faults::NONE });
            world.restart(1);
            world.run(120, &Faults { loss: 0.05, ..Faults::NONE });
            world.restart(2);
            world.run(120, &Faults { loss: 0.05, ..Faults::NONE });
            world.pause(60);
            world.check();
        });
    }
}

#[test]
fn a_storm_of_asks_has_each_batch_sent_again_a_few_times_at_most() {
    World::with(10, 40, |world| {
        world.run(60, &Faults::NONE);
        let before: u64 = world.counted(|counts| counts.packets_sent).iter().sum();
        // Nobody hears anybody, and nobody sees a cut: then each has missed the same of all others.
        world.run(60, &Faults { loss: 1.0, ..Faults::NONE });
        let during: u64 = world.counted(|counts| counts.packets_sent).iter().sum::<u64>() - before;
        world.pause(60);
        world.check();
        let after: u64 = world.counted(|counts| counts.packets_sent).iter().sum::<u64>() - before - during;
        // The keep-alives of a minute, and what was missed: twice, as some ask after the first has been served.
        assert!(after < 10 * 12 + 3 * during, "{during} and then {after}");
        let gaps: u64 = world.counted(|counts| counts.gaps).iter().sum();
        assert!(gaps >= 90);
    });
}

#[test]
fn where_no_echo_comes_back_what_is_told_still_reaches_the_others_and_nobody_walks() {
    World::with(3, 50, |world| {
        let no_echo = Faults { no_echo: true, ..Faults::NONE };
        world.keep_batches(50);
        world.run(300, &no_echo);
        world.pause(2);
        world.check();
        assert_eq!(world.counted(|counts| counts.republished), [0, 0, 0]);
    });
}
