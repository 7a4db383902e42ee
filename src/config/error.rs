//! What can be wrong with a configuration: where, which key, and the words for it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The longest piece of an operator's text that an error repeats, in characters.
const MAX_QUOTE: usize = 80;

/// A mistake in a file or on the command line. For the operator's eyes; its text is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}", subject(location, key.as_deref()))]
pub struct ConfigError {
    /// Where the mistake stands.
    pub location: Location,
    /// The key, as it was written; `None` where the mistake is about a whole file or an option's own value.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// Where a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A configuration file.
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from 1; `None` when the whole file is meant.
        line: Option<usize>,
    },
    /// An option of the command line, with its dashes.
    Option(String),
    /// The configuration as a whole.
    Whole,
}

/// What is wrong. Each text goes on from the name of the key, file or option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The key or option belongs to a switch that this build lacks.
    #[error("needs a build with the feature {}; this build has: {build}", needs.join(" or "))]
    NeedsFeature {
        /// Any of these brings it.
        needs: Vec<&'static str>,
        /// What the build has, in words.
        build: String,
    },
    /// An IPv6 address to listen on, in a build for IPv4.
    #[error(
        "names {address}, but an IPv6 address needs a build with the feature v6 or dual-stack; this build has: {build}"
    )]
    NeedsIpv6 {
        /// The address as it was understood.
        address: IpAddr,
        /// What the build has, in words.
        build: String,
    },
    /// An IPv4 address to listen on, in a build for IPv6.
    #[error("names {address}, but this build has the feature v6 and serves IPv6 only; dual-stack serves both")]
    NeedsIpv4 {
        /// The address as it was understood.
        address: IpAddr,
    },
    /// A key that no version knows.
    #[error("is not a key{}", nearest.map_or(String::new(), |key| format!("; did you mean {key}?")))]
    Unknown {
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key of the original that has no counterpart yet.
    #[error("is known to this build, which does not offer it yet")]
    NotOffered,
    /// The value is of the wrong type or form.
    #[error("takes {expected}, not {found}")]
    Unexpected {
        /// What would have been right.
        expected: Cow<'static, str>,
        /// What was there.
        found: String,
    },
    /// A keyword stands alone on its line.
    #[error("has no value; it takes {expected}")]
    NoValue {
        /// What would have been right.
        expected: Cow<'static, str>,
    },
    /// There are several values where one is taken.
    #[error("takes one value, not {found}: {expected}{more}")]
    Several {
        /// What would have been right.
        expected: Cow<'static, str>,
        /// What was there.
        found: String,
        /// How the key gets more than one.
        more: More,
    },
    /// A file of the original was to be converted.
    #[error("is written in TOML already")]
    TomlAlready,
    /// A line of TOML in a file of the original.
    #[error("is written as in TOML, but the first line makes this a file of \"keyword value\" lines")]
    NotClassic,
    /// A line of the original's syntax in a file of TOML.
    #[error("is written as \"keyword value\", but the first line makes this a file of TOML")]
    NotToml,
    /// One key has two values.
    #[error("is given twice, first on line {first}")]
    Twice {
        /// The line of the first, counted from 1.
        first: usize,
    },
    /// The number goes beyond what another setting or a switch allows.
    #[error("is {number}, but may be at most {max}: {reason}")]
    TooGreat {
        /// The number.
        number: u64,
        /// The greatest that is allowed.
        max: u64,
        /// Why.
        reason: &'static str,
    },
    /// One address is to be listened on twice.
    #[error("names {address} twice")]
    SameAddress {
        /// The address and port.
        address: SocketAddr,
    },
    /// A build that is useless or dangerous without this key.
    #[error("is missing: a build with the feature {feature} does not start without it")]
    Missing {
        /// The feature that asks for it.
        feature: &'static str,
    },
    /// A key that has no meaning without another one.
    #[error("does nothing without {other}: set both or neither")]
    Alone {
        /// The key that is missing.
        other: &'static str,
    },
    /// A user or a token stands where whoever sees the configuration sees it.
    #[error("names {server} with a user or a token: take that out, and see {instead}")]
    SecretInSight {
        /// The server, without it.
        server: String,
        /// Keys that name files for secrets.
        instead: &'static str,
    },
    /// Two keys that say different things of one matter.
    #[error("cannot stand beside {other}: set one of them")]
    Together {
        /// The other key.
        other: &'static str,
    },
    /// The file does not parse.
    #[error("is not TOML: {0}")]
    Syntax(String),
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is too long.
    #[error("is larger than {max} bytes")]
    TooLarge {
        /// The longest that is read.
        max: usize,
    },
    /// The file is not text.
    #[error("is not UTF-8")]
    NotUtf8,
}

/// How a key gets more than one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Not at all.
    Never,
    /// By the key, or the option, once more.
    Again,
    /// By a list.
    List,
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "",
            Self::Again => "; give it again for another one",
            Self::List => "; several are a list, in brackets",
        })
    }
}

