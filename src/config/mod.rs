//! Configuration: a file, or one option of the command line, becomes [`Settings`]. No effects but reading the file.
//!
//! - `settings`: everything that can be chosen, as a plain value;
//! - `check`: what holds for the whole of it, and the defaults that depend on the build;
//! - `keys`: the table of every key; both syntaxes and the command line go through it;
//! - `value`: one value as it was written, and the readings that keys ask of it;
//! - `toml`, `classic`: the two syntaxes, each from text to entries;
//! - `steps`: the options of the command line, one after the other;
//! - `error`: what can be wrong, and the words for it.
//!
//! What a build can do is passed in as the names of its features: the grammar is the same in every build, and a key of
//! an absent switch is an error, because a tracker that was meant to be closed must never run open.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod check;
mod classic;
mod error;
mod keys;
mod settings;
mod steps;
mod toml;
mod value;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use error::{ConfigError, Origin, Problem};
pub use settings::{Access, DEFAULT_PORT, GeneralSettings, LIVESYNC_PORT, LimitSettings, Listen, Livesync, Settings};

pub(crate) use steps::{Step, Steps};

use error::Fault;
use value::{Entry, Value};

/// The largest configuration file, in bytes.
///
/// An operator who names a device or a log by mistake gets an error, not a process without memory.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// Reads a configuration file in either syntax into `settings`; `features` are the build's.
///
/// Lists grow and single values are replaced, so that files and options given later override earlier ones.
///
/// # Errors
///
/// The first mistake, with its line; `settings` is then unchanged.
pub fn apply_file(settings: &mut Settings, path: &Path, features: &[&str]) -> Result<(), ConfigError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::of_file(Problem::Unreadable(error.to_string())).in_file(path))?;
    apply_bytes(settings, path, &bytes, features)
}

/// [`apply_file`] for a file that was read already; `path` serves error messages only.
///
/// # Errors
///
/// The first mistake, with its line; `settings` is then unchanged.
pub fn apply_bytes(settings: &mut Settings, path: &Path, bytes: &[u8], features: &[&str]) -> Result<(), ConfigError> {
    let mut changed = settings.clone();
    read(bytes)
        .and_then(|entries| entries.iter().try_for_each(|entry| apply(&mut changed, entry, features)))
        .map_err(|fault| fault.in_file(path))?;
    *settings = changed;
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Fault> {
    if bytes.len() > MAX_FILE_SIZE {
        return Err(Fault::of_file(Problem::TooLarge));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.iter().take(error.valid_up_to());
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        Fault { line: Some(line), key: None, problem: Problem::NotUtf8 }
    })?;
    // Some editors begin a file with this mark; neither syntax knows it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if classic::is_written_in(text) { Ok(classic::entries(text)) } else { toml::entries(text) }
}

/// A problem inside a list is told with the line of its item.
fn apply(settings: &mut Settings, entry: &Entry<'_>, features: &[&str]) -> Result<(), Fault> {
    let at = |line| move |problem| Fault { line: Some(line), key: Some(entry.key.clone()), problem };
    let key = keys::find(&entry.key).map_err(at(entry.line))?;
    match &entry.value {
        Value::List(items) if key.repeats => {
            key.require(features).map_err(at(entry.line))?;
            items.iter().try_for_each(|item| key.set(settings, &item.value, features).map_err(at(item.line)))
        }
        value => key.set(settings, value, features).map_err(at(entry.line)),
    }
}
