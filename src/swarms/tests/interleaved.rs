//! Streams that are written while announces go on.

use std::sync::Arc;

use proptest::prelude::*;

use super::{MAX_PIECE, Step, announce, endpoint, named, plain, reading, steps};
use crate::swarms::fuzz::{Families, NOW};
use crate::swarms::model::{Known, known};
use crate::swarms::{Progress, Reader, Writer};
use crate::tracker::departures::MAX_DEPARTURES;
use crate::tracker::model::config;
use crate::tracker::model::walks::of_one_shard;
use crate::tracker::store::DepartureCursor;
use crate::tracker::testing::{Ipv6Only, TestTracker};
use crate::tracker::{AddressFamilies, Change, Event, Flavour, Ipv4Only, Minute, Origin, Tracker};

/// A tracker that writes, and another that reads.
struct Copied<F: AddressFamilies> {
    from: Arc<TestTracker<F>>,
    into: Arc<TestTracker<F>>,
    writer: Option<Writer<F0<F>>>,
    reader: Reader<F0<F>>,
    now: Minute,
}

type F0<F> = crate::tracker::testing::TestFlavour<F>;

impl<F: AddressFamilies> Copied<F> {
    fn new() -> Self {
        let (from, into) = (plain::<F>(), reading::<F>());
        let reader = Reader::new(Arc::clone(&into), 0);
        Self { from, into, writer: None, reader, now: NOW }
    }

    fn begin(&mut self) {
        self.writer = Some(Writer::new(Arc::clone(&self.from), 1, self.now));
    }

    fn run(&mut self, steps: &[Step]) {
        let torrents = of_one_shard(&self.from);
        for step in steps {
            match *step {
                Step::Come { torrent, peers: (first, end), event } => {
                    let info_hash = torrents[usize::from(torrent)];
                    (first..end).for_each(|peer| _ = announce(&self.from, info_hash, peer, event, self.now));
                }
                Step::Wait { minutes } => {
                    self.now = self.now + minutes;
                    self.from.sweep(self.now, || {});
                    self.into.sweep(self.now, || {});
                }
                Step::Write { pieces, most } => self.write(pieces, most),
            }
        }
    }

    fn write(&mut self, pieces: usize, most: usize) {
        let Some(writer) = &mut self.writer else { return };
        writer.portion_len = most;
        for _ in 0..pieces {
            let mut piece = Vec::new();
            let progress = writer.write(self.now, &mut piece);
            assert!(piece.len() <= MAX_PIECE);
            self.reader.read(&piece, self.now).unwrap();
            if progress == Progress::Done {
                break;
            }
        }
    }

    /// Writes the rest, while nobody announces any more, and compares.
    fn ends_the_same(mut self) {
        let mut writer = self.writer.take().unwrap();
        assert!(!self.reader.is_whole());
        loop {
            let mut piece = Vec::new();
            let progress = writer.write_changes(self.now, &mut piece);
            assert!(piece.len() <= MAX_PIECE);
            self.reader.read(&piece, self.now).unwrap();
            if progress == Progress::Done {
                break;
            }
        }
        assert!(self.reader.is_whole());
        assert_eq!((self.reader.totals(), writer.missed_departures()), (writer.totals(), 0));
        let mut nothing = Vec::new();
        assert_eq!(writer.write(self.now, &mut nothing), Progress::Done);
        assert_eq!(writer.write_changes(self.now, &mut nothing), Progress::Done);
        assert_eq!(writer.write_unchanged(self.now, &mut nothing), Progress::Done);
        assert_eq!(nothing, b"");
        self.into.sweep(self.now, || {});
        self.from.sweep(self.now, || {});
        assert_eq!(timeless(known(&self.into, self.now)), timeless(known(&self.from, self.now)));
        assert_eq!(self.into.store().census(), self.from.store().census());
    }
}

/// Since when a torrent has been without peers can differ: somebody who was never known may have left it last.
fn timeless(mut known: Known) -> Known {
    known.values_mut().for_each(|torrent| torrent.empty_since = torrent.empty_since.map(|_| NOW));
    known
}

fn copies<F: AddressFamilies>(before: &[Step], meanwhile: &[Step]) {
    let mut copied = Copied::<F>::new();
    copied.run(before);
    copied.begin();
    copied.run(meanwhile);
    copied.ends_the_same();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_meanwhile_is_known_in_the_end(before in steps(12, 1200), meanwhile in steps(12, 1200)) {
        copies::<Ipv4Only>(&before, &meanwhile);
        copies::<Ipv6Only>(&before, &meanwhile);
        copies::<Families>(&before, &meanwhile);
    }
}

#[test]
fn a_download_of_somebody_who_left_meanwhile_is_not_lost() {
    let come = |event| Step::Come { torrent: 0, peers: (1, 2), event };
    let write = || Step::Write { pieces: 100, most: 10 };
    let wait = || Step::Wait { minutes: 1 };
    let twice = [come(Event::Completed), come(Event::Stopped)];
    for meanwhile in [
        // Nobody else is there when it is copied.
        vec![write(), come(Event::Completed), come(Event::Stopped)],
        // It comes back.
        vec![write(), come(Event::Completed), wait(), come(Event::Stopped), wait(), come(Event::Update)],
        vec![come(Event::Completed), write(), come(Event::Stopped), come(Event::Completed), come(Event::Stopped)],
    ] {
        copies::<Ipv4Only>(&[], &meanwhile);
        copies::<Ipv4Only>(&twice, &meanwhile);
        copies::<Ipv4Only>(&[come(Event::Update), wait(), wait(), wait()], &meanwhile);
    }
}

