//! Any configuration file, in either syntax.

use std::path::Path;

use super::error::Location;
use super::{BuildFacts, Settings, apply_bytes, classic, convert};

/// Every feature that a key needs.
const FEATURES: &[&str] = &[
    "dual-stack",
    "accesslist-black",
    "accesslist-white",
    "accesslist-dynamic",
    "sync-live",
    "restrict-stats",
    "fullscrape",
    "ip-from-proxy",
    "seccomp",
    "handover",
    "modest-fullscrapes",
    "fulllog-networks",
    "syslog",
    "client-ids",
];

/// Reads the bytes as a file. A file in the original's syntax means what its lines mean one after the other.
pub(crate) fn any_file(bytes: &[u8]) {
    let build = BuildFacts::with_features(FEATURES);
    let read = |settings: &mut Settings, bytes: &[u8]| apply_bytes(settings, Path::new("f.conf"), bytes, &build);
    let mut settings = Settings::default();
    let result = read(&mut settings, bytes);
    match &result {
        Ok(()) => {
            let mut again = Settings::default();
            assert_eq!(read(&mut again, bytes), Ok(()));
            assert_eq!(again, settings);
        }
        Err(error) => {
            assert_eq!(settings, Settings::default(), "an error leaves the settings alone");
            let Location::File { path, line } = &error.location else { panic!("{error}: no place") };
            assert_eq!(path, Path::new("f.conf"));
            let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
            assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
    }
    // Less capable builds have less to say, and no other way to fail.
    let _ = apply_bytes(&mut Settings::default(), Path::new("f.conf"), bytes, &BuildFacts::with_features(&[]));
    if let (Ok(()), Ok(text)) = (&result, std::str::from_utf8(bytes)) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if classic::is_written_in(text) {
            let mut by_line = Settings::default();
            for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')) {
                // One like `access.stats_path .x=1` could be TOML if it stood alone. What stands before it changes
                // nothing.
                let after_another = format!("limits.connections {}\n{line}", by_line.limits.connections);
                assert_eq!(read(&mut by_line, after_another.as_bytes()), Ok(()), "{line}");
            }
            assert_eq!(by_line, settings);
        }
    }
    if let Ok((toml, left_out)) = convert::convert(bytes, &build) {
        let mut converted = Settings::default();
        let read_again = read(&mut converted, toml.as_bytes());
        match result {
            Ok(()) => {
                assert!(left_out.is_empty(), "{left_out:?}");
                assert_eq!(read_again, Ok(()), "{toml}");
                // A list stands in one place there, wherever its values were.
                for settings in [&mut converted, &mut settings] {
                    settings.listen.tcp.sort_unstable();
                    settings.listen.udp.sort_unstable();
                }
                assert_eq!(converted, settings, "{toml}");
            }
            Err(error) => assert!(!left_out.is_empty() || read_again.is_err(), "{error} is lost:\n{toml}"),
        }
    }
}
