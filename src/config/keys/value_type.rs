//! The types of values: what is right, in words and in code, and where it goes in [`Settings`].

use std::borrow::Cow;
use std::net::SocketAddr;
use std::num::TryFromIntError;
use std::path::PathBuf;

use ipnet::IpNet;

use super::super::settings::{DEFAULT_PORT, LIVESYNC_PORT, Settings};
use super::super::value::{ValueError, ValueReader};

/// The type of a key's value, with the field of the settings that it fills.
pub(crate) enum ValueType {
    /// A list of addresses to listen on, each of a family that the build serves.
    ListenAddresses(fn(&mut Settings, SocketAddr)),
    /// An address of the interface that live sync uses.
    Interface(fn(&mut Settings) -> &mut Option<SocketAddr>),
    /// A list of networks.
    Networks(fn(&mut Settings) -> &mut Vec<IpNet>),
    /// A path. Of those that are seen from inside the root directory only such a key can read one, so that none can be
    /// forgotten where they are rewritten.
    Path { kind: PathKind, seen: SeenFrom, field: fn(&mut Settings) -> &mut Option<PathBuf> },
    /// A whole number within bounds, both included. The maximum [`u64::MAX`] stands for none.
    Number { min: u64, max: u64, set: fn(&mut Settings, u64) -> Result<(), TryFromIntError> },
    /// Such a number, or a word, for which `set` gets `None`.
    NumberOrWord {
        min: u64,
        max: u64,
        word: &'static str,
        set: fn(&mut Settings, Option<u64>) -> Result<(), TryFromIntError>,
    },
    /// One of these words.
    Word(&'static [Choice]),
    /// True or false.
    Flag(fn(&mut Settings) -> &mut bool),
    /// The same, or a word, for which `set` gets `None`.
    FlagOrWord { word: &'static str, set: fn(&mut Settings, Option<bool>) },
    /// True or false, or the path of a Unix socket from the system's root, as it is seen where the process is started.
    FlagOrSocket { flag: fn(&mut Settings, bool), socket: fn(&mut Settings, PathBuf) },
    /// A list of texts for each of which `accepts` returns true; `expects` says in words which texts those are. Where
    /// an empty list means something else than none, `none` is what it does.
    Texts {
        expects: &'static str,
        accepts: fn(&str) -> bool,
        add: fn(&mut Settings, &str),
        none: Option<fn(&mut Settings)>,
    },
    /// A text for which `accepts` returns true; `expects` says in words which texts those are.
    Text { expects: &'static str, accepts: fn(&str) -> bool, set: fn(&mut Settings, &str) },
}

/// A word that a key takes, and what it sets.
pub(crate) type Choice = (&'static str, fn(&mut Settings));

/// What a path leads to.
#[derive(Clone, Copy)]
pub(crate) enum PathKind {
    File,
    Directory,
    /// A Unix socket.
    Socket,
    /// A pipe with a name.
    Fifo,
}

/// From where a path is seen when it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenFrom {
    /// From inside the root directory, as the process has been jailed by then. The server rewrites a path that was
    /// written as it is seen from outside.
    InsideRoot,
    /// From outside, where the process is started: never rewritten.
    OutsideRoot,
}

impl ValueType {
    /// Returns whether the key is a list: it may be given again, and each value is added.
    pub(crate) const fn is_list(&self) -> bool {
        matches!(self, Self::ListenAddresses(_) | Self::Networks(_) | Self::Texts { .. })
    }

    /// Returns what an empty list does, if it means something else than none.
    pub(crate) const fn empty_list(&self) -> Option<fn(&mut Settings)> {
        if let Self::Texts { none, .. } = self { *none } else { None }
    }

    /// Returns what is right for one value, for the middle of "takes ..., not".
    pub(crate) fn expects(&self) -> Cow<'static, str> {
        match *self {
            Self::ListenAddresses(_) => "an address such as 0.0.0.0, 192.0.2.1:80 or [2001:db8::1]:80".into(),
            Self::Interface(_) => "an IPv4 address of this machine, such as 192.0.2.1 or 192.0.2.1:9696".into(),
            Self::Networks(_) => "an address or a network, such as 192.0.2.1 or 192.0.2.0/24".into(),
            Self::Path { kind: PathKind::File, .. } => "the path of a file".into(),
            Self::Path { kind: PathKind::Directory, .. } => "the path of a directory".into(),
            Self::Path { kind: PathKind::Socket, .. } => "the path of a Unix socket".into(),
            Self::Path { kind: PathKind::Fifo, .. } => "the path of a FIFO".into(),
            Self::Number { min, max: u64::MAX, .. } => format!("a whole number, {min} or more").into(),
            Self::Number { min, max, .. } => format!("a whole number from {min} to {max}").into(),
            Self::NumberOrWord { min, max, word, .. } => {
                format!("a whole number from {min} to {max}, or \"{word}\"").into()
            }
            Self::Word(words) => {
                let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                quoted.join(" or ").into()
            }
            Self::Flag(_) => "true or false".into(),
            Self::FlagOrWord { word, .. } => format!("true, false or \"{word}\"").into(),
            Self::FlagOrSocket { .. } => "true, false or the path of a Unix socket that begins with /".into(),
            Self::Text { expects, .. } | Self::Texts { expects, .. } => expects.into(),
        }
    }

    /// Returns what is right for the whole key, as a sentence for documents.
    pub(crate) fn sentence(&self) -> String {
        let expects = self.expects();
        let port = match self {
            Self::ListenAddresses(_) => Some(DEFAULT_PORT),
            Self::Interface(_) => Some(LIVESYNC_PORT),
            _ => None,
        };
        let port = port.map_or_else(String::new, |port| format!(" (port {port} if omitted)"));
        let inside = match self {
            Self::Path { seen: SeenFrom::InsideRoot, .. } => ", as seen from inside tracker.rootdir where that is set",
            _ => "",
        };
        let list = if self.is_list() { "a list; each item is " } else { "" };
        format!("Takes {list}{expects}{inside}{port}.")
    }

    /// Reads a value and puts it where it belongs.
    pub(super) fn put(&self, settings: &mut Settings, reader: ValueReader<'_>) -> Result<(), ValueError> {
        match *self {
            Self::ListenAddresses(add) => add(settings, reader.listen_address()?),
            Self::Interface(field) => *field(settings) = Some(reader.interface()?),
            Self::Networks(field) => field(settings).push(reader.network()?),
            Self::Path { field, .. } => *field(settings) = Some(reader.path()?),
            Self::Number { min, max, set } => {
                set(settings, reader.number(min..=max)?).map_err(|_| ValueError::Malformed)?;
            }
            Self::NumberOrWord { min, max, word, set } => {
                let number =
                    if reader.word().is_ok_and(|found| found == word) { None } else { Some(reader.number(min..=max)?) };
                set(settings, number).map_err(|_| ValueError::Malformed)?;
            }
            Self::Word(words) => {
                let word = reader.word()?;
                let (_, set) = words.iter().find(|(one, _)| *one == word).ok_or(ValueError::Malformed)?;
                set(settings);
            }
            Self::Flag(field) => *field(settings) = reader.flag()?,
            Self::FlagOrWord { word, set } => {
                let is_word = reader.word().is_ok_and(|found| found == word);
                set(settings, if is_word { None } else { Some(reader.flag()?) });
            }
            Self::FlagOrSocket { flag, socket } => match reader.flag() {
                Ok(value) => flag(settings, value),
                // Any word is a path, and so is a mistyped one, unless it has to begin somewhere.
                Err(_) => socket(
                    settings,
                    Some(reader.path()?).filter(|path| path.is_absolute()).ok_or(ValueError::Malformed)?,
                ),
            },
            Self::Text { accepts, set, .. } => set(settings, reader.text(accepts)?),
            Self::Texts { accepts, add, .. } => {
                let word = reader.word()?;
                add(settings, Some(word).filter(|word| accepts(word)).ok_or(ValueError::Malformed)?);
            }
        }
        Ok(())
    }
}
