//! `accesslist-white` (`WANT_ACCESSLIST_WHITE`): only the torrents listed in `access.whitelist` are served.

use crate::config::Settings;
use crate::server::{Opening, Plug, StartError, Threads};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{Admission, InfoHash};

use super::access_list::AccessList;

const KEY: &str = "access.whitelist";

/// The torrents that are served.
#[derive(Debug)]
pub struct White(AccessList);

impl Admission for White {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        self.0.contains(info_hash)
    }

    fn list(&self) -> Option<ListStatus> {
        Some(self.0.state())
    }
}

impl Plug for White {
    type Opened = ();

    fn open(_: &Opening<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        // The check of the settings has refused to go on without.
        let path = settings.access.whitelist.clone().unwrap_or_default();
        AccessList::open(KEY, path).map(Self)
    }

    fn reload(&self, threads: &mut Threads) {
        self.0.reload(threads);
    }
}
