//! The original's syntax: one keyword and its value a line.

use std::ffi::OsStr;

use super::value::{Entry, Value};

/// Returns whether a file is in this syntax: its first meaningful line is a keyword, white space and a value.
///
/// After a plain name TOML has only `=`, or a dot and later `=`, so no TOML file is taken for one of these; any other
/// value may contain `=`, as URLs do, or begin with a dot, as paths do.
pub(super) fn is_written_in(text: &str) -> bool {
    let first = meaningful_lines(text).next();
    first.and_then(|(_, line)| split(line)).is_some_and(|(keyword, value)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        keyword.split('.').all(|part| !part.is_empty() && part.chars().all(plain))
            && !value.starts_with('=')
            && !(value.starts_with('.') && value.contains('='))
    })
}

/// Returns the entries in the order of the file. Does not look whether their keys exist.
pub(super) fn entries(text: &str) -> Vec<Entry<'_>> {
    meaningful_lines(text)
        .map(|(number, line)| {
            let (keyword, value) = match split(line) {
                Some((keyword, value)) => (keyword, Value::Bare(OsStr::new(value))),
                None => (line, Value::Nothing),
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

/// Returns the keyword and the value of a line; `None` if there is no value.
fn split(line: &str) -> Option<(&str, &str)> {
    line.split_once(char::is_whitespace).map(|(keyword, value)| (keyword, value.trim_start()))
}
