//! A list that changes, in memory.
//!
//! What is in force is a list in order and the few torrents that have changed since it was made, the *flips*: those
//! that are on one of the two and not on the other. A look-up asks both, and the second is small enough to stay in the
//! processor's caches; mostly it is empty, and not asked at all. When there are many flips, or the first of them came a
//! while ago, they are folded: both become a new list, by one walk along the two.
//!
//! Whoever changes it also keeps in what the list differs from its file, so that it is known when that is too much.

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Settings;
use crate::tracker::InfoHash;

use super::super::access_list::in_force::InForce;
use super::super::access_list::list::{List, with_room_for};

/// So many flips need not be folded while more are coming: they take 80 KiB.
const FEW: usize = 4096;

/// Nor may more than so many wait for more, as each change copies them: 1.3 MB. Only a reading can leave more for a
/// moment.
const MANY: usize = 65_536;

/// Returns how many flips of a list of this length need not be folded while more are coming. To fold them takes a walk
/// along the list, and a change one along the flips: with the root of the length both stay small.
fn need_no_folding(len: usize) -> usize {
    (16 * len.isqrt()).clamp(FEW, MANY)
}

/// A list, and what has changed since it was made.
#[derive(Debug, Default)]
pub struct Changed {
    list: Arc<List>,
    /// Torrents that are either on `list` or on the list in force.
    flips: List,
    /// How many torrents are on the list in force.
    len: usize,
}

/// What has been said since the file was read, and how readings have gone.
#[derive(Debug)]
pub struct Said {
    /// In how many torrents the list in force may differ from the file's.
    max: usize,
    /// In which torrents [`Changed::list`] differs from the file's.
    folded: List,
    /// In how many torrents the list in force differs from the file's.
    difference: usize,
    /// What has been said since a reading was asked for that has not ended. Of what was said before, the file is
    /// assumed to have it.
    meanwhile: Option<HashMap<InfoHash, Note>>,
    /// Whether one more has been asked for.
    is_asked_again: bool,
    /// Whether it has been complained, since the file was read, of what was too much.
    has_complained: bool,
    counts: Counts,
    readings: watch::Sender<Readings>,
}

/// What was said last of a torrent.
#[derive(Debug, Clone, Copy)]
struct Note {
    is_to_be_listed: bool,
    /// Whether that was after the last reading had been asked for.
    is_newest: bool,
}

/// What has come of what was said since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Torrents that were put on the list.
    pub added: u64,
    /// Torrents that were taken off it.
    pub deleted: u64,
    /// Torrents for whose change there was no room.
    pub refused: u64,
}

/// Readings of the file, numbered from 1.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// The number of the last that has begun.
    pub begun: u64,
    /// The number of the last that has ended.
    pub ended: u64,
    /// What has come of it: so many torrents, or the reason why there is no list.
    pub outcome: Option<Result<usize, String>>,
}

/// What has come of some changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Torrents that are on the list now and were not, or the other way round.
    pub changed: usize,
    /// Torrents for whose change there was no room.
    pub refused: usize,
    /// Whether this has to be complained of.
    pub is_first_refusal: bool,
}

/// A change: whether the torrent is to be on the list.
pub(super) type Change = (InfoHash, bool);

impl Changed {
    fn new(list: Arc<List>, flips: List) -> Self {
        let gone = flips.hashes.iter().filter(|hash| list.contains(hash)).count();
        Self { len: list.len() - gone + (flips.len() - gone), list, flips }
    }

    /// Returns what some changes make of it, if they change anything.
    pub fn change(&self, said: &mut Said, changes: impl Iterator<Item = Change>) -> (Option<Self>, Outcome) {
        let (mut toggled, mut len) = (BTreeSet::new(), self.len);
        let mut outcome = Outcome::default();
        for (info_hash, is_to_be_listed) in changes {
            // What is so already has to be noted as well: the file that is being read may not have it.
            if !said.has_room_to_note(&info_hash) {
                outcome.refused += 1;
                continue;
            }
            let is_toggled = toggled.contains(&info_hash);
            if (self.contains(&info_hash) != is_toggled) == is_to_be_listed {
                said.note(info_hash, is_to_be_listed);
                continue;
            }
            let is_flipped = self.flips.contains(&info_hash) != is_toggled;
            if said.folded.contains(&info_hash) != is_flipped {
                said.difference -= 1;
            } else if said.difference < said.max {
                said.difference += 1;
            } else {
                // What was noted of it before still holds.
                outcome.refused += 1;
                continue;
            }
            said.note(info_hash, is_to_be_listed);
            outcome.changed += 1;
            if is_to_be_listed {
                (len, said.counts.added) = (len + 1, said.counts.added + 1);
            } else {
                (len, said.counts.deleted) = (len - 1, said.counts.deleted + 1);
            }
            if is_toggled {
                toggled.remove(&info_hash);
            } else {
                toggled.insert(info_hash);
            }
        }
        said.counts.refused += outcome.refused as u64;
        if outcome.refused > 0 {
            outcome.is_first_refusal = !mem::replace(&mut said.has_complained, true);
        }
        if toggled.is_empty() {
            return (None, outcome);
        }
        let flips = flipped(&self.flips.hashes, &toggled.into_iter().collect::<Vec<_>>());
        let changed = Self { list: Arc::clone(&self.list), flips, len };
        let is_much = changed.flips.len() > need_no_folding(changed.list.len());
        let folded = if is_much { changed.fold(said) } else { None };
        (Some(folded.unwrap_or(changed)), outcome)
    }

