//! `accesslist-black` (`WANT_ACCESSLIST_BLACK`): the torrents listed in `access.blacklist` are not served.

use tracing::warn;

use crate::config::Settings;
use crate::server::{Opening, Plug, StartError, Threads};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{Admission, InfoHash, RefusalTerms};

use super::access_list::AccessList;

const KEY: &str = "access.blacklist";

/// The torrents that are not served; none where no list is configured.
#[derive(Debug)]
pub struct Black(Option<AccessList>);

impl Admission for Black {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        !self.0.as_ref().is_some_and(|list| list.contains(info_hash))
    }

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        self.0.as_ref().map(AccessList::refusal_terms)
    }

    fn list(&self) -> Option<ListStatus> {
        self.0.as_ref().map(AccessList::status)
    }
}

impl Plug for Black {
    type Opened = ();

    fn open(opening: &mut Opening<'_>) -> Result<(), StartError> {
        if opening.settings.access.blacklist.is_some() {
            opening.needs.reads(KEY);
        }
        Ok(())
    }

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        let Some(path) = &settings.access.blacklist else {
            warn!("{KEY} is not configured: every torrent is served");
            return Ok(Self(None));
        };
        AccessList::open(KEY, path.clone(), settings).map(|list| Self(Some(list)))
    }

    fn reload(&self, threads: &mut Threads) {
        self.0.iter().for_each(|list| list.reload(threads));
    }
}
