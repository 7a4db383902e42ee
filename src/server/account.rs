//! Whom a tracker becomes that root starts.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};

use crate::config::user_ids;

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
    /// Finds the user whom `tracker.user` names: by his name, or by his id and that of a group, `UID[:GID]`, which need
    /// be in no list. Without `GID` the group is the user's own, or that of the same number if no list has the user.
    ///
    /// # Errors
    ///
    /// There is no such user; he is root; the list of users cannot be read.
    pub(super) fn find(name: &str) -> Result<Self, StartError> {
        let (uid, gid) = match user_ids(name) {
            Some((uid, gid)) => {
                let uid = Uid::from_raw(uid);
                let own = || User::from_uid(uid).ok().flatten().map_or(Gid::from_raw(uid.as_raw()), |user| user.gid);
                (uid, gid.map_or_else(own, Gid::from_raw))
            }
            None => match User::from_name(name) {
                Ok(Some(user)) => (user.uid, user.gid),
                // The list itself is not there, as in a container that holds one program.
                Ok(None) | Err(Errno::ENOENT) => return Err(StartError::NoSuchUser(name.into())),
                Err(error) => return Err(StartError::system("look up tracker.user")(error)),
            },
        };
        if uid.is_root() { Err(StartError::UserIsRoot(name.into())) } else { Ok(Self { name: name.into(), uid, gid }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(name: &str) -> Result<(u32, u32), String> {
        let account = Account::find(name).map_err(|error| error.to_string())?;
        assert_eq!(account.name, name);
        Ok((account.uid.as_raw(), account.gid.as_raw()))
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        assert_eq!(ids("nobody"), Ok((uid, gid)));
        assert_eq!(ids(&uid.to_string()), Ok((uid, gid)), "his own group");
        assert_eq!(ids(&format!("{uid}:7")), Ok((uid, 7)));
    }

    #[test]
    fn whoever_is_in_no_list_has_the_group_of_his_number() {
        let unknown = (3_000_000..).find(|id| matches!(User::from_uid(Uid::from_raw(*id)), Ok(None))).unwrap();
        assert_eq!(ids(&unknown.to_string()), Ok((unknown, unknown)));
        assert_eq!(ids(&format!("{unknown}:8")), Ok((unknown, 8)));
    }

    #[test]
    fn root_is_refused_however_he_is_named() {
        for name in ["root", "0", "0:0", "0:7", "00"] {
            assert_eq!(ids(name).unwrap_err(), StartError::UserIsRoot(name.into()).to_string());
        }
        assert!(ids("nobody-at-all").unwrap_err().contains("there is no user `nobody-at-all`"));
    }
}
