//! Rules for the sources: switches stay cheap to add, files short enough to read, and tests honest.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::tests;

tests![
    features_are_asked_for_in_one_place,
    source_files_are_short,
    no_test_ends_early,
    every_test_is_listed_where_this_harness_looks,
    programs_are_started_in_one_place,
    words_of_64_bits_come_from_one_place,
];

const MAX_LINES: usize = 450;

/// The Rust files below a directory of the repository, each with its text.
fn files_below(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut found);
    assert!(found.len() > 30);
    found
}

fn collect(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// Whether this line depends on a feature. Comments do not count.
fn asks_for_a_feature(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.contains("cfg") && code.contains("feature")
}

fn features_are_asked_for_in_one_place() {
    assert!(
        asks_for_a_feature("#[cfg(all(feature = \"v6\", test))]") && asks_for_a_feature("if cfg!( feature=\"v6\") {")
    );
    assert!(asks_for_a_feature("#![cfg_attr(feature = \"v6\", x)]") && !asks_for_a_feature("//! `cfg(feature)`"));
    for (path, text) in files_below("src") {
        // The table of switches, and the file that refuses the forbidden pair.
        let allowed = path.ends_with("src/switches/mod.rs") || path.ends_with("src/lib.rs");
        let asks = text.lines().find(|line| asks_for_a_feature(line));
        assert!(allowed || asks.is_none(), "{}: {asks:?}", path.display());
    }
}

fn source_files_are_short() {
    for (path, text) in files_below("src") {
        let lines = text.lines().count();
        assert!(lines < MAX_LINES, "{} has {lines} lines", path.display());
    }
}

/// A test that does not apply says why: see `harness::skip`. One that returned would count as passed.
fn no_test_ends_early() {
    for (path, text) in files_below("tests/suite") {
        let returns = |line: &&str| line.trim() == "return;" || line.ends_with("{ return };");
        assert_eq!(text.lines().find(returns), None, "{}", path.display());
    }
}

/// This harness knows the tests that `tests!` lists. The compiler leaves out, without a word, what it would list for
/// Cargo's own harness.
fn every_test_is_listed_where_this_harness_looks() {
    let unseen = concat!("#[", "test]");
    for (path, text) in files_below("tests/suite") {
        assert!(!text.lines().any(|line| line.trim() == unseen), "{}: {unseen}", path.display());
    }
}

/// What is closed everywhere must not be open in a child of another test.
fn programs_are_started_in_one_place() {
    let starts = |line: &&str| [".spawn()", ".output()", ".status()"].iter().any(|call| line.contains(call));
    let mut seen = 0;
    for (path, text) in files_below("tests/suite") {
        let allowed = ["programs.rs", "sources.rs"].iter().any(|file| path.ends_with(file));
        let found = text.lines().find(starts);
        seen += usize::from(found.is_some());
        assert!(allowed || found.is_none(), "{}: {found:?}", path.display());
    }
    assert_eq!(seen, 2, "it looks for what is not there any more");
}

/// Some processors have none. See `src/atomic.rs`.
fn words_of_64_bits_come_from_one_place() {
    let words = |text: &str| {
        let standard = text.split("std::sync::atomic::").skip(1);
        let names = standard.map(|rest| rest.split(';').next().unwrap_or_default());
        names.into_iter().any(|names| names.contains("AtomicU64") || names.contains("AtomicI64"))
    };
    assert!(words("use std::sync::atomic::{AtomicBool, AtomicU64};") && words("std::sync::atomic::AtomicI64::new(1);"));
    assert!(!words("use std::sync::atomic::AtomicBool; use crate::atomic::AtomicU64;"));
    for (path, text) in files_below("src") {
        assert_eq!(words(&text), path.ends_with("src/atomic.rs"), "{}", path.display());
    }
}
