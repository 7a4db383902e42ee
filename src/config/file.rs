//! From a configuration file, in either syntax, to settings.

use std::path::Path;
use std::time::Duration;

use crate::input::{self, InputError};

use super::build::BuildFacts;
use super::error::{ConfigError, Fault, Problem};
use super::keys::KeySpec;
use super::settings::Settings;
use super::value::{Entry, Value};
use super::{classic, keys, toml};

/// The largest configuration file, in bytes.
///
/// An operator who names a device or a log by mistake gets an error, not a process without memory.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// How long a pipe may take to give all of its configuration: who makes it may have to ask for a password.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Reads a configuration file into `settings`.
///
/// It may come through a pipe, such as `/dev/stdin`, which is waited for no longer than 30 seconds.
///
/// Lists grow and single values are replaced, so that files and options given later override earlier ones.
///
/// # Errors
///
/// The first mistake, with its line; `settings` is then unchanged.
pub fn apply_file(settings: &mut Settings, path: &Path, build: &BuildFacts<'_>) -> Result<(), ConfigError> {
    let bytes = read_file(path).map_err(|fault| fault.in_file(path))?;
    apply_bytes(settings, path, &bytes, build)
}

/// Does what [`apply_file`] does with a file that was read already; `path` serves error messages only.
///
/// # Errors
///
/// The first mistake, with its line; `settings` is then unchanged.
pub fn apply_bytes(
    settings: &mut Settings,
    path: &Path,
    bytes: &[u8],
    build: &BuildFacts<'_>,
) -> Result<(), ConfigError> {
    let mut changed = settings.clone();
    entries(bytes)
        .and_then(|entries| entries.iter().try_for_each(|entry| apply(&mut changed, entry, build)))
        .map_err(|fault| fault.in_file(path))?;
    *settings = changed;
    Ok(())
}

/// Reads the bytes of a file. A pipe is waited for.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: InputError| Fault::of_file(Problem::Unreadable(error.to_string()));
    input::read_whole(path, MAX_FILE_SIZE, MAX_WAIT).map_err(unreadable)
}

/// Reads the entries of a file, in whichever syntax it is written.
fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Fault> {
    let text = text(bytes)?;
    if classic::is_written_in(text) { Ok(classic::entries(text)) } else { toml::entries(text) }
}

/// Returns the text of a file, in whichever syntax it is written.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > MAX_FILE_SIZE {
        return Err(Fault::of_file(Problem::TooLarge { max: MAX_FILE_SIZE }));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.iter().take(error.valid_up_to());
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        Fault { line: Some(line), key: None, problem: Problem::NotUtf8 }
    })?;
    // Some editors begin a file with this mark; neither syntax knows it.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Returns the row of an entry's key.
pub(super) fn key_of(entry: &Entry<'_>) -> Result<&'static KeySpec, Problem> {
    if matches!(entry.value, Value::Toml) { Err(Problem::NotClassic) } else { keys::find(&entry.key) }
}

/// Puts one entry into the settings. A problem inside a list is told with the line of its item.
fn apply(settings: &mut Settings, entry: &Entry<'_>, build: &BuildFacts<'_>) -> Result<(), Fault> {
    let at = |line| move |problem| Fault { line: Some(line), key: Some(entry.key.clone()), problem };
    let key = key_of(entry).map_err(at(entry.line))?;
    match &entry.value {
        Value::List(items) if key.takes.is_list() => {
            build.require(key.needs).map_err(at(entry.line))?;
            if let Some(set) = key.takes.empty_list().filter(|_| items.is_empty()) {
                set(settings);
            }
            items.iter().try_for_each(|item| key.set(settings, &item.value, build).map_err(at(item.line)))
        }
        value => key.set(settings, value, build).map_err(at(entry.line)),
    }
}
