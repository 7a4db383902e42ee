//! The configuration as a whole: which build takes which key, and every mistake with its exact words.

mod both_syntaxes;
mod mistakes;
mod sample;
mod values;

use std::path::Path;

use super::keys::{self, KeySpec, SeenFrom, ValueType};
use super::{BuildFacts, Settings, apply_bytes};

/// Every feature of the package; no real build has all, but the grammar does not mind.
const ALL: &[&str] = &[
    "v6",
    "dual-stack",
    "gzip",
    "accesslist-black",
    "accesslist-white",
    "accesslist-dynamic",
    "sync-live",
    "restrict-stats",
    "fullscrape",
    "ip-from-query",
    "log-networks",
    "ip-from-proxy",
    "seccomp",
    "handover",
    "sync-nats",
    "modest-fullscrapes",
    "gzip-always",
    "zstd-always",
    "fulllog-networks",
    "syslog",
    "client-ids",
];

const DEFAULT_BUILD: &[&str] = &["fullscrape", "handover"];

/// Settings from the text of a file that is called `opentracker.conf`, or the error as an operator sees it.
fn read(text: &str, features: &[&str]) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let build = BuildFacts::with_features(features);
    match apply_bytes(&mut settings, Path::new("opentracker.conf"), text.as_bytes(), &build) {
        Ok(()) => Ok(settings),
        Err(error) => {
            assert_eq!(settings, Settings::default(), "an error leaves the settings alone");
            Err(error.to_string())
        }
    }
}

/// Every combination of three features at most, and of all but three at most: no key looks at more of them.
fn builds() -> impl Iterator<Item = Vec<&'static str>> {
    assert!(keys::all().all(|key| key.needs.len() <= 3));
    (0..1_u32 << ALL.len())
        .filter(|mask| mask.count_ones() <= 3 || mask.count_ones() as usize + 3 >= ALL.len())
        .map(|mask| ALL.iter().enumerate().filter(|(bit, _)| (mask >> bit) & 1 == 1).map(|(_, name)| *name).collect())
}

/// The example of a key, of a list its first item, in the original's syntax.
fn bare(key: &KeySpec) -> String {
    let first = key.example.split(", ").next().unwrap_or_default();
    first.trim_matches(['[', ']']).trim_matches('"').replace('_', "")
}

#[test]
fn a_build_takes_a_key_exactly_when_it_has_a_feature_of_it() {
    for features in builds() {
        // Their addresses depend on the family too, which `values` looks at.
        for key in keys::all().filter(|key| !key.name.starts_with("listen.")) {
            let expected = key.needs.is_empty() || key.needs.iter().any(|need| features.contains(need));
            let (bare, toml) = (bare(key), key.example);
            for text in [format!("{} {bare}", key.name), format!("{} = {toml}", key.name)] {
                let found = read(&text, &features);
                assert_eq!(found.is_ok(), expected, "{text} in a build with {features:?}: {found:?}");
                if let Err(error) = found {
                    let need = format!("{} (line 1) needs a build with the feature {}", key.name, key.needs[0]);
                    assert!(error.contains(&need), "{error}");
                }
            }
        }
    }
}

#[test]
fn every_key_changes_something_and_names_real_features() {
    for key in keys::all() {
        let changed = read(&format!("{} {}", key.name, bare(key)), ALL).unwrap();
        assert_ne!(changed, Settings::default(), "{}", key.name);
        assert!(key.needs.iter().all(|need| ALL.contains(need)), "{}", key.name);
    }
}

#[test]
fn names_of_keys_are_unique() {
    let mut names: Vec<_> = keys::all().flat_map(|key| [Some(key.name), key.original]).flatten().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_path_but_that_of_the_root_directory_is_visited() {
    let path_of = |key: &KeySpec| match key.takes {
        ValueType::Path { seen, .. } => Some(seen),
        _ => None,
    };
    let mut inside = 0;
    for key in keys::all() {
        let mut settings = read(&format!("{} {}", key.name, bare(key)), ALL).unwrap();
        let mut visited = Vec::new();
        settings.visit_paths_inside_root(|name, path| {
            assert_eq!(name, key.name);
            visited.push(path.clone());
            *path = "elsewhere".into();
        });
        if path_of(key) == Some(SeenFrom::InsideRoot) {
            assert_eq!(visited, [Path::new(&bare(key))], "{}", key.name);
            assert_eq!(Ok(settings), read(&format!("{} elsewhere", key.name), ALL));
            inside += 1;
        } else {
            assert_eq!(visited, [] as [std::path::PathBuf; 0], "{}", key.name);
        }
    }
    let outside: Vec<_> = keys::all().filter(|key| path_of(key) == Some(SeenFrom::OutsideRoot)).collect();
    let expected = [
        "listen.udp_connection_id_key_file",
        "access.fifo_add",
        "access.fifo_delete",
        "access.control",
        "sync.nats.credentials",
        "sync.nats.tls_ca",
        "sync.nats.password_file",
        "sync.nats.token_file",
        "tracker.rootdir",
        "tracker.handover",
    ];
    assert_eq!(outside.iter().map(|key| key.name).collect::<Vec<_>>(), expected);
    assert!(inside > 0);
}
