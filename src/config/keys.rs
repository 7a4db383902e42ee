//! The table of every key in every build, one row a key.

use std::num::NonZeroU16;

use super::build::BuildFacts;
use super::error::Problem;
use super::settings::Settings;
use super::value::{Given, Value, ValueError};

/// One row of the table.
pub(super) struct KeySpec {
    /// With dots.
    pub(super) name: &'static str,
    /// The original's spelling where it differs; both spellings are understood everywhere.
    pub(super) original: Option<&'static str>,
    /// Features of which any one brings the key; empty: every build has it.
    pub(super) needs: &'static [&'static str],
    /// A list: may be given again, and each value is added.
    pub(super) repeats: bool,
    /// What is right, for the middle of "takes ..., not".
    expects: &'static str,
    apply: fn(&mut Settings, Given<'_>) -> Result<(), ValueError>,
}

const ADDRESS: &str = "an address such as 0.0.0.0, 192.0.2.1:80 or [2001:db8::1]:80";
const INTERFACE: &str = "an IPv4 address of this machine, such as 192.0.2.1 or 192.0.2.1:9696";
const NETWORK: &str = "an address or a network, such as 192.0.2.1 or 192.0.2.0/24";
const FILE: &str = "the path of a file";
const DIRECTORY: &str = "the path of a directory";
const MINUTES: &str = "a whole number from 1 to 1440";
const WORKERS: &str = "a whole number from 0 to 1024";
const LIMIT: &str = "a whole number, 0 or more";
const USER: &str = "the name of a user";
const HEADER: &str = "the name of a header";
const URL: &str = "a URL in ASCII that starts with http:// or https://, without white space";
const STATS_PATH: &str = "a path without white space, ? or #, other than announce and scrape";

/// Every key. A switch adds the rows of its own keys, and their fields in [`Settings`].
pub(super) static KEYS: &[KeySpec] = &[
    many("listen.tcp_udp", ADDRESS, |s, v| {
        v.listen_address().map(|address| {
            s.listen.tcp.push(address);
            s.listen.udp.push(address);
        })
    }),
    many("listen.tcp", ADDRESS, |s, v| v.listen_address().map(|address| s.listen.tcp.push(address))),
    many("listen.udp", ADDRESS, |s, v| v.listen_address().map(|address| s.listen.udp.push(address))),
    one("listen.udp_workers", WORKERS, |s, v| v.number(0..=1024).map(|number| s.listen.udp_workers = number))
        .spelled("listen.udp.workers"),
    one("listen.tcp_workers", WORKERS, |s, v| v.number(0..=1024).map(|number| s.listen.tcp_workers = number)),
    one("listen.udp_connection_id_minutes", MINUTES, |s, v| {
        let minutes = NonZeroU16::new(v.number(1..=1440)?).ok_or(ValueError::Malformed)?;
        s.listen.udp_connection_id_minutes = minutes;
        Ok(())
    }),
    one("access.whitelist", FILE, |s, v| v.path().map(|path| s.access.whitelist = Some(path)))
        .needs(&["accesslist-white"]),
    one("access.blacklist", FILE, |s, v| v.path().map(|path| s.access.blacklist = Some(path)))
        .needs(&["accesslist-black"]),
    many("access.stats", NETWORK, |s, v| v.network().map(|network| s.access.stats.push(network)))
        .needs(&["restrict-stats"]),
    one("access.stats_path", STATS_PATH, |s, v| {
        v.text(is_stats_path).map(|path| s.access.stats_path = path.trim_matches('/').to_owned())
    }),
    many("access.proxy", NETWORK, |s, v| v.network().map(|network| s.access.proxy.push(network)))
        .needs(&["ip-from-proxy"]),
    one("access.proxy_header", HEADER, |s, v| v.text(is_header).map(|name| s.access.proxy_header = name.to_owned()))
        .needs(&["ip-from-proxy"]),
    one("livesync.cluster.listen", INTERFACE, |s, v| v.interface().map(|address| s.livesync.listen = Some(address)))
        .needs(&["sync-live"]),
    many("livesync.cluster.node_ip", NETWORK, |s, v| v.network().map(|network| s.livesync.node_ip.push(network)))
        .needs(&["sync-live"]),
    one("tracker.rootdir", DIRECTORY, |s, v| v.path().map(|path| s.tracker.rootdir = Some(path))),
    one("tracker.user", USER, |s, v| v.text(is_user).map(|name| s.tracker.user = name.to_owned())),
    one("tracker.redirect_url", URL, |s, v| v.text(is_url).map(|url| s.tracker.redirect_url = Some(url.to_owned()))),
    one("tracker.statefile", FILE, |s, v| v.path().map(|path| s.tracker.statefile = Some(path))).needs(&["fullscrape"]),
    one("limits.torrents", LIMIT, |s, v| v.number(0..=u64::MAX).map(|number| s.limits.torrents = number)),
    one("limits.peers", LIMIT, |s, v| v.number(0..=u64::MAX).map(|number| s.limits.peers = number)),
    one("limits.connections", LIMIT, |s, v| v.number(0..=u64::MAX).map(|number| s.limits.connections = number)),
];

