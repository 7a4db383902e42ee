//! What documents say of the configuration, from the rows of all keys; and `opentracker.conf.sample` itself.

use super::keys::{DefaultValue, KeySpec, Reload, SECTIONS, Section};

/// The longest line, in bytes.
const MAX_LINE: usize = 120;

const WHAT_IT_IS: &str =
    "opentracker's configuration, in TOML. It is read with `opentracker -f FILE`; add --check-config to only check it.";
/// How the sample is to be read, beside other documents.
const SETTINGS: &str = "Each setting stands behind a \"#\" with its default, or with an example where it has none.";
const FILES: &str = "The files of the original opentracker (\"keyword value\" lines) are understood too. A key that needs \
                     a feature which the build lacks stops the start, so that a tracker that was meant to be closed \
                     never runs open; `opentracker --help` names the features too.";
const RELOAD: &str = "The configuration is read at the start: a changed value takes a restart. SIGHUP reads again only the \
                      files of which it is said here.";

/// What documents say of the keys of one TOML table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionText {
    /// The name of the table, with dots.
    pub name: &'static str,
    /// What holds for all of its keys; may be empty.
    pub note: &'static str,
    /// In the order of the documents.
    pub keys: Vec<KeyText>,
}

/// What documents say of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyText {
    /// The whole name, with dots.
    pub name: &'static str,
    /// Whole sentences; none is empty.
    pub paragraphs: Vec<String>,
    /// A value other than the default, as TOML writes it.
    pub example: &'static str,
}

/// Returns what documents say in front of all keys, a paragraph each.
#[must_use]
pub fn introduction() -> [&'static str; 3] {
    [WHAT_IT_IS, FILES, RELOAD]
}

/// Returns what documents say of every key of every build.
#[must_use]
pub fn sections() -> Vec<SectionText> {
    let text = |key: &KeySpec| KeyText {
        name: key.name,
        paragraphs: paragraphs(key)
            .into_iter()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect(),
        example: key.example,
    };
    let section = |section: &&Section| SectionText {
        name: section.name,
        note: section.note,
        keys: section.keys.iter().map(text).collect(),
    };
    SECTIONS.iter().map(section).collect()
}

/// Returns the whole sample file: every key of every build, each with its default or an example.
#[must_use]
pub fn sample() -> String {
    let head = [WHAT_IT_IS, &format!("{SETTINGS} {FILES}"), RELOAD];
    let mut text = head.map(comment).join("#\n");
    for section in SECTIONS {
        text.push_str(&format!("\n[{}]\n", section.name));
        let keys = section.keys.iter().map(|key| entry(section.name, key));
        let note = (!section.note.is_empty()).then(|| comment(section.note));
        text.push_str(&note.into_iter().chain(keys).collect::<Vec<_>>().join("\n"));
    }
    text
}

/// Returns what is said of one key, and the key itself.
fn entry(section: &str, key: &KeySpec) -> String {
    let name = key.name.strip_prefix(section).map_or(key.name, |rest| rest.trim_start_matches('.'));
    let mut entry: String = paragraphs(key).iter().filter(|text| !text.is_empty()).map(|text| comment(text)).collect();
    let value = match key.default {
        DefaultValue::Value(value, _) => value,
        DefaultValue::Absent(_) if key.takes.is_list() && key.takes.empty_list().is_none() => {
            entry.push_str(&format!("# Example: {name} = {}\n", key.example));
            "[]"
        }
        DefaultValue::Absent(_) => key.example,
    };
    entry.push_str(&format!("#{name} = {value}\n"));
    entry
}

/// Returns all that a row says, in whole sentences: first what the key is for, then its value, then what else is to be
/// known. A paragraph may be empty.
fn paragraphs(key: &KeySpec) -> [String; 3] {
    let original = key.original.map(|name| format!("The original calls it {name}; both names are understood."));
    let needs = (!key.needs.is_empty()).then(|| format!("Needs the feature {}.", key.needs.join(" or ")));
    let reload = match key.reload {
        Reload::NotRead => None,
        Reload::ReadAgain => Some("SIGHUP reads the file again.".to_owned()),
    };
    [
        format!("{}. {}", key.summary, key.explanation),
        format!("{} Default: {}.", key.takes.sentence(), key.default.in_words()),
        [original, needs, reload].into_iter().flatten().collect::<Vec<_>>().join(" "),
    ]
}

/// Returns the text as lines of a comment, broken between words.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > MAX_LINE {
            lines.push_str(&line);
            lines.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}
