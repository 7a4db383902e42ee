//! One value as it was written, and the readings that keys ask of it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::build::BuildFacts;
use super::error::{Problem, quoted};
use super::settings::{DEFAULT_PORT, LIVESYNC_PORT};

/// A key and its value, as one of the two syntaxes wrote them.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// With dots, as it was written.
    pub(super) key: String,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value<'a>,
}

/// A value as it was written.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// A word of the command line or of the original's format: without a type of its own, and perhaps not Unicode.
    Bare(&'a OsStr),
    /// A TOML string.
    Text(Cow<'a, str>),
    /// A TOML integer.
    Integer(i128),
    /// A TOML boolean.
    Flag(bool),
    /// A TOML array.
    List(Vec<Item<'a>>),
    /// What no key takes, in words.
    Other(&'static str),
    /// A keyword of the original's format with nothing behind it.
    Nothing,
    /// What TOML has behind a key or in place of one, in a file of the original.
    Toml,
}

/// One item of a list.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value<'a>,
}

/// Why a key does not take a value.
#[derive(Debug)]
pub(super) enum ValueError {
    /// It is not what the key takes.
    Malformed,
    /// It is, but not in this build.
    NotInThisBuild(Problem),
}

/// Reads a value as what a key takes, in the build that is configured. A value of another type or form is
/// [`ValueError::Malformed`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueReader<'a> {
    pub(super) value: &'a Value<'a>,
    pub(super) build: &'a BuildFacts<'a>,
}

impl Value<'_> {
    /// Returns the words for the end of "takes ..., not".
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Bare(word) => quoted(&word.to_string_lossy()),
            Self::Text(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(what) => (*what).to_owned(),
            Self::Nothing => "nothing".to_owned(),
            Self::Toml => "TOML".to_owned(),
        }
    }
}

impl<'a> Value<'a> {
    /// Returns the first of several words; `None` if there are not several, or it is no text.
    pub(super) fn first_of_several(&'a self) -> Option<Value<'a>> {
        let text = match self {
            Self::Bare(word) => without_comment(word.to_str()?),
            Self::Text(text) => text,
            _ => return None,
        };
        let between = |c: char| matches!(c, ' ' | '\t' | ',' | ';');
        let mut words = text.split(between).filter(|word| !word.is_empty());
        let first = words.next()?;
        words.next().map(|_| Value::Bare(OsStr::new(first)))
    }
}

impl ValueReader<'_> {
    /// Reads an address to listen on, of a family that the build serves.
    pub(super) fn listen_address(&self) -> Result<SocketAddr, ValueError> {
        let address = socket_address(self.word()?, DEFAULT_PORT).ok_or(ValueError::Malformed)?;
        self.build.require_family(address.ip()).map_err(ValueError::NotInThisBuild)?;
        Ok(address)
    }

    /// Reads an address of the interface for live sync. Its multicast group is an IPv4 one in every build.
    pub(super) fn interface(&self) -> Result<SocketAddr, ValueError> {
        socket_address(self.word()?, LIVESYNC_PORT).filter(SocketAddr::is_ipv4).ok_or(ValueError::Malformed)
    }

    /// Reads an address or a network.
    pub(super) fn network(&self) -> Result<IpNet, ValueError> {
        network(self.word()?).ok_or(ValueError::Malformed)
    }

    /// Reads a path, which need not be Unicode on the command line.
    pub(super) fn path(&self) -> Result<PathBuf, ValueError> {
        let path = match self.value {
            Value::Bare(word) => *word,
            Value::Text(text) => OsStr::new(text.as_ref()),
            _ => return Err(ValueError::Malformed),
        };
        // The operating system ends a path at its first NUL.
        if path.is_empty() || path.as_encoded_bytes().contains(&0) {
            return Err(ValueError::Malformed);
        }
        Ok(path.into())
    }

    /// Reads a text for which `accepts` returns true.
    pub(super) fn text(&self, accepts: fn(&str) -> bool) -> Result<&str, ValueError> {
        let text = match self.value {
            Value::Bare(word) => word.to_str(),
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        };
        text.filter(|text| accepts(text)).ok_or(ValueError::Malformed)
    }

    /// Reads a whole number within `range`.
    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Result<u64, ValueError> {
        let number = match self.value {
            Value::Bare(_) => digits(self.word()?),
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or(ValueError::Malformed)
    }

    /// Reads true or false.
    pub(super) fn flag(&self) -> Result<bool, ValueError> {
        match self.value {
            Value::Bare(_) => self.word()?.parse().map_err(|_| ValueError::Malformed),
            Value::Flag(flag) => Ok(*flag),
            _ => Err(ValueError::Malformed),
        }
    }

    /// Reads a text that cannot contain `#`. The original reads such a value to its end and ignores what follows, so
    /// files in the wild have comments there.
    pub(super) fn word(&self) -> Result<&str, ValueError> {
        match self.value {
            Value::Bare(word) => word.to_str().map(without_comment).ok_or(ValueError::Malformed),
            Value::Text(text) => Ok(text),
            _ => Err(ValueError::Malformed),
        }
    }
}

/// Reads an address without a port; IPv6 may stand in brackets, and IPv4-mapped IPv6 is IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match inner {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => text.parse().ok()?,
    };
    Some(ip.to_canonical())
}

/// Reads a port; 0 stands for any free one.
pub(super) fn port(text: &str) -> Option<u16> {
    digits(text)?.try_into().ok()
}

/// Reads an address and perhaps a port. An IPv6 address without brackets has no port: `::1:6969` is an address as a
/// whole.
fn socket_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Some(ip) = address(text) {
        return Some(SocketAddr::new(ip, default_port));
    }
    let (ip, port_text) = text.rsplit_once(':')?;
    if !ip.starts_with('[') && ip.contains(':') {
        return None;
    }
    Some(SocketAddr::new(address(ip)?, port(port_text)?))
}

/// Reads a network. Bits behind the mask are dropped: operators write their own address and the mask of its network.
fn network(text: &str) -> Option<IpNet> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip.parse::<IpAddr>().ok()?, Some(u8::try_from(digits(bits)?).ok()?)),
        None => (address(text)?, None),
    };
    let network = match ip {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::new(ip, bits.unwrap_or(32)).ok()?),
        IpAddr::V6(ip) => unmapped(ip, bits.unwrap_or(128))?,
    };
    Some(network.trunc())
}

/// Returns the network; one inside `::ffff:0:0/96` is one of IPv4 addresses.
fn unmapped(ip: Ipv6Addr, bits: u8) -> Option<IpNet> {
    let mapped: Option<Ipv4Addr> = ip.to_ipv4_mapped();
    match (mapped, bits.checked_sub(96)) {
        (Some(ip), Some(bits)) => Ipv4Net::new(ip, bits).ok().map(IpNet::V4),
        _ => Ipv6Net::new(ip, bits).ok().map(IpNet::V6),
    }
}

/// Reads a number of digits only: the standard library's parser takes a plus sign too.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Drops a `#` after white space and all that follows it.
pub(super) fn without_comment(text: &str) -> &str {
    match text.split_once('#') {
        Some((before, _)) if before.ends_with(char::is_whitespace) => before.trim_end(),
        _ => text,
    }
}