    /// Returns the same without flips, if it has any.
    pub fn fold(&self, said: &mut Said) -> Option<Self> {
        if self.flips.hashes.is_empty() {
            return None;
        }
        said.folded = flipped(&said.folded.hashes, &self.flips.hashes);
        let list = flipped(&self.list.hashes, &self.flips.hashes);
        Some(Self { len: list.len(), list: Arc::new(list), flips: List::default() })
    }
}

/// Returns the list of those that are in one of two lists and not in the other. Where one is short, this is little more
/// than to copy the other.
fn flipped(one: &[InfoHash], other: &[InfoHash]) -> List {
    let most = one.len() + other.len();
    // Few are made anew for each change, and are not worth a mapping.
    let room = if most <= 2 * MANY { Ok(Vec::with_capacity(most)) } else { with_room_for(most) };
    let mut either = room.unwrap_or_default();
    let (mut rest, short) = if one.len() < other.len() { (other, one) } else { (one, other) };
    for hash in short {
        let (before, from) = rest.split_at_checked(rest.partition_point(|one| one < hash)).unwrap_or((rest, &[]));
        either.extend_from_slice(before);
        rest = match from.split_first() {
            Some((same, behind)) if same == hash => behind,
            _ => {
                either.push(*hash);
                from
            }
        };
    }
    either.extend_from_slice(rest);
    // There are fewer than 32 bits can number: so many hashes would take 80 GB, and more than one such list is held.
    List::from_sorted(either).unwrap_or_default()
}

impl Said {
    /// Returns whether there is room for what is said while a reading is under way: when that ends, the list in force
    /// may differ from the file in all that was noted.
    fn has_room_to_note(&self, info_hash: &InfoHash) -> bool {
        self.meanwhile.as_ref().is_none_or(|noted| noted.len() < self.max || noted.contains_key(info_hash))
    }

    /// Notes what is said while a reading is under way.
    fn note(&mut self, info_hash: InfoHash, is_to_be_listed: bool) {
        let note = Note { is_to_be_listed, is_newest: true };
        self.meanwhile.iter_mut().for_each(|noted| _ = noted.insert(info_hash, note));
    }

    /// Returns in how many torrents the list in force differs from the file's.
    pub fn difference(&self) -> usize {
        self.difference
    }

    /// Returns in how many torrents it may differ.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Returns what has come of what was said.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns what hears of readings that begin and end.
    pub fn readings(&self) -> watch::Receiver<Readings> {
        self.readings.subscribe()
    }

    /// Ends a reading. Returns what was noted since it was asked for, and keeps that of which the next one is to know.
    fn end_reading(&mut self, outcome: Result<usize, String>) -> HashMap<InfoHash, Note> {
        let noted = self.meanwhile.take().unwrap_or_default();
        if mem::take(&mut self.is_asked_again) {
            let newest = noted.iter().filter(|(_, note)| note.is_newest);
            self.meanwhile = Some(newest.map(|(info_hash, note)| (*info_hash, *note)).collect());
        }
        self.readings.send_modify(|readings| {
            readings.ended = readings.begun;
            readings.outcome = Some(outcome);
        });
        noted
    }
}

impl InForce for Changed {
    type Said = Said;

    fn nothing_said(settings: &Settings) -> Said {
        Said {
            max: settings.access.dynamic_max as usize,
            folded: List::default(),
            difference: 0,
            meanwhile: None,
            is_asked_again: false,
            has_complained: false,
            counts: Counts::default(),
            readings: watch::Sender::new(Readings::default()),
        }
    }

    fn contains(&self, info_hash: &InfoHash) -> bool {
        let is_listed = self.list.contains(info_hash);
        if self.flips.hashes.is_empty() { is_listed } else { is_listed != self.flips.contains(info_hash) }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn ask_for_reading(said: &mut Said) {
        if let Some(noted) = &mut said.meanwhile {
            noted.values_mut().for_each(|note| note.is_newest = false);
            said.is_asked_again = true;
        } else {
            said.meanwhile = Some(HashMap::new());
        }
    }

    fn begin_reading(said: &mut Said) {
        said.readings.send_modify(|readings| readings.begun += 1);
    }

    fn read(list: List, said: &mut Said) -> Self {
        let noted = said.end_reading(Ok(list.len()));
        let differs = |(info_hash, note): (InfoHash, Note)| {
            (list.contains(&info_hash) != note.is_to_be_listed).then_some(info_hash)
        };
        let flips = List::new(noted.into_iter().filter_map(differs).collect()).unwrap_or_default();
        (said.folded, said.difference, said.has_complained) = (List::default(), flips.len(), false);
        Self::new(Arc::new(list), flips)
    }

    fn refuse(reason: &str, said: &mut Said) {
        said.end_reading(Err(reason.into()));
    }
}

#[cfg(test)]
mod tests;
