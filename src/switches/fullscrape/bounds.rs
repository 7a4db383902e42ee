//! Where ranges of info hashes begin and end.

use std::cmp::Ordering;

use crate::tracker::InfoHash;

/// The greatest info hash.
pub(super) const LAST: InfoHash = InfoHash([u8::MAX; InfoHash::LEN]);

/// Between which info hashes a range lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The first one behind this; from the least one on if `None`.
    pub(super) after: Option<InfoHash>,
    /// The last one is this.
    pub(super) until: InfoHash,
    /// The prefixes of both: nearly all that is outside is found to be so with them alone.
    after_prefix: u64,
    until_prefix: u64,
}

impl Bounds {
    /// Returns the bounds behind `after`, up to and with `until`.
    pub(super) fn new(after: Option<InfoHash>, until: InfoHash) -> Self {
        let after_prefix = after.map_or(0, |after| prefix(&after));
        Self { after, until, after_prefix, until_prefix: prefix(&until) }
    }

    /// Returns whether the info hash lies behind. Those with the same first bytes as the end are missed, which does for
    /// an estimate.
    #[inline]
    pub(super) fn are_before(&self, info_hash: &InfoHash) -> bool {
        prefix(info_hash) > self.until_prefix
    }

    /// Returns whether the info hash lies between them.
    #[inline]
    pub(super) fn contain(&self, info_hash: &InfoHash) -> bool {
        let behind = prefix(info_hash).wrapping_sub(self.after_prefix);
        behind <= self.until_prefix.wrapping_sub(self.after_prefix)
            && !is_behind(info_hash, &self.until)
            && self.after.is_none_or(|after| is_behind(info_hash, &after))
    }
}

/// Returns whether one info hash is greater than another: at once, as nearly always the first bytes say so.
#[inline]
pub(super) fn is_behind(one: &InfoHash, other: &InfoHash) -> bool {
    match prefix(one).cmp(&prefix(other)) {
        Ordering::Equal => one > other,
        ordering => ordering.is_gt(),
    }
}

/// Returns the first eight bytes of an info hash, in the same order.
#[inline]
pub(super) fn prefix(info_hash: &InfoHash) -> u64 {
    info_hash.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Returns up to where about `wanted` torrents lie behind `after`, if about `left` lie behind it in all and their info
/// hashes are those of nobody's choice.
pub(super) fn estimated_end(after: Option<InfoHash>, wanted: usize, left: usize) -> InfoHash {
    let after = after.map_or(0, |after| prefix(&after));
    let share = (u64::MAX - after) / (left as u64).max(1);
    match share.checked_mul(wanted as u64).and_then(|width| after.checked_add(width)) {
        Some(end) if wanted < left && share > 0 => {
            let mut until = LAST;
            until.0.iter_mut().zip(end.to_be_bytes()).for_each(|(place, byte)| *place = byte);
            until
        }
        _ => LAST,
    }
}
