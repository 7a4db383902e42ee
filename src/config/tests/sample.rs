//! The sample file: complete, harmless as it is, and right about the defaults.

use std::path::Path;

use super::super::apply_file;
use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/opentracker.conf.sample");

/// Keys that have an example in place of a default.
const EXAMPLES: &[&str] = &[
    "access.whitelist",
    "access.blacklist",
    "livesync.cluster.listen",
    "tracker.rootdir",
    "tracker.redirect_url",
    "tracker.statefile",
];

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

fn text() -> String {
    std::fs::read_to_string(PATH).unwrap()
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
    let text = text();
    let lines = lines(&text);
    let mut names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, line) in lines {
        let uncommented = text.replacen(&format!("#{line}\n"), &format!("{line}\n"), 1);
        assert_ne!(uncommented, text);
        let settings = read(&uncommented, ALL).unwrap();
        assert_eq!(settings != Settings::default(), EXAMPLES.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn it_names_the_features_of_each_key() {
    let text = text();
    for (name, line) in lines(&text) {
        let here = |block: &&str| block.lines().any(|other| other.strip_prefix('#') == Some(line));
        let block = text.split("\n\n").find(here).unwrap();
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        assert!(key.needs.iter().all(|need| block.contains(&format!("Needs the feature {need}"))), "{name}");
        assert_eq!(key.needs.is_empty(), !block.contains("Needs the feature"), "{name}");
    }
}

#[test]
fn its_examples_in_comments_are_right() {
    for line in text().lines() {
        let Some((_, example)) = line.split_once("Example: ") else { continue };
        let (name, _) = example.split_once(" = ").unwrap();
        let key = KEYS.iter().find(|key| key.name.ends_with(&format!(".{name}"))).unwrap();
        let section = key.name.strip_suffix(name).unwrap().trim_end_matches('.');
        assert_ne!(read(&format!("[{section}]\n{example}"), ALL), Ok(Settings::default()), "{example}");
    }
}
