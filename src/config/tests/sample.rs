//! The sample file: in step with the rows of the keys, harmless as it is, and right about the defaults.

use std::fs;
use std::path::Path;

use super::super::keys::{DefaultValue, SECTIONS};
use super::super::{DEFAULT_PORT, LIVESYNC_PORT, apply_file, sample};
use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/opentracker.conf.sample");

/// The settings in the sample: each key with its line, which has nothing between the `#` and the name.
fn lines(text: &str) -> Vec<(String, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap();
        } else if let Some(setting) = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')) {
            let (name, _) = setting.split_once(" = ").unwrap();
            found.push((format!("{section}.{name}"), setting));
        }
    }
    found
}

/// What the sample says of a key, in one line.
fn said_of(text: &str, setting: &str) -> String {
    let here = |block: &&str| block.lines().any(|line| line.strip_prefix('#') == Some(setting));
    text.split("\n\n").find(here).unwrap().replace("\n# ", " ")
}

#[test]
fn the_file_is_what_the_rows_say() {
    let found = fs::read_to_string(PATH).unwrap();
    assert!(found == sample(), "opentracker.conf.sample is not what the rows of the keys say: run ci/documents/run");
}

#[test]
fn it_changes_nothing_in_any_build() {
    for features in builds() {
        let mut settings = Settings::default();
        let build = BuildFacts::with_features(&features);
        assert_eq!(apply_file(&mut settings, Path::new(PATH), &build), Ok(()));
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.check(&build), Ok(()));
    }
}

#[test]
fn it_has_every_key_once_with_its_default_or_an_example() {
    let text = sample();
    let lines = lines(&text);
    assert!(lines.iter().map(|(name, _)| name.as_str()).eq(keys::all().map(|key| key.name)));
    for ((name, line), key) in lines.iter().zip(keys::all()) {
        let uncommented = text.replacen(&format!("#{line}\n"), &format!("{line}\n"), 1);
        assert_ne!(uncommented, text);
        let settings = read(&uncommented, ALL).unwrap();
        let has_empty_list = key.takes.is_list() && key.takes.empty_list().is_none();
        let is_example = matches!(key.default, DefaultValue::Absent(_)) && !has_empty_list;
        assert_eq!(settings != Settings::default(), is_example, "{name}");
    }
}

#[test]
fn it_says_of_each_key_what_its_row_says() {
    let text = sample();
    for ((name, line), key) in lines(&text).iter().zip(keys::all()) {
        let said = said_of(&text, line);
        for words in [key.summary, key.explanation, &*key.takes.expects(), &key.default.in_words()] {
            assert!(said.contains(words), "{name}: {words}");
        }
        let needs = format!("Needs the feature {}.", key.needs.join(" or "));
        assert_eq!(key.needs.is_empty(), !said.contains(&needs), "{name}");
        assert_eq!(key.needs.is_empty(), !said.contains("Needs the feature"), "{name}");
        assert!(key.original.is_none_or(|original| said.contains(original)), "{name}");
    }
    let port = |name: &str| said_of(&text, lines(&text).iter().find(|(key, _)| key == name).unwrap().1);
    assert!(port("listen.udp").contains(&format!("(port {DEFAULT_PORT} if omitted)")));
    assert!(port("livesync.cluster.listen").contains(&format!("(port {LIVESYNC_PORT} if omitted)")));
}

#[test]
fn its_examples_in_comments_are_right() {
    let text = sample();
    let mut section = "";
    let mut seen = 0;
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some(example) = line.strip_prefix("# Example: ") else { continue };
        assert_ne!(read(&format!("{section}\n{example}"), ALL).unwrap(), Settings::default(), "{example}");
        seen += 1;
    }
    assert_eq!(seen, keys::all().filter(|key| key.takes.is_list() && key.takes.empty_list().is_none()).count());
}

#[test]
fn its_lines_are_short_and_its_sections_are_those_of_the_keys() {
    assert!(sample().lines().all(|line| line.len() <= 120));
    for section in SECTIONS {
        let prefix = format!("{}.", section.name);
        assert!(section.keys.iter().all(|key| key.name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('.'))));
    }
}
