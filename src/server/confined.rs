//! The third stage: what the process does not need is out of its reach.

use crate::sandbox::rights;

use super::error::StartError;
use super::jailed::Jailed;
use super::plug::Build;

/// A tracker whose process has one thread, which can do no more than what the tracker is for. All other threads begin as
/// it is.
pub struct Confined<B: Build>(pub(super) Jailed<B>);

impl<B: Build> Jailed<B> {
    /// Gives up what is left of rights: capabilities, and ways to new ones.
    ///
    /// # Errors
    ///
    /// Rights that cannot be given up.
    pub fn confine(self) -> Result<Confined<B>, StartError> {
        rights::give_up_all().map_err(|error| StartError::Privileges { step: "capabilities", error })?;
        Ok(Confined(self))
    }
}
