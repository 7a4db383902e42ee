//! The third stage: what the process does not need is out of its reach.

use std::path::Path;

use tracing::{info, warn};

use crate::sandbox::files::{Enforced, Reach};
use crate::sandbox::rights;

use super::error::StartError;
use super::jailed::Jailed;
use super::plug::Build;
use super::system_calls::SystemCallFilter as _;

/// A tracker whose process has one thread, which can do no more than what the tracker is for. All other threads begin
/// as it is.
pub struct Confined<B: Build>(pub(super) Jailed<B>);

impl<B: Build> Jailed<B> {
    /// Gives up what is left of rights, capabilities and ways to new ones, and puts all that no plug needs out of
    /// reach.
    ///
    /// # Errors
    ///
    /// Rights that cannot be given up. A system that lacks some means of confinement is no error: the log says so.
    pub fn confine(mut self) -> Result<Confined<B>, StartError> {
        rights::give_up_all().map_err(|error| StartError::Privileges { step: "capabilities", error })?;
        let is_jailed = self.sight.root.as_ref().is_some_and(|root| root != Path::new("/"));
        let bound = &mut self.bound;
        if bound.settings.tracker.landlock {
            let reach = bound.needs.reach(&mut bound.settings, is_jailed);
            enforce(&reach, if is_jailed { ", inside the root directory" } else { "" });
        }
        B::SystemCallFilter::enforce(bound.settings.tracker.seccomp, &bound.needs);
        Ok(Confined(self))
    }
}

/// Leaves the process nothing but these files and connections, as far as the system can, and logs what is left.
/// `seen_from` says from where their paths are seen.
fn enforce(reach: &Reach, seen_from: &str) {
    let without = match reach.enforce() {
        Ok(Enforced::Wholly) => "",
        Ok(Enforced::Partly) => ", as far as this kernel can",
        Ok(Enforced::Not) => return warn!("not confined by Landlock: this kernel does not have it"),
        Err(error) => return warn!("not confined by Landlock: {error}"),
    };
    if reach.is_everything() {
        warn!("a configured file is in /: Landlock permits every file of the system to be read");
    }
    let directories: Vec<_> = reach.directories().map(|directory| directory.display().to_string()).collect();
    let left = match &directories[..] {
        [] => "no file".into(),
        directories => format!("what is in {}{seen_from}", directories.join(", ")),
    };
    info!("confined by Landlock to {left}{without}");
}
