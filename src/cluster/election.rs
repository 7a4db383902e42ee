//! Which of several bridges forwards: trackers of one network that are all on another transport as well.
//!
//! A bridge says when it starts that it is there, each second that it could forward, and at once when that changes. Of
//! those that could, the one with the lowest id forwards. The others take it for dead after [`MAX_SILENCE`], and hold
//! meanwhile what it should have forwarded. In between none forwards, and what is held comes late. Two do if they do
//! not hear each other: then changes come twice, and trackers that remember no stops may count the download twice of a
//! peer that has left.

use std::time::{Duration, Instant};

/// How long a bridge that has been heard is waited for, and how long one listens before it forwards that has just
/// started or been connected.
pub const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How long a new one listens before it forwards instead of another. If that has just taken over from one that died,
/// and may be this one before it started again, it has sent by then what only it holds.
pub const LONG_LISTENING: Duration = Duration::from_secs(10);

/// How often a bridge that could forward says so.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How often one says that it is there which could not: before it is taken for dead.
pub const IDLE_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long nobody is answered after something has been said: whoever has been there for a moment has heard that.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Most other bridges that are known; of more, those with the highest ids are not.
pub const MAX_RIVALS: usize = 64;

/// What a bridge knows of the others. Time is passed in.
#[derive(Debug)]
pub struct Election {
    own: u32,
    /// When it began to listen.
    since: Instant,
    /// Other bridges that could forward, the lowest id first.
    rivals: Vec<Rival>,
    /// Since when it is connected with others beyond the network; `None` if it is not.
    connected_since: Option<Instant>,
    /// What it last said of itself, and when; `None` if nothing.
    said: Option<(bool, Instant)>,
    /// Since when it says that it could forward.
    able_since: Option<Instant>,
}

#[derive(Debug)]
struct Rival {
    id: u32,
    heard: Instant,
}

impl Election {
    /// Makes a bridge with this id that has heard of no others.
    pub fn new(own: u32, now: Instant) -> Self {
        Self { own, since: now, rivals: Vec::new(), connected_since: None, said: None, able_since: None }
    }

    /// Hears from another bridge whether it could forward.
    pub fn hear(&mut self, id: u32, is_able: bool, now: Instant) {
        self.rivals.retain(|rival| rival.id != id && now.saturating_duration_since(rival.heard) <= MAX_SILENCE);
        if is_able && id != self.own {
            let at = self.rivals.partition_point(|rival| rival.id < id);
            self.rivals.insert(at, Rival { id, heard: now });
            self.rivals.truncate(MAX_RIVALS);
        }
    }

    /// Returns whether this bridge could forward: it is connected with others beyond the network, and has listened to
    /// both for long enough.
    pub fn is_able(&mut self, is_connected: bool, now: Instant) -> bool {
        self.connected_since = self.connected_since.or(Some(now)).filter(|_| is_connected);
        let listens = if self.lowest(now).is_some() { LONG_LISTENING } else { MAX_SILENCE };
        let has_listened = |since: Instant, listens| now.saturating_duration_since(since) >= listens;
        has_listened(self.since, listens) && self.connected_since.is_some_and(|since| has_listened(since, MAX_SILENCE))
    }

    /// Returns whether this bridge forwards. Another one that does has [`KEEP_ALIVE`] to hear that it need not any
    /// more.
    pub fn forwards(&mut self, is_connected: bool, now: Instant) -> bool {
        let is_able = self.is_able(is_connected, now);
        let is_heard = || self.able_since.is_some_and(|since| now.saturating_duration_since(since) >= KEEP_ALIVE);
        is_able && self.lowest(now).is_none_or(|lowest| self.own < lowest && is_heard())
    }

    /// Returns the lowest id of the others that could forward.
    fn lowest(&self, now: Instant) -> Option<u32> {
        let is_alive = |rival: &&Rival| now.saturating_duration_since(rival.heard) <= MAX_SILENCE;
        self.rivals.iter().find(is_alive).map(|rival| rival.id)
    }

