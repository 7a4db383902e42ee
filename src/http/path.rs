//! The path of a target, compared where it stands.

use super::query::{BadEscape, percent_decoded, position};

/// A path, still percent-encoded (RFC 3986, section 2.1). Slashes around it do not matter: clients send several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a>(pub(super) &'a [u8]);

impl Path<'_> {
    /// Returns whether this is the path `name`, given without slashes around it.
    pub(super) fn is(self, name: &str) -> bool {
        if position(self.0, b'%').is_none() {
            let slashes = self.0.iter().take_while(|byte| **byte == b'/').count();
            let rest = self.0.get(slashes..).and_then(|path| path.strip_prefix(name.as_bytes()));
            return rest.is_some_and(|rest| rest.iter().all(|byte| *byte == b'/'));
        }
        let mut path = self.decoded();
        name.bytes().all(|byte| path.next() == Some(Ok(byte))) && path.all(|byte| byte == Ok(b'/'))
    }

    /// Returns whether the path begins with `start`, given without slashes before it. One with a bad escape anywhere is
    /// no path, and begins with nothing.
    pub(super) fn begins_with(self, start: &str) -> bool {
        let mut path = self.decoded();
        start.bytes().all(|byte| path.next() == Some(Ok(byte))) && path.all(|byte| byte.is_ok())
    }

    /// Decodes the path byte by byte, without the slashes before it. Ends after the first bad escape.
    fn decoded(self) -> impl Iterator<Item = Result<u8, BadEscape>> {
        percent_decoded(self.0).skip_while(|byte| *byte == Ok(b'/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_and_slashes_around_it_do_not_matter() {
        let is = |path: &str, name| Path(path.as_bytes()).is(name);
        for path in ["/announce", "//announce", "///announce/", "/%61nnounce", "/%2Fannounc%65%2f", "announce"] {
            assert!(is(path, "announce"), "{path}");
        }
        for path in [
            "/",
            "/announc",
            "/announced",
            "/a/announce",
            "/Announce",
            "/announce%zz",
            "/announce%20",
            "/announce+",
            "/%",
        ] {
            assert!(!is(path, "announce"), "{path}");
        }
        assert!(is("/a%2Fb/", "a/b") && !is("/a%2Fb/", "") && is("//", "") && is("", ""));
        assert!(is("/a+b", "a+b") && is("/a+%62", "a+b") && !is("/a+b", "a b"), "there a plus is a plus");
    }

    #[test]
    fn a_path_begins_with_its_first_letters_behind_the_slashes() {
        let begins = |path: &str, start| Path(path.as_bytes()).begins_with(start);
        for path in ["/sc", "//scrape", "/scrape.php", "/sc/x", "/%73crape", "/%2Fs%63", "sc%ff", "/sc+"] {
            assert!(begins(path, "sc") && begins(path, "s") && begins(path, "") && !begins(path, "scrapes"), "{path}");
        }
        for path in ["/", "/s", "/S", "/Sc", "/xsc", "/s/c", "/sc%", "/sc/%zz", "/%zzsc", "/+sc", "/ sc"] {
            assert!(!begins(path, "sc"), "{path}");
        }
        assert!(begins("", "") && !begins("", "a") && !begins("/%", ""));
    }
}
