//! The table of every key in every build, one row a key. A switch adds the rows of its own keys to their section, and
//! their fields to [`Settings`](super::settings::Settings).
//!
//! - `spec`: what a row says;
//! - `value_type`: the types of values;
//! - one file for each section.

mod access;
mod limits;
mod listen;
mod livesync;
mod spec;
mod sync;
mod sync_nats;
mod tracker;
mod value_type;

use super::error::Problem;

pub(crate) use spec::{DefaultValue, KeySpec, Reload, Section};
pub(crate) use value_type::{SeenFrom, ValueType};

/// Every section, in the order of the documents.
pub(crate) static SECTIONS: [&Section; 7] = [
    &listen::SECTION,
    &access::SECTION,
    &livesync::SECTION,
    &sync::SECTION,
    &sync_nats::SECTION,
    &tracker::SECTION,
    &limits::SECTION,
];

/// Keys of the original for which there is no switch yet.
const NOT_OFFERED: &[&str] = &["batchsync.cluster.admin_ip"];

/// Returns every row, in the order of the documents.
pub(crate) fn all() -> impl Iterator<Item = &'static KeySpec> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Returns the row of a key in either spelling.
pub(super) fn find(name: &str) -> Result<&'static KeySpec, Problem> {
    row(name).ok_or_else(|| {
        if NOT_OFFERED.contains(&name) { Problem::NotOffered } else { Problem::Unknown { nearest: nearest(name) } }
    })
}

/// Does what [`find`] does without the cost of a suggestion.
pub(super) fn row(name: &str) -> Option<&'static KeySpec> {
    all().find(|key| key.spellings().any(|spelling| spelling == name))
}

/// Returns whether keys begin with this name and a dot.
pub(super) fn is_section(name: &str) -> bool {
    let inside = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    all().flat_map(KeySpec::spellings).chain(NOT_OFFERED.iter().copied()).any(inside)
}

/// Returns the known key that was probably meant: a few letters away, or the same name in another section.
fn nearest(name: &str) -> Option<&'static str> {
    /// Longer names are no slips of the finger, and comparing costs the product of both lengths.
    const MAX_COMPARED: usize = 64;
    if name.len() > MAX_COMPARED || is_section(name) {
        return None;
    }
    let spellings = || all().flat_map(KeySpec::spellings);
    let close = spellings().map(|key| (distance(name, key), key)).min_by_key(|&(distance, _)| distance);
    match close {
        Some((distance, key)) if distance <= name.len() / 4 => Some(key),
        _ => spellings().filter(|key| last_part(key) == last_part(name)).min_by_key(|key| key.len()),
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// Returns how many bytes have to be inserted, removed or replaced to make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    // One row of the usual table: entry `n` is the distance to the first `n` bytes of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, byte) in from.bytes().enumerate() {
        let mut diagonal = done;
        let mut left = done + 1;
        for (entry, other) in row.iter_mut().zip(std::iter::once(None).chain(to.bytes().map(Some))) {
            let above = *entry;
            if let Some(other) = other {
                left = (diagonal + usize::from(byte != other)).min(above + 1).min(left + 1);
                diagonal = above;
            }
            *entry = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