    /// Returns what is to be said now, if anything: whether this bridge could forward.
    pub fn next_keep_alive(&mut self, is_connected: bool, now: Instant) -> Option<bool> {
        let is_able = self.is_able(is_connected, now);
        let pause = if is_able { KEEP_ALIVE } else { IDLE_KEEP_ALIVE };
        let is_due = self.said.is_none_or(|(said, at)| said != is_able || now.saturating_duration_since(at) >= pause);
        if is_due {
            self.said = Some((is_able, now));
            self.able_since = if is_able { self.able_since.or(Some(now)) } else { None };
        }
        is_due.then_some(is_able)
    }

    /// Returns what is to be said at once to a bridge that is heard for the first time, so that it knows this one.
    pub fn answer(&mut self, now: Instant) -> Option<bool> {
        let (is_able, _) = self.said.filter(|(_, at)| now.saturating_duration_since(*at) >= MIN_PAUSE)?;
        self.said = Some((is_able, now));
        Some(is_able)
    }

    /// Returns whether this bridge has last said that it could forward.
    pub fn has_promised(&self) -> bool {
        self.said.is_some_and(|(is_able, _)| is_able)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::members::{Members, Told};
    use crate::tracker::Origin;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bridge_listens_for_five_seconds_and_then_forwards_while_it_is_connected() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        for (seconds, is_connected, expected) in
            [(0, true, false), (4, true, false), (5, true, true), (6, true, true), (7, false, false)]
        {
            let now = start + seconds * SECOND;
            assert_eq!(election.forwards(is_connected, now), expected, "{seconds}");
            assert_eq!(election.is_able(is_connected, now), expected);
        }
    }

    #[test]
    fn one_that_is_connected_again_listens_before_it_forwards() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        let able = (0..30_u32).map(|second| {
            let (is_connected, now) = (!(10..12).contains(&second) && second >= 2, start + second * SECOND);
            (election.forwards(is_connected, now), election.next_keep_alive(is_connected, now)).0
        });
        let expected = (0..30).map(|second| (7..10).contains(&second) || second >= 17);
        assert_eq!(able.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_lowest_id_forwards_until_it_is_silent_for_five_seconds_or_says_that_it_cannot() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        [0, 10].into_iter().for_each(|second| _ = election.next_keep_alive(true, start + second * SECOND));
        election.hear(9, true, start + 10 * SECOND);
        assert!(!election.forwards(true, start + 10 * SECOND), "the other has yet to hear that it need not");
        let now = start + 11 * SECOND;
        assert!(election.forwards(true, now), "its id is higher");
        election.hear(3, true, now);
        election.hear(5, true, now);
        assert!(!election.forwards(true, now) && election.is_able(true, now));
        election.hear(3, false, now);
        assert!(!election.forwards(true, now), "the next one does");
        assert!(!election.forwards(true, now + MAX_SILENCE));
        assert!(election.forwards(true, now + MAX_SILENCE + Duration::from_millis(1)));
        election.hear(5, true, now + 6 * SECOND);
        assert!(!election.forwards(true, now + 6 * SECOND));
        election.hear(7, true, now + 20 * SECOND);
        assert!(election.forwards(true, now + 20 * SECOND), "it is not its own rival");
    }

    #[test]
    fn it_says_each_second_that_it_could_and_at_once_when_that_changes() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        let mut said = Vec::new();
        for quarter in 0..80_u32 {
            let is_connected = !(31..41).contains(&quarter);
            let is_able = election.next_keep_alive(is_connected, start + quarter * SECOND / 4);
            said.extend(is_able.map(|is_able| (quarter, is_able)));
        }
        let expected = [
            (0, false),
            (20, true),
            (24, true),
            (28, true),
            (31, false),
            (51, false),
            (61, true),
            (65, true),
            (69, true),
            (73, true),
            (77, true),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn one_that_could_not_says_now_and_then_that_it_is_there() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        let said = (0..20_u32).filter(|second| election.next_keep_alive(false, start + *second * SECOND).is_some());
        assert_eq!(said.collect::<Vec<_>>(), [0, 5, 10, 15]);
    }