/// A mistake in a file whose name is not at hand.
#[derive(Debug)]
pub(super) struct Fault {
    /// Counted from 1; `None` when the whole file is meant.
    pub(super) line: Option<usize>,
    pub(super) key: Option<String>,
    pub(super) problem: Problem,
}

impl Fault {
    /// Returns the fault of a file as a whole.
    pub(super) fn of_file(problem: Problem) -> Self {
        Self { line: None, key: None, problem }
    }

    /// Returns the error of the file at `path`, whose fault this is.
    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        let Self { line, key, problem } = self;
        ConfigError { location: Location::File { path: path.into(), line }, key, problem }
    }
}

impl ConfigError {
    /// Returns the error of a build with `feature` that cannot start because `key` has no value.
    pub fn missing(key: &str, feature: &'static str) -> Self {
        Self::of_key(key, Problem::Missing { feature })
    }

    /// Returns the error of `key` having a value where `other`, which gives it a meaning, has none.
    pub fn alone(key: &str, other: &'static str) -> Self {
        Self::of_key(key, Problem::Alone { other })
    }

    /// Returns the error of `key` naming a server with a user or a token, for which there are the keys `instead`.
    pub fn secret_in_sight(key: &str, server: String, instead: &'static str) -> Self {
        Self::of_key(key, Problem::SecretInSight { server, instead })
    }

    /// Returns the error of `key` having a value beside `other`, which says something else.
    pub fn together(key: &str, other: &'static str) -> Self {
        Self::of_key(key, Problem::Together { other })
    }

    /// Returns the error of a number for `key` that is greater than `max`, for this `reason`.
    pub fn too_great(key: &str, number: u64, max: u64, reason: &'static str) -> Self {
        Self::of_key(key, Problem::TooGreat { number, max, reason })
    }

    /// Returns the error of an option (`-u`), or of the key that the option sets.
    pub(crate) fn of_option(option: &str, key: Option<&str>, problem: Problem) -> Self {
        Self { location: Location::Option(option.to_owned()), key: key.map(str::to_owned), problem }
    }

    /// Returns the error of a key in the configuration as a whole.
    pub(super) fn of_key(key: &str, problem: Problem) -> Self {
        Self { location: Location::Whole, key: Some(key.to_owned()), problem }
    }
}

impl Problem {
    /// Returns the problem of a word of the command line that is not what was expected.
    pub(crate) fn unexpected(expected: &'static str, found: &OsStr) -> Self {
        Self::Unexpected { expected: expected.into(), found: quoted(&found.to_string_lossy()) }
    }
}

/// Returns an operator's text in quotes: one line, without control characters, of bounded length, and without what may
/// be a password.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// Leaves out what may be a password: what stands before an `@`, or in a URL behind a colon where a port should stand.
fn without_password(text: &str) -> Cow<'_, str> {
    let is_scheme = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let url = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
    if let Some((_, host)) = text.rsplit_once('@') {
        return url.map_or_else(|| format!("...@{host}"), |(scheme, _)| format!("{scheme}://...@{host}")).into();
    }
    let user = url.filter(|(_, rest)| !rest.starts_with('[')).and_then(|(scheme, rest)| {
        let (user, port) = rest.split_once(':')?;
        let is_port = port.trim_end_matches('/').bytes().all(|byte| byte.is_ascii_digit());
        (!is_port).then(|| format!("{scheme}://{user}:..."))
    });
    user.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Escapes and shortens an operator's text, and leaves out what may be a password. Quote marks are escaped too, as
/// quotes may stand around it.
fn shown(text: &str) -> String {
    let text = &*without_password(text);
    let end = text.char_indices().nth(MAX_QUOTE).map_or(text.len(), |(end, _)| end);
    let (head, tail) = text.split_at_checked(end).unwrap_or((text, ""));
    format!("{}{}", head.escape_debug(), if tail.is_empty() { "" } else { "..." })
}

/// Returns the beginning of an error's text, which says what the problem is about.
fn subject(location: &Location, key: Option<&str>) -> String {
    let key = key.map(shown);
    match (location, key) {
        (Location::File { path, line: Some(line) }, Some(key)) => format!("{}: {key} (line {line})", shown_path(path)),
        (Location::File { path, line: None }, Some(key)) => format!("{}: {key}", shown_path(path)),
        (Location::File { path, line: Some(line) }, None) => format!("{}: line {line}", shown_path(path)),
        (Location::File { path, line: None }, None) => shown_path(path),
        (Location::Option(option), Some(key)) => format!("{option}: {key}"),
        (Location::Option(option), None) => option.clone(),
        (Location::Whole, Some(key)) => key,
        (Location::Whole, None) => "the configuration".to_owned(),
    }
}

/// Escapes a path, but never shortens it: a shortened path is no use to the one who looks for the file.
fn shown_path(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
