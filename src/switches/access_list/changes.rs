//! The plug point for who changes a list between two readings.

use std::fmt::Debug;

use crate::config::Settings;
use crate::server::{Beginning, Plug, StartError, opens_nothing};
use crate::tracker::{Flavour, InfoHash};

use super::AccessList;
use super::list::List;

/// Changes a list between two readings of its file.
pub trait Changes: Plug {
    /// What is in force.
    type InForce: InForce;

    /// Called where other plugs are told to [begin](Plug::begin), with the list that is to be changed.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn begin_with<F: Flavour>(
        &self,
        _list: &AccessList<Self::InForce>,
        _beginning: &mut Beginning<'_, F>,
    ) -> Result<(), StartError> {
        Ok(())
    }
}

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

    /// A reading begins: its list has what was said before.
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

/// Stands where `accesslist-dynamic` is off: a list is what its file says.
#[derive(Debug, Default)]
pub struct Unchanged;

impl Plug for Unchanged {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        Ok(Self)
    }
}

impl Changes for Unchanged {
    type InForce = List;
}
