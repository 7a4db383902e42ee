//! The original's syntax: one keyword and its value a line.

use std::ffi::OsStr;

use super::value::{Entry, Value};

/// Returns whether a file is in this syntax: its first meaningful line is.
pub(super) fn is_written_in(text: &str) -> bool {
    meaningful_lines(text).next().is_some_and(|(_, line)| keyword(line).is_some())
}

/// Returns the keyword of a line in this syntax: a keyword, and perhaps white space and a value.
///
/// After a plain name TOML has only `=`, or a dot and later `=`, so no line of TOML is taken for one of these; any
/// other value may contain `=`, as URLs do, or begin with a dot, as paths do.
pub(super) fn keyword(line: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let (keyword, value) = split(line.trim());
    let is_keyword = keyword.split('.').all(|part| !part.is_empty() && part.chars().all(plain));
    let is_toml = value.starts_with('=') || (value.starts_with('.') && value.contains('='));
    (is_keyword && !is_toml).then_some(keyword)
}

/// Returns the entries in the order of the file. Does not look whether their keys exist.
pub(super) fn entries(text: &str) -> Vec<Entry<'_>> {
    meaningful_lines(text)
        .map(|(number, line)| {
            let (keyword, value) = split(line);
            let value = match value {
                _ if keyword.starts_with('[') || value.starts_with('=') => Value::Toml,
                "" => Value::Nothing,
                value => Value::Bare(OsStr::new(value)),
            };
            Entry { key: keyword.to_owned(), line: number, value }
        })
        .collect()
}

/// Returns the lines that are neither blank nor a comment, trimmed, with their numbers.
fn meaningful_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Returns the keyword and the value of a line; the value is empty if there is none, or a comment in its place.
pub(super) fn split(line: &str) -> (&str, &str) {
    let (keyword, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let value = value.trim_start();
    (keyword, if value.starts_with('#') { "" } else { value })
}
