//! Several trackers, a network that loses what it likes, and a naive model of who is there and what was completed.

mod world;

use std::net::Ipv4Addr;

use super::*;
use crate::cluster::members::Told;
use crate::stats::Counters;
use crate::switches::sync_nats::batch::NAME;
use crate::switches::sync_nats::batch::tests::{NOW, change, sealed};
use crate::switches::sync_nats::member::Shared;
use crate::tracker::testing::{Recorder, TestTracker};
use crate::tracker::{Capacity, Change, InfoHash, Ipv4Only, Open, Origin};
use world::{Faults, World};

type Alone = TestTracker<Ipv4Only, Open, Recorder>;

/// Calls `live` with the part of a tracker with so many peers, and when it begins.
fn alone(
    peers: u32,
    live: impl FnOnce(Machine<'_, crate::tracker::testing::TestFlavour<Ipv4Only, Open, Recorder>>, Instant),
) {
    let (start, counters) = (Instant::now(), Counters::default());
    let shared = Shared::new("test".into(), 9, start);
    let tracker = Alone::with_plugs(Capacity::NONE, NOW, Open, Recorder::named("nats"));
    let changes: Vec<_> = (0..peers)
        .map(|peer| {
            let endpoint = (Ipv4Addr::from(0x0a00_0000 + peer), 6881).into();
            Change { info_hash: InfoHash([(peer % 250) as u8; 20]), endpoint, ..change("192.0.2.1:1") }
        })
        .collect();
    tracker.absorb_group(&changes, NOW, |_, outcome| _ = outcome.unwrap());
    let worker_counters = counters.for_worker();
    live(
        Machine::new(Member { shared: &shared, tracker: &tracker, worker_counters: &worker_counters, inherits: false }),
        start,
    );
}

#[test]
fn who_asks_without_end_has_a_tracker_send_forty_batches_a_second_and_ten_of_a_walk() {
    alone(100_000, |mut machine, start| {
        machine.journal = Journal::with_room(1 << 20, 1000);
        // More than the journal keeps: some have to be made up for by walks.
        (0..1100).for_each(|_| machine.journal.push(sealed(&[change("192.0.2.1:1")], NOW), false));
        machine.journal.forget(NOW);
        let mut out = Vec::new();
        for second in 0..30 {
            let mut batches = 0;
            for turn in 0..20 {
                let now =
                    Now { instant: start + Duration::from_millis(1000 * second + 50 * turn), minute: NOW, fresh: NOW };
                let epoch = machine.epoch;
                for _ in 0..20 {
                    let ask = Ask { asker: 1, sender: 9, missed: 0..u64::MAX, minutes: 0 };
                    machine.hear(Topic::Ask, &ask.write("test"), now);
                    let ask = Ask { asker: 1, sender: 9, missed: 0..0, minutes: u64::MAX };
                    machine.hear(Topic::Ask, &ask.write("test"), now);
                }
                machine.hear(Topic::Echo, &Echo { epoch, sequence: u64::MAX }.write(), now);
                machine.turn(Some(1), now, &mut out);
                batches += out.iter().filter(|message| message.topic == Topic::Changes).count();
                out.clear();
            }
            // In the first few seconds the journal goes out for the first time.
            assert!(second < 4 || batches <= 20 * REPEATS + 10 + 2, "{batches} in second {second}");
        }
        let counts = machine.member.shared.counters.counts();
        assert!(counts.republished > 3 * 100_000 && counts.republished < 30 * 42 * 2281, "{}", counts.republished);
    });
}

#[test]
fn a_walk_publishes_anew_who_was_seen_since_and_whose_download_has_been_counted() {
    alone(0, |mut machine, start| {
        let tracker = machine.member.tracker;
        let seen = |minutes: u32| Minute(NOW.0 - minutes);
        let told = [
            Change { seeder: true, completed: true, seen: seen(3), ..change("192.0.2.1:1") },
            Change { seen: seen(5), ..change("192.0.2.2:1") },
            Change { seen: seen(6), ..change("192.0.2.3:1") },
        ];
        tracker.absorb_group(&told, NOW, |_, outcome| _ = outcome.unwrap());
        let now = Now { instant: start, minute: NOW, fresh: NOW };
        let ask = Ask { asker: 1, sender: 9, missed: 0..0, minutes: 5 };
        machine.hear(Topic::Ask, &ask.write("test"), now);
        let mut out = Vec::new();
        machine.turn(Some(1), now, &mut out);
        let batches = out.iter().filter(|message| message.topic == Topic::Changes);
        let batches: Vec<_> = batches.map(|message| Batch::parse(&message.payload, "test").unwrap()).collect();
        let mut changes: Vec<_> = batches.iter().flat_map(|batch| batch.changes(NOW, false)).flatten().collect();
        changes.sort_by_key(|change| change.endpoint);
        let origin = Origin::Transport { name: NAME, member: 9 };
        let expected = [(4, told[0]), (6, told[1])].map(|(age, told)| Change { seen: seen(age), origin, ..told });
        assert_eq!(changes, expected, "a minute older than they are here");
        assert_eq!(machine.member.shared.counters.counts().republished, 2);
        assert_eq!(batches.last().map(|batch| batch.records.len()), Some(0), "the end of the walk is said");
    });
}

#[test]
fn what_a_tracker_says_itself_and_what_is_not_for_this_cluster_changes_nothing() {
    alone(0, |mut machine, start| {
        let now = Now { instant: start, minute: NOW, fresh: NOW };
        let Sealed { kind, records, .. } = sealed(&[change("192.0.2.1:1")], NOW);
        let batch = |sender| Batch { sender, sequence: 1, records: &records, kind, ..OWN };
        machine.hear(Topic::Changes, &batch(9).write("test"), now);
        assert_eq!(machine.member.shared.counters.counts().packets_refused, 0, "it hears itself all the time");
        let mut other_version = batch(1).write("test");
        other_version[3] += 1;
        for bytes in [other_version, batch(1).write("another"), vec![], vec![0; 64_001]] {
            machine.hear(Topic::Changes, &bytes, now);
            machine.hear(Topic::Ask, &bytes, now);
        }
        let counts = machine.member.shared.counters.counts();
        assert_eq!((counts.packets_refused, counts.records_received), (8, 0));
        assert_eq!(machine.member.tracker.store().census().torrents, 0);
        machine.hear(Topic::Changes, &batch(1).write("test"), now);
        assert_eq!(machine.member.tracker.store().census().torrents, 1);
    });
}

#[test]
fn who_sends_again_what_is_old_is_not_heard_by_that() {
    let (start, counters) = (Instant::now(), Counters::default());
    let shared = Shared::new("test".into(), 9, start);
    let bridge = (Recorder::named("nats"), Recorder::named("sync"));
    let tracker = TestTracker::<Ipv4Only, Open, _>::with_plugs(Capacity::NONE, NOW, Open, bridge);
    let worker_counters = counters.for_worker();
    let mut machine =
        Machine::new(Member { shared: &shared, tracker: &tracker, worker_counters: &worker_counters, inherits: false });
    let Sealed { kind, records, .. } = sealed(&[change("192.0.2.1:1")], NOW);
    let member = 7_u32.to_be_bytes();
    let mut hear = |sequence, records: &[u8], second| {
        let now = Now { instant: start + Duration::from_secs(second), minute: NOW, fresh: NOW };
        machine.hear(Topic::Changes, &Batch { sender: 1, member, sequence, kind, records, ..OWN }.write("test"), now);
        let origin = Origin::Transport { name: "sync", member: 7 };
        shared.members.have_told(origin, start, now.instant)
    };
    assert_eq!(hear(2, &records, 0), Told::Unsure);
    assert_eq!([hear(2, &records, 5), hear(1, &records, 5)], [Told::Unsure; 2], "known, and late");
    assert_eq!(hear(3, &records, 5), Told::Yes);
    assert_eq!(hear(3, &records, 12), Told::Yes);
    assert!(shared.members.has(7, start + Duration::from_secs(25)));
    assert!(!shared.members.has(7, start + Duration::from_secs(26)), "not what is known at 12 s");
    hear(3, &[], 12);
    assert!(shared.members.has(7, start + Duration::from_secs(32)), "a keep-alive");
}

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
            world.run(5, &no_stops);
            world.pause(20);
            world.check();
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

#[test]
fn trackers_that_begin_without_a_server_or_a_snapshot_learn_what_the_others_said_meanwhile() {
    for seed in 60..63 {
        World::with(4, seed, |world| {
            // Each comes to the server when others have told theirs already.
            world.come_late(&[100, 103, 110, 130]);
            world.run(140, &Faults { stops: false, ..Faults::NONE });
            world.pause(30);
            world.check();
        });
    }
}

#[test]
fn who_inherits_walks_over_the_peers_of_the_last_minutes_once() {
    alone(10, |mut machine, start| {
        machine.member.inherits = true;
        let mut out = Vec::new();
        for turn in 0..1000 {
            let now = Now { instant: start + Duration::from_millis(50 * turn), minute: NOW, fresh: NOW };
            machine.turn((turn > 0).then_some(1 + turn / 500), now, &mut out);
            let epoch = machine.epoch;
            machine.hear(Topic::Echo, &Echo { epoch, sequence: u64::MAX }.write(), now);
        }
        assert_eq!(machine.member.shared.counters.counts().republished, 10);
    });
}

#[test]
fn after_a_cut_one_asks_for_those_that_are_gone_and_who_hears_that_does_not() {
    for another_asks in [false, true] {
        alone(0, |mut machine, start| {
            let at = |second| Now { instant: start + Duration::from_secs(second), minute: NOW, fresh: NOW };
            let batch = |sender| Batch { sender, ..OWN }.write("test");
            let (mut out, mut asked) = (Vec::new(), Vec::new());
            machine.turn(Some(1), at(0), &mut out);
            [1, 2].iter().for_each(|sender| machine.hear(Topic::Changes, &batch(*sender), at(1)));
            machine.turn(Some(1), at(2), &mut out);
            machine.turn(None, at(3), &mut out);
            for second in 4..60 {
                machine.hear(Topic::Changes, &batch(2), at(second));
                if another_asks && second == 20 {
                    let ask = Ask { asker: 2, sender: 3, missed: 0..0, minutes: 2 };
                    machine.hear(Topic::Ask, &ask.write("test"), at(second));
                }
                out.clear();
                machine.turn(Some(2), at(second), &mut out);
                asked.extend(out.iter().filter(|message| message.topic == Topic::Ask).map(|_| second));
            }
            assert_eq!(asked.len(), usize::from(!another_asks));
            assert!(asked.iter().all(|second| (24..=34).contains(second)), "{asked:?}: not all at the same time");
        });
    }
}
