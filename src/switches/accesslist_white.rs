//! `accesslist-white` (`WANT_ACCESSLIST_WHITE`): only the torrents listed in `access.whitelist` are served.

use crate::config::{ConfigError, Settings};
use crate::server::{Opening, Plug, StartError, Threads};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{Admission, InfoHash, RefusalTerms};

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

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        Some(self.0.refusal_terms())
    }

    fn list(&self) -> Option<ListStatus> {
        Some(self.0.status())
    }
}

impl Plug for White {
    type Opened = ();

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        // Without a list nothing would be served, or everything.
        settings.access.whitelist.as_ref().map(drop).ok_or_else(|| ConfigError::missing(KEY, "accesslist-white"))
    }

    fn open(opening: &mut Opening<'_>) -> Result<(), StartError> {
        opening.needs.reads(KEY);
        Ok(())
    }

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        // `check` has refused to go on without.
        let path = settings.access.whitelist.clone().unwrap_or_default();
        AccessList::open(KEY, path, settings).map(Self)
    }

    fn reload(&self, threads: &mut Threads) {
        self.0.reload(threads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