/// Keys of the original for which there is no switch yet.
const NOT_OFFERED: &[&str] = &["access.fifo_add", "access.fifo_delete", "batchsync.cluster.admin_ip"];

/// The row of a key in either spelling.
pub(super) fn find(name: &str) -> Result<&'static KeySpec, Problem> {
    row(name).ok_or_else(|| {
        if NOT_OFFERED.contains(&name) { Problem::NotOffered } else { Problem::Unknown { nearest: nearest(name) } }
    })
}

/// [`find`] without the cost of a suggestion.
pub(super) fn row(name: &str) -> Option<&'static KeySpec> {
    KEYS.iter().find(|key| key.spellings().any(|spelling| spelling == name))
}

/// Whether keys begin with this name and a dot.
pub(super) fn is_section(name: &str) -> bool {
    let inside = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().flat_map(KeySpec::spellings).chain(NOT_OFFERED.iter().copied()).any(inside)
}

impl KeySpec {
    /// Puts one value into the settings, if this build has the key.
    pub(super) fn set(
        &self,
        settings: &mut Settings,
        value: &Value<'_>,
        build: &BuildFacts<'_>,
    ) -> Result<(), Problem> {
        build.require(self.needs)?;
        if matches!(value, Value::Nothing) {
            return Err(Problem::NoValue { expected: self.expects });
        }
        (self.apply)(settings, Given { value, build }).map_err(|error| match error {
            ValueError::Malformed => Problem::Unexpected { expected: self.expects, found: value.in_words() },
            ValueError::NotHere(problem) => problem,
        })
    }

    fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.name), self.original].into_iter().flatten()
    }

    const fn spelled(mut self, original: &'static str) -> Self {
        self.original = Some(original);
        self
    }

    const fn needs(mut self, features: &'static [&'static str]) -> Self {
        self.needs = features;
        self
    }
}

type Apply = fn(&mut Settings, Given<'_>) -> Result<(), ValueError>;

/// A row of a key with a single value, in every build.
const fn one(name: &'static str, expects: &'static str, apply: Apply) -> KeySpec {
    KeySpec { name, original: None, needs: &[], repeats: false, expects, apply }
}

/// A row of a key with a list of values, in every build.
const fn many(name: &'static str, expects: &'static str, apply: Apply) -> KeySpec {
    KeySpec { name, original: None, needs: &[], repeats: true, expects, apply }
}

/// What goes into the `Location` header: a line break in it would end the header.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// A path that a request can name, and that does not hide what the tracker is there for.
fn is_stats_path(text: &str) -> bool {
    let path = text.trim_matches('/');
    !matches!(path, "" | "announce" | "scrape")
        && !path.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#'))
}

/// A token of RFC 9110, section 5.6.2.
fn is_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_user(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// The known key that was probably meant: a few letters away, or the same name in another section.
fn nearest(name: &str) -> Option<&'static str> {
    /// Longer names are no slips of the finger, and comparing costs the product of both lengths.
    const MAX_COMPARED: usize = 64;
    if name.len() > MAX_COMPARED || is_section(name) {
        return None;
    }
    let spellings = || KEYS.iter().flat_map(KeySpec::spellings);
    let close = spellings().map(|key| (distance(name, key), key)).min_by_key(|&(distance, _)| distance);
    match close {
        Some((distance, key)) if distance <= name.len() / 4 => Some(key),
        _ => spellings().find(|key| last_part(key) == last_part(name)),
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// How many bytes have to be inserted, removed or replaced to make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    // One row of the usual table: entry `n` is the distance to the first `n` bytes of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, byte) in from.bytes().enumerate() {
        let mut diagonal = done;
        let mut left = done + 1;
        for (entry, other) in row.iter_mut().zip(std::iter::once(None).chain(to.bytes().map(Some))) {
            let above = *entry;
            if let Some(other) = other {
                left = (diagonal + usize::from(byte != other)).min(above + 1).min(left + 1);
                diagonal = above;
            }
            *entry = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
