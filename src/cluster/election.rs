//! Which of several bridges forwards: trackers of one network that are all on another transport as well.
//!
//! A bridge that could forward says so each second, and at once when that changes. Of those that could, the one with the
//! lowest id forwards. The others take it for dead after [`MAX_SILENCE`], and hold meanwhile what it should have forwarded.
//! In between two may forward, or none: changes that come twice change nothing, and those that are held come late.

use std::time::{Duration, Instant};

/// How long a bridge that has been heard is waited for, and how long a new one listens before it forwards.
pub const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How often a bridge that could forward says so.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);

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
    /// What it last said of itself, and when; `None` if nothing.
    said: Option<(bool, Instant)>,
}

#[derive(Debug)]
struct Rival {
    id: u32,
    heard: Instant,
}

impl Election {
    /// Makes a bridge with this id that has heard of no others.
    pub fn new(own: u32, now: Instant) -> Self {
        Self { own, since: now, rivals: Vec::new(), said: None }
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

    /// Returns whether this bridge could forward: it is connected with others beyond the network, and has listened for
    /// long enough.
    pub fn is_able(&self, is_connected: bool, now: Instant) -> bool {
        is_connected && now.saturating_duration_since(self.since) >= MAX_SILENCE
    }

    /// Returns whether this bridge forwards.
    pub fn forwards(&self, is_connected: bool, now: Instant) -> bool {
        let is_alive = |rival: &&Rival| now.saturating_duration_since(rival.heard) <= MAX_SILENCE;
        let lowest = self.rivals.iter().find(is_alive).map(|rival| rival.id);
        self.is_able(is_connected, now) && lowest.is_none_or(|lowest| self.own < lowest)
    }

    /// Returns what is to be said now, if anything: whether this bridge could forward. One that never could says nothing.
    pub fn next_keep_alive(&mut self, is_connected: bool, now: Instant) -> Option<bool> {
        let is_able = self.is_able(is_connected, now);
        let is_due = match self.said {
            None => is_able,
            Some((said, at)) => said != is_able || is_able && now.saturating_duration_since(at) >= KEEP_ALIVE,
        };
        if is_due {
            self.said = Some((is_able, now));
        }
        is_due.then_some(is_able)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bridge_listens_for_five_seconds_and_then_forwards_while_it_is_connected() {
        let start = Instant::now();
        let election = Election::new(7, start);
        for (seconds, is_connected, expected) in
            [(0, true, false), (4, true, false), (5, false, false), (5, true, true)]
        {
            let now = start + seconds * SECOND;
            assert_eq!(election.forwards(is_connected, now), expected, "{seconds}");
            assert_eq!(election.is_able(is_connected, now), expected);
        }
    }

    #[test]
    fn the_lowest_id_forwards_until_it_is_silent_for_five_seconds_or_says_that_it_cannot() {
        let start = Instant::now();
        let mut election = Election::new(7, start);
        let now = start + 10 * SECOND;
        election.hear(9, true, now);
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
        for quarter in 0..60_u32 {
            let is_connected = !(31..41).contains(&quarter);
            let is_able = election.next_keep_alive(is_connected, start + quarter * SECOND / 4);
            said.extend(is_able.map(|is_able| (quarter, is_able)));
        }
        let expected = [
            (20, true),
            (24, true),
            (28, true),
            (31, false),
            (41, true),
            (45, true),
            (49, true),
            (53, true),
            (57, true),
        ];
        assert_eq!(said, expected);
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
            let forwards = bridges.iter().filter(|(election, lives, connected)| *lives && election.forwards(*connected, now));
            let forwards: Vec<_> = forwards.map(|(election, ..)| election.own).collect();
            let able = bridges.iter().filter(|(_, lives, is_connected)| *lives && *is_connected);
            let lowest: Vec<_> = able.map(|(election, ..)| election.own).take(1).collect();
            prop_assert_eq!(forwards, lowest);
        }
    }
}
