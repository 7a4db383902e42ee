//! The documents say about features what holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::flavour::BINARY;
use crate::harness::tests;
use crate::programs::output;

tests![
    features_md_cargo_toml_and_switches_name_the_same_features,
    features_md_says_what_is_on_by_default_what_implies_what_and_what_excludes_what,
    features_md_has_the_flavours_that_ci_builds,
    the_keys_and_options_of_a_switch_are_in_the_sample_and_in_the_help,
    the_files_and_tests_that_documents_name_are_there,
];

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a Markdown table below a heading, each as its cells without code marks.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// `[features]` of Cargo.toml, but for `default`: each with what it implies.
pub(crate) fn cargo_features() -> BTreeMap<String, BTreeSet<String>> {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let features = manifest["features"].as_table().expect("a table").clone();
    let implied = |list: toml::Value| {
        let names = list.as_array().expect("a list").iter().map(|name| name.as_str().expect("text").to_owned());
        names.filter(|name| !name.contains([':', '/'])).collect()
    };
    features.into_iter().filter(|(name, _)| name != "default").map(|(name, list)| (name, implied(list))).collect()
}

fn features_md_cargo_toml_and_switches_name_the_same_features() {
    let in_cargo: BTreeSet<_> = cargo_features().into_keys().collect();
    let in_document: Vec<_> =
        table(&read("FEATURES.md"), "The switches").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(in_document.iter().cloned().collect::<BTreeSet<_>>(), in_cargo, "FEATURES.md and Cargo.toml");

    let switches = read("src/switches/mod.rs");
    let list = switches.split("pub const FEATURES").nth(1).and_then(|rest| rest.split("];").next()).expect("FEATURES");
    let in_switches: Vec<_> =
        list.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",")).collect();
    assert_eq!(in_switches, in_document, "FEATURES of switches/mod.rs, in the order of FEATURES.md");
    for name in in_switches {
        assert!(list.contains(&format!("#[cfg(feature = \"{name}\")]\n    \"{name}\",")), "{name} under its own cfg");
        let file = format!("src/switches/{}", name.replace('-', "_"));
        let exists = |path: String| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
        assert!(exists(format!("{file}.rs")) || exists(format!("{file}/mod.rs")), "{name} has its file");
    }
}

fn features_md_says_what_is_on_by_default_what_implies_what_and_what_excludes_what() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let default = manifest["features"]["default"].as_array().expect("a list").clone();
    let features = cargo_features();
    for row in table(&read("FEATURES.md"), "The switches") {
        let (name, on) = (&row[0], row[2] == "on");
        assert_eq!(default.iter().any(|feature| feature.as_str() == Some(name)), on, "{name}: default");
        for implied in &features[name] {
            assert!(row[5].contains(&format!("implies {implied}")), "{name} implies {implied}");
        }
        for group in manifest["package"]["metadata"]["switches"]["excludes"].as_array().expect("a list") {
            let group: Vec<_> = group.as_array().expect("a list").iter().filter_map(toml::Value::as_str).collect();
            for other in group.iter().filter(|other| group.contains(&name.as_str()) && *other != name) {
                assert!(row[5].contains(&format!("excludes {other}")), "{name} excludes {other}");
            }
        }
    }
}

fn features_md_has_the_flavours_that_ci_builds() {
    let flavours = read("ci/flavours");
    let in_ci: Vec<_> = flavours
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, features)| (name.to_owned(), features.trim().to_owned()))
        .collect();
    let rows = table(&read("FEATURES.md"), "Flavours");
    let in_document: Vec<_> = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(in_document, in_ci);
    for list in ["accesslist-white", "accesslist-black"] {
        for families in [None, Some("dual-stack")] {
            let here = |features: &str| {
                let features: BTreeSet<_> = features.split(',').collect();
                features.contains(list)
                    && features.contains("dual-stack") == families.is_some()
                    && !features.contains("sync-live")
            };
            assert!(in_ci.iter().any(|(_, features)| here(features)), "no flavour for {list} and {families:?}");
        }
    }
    let known = cargo_features();
    for (name, features) in in_ci {
        let unknown = features.split(',').find(|feature| *feature != "-" && !known.contains_key(*feature));
        assert_eq!(unknown, None, "{name}");
    }
}

fn the_keys_and_options_of_a_switch_are_in_the_sample_and_in_the_help() {
    let sample = read("opentracker.conf.sample");
    let help = output(Command::new(&*BINARY).arg("--help")).expect("help");
    let help = String::from_utf8(help.stdout).expect("text");
    let mut seen = 0;
    for row in table(&read("FEATURES.md"), "The switches") {
        for key in row[4].split(", ").filter(|key| *key != "-") {
            let found = match key.rsplit_once('.') {
                Some((section, name)) => {
                    let section = sample.split(&format!("\n[{section}]\n")).nth(1).unwrap_or_default();
                    section.split("\n[").next().unwrap_or_default().contains(&format!("\n#{name} = "))
                }
                None => help.contains(&format!("  {key}, --")),
            };
            assert!(found, "{key} of {}", row[0]);
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

fn the_files_and_tests_that_documents_name_are_there() {
    let mut seen = 0;
    for document in [
        "README.md",
        "FEATURES.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        "src/architecture.md",
        "ci/cluster/README.md",
    ] {
        // What stands between two code marks; before an argument, and without what stands for a name.
        for code in read(document).split('`').skip(1).step_by(2) {
            let path = code.split(' ').next().unwrap_or_default();
            if ["src/", "tests/", "ci/"].iter().any(|room| path.starts_with(room)) && !path.contains(['<', '*']) {
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{document} names {path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");

    let promises = table(&read(".github/SECURITY.md"), "What is promised");
    let named: Vec<_> = promises.iter().filter_map(|row| row[1].strip_suffix(')')?.split_once(" (")).collect();
    assert!(!named.is_empty());
    for (test, file) in named {
        assert!(read(file).contains(&format!("fn {test}(")), "{test} in {file}");
    }
}