#[test]
fn what_a_cluster_tells_meanwhile_is_known_in_the_end() {
    let mut copied = Copied::<Ipv4Only>::new();
    let absorb = |copied: &Copied<Ipv4Only>, peer, seen, stopped| {
        let (info_hash, endpoint, origin) =
            (named(1), endpoint::<Ipv4Only>(peer), Origin::Transport { name: "one", member: 0 });
        let change = Change { info_hash, endpoint, seeder: false, completed: false, stopped, seen, origin };
        copied.from.absorb_group(&[change], copied.now, |_, outcome| assert!(outcome.is_ok()));
    };
    absorb(&copied, 1, NOW, false);
    copied.now = NOW + 1;
    copied.begin();
    copied.write(100, 100);
    absorb(&copied, 1, NOW, true);
    // Seen in the minute before.
    absorb(&copied, 2, NOW, false);
    copied.ends_the_same();
}

#[test]
fn only_what_has_changed_is_written_again() {
    let mut copied = Copied::<Ipv4Only>::new();
    copied.run(&[Step::Come { torrent: 0, peers: (0, 1000), event: Event::Update }, Step::Wait { minutes: 2 }]);
    copied.begin();
    copied.run(&[
        Step::Come { torrent: 0, peers: (0, 10), event: Event::Stopped },
        Step::Write { pieces: 1000, most: 100 },
        Step::Come { torrent: 0, peers: (10, 15), event: Event::Stopped },
        Step::Come { torrent: 0, peers: (12, 20), event: Event::Update },
    ]);
    let totals = copied.writer.as_ref().unwrap().totals();
    assert_eq!((totals.peers, totals.departures), (990, 0));
    let mut rest = Vec::new();
    let writer = copied.writer.as_mut().unwrap();
    while writer.write_changes(copied.now, &mut rest) == Progress::More {}
    let totals = writer.totals();
    assert_eq!((totals.peers, totals.departures), (990 + 8, 15));
}

/// Returns how many departures are noted.
fn noted<F: Flavour>(tracker: &Tracker<F>) -> usize {
    let (mut departures, mut cursor) = (Vec::new(), Some(DepartureCursor::default()));
    while let Some(from) = cursor {
        cursor = tracker.store().copy_departures(from, &mut 100, Minute(0), &mut departures);
    }
    departures.len()
}

#[test]
fn departures_are_noted_while_somebody_copies_and_forgotten_afterwards() {
    let from = plain::<Ipv4Only>();
    let come_and_go = |peers: u16| {
        for peer in 0..peers {
            announce(&from, named(peer % 50), peer, Event::Update, NOW);
            announce(&from, named(peer % 50), peer, Event::Stopped, NOW);
            // Who is not known any more leaves nothing to note.
            announce(&from, named(peer % 50), peer, Event::Stopped, NOW);
        }
    };
    come_and_go(100);
    assert_eq!(noted(&from), 0, "nobody copies");
    let first = Writer::new(Arc::clone(&from), 1, NOW);
    come_and_go(100);
    let second = Writer::new(Arc::clone(&from), 2, NOW);
    come_and_go(10);
    assert_eq!(noted(&from), 110);
    drop(first);
    come_and_go(10);
    assert_eq!(noted(&from), 120, "the second still copies");
    drop(second);
    come_and_go(10);
    assert_eq!(noted(&from), 0);
}

#[test]
fn two_copies_at_a_time_are_both_whole() {
    let from = plain::<Ipv4Only>();
    let mut now = NOW;
    let come = |peer, event, now| assert!(announce(&from, named(1), peer, event, now));
    (0..200).for_each(|peer| come(peer, Event::Update, now));
    let mut first = Writer::new(Arc::clone(&from), 1, now);
    let mut streams = [Vec::new(), Vec::new()];
    while first.write(now, &mut streams[0]) == Progress::More {}
    (0..10).for_each(|peer| come(peer, Event::Stopped, now));
    // They come back, and are not heard of since the second copy was begun.
    (0..5).for_each(|peer| come(peer, Event::Update, now));
    now = now + 3;
    let mut second = Writer::new(Arc::clone(&from), 2, now);
    while second.write(now, &mut streams[1]) == Progress::More {}
    (20..30).for_each(|peer| come(peer, Event::Stopped, now));
    for (writer, stream) in [&mut first, &mut second].into_iter().zip(&mut streams) {
        while writer.write_changes(now, stream) == Progress::More {}
        let into = reading::<Ipv4Only>();
        super::read(&into, stream, now);
        // The first is read as if it had just been begun. All the same nobody is older than who was before him.
        assert_eq!(known(&into, now).values().map(|torrent| torrent.peers.len()).sum::<usize>(), 185);
    }
    assert_eq!((first.totals().departures, second.totals().departures), (20, 10));
}

#[test]
fn departures_beyond_the_bound_are_counted() {
    let from = plain::<Ipv4Only>();
    let come_and_go = |many: usize| {
        for n in 0..many {
            announce(&from, named(n as u16), 1, Event::Update, NOW);
            announce(&from, named(n as u16), 1, Event::Stopped, NOW);
        }
    };
    let mut writer = Writer::new(Arc::clone(&from), 1, NOW);
    come_and_go(MAX_DEPARTURES);
    assert_eq!((noted(&from), writer.missed_departures()), (MAX_DEPARTURES, 0));
    come_and_go(3);
    assert_eq!((noted(&from), writer.missed_departures()), (MAX_DEPARTURES, 3));
    let mut stream = Vec::new();
    while writer.write_changes(NOW, &mut stream) == Progress::More {}
    assert_eq!(writer.totals().departures, MAX_DEPARTURES as u64);
    drop(writer);
    let writer = Writer::new(Arc::clone(&from), 1, NOW);
    come_and_go(3);
    assert_eq!((noted(&from), writer.missed_departures()), (3, 0), "there is room again");
}
