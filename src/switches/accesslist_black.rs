//! `accesslist-black` (`WANT_ACCESSLIST_BLACK`): the torrents listed in `access.blacklist` are not served.

use std::time::Instant;

use tracing::warn;

use crate::config::{ConfigError, Settings};
use crate::server::{Beginning, Opening, Plug, StartError, Threads};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{Admission, Flavour, InfoHash, RefusalTerms};

use super::access_list::AccessList;
use super::list_changes::Changes;

const KEY: &str = "access.blacklist";

/// The torrents that are not served, and who changes them; none where no list is configured.
#[derive(Debug)]
pub struct Black<C: Changes> {
    list: Option<AccessList<C::InForce>>,
    changes: C,
}

impl<C: Changes> Admission for Black<C> {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        !self.list.as_ref().is_some_and(|list| list.contains(info_hash))
    }

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        self.list.as_ref().map(|list| list.refusal_terms())
    }

    fn list(&self) -> Option<ListStatus> {
        self.list.as_ref().map(|list| list.status())
    }
}

impl<C: Changes> Plug for Black<C> {
    type Opened = C::Opened;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        C::check(settings)
    }

    fn open(opening: &mut Opening<'_>) -> Result<C::Opened, StartError> {
        if opening.settings.access.blacklist.is_some() {
            opening.needs.reads(KEY);
        }
        C::open(opening)
    }

    fn plug(opened: C::Opened, settings: &Settings) -> Result<Self, StartError> {
        let path = settings.access.blacklist.clone();
        if path.is_none() {
            warn!("{KEY} is not configured: every torrent is served");
        }
        let list = path.map(|path| AccessList::open(KEY, path, settings)).transpose()?;
        Ok(Self { list, changes: C::plug(opened, settings)? })
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        self.list.as_ref().map_or(Ok(()), |list| self.changes.begin_with(list, beginning))
    }

    fn reload(&self, threads: &mut Threads) {
        self.list.iter().for_each(|list| list.reload(threads));
    }

    fn pause(&self) {
        self.changes.pause();
    }

    fn resume(&self) {
        self.changes.resume();
    }

    fn finish(&self, deadline: Instant) {
        self.changes.finish(deadline);
    }
}
