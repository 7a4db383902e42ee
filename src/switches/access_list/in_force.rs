//! What decides: a list as it was read, unless a switch has it change afterwards.

use std::fmt::Debug;

use crate::config::Settings;
use crate::tracker::InfoHash;

use super::list::List;

/// What is in force: a list as it was read, or what has become of it since.
pub trait InForce: Debug + Default + Send + Sync + 'static {
    /// What has been said since the list was read.
    type Said: Debug + Send;

    /// Returns what stands for nothing said.
    fn nothing_said(settings: &Settings) -> Self::Said;

    /// Returns whether a torrent is on the list.
    fn contains(&self, info_hash: &InfoHash) -> bool;

    /// Returns how many torrents are on the list.
    fn len(&self) -> usize;

    /// A reading is asked for: its list will have what was said before, and may not have what is said from now on.
    fn ask_for_reading(_said: &mut Self::Said) {}

    /// The reading begins that was asked for.
    fn begin_reading(_said: &mut Self::Said) {}

    /// Returns what a list becomes that has been read.
    fn read(list: List, said: &mut Self::Said) -> Self;

    /// A reading has come to nothing, for this reason.
    fn refuse(_reason: &str, _said: &mut Self::Said) {}
}

impl InForce for List {
    type Said = ();

    fn nothing_said(_: &Settings) {}

    fn contains(&self, info_hash: &InfoHash) -> bool {
        self.contains(info_hash)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn read(list: List, (): &mut ()) -> Self {
        list
    }
}
