//! `accesslist-white` (`WANT_ACCESSLIST_WHITE`): only the torrents listed in `access.whitelist` are served.

use std::time::Instant;

use crate::config::{ConfigError, Settings};
use crate::server::{Beginning, Opening, Plug, StartError, Threads};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{Admission, Flavour, InfoHash, RefusalTerms};

use super::access_list::AccessList;
use super::list_changes::Changes;

const KEY: &str = "access.whitelist";

/// The torrents that are served, and who changes them.
#[derive(Debug)]
pub struct White<C: Changes> {
    list: AccessList<C::InForce>,
    changes: C,
}

impl<C: Changes> Admission for White<C> {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        self.list.contains(info_hash)
    }

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        Some(self.list.refusal_terms())
    }

    fn list(&self) -> Option<ListStatus> {
        Some(self.list.status())
    }
}

impl<C: Changes> Plug for White<C> {
    type Opened = C::Opened;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        // Without a list nothing would be served, or everything.
        if settings.access.whitelist.is_none() {
            return Err(ConfigError::missing(KEY, "accesslist-white"));
        }
        C::check(settings)
    }

    fn open(opening: &mut Opening<'_>) -> Result<C::Opened, StartError> {
        opening.needs.reads(KEY);
        C::open(opening)
    }

    fn plug(opened: C::Opened, settings: &Settings) -> Result<Self, StartError> {
        // `check` has refused to go on without.
        let path = settings.access.whitelist.clone().unwrap_or_default();
        Ok(Self { list: AccessList::open(KEY, path, settings)?, changes: C::plug(opened, settings)? })
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        self.changes.begin_with(&self.list, beginning)
    }

    fn reload(&self, threads: &mut Threads) {
        self.list.reload(threads);
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

#[cfg(test)]
mod tests {
    use super::super::list_changes::Unchanged;
    use super::*;

    type White = super::White<Unchanged>;

    #[test]
    fn it_does_not_start_without_a_list() {
        let mut settings = Settings::default();
        assert_eq!(
            White::check(&settings).unwrap_err().to_string(),
            "access.whitelist is missing: a build with the feature accesslist-white does not start without it"
        );
        settings.access.whitelist = Some("list".into());
        assert_eq!(White::check(&settings), Ok(()));
    }
}
