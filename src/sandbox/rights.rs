//! What the process may do that others may not, and what others may do with it.
//!
//! Capabilities belong to threads, and so does the ban on new privileges: to be called before any other thread starts.

use std::io;

use caps::CapSet;
use nix::sys::prctl;

/// Empties the bounding set: no program that the process becomes can get a capability, whatever its file says. Needs
/// the capability `CAP_SETPCAP`, as root has it.
///
/// # Errors
///
/// The system's.
pub fn empty_bounding_set() -> io::Result<()> {
    // What the kernel does not know is not in the set either.
    let is_in_it = |one: &caps::Capability| caps::has_cap(None, CapSet::Bounding, *one).unwrap_or(false);
    for capability in caps::all().into_iter().filter(is_in_it) {
        caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Gives up every capability that the process has or could take, whoever it was started as, and sees to it that no
/// program that it becomes has more rights than itself.
///
/// # Errors
///
/// The system's.
pub fn give_up_all() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    // An old kernel has no ambient set; with the others empty, nothing is left in it.
    let _ = caps::clear(None, CapSet::Ambient);
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Keeps others of the same user out of the memory of the process, and its memory out of core dumps. It holds for all
/// threads, whenever they start.
///
/// # Errors
///
/// The system's.
pub fn hide_memory() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
}