    #[test]
    fn one_that_listens_for_long_is_not_taken_for_dead() {
        let start = Instant::now();
        let (mut election, members) = (Election::new(7, start), Members::new(LONG_LISTENING * 6, start));
        for quarter in 0..40 {
            let now = start + quarter * SECOND / 4;
            election.hear(9, true, now);
            let said = election.next_keep_alive(true, now);
            assert_ne!(said, Some(true), "another one forwards");
            said.iter().for_each(|_| _ = members.hear(7, now));
            let origin = Origin::Transport { name: "other", member: 7 };
            assert_ne!(members.have_told(origin, now, now), Told::No, "{quarter}");
        }
    }

    #[test]
    fn a_newcomer_is_answered_at_once_unless_he_has_heard_it() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        assert_eq!(election.answer(start), None, "it has yet to say that it is there");
        election.next_keep_alive(true, start);
        assert_eq!(
            [start, start + MIN_PAUSE, start + MIN_PAUSE].map(|now| election.answer(now)),
            [None, Some(false), None]
        );
        let now = start + 10 * SECOND;
        election.next_keep_alive(true, now);
        assert_eq!(election.answer(now + MIN_PAUSE), Some(true));
        assert_eq!(election.next_keep_alive(true, now + SECOND), None, "the answer was one");
        assert!(election.has_promised() && !Election::new(7, start).has_promised());
    }

    #[test]
    fn no_more_are_known_than_have_room_and_the_lowest_are() {
        let now = Instant::now();
        let mut election = Election::new(500, now);
        (0..1000).rev().for_each(|id| election.hear(id, true, now));
        let known: Vec<_> = election.rivals.iter().map(|rival| rival.id).collect();
        assert_eq!(known, (0..MAX_RIVALS as u32).collect::<Vec<_>>());
        election.hear(1, true, now + MAX_SILENCE + SECOND);
        assert_eq!(election.rivals.len(), 1, "who fell silent is forgotten");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Bridges that are connected or not, or dead; all of them hear each keep-alive.
        #[test]
        fn in_the_end_one_forwards_if_any_can(
            steps in prop::collection::vec((0..5_usize, 0..3_u8, 0..40_u32), 1..40),
        ) {
            let mut now = Instant::now();
            // Whether it lives, whether it is connected.
            let mut bridges: Vec<_> = (0..5).map(|id| (Election::new(id, now), true, true)).collect();
            let mut live = |bridges: &mut Vec<(Election, bool, bool)>, quarters: u32| {
                for _ in 0..quarters {
                    now += SECOND / 4;
                    let said: Vec<_> = bridges
                        .iter_mut()
                        .filter(|(_, lives, _)| *lives)
                        .filter_map(|(election, _, is_connected)| {
                            Some((election.own, election.next_keep_alive(*is_connected, now)?))
                        })
                        .collect();
                    for (election, ..) in bridges.iter_mut().filter(|(_, lives, _)| *lives) {
                        for (id, able) in &said {
                            if *id != election.own {
                                election.hear(*id, *able, now);
                            }
                        }
                    }
                }
                now
            };
            for (bridge, change, quarters) in steps {
                let now = live(&mut bridges, quarters);
                let (election, lives, is_connected) = &mut bridges[bridge];
                match change {
                    0 => *is_connected = !*is_connected,
                    1 => *lives = false,
                    _ if *lives => {}
                    _ => (*election, *lives) = (Election::new(election.own, now), true),
                }
            }
            let now = live(&mut bridges, 45);
            let does = |(election, lives, is_connected): &mut (Election, bool, bool)| {
                (*lives && election.forwards(*is_connected, now)).then_some(election.own)
            };
            let forwards: Vec<_> = bridges.iter_mut().filter_map(does).collect();
            let able = bridges.iter().filter(|(_, lives, is_connected)| *lives && *is_connected);
            let lowest: Vec<_> = able.map(|(election, ..)| election.own).take(1).collect();
            prop_assert_eq!(forwards, lowest);
        }
    }
}
