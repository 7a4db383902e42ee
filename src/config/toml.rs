//! The native syntax: TOML to entries, each with its line.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::classic;
use super::error::{Fault, Problem};
use super::keys;
use super::value::{Entry, Item, Value};

/// Returns the entries in the order of the file. Does not look whether their keys exist.
pub(super) fn entries(text: &str) -> Result<Vec<Entry<'_>>, Fault> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| lines.line(span.start));
        let classic = line.and_then(|line| text.lines().nth(line - 1)).and_then(classic_key);
        let (key, problem) = match classic {
            Some((key, problem)) => (Some(key.to_owned()), problem),
            None => (None, Problem::Syntax(error.message().replace('\n', "; "))),
        };
        Fault { line, key, problem }
    })?;
    let mut entries = Vec::new();
    flatten(table.into_inner(), "", &lines, &mut entries);
    // The table is sorted by name.
    entries.sort_by_key(|&(offset, _)| offset);
    let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
    refuse_second_spelling(&entries)?;
    Ok(entries)
}

/// Returns the key of a line that is in the original's syntax, and what is wrong with that.
fn classic_key(line: &str) -> Option<(&str, Problem)> {
    let key = classic::keyword(line)?;
    let row = keys::row(key)?;
    let (_, value) = classic::split(line.trim());
    let lacks_value = value.is_empty().then(|| Problem::NoValue { expected: row.takes.expects() });
    Some((key, lacks_value.unwrap_or(Problem::NotToml)))
}

/// Adds the table's values, with their offset in the file, to `found`. The parser bounds how deep tables nest.
fn flatten<'a>(table: DeTable<'a>, section: &str, lines: &Lines, found: &mut Vec<(usize, Entry<'a>)>) {
    for (name, value) in table {
        let offset = name.span().start;
        let name = name.into_inner();
        let key = if section.is_empty() { name.into_owned() } else { format!("{section}.{name}") };
        match value.into_inner() {
            DeValue::Table(inner) if !inner.is_empty() || keys::is_section(&key) => {
                flatten(inner, &key, lines, found);
            }
            value => {
                let value = read(value, lines);
                found.push((offset, Entry { key, line: lines.line(offset), value }));
            }
        }
    }
}

fn read<'a>(value: DeValue<'a>, lines: &Lines) -> Value<'a> {
    match value {
        DeValue::String(text) => Value::Text(text),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that large"), Value::Integer),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| read_item(item, lines)).collect()),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

fn read_item<'a>(item: Spanned<DeValue<'a>>, lines: &Lines) -> Item<'a> {
    Item { line: lines.line(item.span().start), value: read(item.into_inner(), lines) }
}

/// Refuses a key that is given under both of its names. TOML itself refuses only a name that is given twice.
fn refuse_second_spelling(entries: &[Entry<'_>]) -> Result<(), Fault> {
    let mut seen = BTreeMap::new();
    for entry in entries {
        let Some(row) = keys::row(&entry.key) else { continue };
        if let Some(first) = seen.insert(row.name, entry.line) {
            let (line, key) = (Some(entry.line), Some(entry.key.clone()));
            return Err(Fault { line, key, problem: Problem::Twice { first } });
        }
    }
    Ok(())
}

/// Turns offsets in a text into lines.
struct Lines {
    /// The offset at which each line but the first begins.
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        Self { starts: text.match_indices('\n').map(|(offset, _)| offset + 1).collect() }
    }

    /// Returns the line of an offset, counted from 1.
    fn line(&self, offset: usize) -> usize {
        1 + self.starts.partition_point(|&start| start <= offset)
    }
}
