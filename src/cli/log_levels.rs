//! The value of `--log`: how much is logged, of everything and of targets that have a level of their own.

use std::ffi::OsStr;

use tracing::Level;

use crate::config::Problem;

/// The one target that is no module: completed downloads.
const COMPLETED: &str = "completed";
/// The module that all others are in.
const ROOT: &str = "opentracker";

const EXPECTED: &str = "a level (error, warn, info, debug or trace), TARGET=LEVEL for completed or a module such as \
                        opentracker::udp, or several of these with commas";

/// How much is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevels {
    /// Of all targets that are not named.
    pub level: Level,
    /// Of each that is named, and of the modules in it.
    pub targets: Vec<(String, Level)>,
}

impl LogLevels {
    /// Reads `LEVEL`, `TARGET=LEVEL`, or several with commas, of which one at most has no target. Without that one, the
    /// level of all other targets is info.
    ///
    /// # Errors
    ///
    /// What is no level, a target that nothing is ever logged by, or one that is there twice.
    pub(super) fn read(value: &OsStr) -> Result<Self, Problem> {
        value.to_str().and_then(read).ok_or_else(|| Problem::unexpected(EXPECTED, value))
    }
}

fn read(text: &str) -> Option<LogLevels> {
    let mut rest = None;
    let mut targets: Vec<(String, Level)> = Vec::new();
    for part in text.split(',') {
        match part.split_once('=') {
            None if rest.is_none() => rest = Some(level(part)?),
            None => return None,
            Some((target, _)) if !is_target(target) || targets.iter().any(|(other, _)| other == target) => return None,
            Some((target, of_target)) => targets.push((target.to_owned(), level(of_target)?)),
        }
    }
    Some(LogLevels { level: rest.unwrap_or(Level::INFO), targets })
}

fn level(name: &str) -> Option<Level> {
    const LEVELS: [(&str, Level); 5] = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    LEVELS.iter().find(|(one, _)| *one == name).map(|(_, level)| *level)
}

/// Returns whether something may be logged by this target. Which modules there are depends on the build.
fn is_target(target: &str) -> bool {
    let is_module = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let mut modules = target.split("::");
    target == COMPLETED || (modules.next() == Some(ROOT) && modules.all(is_module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn levels(text: &str) -> Option<(Level, String)> {
        let levels = LogLevels::read(text.as_ref()).ok()?;
        let targets: Vec<_> = levels.targets.iter().map(|(target, level)| format!("{target}={level}")).collect();
        Some((levels.level, targets.join(",")))
    }

    #[test]
    fn one_level_is_for_all_that_have_none_of_their_own() {
        for (text, level, targets) in [
            ("error", Level::ERROR, ""),
            ("trace", Level::TRACE, ""),
            ("completed=info", Level::INFO, "completed=INFO"),
            ("warn,completed=info", Level::WARN, "completed=INFO"),
            ("completed=info,warn", Level::WARN, "completed=INFO"),
            (
                "opentracker::udp=debug,opentracker=warn,completed=trace",
                Level::INFO,
                "opentracker::udp=DEBUG,opentracker=WARN,completed=TRACE",
            ),
            (
                "opentracker::switches::sync_live::snapshot=debug",
                Level::INFO,
                "opentracker::switches::sync_live::snapshot=DEBUG",
            ),
        ] {
            assert_eq!(levels(text), Some((level, targets.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_would_log_nothing_or_not_what_was_meant_is_a_mistake() {
        for text in [
            "",
            ",",
            "all",
            "Info",
            "off",
            " info",
            "info,",
            ",info",
            "info,warn",
            "info;completed=info",
            "completed",
            "completed=",
            "=info",
            "completed=all",
            "complete=info",
            "completed::x=info",
            "completed=info,completed=warn",
            "opentracker::=info",
            "opentracker::UDP=info",
            "opentrackers=info",
            "udp=info",
            "opentracker::udp=info=warn",
        ] {
            assert_eq!(levels(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            rest in prop::option::of(0..5_usize),
            targets in prop::collection::btree_map("completed|opentracker(::[a-z_0-9]{1,9}){0,3}", 0..5_usize, 0..5),
        ) {
            const NAMES: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
            let mut parts: Vec<_> = targets.iter().map(|(target, at)| format!("{target}={}", NAMES[*at])).collect();
            parts.extend(rest.map(|at| NAMES[at].to_owned()));
            let upper = |at: usize| NAMES[at].to_uppercase();
            let expected: Vec<_> = targets.iter().map(|(target, at)| format!("{target}={}", upper(*at))).collect();
            let read = levels(&parts.join(","));
            if parts.is_empty() {
                prop_assert_eq!(read, None);
            } else {
                let (level, targets) = read.unwrap();
                prop_assert_eq!(level.to_string(), upper(rest.unwrap_or(2)));
                prop_assert_eq!(targets, expected.join(","));
            }
        }
    }
}
