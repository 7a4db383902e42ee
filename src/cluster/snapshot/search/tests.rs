use super::super::limits::Limits;
use super::*;
use std::io;

const SECOND: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(10);

/// A search with a clock of its own, in a tracker that has just started.
struct Run {
    search: Search<u16>,
    snapshots: Arc<Snapshots>,
    start: Instant,
    now: Instant,
    asked: usize,
}

impl Run {
    fn new() -> Self {
        let start = Instant::now();
        let snapshots = Snapshots::new(Limits { wait: WAIT, rate: 1, max: 1 }, start);
        Self { search: Search::new(&snapshots, start), snapshots, start, now: start, asked: 0 }
    }

    fn offered(&mut self, id: u64, uptime_seconds: u32) {
        let offer = Offer { id, uptime_seconds, torrents: 0, peers: 0 };
        self.search.offered(offer, u16::try_from(id).unwrap(), self.now);
    }

    /// Asks and waits, for so long at most. Returns whom to take a snapshot from, or how it ends.
    fn next(&mut self, time: Duration) -> Option<Result<Candidate<u16>, End>> {
        let until = self.now + time;
        loop {
            match self.search.next(self.now) {
                Next::Ask => self.asked += 1,
                Next::Wait(moment) => {
                    assert!(moment > self.now, "it does not spin");
                    if moment >= until {
                        self.now = until;
                        return None;
                    }
                    self.now = moment;
                }
                Next::Take(candidate) => return Some(Ok(candidate)),
                Next::Over(end) => return Some(Err(end)),
            }
        }
    }

    #[track_caller]
    fn donor(&mut self) -> Candidate<u16> {
        self.next(2 * SECOND).expect("something happens").expect("a donor")
    }

    fn failed(&mut self, candidate: Candidate<u16>) {
        self.search.failed(candidate, &SnapshotError::Cut);
    }
}

#[test]
fn the_one_that_has_been_up_for_longest_is_taken_once_others_have_had_a_second_to_answer() {
    let mut run = Run::new();
    assert!(run.next(SECOND / 2).is_none());
    run.offered(1, 50);
    assert!(run.next(SECOND * 9 / 10).is_none());
    run.offered(2, 70);
    run.offered(3, 60);
    let candidate = run.donor();
    assert_eq!((candidate.donor, candidate.offer.uptime_seconds), (2, 70));
    assert_eq!(run.now, run.start + SECOND * 3 / 2);
    run.search.taken(candidate);
    assert_eq!(run.next(SECOND).unwrap().unwrap_err(), End::Taken);
}

#[test]
fn if_one_comes_to_nothing_the_next_is_taken_and_no_more_than_five_are_tried() {
    let mut run = Run::new();
    (1..=9).for_each(|id| run.offered(id, 100 - u32::try_from(id).unwrap()));
    for expected in 1..=5 {
        let candidate = run.donor();
        assert_eq!(candidate.donor, expected);
        run.failed(candidate);
        run.offered(1, 200);
    }
    assert_eq!(run.next(SECOND).unwrap().unwrap_err(), End::InVain);
}

#[test]
fn who_is_busy_is_asked_again() {
    let mut run = Run::new();
    run.offered(1, 50);
    let candidate = run.donor();
    run.search.failed(candidate, &SnapshotError::Busy);
    assert!(run.next(5 * SECOND).is_none());
    run.offered(1, 60);
    assert_eq!(run.donor().donor, 1);
}

#[test]
fn one_that_is_too_large_is_the_last() {
    let mut run = Run::new();
    run.offered(1, 50);
    run.offered(2, 40);
    let candidate = run.donor();
    run.search.failed(candidate, &SnapshotError::TooLarge(1));
    assert_eq!(run.next(SECOND).unwrap().unwrap_err(), End::InVain);
    assert!(matches!(run.snapshots.begin_taking(), Turn::Over), "over any transport");
}

#[test]
fn nobody_is_taken_who_has_not_been_up_for_longer() {
    let mut run = Run::new();
    run.offered(1, 0);
    assert!(run.next(4 * SECOND).is_none(), "but somebody is there");
    run.offered(2, 4);
    run.offered(3, 5);
    assert_eq!(run.donor().donor, 3);
    // After 11 s, whoever began with this one may say 12.
    let mut run = Run::new();
    run.offered(1, 0);
    assert!(run.next(11 * SECOND).is_none());
    run.offered(2, 12);
    assert!(run.next(2 * SECOND).is_none());
    run.offered(3, 15);
    assert_eq!(run.donor().donor, 3);
}

