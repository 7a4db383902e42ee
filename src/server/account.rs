//! Whom a tracker becomes that root starts.

use nix::unistd::{Gid, Uid, User};

use super::error::StartError;

/// A user of this machine who is not root, and his group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What he is called: as `tracker.user` says.
    pub name: String,
    /// His id.
    pub uid: Uid,
    /// The id of his group.
    pub gid: Gid,
}

impl Account {
    /// Finds the user whom `tracker.user` names.
    ///
    /// # Errors
    ///
    /// There is no such user; he is root; the list of users cannot be read.
    pub(super) fn find(name: &str) -> Result<Self, StartError> {
        let user = User::from_name(name).map_err(StartError::system("look up tracker.user"))?;
        let user = user.ok_or_else(|| StartError::NoSuchUser(name.into()))?;
        if user.uid.is_root() {
            return Err(StartError::UserIsRoot(name.into()));
        }
        Ok(Self { name: name.into(), uid: user.uid, gid: user.gid })
    }
}
