//! The command line: arguments become [`Settings`] and what to do with them. No effects but reading the files of `-f`.
//!
//! Options work in the order in which they stand, as in the original: `-i` selects the address for the ports behind it,
//! `-f` reads its file at that point, and what comes later overrides. Every option exists in every build; one that
//! belongs to an absent switch is an error that names the switch.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use tracing::Level;

use crate::config::{ConfigError, Problem, Settings, Step, Steps};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Run the tracker.
    Run {
        /// Read and checked.
        settings: Settings,
        /// `--log`
        log: Option<Level>,
    },
    /// Say that the configuration is valid, and stop: it was read and checked.
    CheckConfig {
        /// What would have been run.
        settings: Settings,
        /// `--log`
        log: Option<Level>,
    },
    /// Print this text and stop.
    Help(String),
    /// Print the version and stop.
    Version,
}

/// Why the command line asks for nothing that can be done. For the operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// There is no such option, or its value is missing. The text has several lines and ends with a hint at the help.
    #[error("{0}")]
    Usage(String),
    /// A value is wrong, in a file or on the command line.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads the arguments, the program's name first, for a build with these features.
///
/// # Errors
///
/// The first mistake in the arguments, in the files they name, or in the settings as a whole.
pub fn parse(args: impl IntoIterator<Item = OsString>, features: &[&str]) -> Result<Invocation, CliError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => return Ok(Invocation::Help(error.to_string())),
            ErrorKind::DisplayVersion => return Ok(Invocation::Version),
            _ => return Err(CliError::Usage(error.to_string().trim_end().to_owned())),
        },
    };
    let mut steps = Steps::new(features);
    let mut log = None;
    for (flag, value) in in_order(&matches) {
        match flag.does {
            Does::Step(step) => steps.take(&flag.name(), step, value)?,
            Does::SetLog => log = Some(level(value).map_err(|problem| flag.error(problem))?),
        }
    }
    let settings = steps.finish()?;
    Ok(if matches.get_count(CHECK_CONFIG) > 0 {
        Invocation::CheckConfig { settings, log }
    } else {
        Invocation::Run { settings, log }
    })
}

/// An option with a value.
struct Flag {
    short: Option<char>,
    long: &'static str,
    value: &'static str,
    help: &'static str,
    does: Does,
}

/// What an option does with its value.
enum Does {
    /// Changes the settings.
    Step(Step),
    /// Chooses how much is logged.
    SetLog,
}

/// Every option with a value, in the order and under the headings of the help.
const GROUPS: &[(&str, &[Flag])] = &[
    ("Listening", &[
        flag('i', "ip", "IP", "Address for the ports that follow [default: any]", Step::SelectAddress),
        flag('p', "tcp-port", "PORT", "HTTP port, 0 for any free one [default: 6969]", Step::Listen("listen.tcp")),
        flag('P', "udp-port", "PORT", "UDP port, 0 for any free one [default: 6969]", Step::Listen("listen.udp")),
    ]),
]
const CHECK_CONFIG: &str = "check-config";

const ORDER: &str = "\
Options work in the order in which they stand, and later ones override earlier ones. Without a port and without a file
that names an address, both protocols listen on port 6969 of the address of -i.

Example: opentracker -i 192.0.2.1 -p 6969 -P 6969 -f opentracker.conf -i 198.51.100.1 -p 80";

const fn flag(short: char, long: &'static str, value: &'static str, help: &'static str, does: Does) -> Flag {
    Flag { short: Some(short), long, value, help, does }
}

fn command() -> Command {
    let plain = |id: &'static str, action, help: &'static str| Arg::new(id).long(id).action(action).help(help);
    let mut command = Command::new("opentracker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A BitTorrent tracker")
        .override_usage("opentracker [OPTIONS]")
        .after_help(ORDER);
    for (heading, flags) in GROUPS {
        command = command.args(flags.iter().map(|flag| flag.arg().help_heading(*heading)));
    }
    command.next_help_heading("Instead of running").args([
        plain(CHECK_CONFIG, ArgAction::Count, "Read and check everything that the other options name, then stop"),
        plain("version", ArgAction::Version, "Print the version").short('v'),
        plain("help", ArgAction::Help, "Print this text").short('h'),
    ])
}

/// The options with values, in the order of the arguments.
fn in_order(matches: &ArgMatches) -> Vec<(&'static Flag, &OsStr)> {
    let mut found = Vec::new();
    for flag in GROUPS.iter().flat_map(|(_, flags)| *flags) {
        let places = matches.indices_of(flag.long).into_iter().flatten();
        let values = matches.get_raw(flag.long).into_iter().flatten();
        found.extend(places.zip(values).map(|(place, value)| (place, flag, value)));
    }
    found.sort_by_key(|&(place, ..)| place);
    found.into_iter().map(|(_, flag, value)| (flag, value)).collect()
}

impl Flag {
    fn arg(&self) -> Arg {
        let needs = match &self.does {
            Does::Step(step) => step.needs(),
            Does::SetLog => Vec::new(),
        };
        let help = if needs.is_empty() {
            self.help.to_owned()
        } else {
            format!("{} (needs {})", self.help, needs.join(" or "))
        };
        Arg::new(self.long)
            .short(self.short)
            .long(self.long)
            .value_name(self.value)
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string())
            .help(help)
    }

    /// As errors name it.
    fn name(&self) -> String {
        self.short.map_or_else(|| format!("--{}", self.long), |short| format!("-{short}"))
    }

    fn error(&self, problem: Problem) -> ConfigError {
        ConfigError::of_option(&self.name(), None, problem)
    }
}

fn level(value: &OsStr) -> Result<Level, Problem> {
    const LEVELS: [(&str, Level); 5] = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let found = LEVELS.iter().find(|(name, _)| value == *name);
    found.map(|&(_, level)| level).ok_or_else(|| Problem::unexpected("error, warn, info, debug or trace", value))
}
