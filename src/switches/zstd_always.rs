//! `zstd-always` (`WANT_COMPRESSION_ZSTD_ALWAYS`): every full scrape is compressed with zstd, whatever the client says
//! of codings, and if it says nothing. Other codings of the build are not used.

use crate::config::Settings;
use crate::http::coding::{Coding, Codings};
use crate::server::{Plug, StartError, opens_nothing};

use super::zstd::{MAX_PAGES, Zstd};

/// The one content coding. A page that cannot be coded is not sent: the client is told to come again.
#[derive(Debug)]
pub struct ZstdAlways(Zstd);

impl Plug for ZstdAlways {
    opens_nothing!();

    fn plug((): (), _: &Settings) -> Result<Self, StartError> {
        // All pages may be cut off and others begun in the same moment.
        Ok(Self(Zstd::with_max_pages(2 * MAX_PAGES)))
    }
}

impl Codings for ZstdAlways {
    const NEGOTIATES: bool = false;
    const ALWAYS: Option<usize> = Some(MAX_PAGES);

    fn list<'a>(&'a self, list: &mut Vec<&'a dyn Coding>) {
        list.push(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_coding_and_all_pages_may_be_cut_off_while_others_begin() {
        let plug = ZstdAlways::plug((), &Settings::default()).unwrap();
        let mut list = Vec::new();
        plug.list(&mut list);
        let [coding] = list[..] else { panic!("{} codings", list.len()) };
        assert_eq!(coding.names().first(), Some(&"zstd"));
        let cut_off_and_begun = 2 * ZstdAlways::ALWAYS.unwrap();
        let pages: Vec<_> = (0..cut_off_and_begun).map(|_| coding.encoder().unwrap()).collect();
        assert!(coding.encoder().is_none(), "more than {} pages", pages.len());
    }
}