#[test]
fn who_hears_nobody_is_alone_after_three_seconds() {
    let mut run = Run::new();
    assert_eq!(run.next(60 * SECOND).unwrap().unwrap_err(), End::Alone);
    assert_eq!((run.now, run.asked), (run.start + 3 * SECOND, 3));
    let short = Snapshots::new(Limits { wait: SECOND, rate: 1, max: 1 }, run.start);
    let mut run = Run { search: Search::new(&short, run.start), now: run.start, ..run };
    assert_eq!(run.next(60 * SECOND).unwrap().unwrap_err(), End::Alone);
    assert_eq!(run.now, run.start + SECOND, "and no later than the wait is over");
}

#[test]
fn where_nobody_has_been_up_for_longer_there_is_nothing_to_take() {
    let mut run = Run::new();
    for _ in 0..50 {
        run.offered(1, 0);
        assert!(run.next(5 * SECOND).is_none());
    }
    run.search.heard();
    assert_eq!(run.next(600 * SECOND).unwrap().unwrap_err(), End::Oldest);
}

#[test]
fn one_that_is_busy_for_as_long_as_is_asked_has_given_nothing() {
    let mut run = Run::new();
    run.offered(2, 0);
    for _ in 0..20 {
        run.offered(1, 500);
        let candidate = run.donor();
        run.search.failed(candidate, &SnapshotError::Busy);
        assert!(run.next(10 * SECOND).is_none_or(|next| next.unwrap_err() == End::InVain));
    }
    assert_eq!(run.next(600 * SECOND).unwrap().unwrap_err(), End::InVain);
}

#[test]
fn while_others_are_heard_it_goes_on_asking_for_five_minutes_and_more_seldom_after_the_wait() {
    let mut run = Run::new();
    run.search.heard();
    assert!(run.next(WAIT).is_none());
    assert_eq!(run.asked, 10);
    assert_eq!(run.next(600 * SECOND).unwrap().unwrap_err(), End::InVain);
    // One may be late by the interval.
    assert!(run.now - run.start < 311 * SECOND && run.asked <= 10 + 30, "{}", run.asked);
}

#[test]
fn a_donor_that_answers_late_is_taken_all_the_same() {
    let mut run = Run::new();
    run.search.heard();
    assert!(run.next(100 * SECOND).is_none());
    run.offered(1, 5000);
    assert_eq!(run.donor().donor, 1);
}

#[test]
fn while_another_transport_takes_one_it_waits_and_is_over_when_that_is_in() {
    let mut run = Run::new();
    let Turn::Yours(taking) = run.snapshots.begin_taking() else { panic!("nobody takes one") };
    run.offered(1, 50);
    assert!(run.next(5 * SECOND).is_none());
    taking.finish();
    assert_eq!(run.next(SECOND).unwrap().unwrap_err(), End::TakenElsewhere);

    let mut run = Run::new();
    run.search.heard();
    let Turn::Yours(taking) = run.snapshots.begin_taking() else { panic!("nobody takes one") };
    assert!(run.next(5 * SECOND).is_none());
    taking.finish();
    assert_eq!(run.next(2 * SECOND).unwrap().unwrap_err(), End::TakenElsewhere, "without an offer too");

    let mut run = Run::new();
    let taking = run.snapshots.begin_taking();
    run.offered(1, 50);
    assert!(run.next(5 * SECOND).is_none());
    drop(taking);
    let candidate = run.donor();
    run.search.failed(candidate, &SnapshotError::Io(io::ErrorKind::ConnectionReset.into()));
    assert!(matches!(run.snapshots.begin_taking(), Turn::Yours(_)), "that it failed lets others take one");
}

#[test]
fn of_more_offers_than_are_kept_the_best_are() {
    let mut run = Run::new();
    (1..=500).for_each(|id| run.offered(id, 1 + u32::try_from(id * 7919 % 500).unwrap()));
    assert_eq!(run.search.offers.len(), MAX_OFFERS);
    assert!(run.search.offers.iter().all(|(offer, _)| offer.uptime_seconds > 500 - 64));
}
