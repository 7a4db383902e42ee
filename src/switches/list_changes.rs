//! The plug point for who changes a list between two readings.

use crate::config::Settings;
use crate::server::{Beginning, Plug, StartError, opens_nothing};
use crate::tracker::Flavour;

use super::access_list::AccessList;
use super::access_list::in_force::InForce;
use super::access_list::list::List;

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

/// Stands where `accesslist-dynamic` is off: a list is what its file says.
#[derive(Debug, Default)]
#[allow(dead_code, unreachable_pub, reason = "a build that has the switch has no use for its twin")]
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
