//! The command line: arguments become [`Settings`] and what to do with them. No effects but reading the files of `-f`.
//!
//! Options work in the order in which they stand, as in the original: `-i` selects the address for the ports behind it,
//! `-f` reads its file at that point, and what comes later overrides. Every option exists in every build; one that
//! belongs to an absent switch is an error that names the switch.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{BuildFacts, ConfigError, Problem, Settings, Step, Steps};

mod health_target;
mod log_levels;

pub use health_target::HealthTarget;
pub use log_levels::LogLevels;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Run the tracker.
    Run {
        /// Read and checked.
        settings: Settings,
        /// `--log`
        log: Option<LogLevels>,
    },
    /// Say that the configuration is valid, and stop: it was read and checked.
    CheckConfig {
        /// What would have been run.
        settings: Settings,
        /// `--log`
        log: Option<LogLevels>,
    },
    /// Make this file, with a new key that several trackers can share, and stop.
    NewKey(PathBuf),
    /// Say a command to a tracker that runs, and stop.
    Control {
        /// Where it answers.
        socket: PathBuf,
        /// The command and what belongs to it; one word at least.
        words: Vec<OsString>,
    },
    /// Print what this file of the original is in TOML, and stop.
    ConvertConfig(PathBuf),
    /// Ask a tracker whether it answers, and stop.
    Health(HealthTarget),
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

impl CliError {
    /// Takes the text of an error of clap, without the word "error" in front: whoever prints it adds that, as with
    /// every other error.
    fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        Self::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
    }
}

/// Reads the arguments, the program's name first.
///
/// # Errors
///
/// The first mistake in the arguments, in the files they name, or in the settings as a whole.
pub fn parse(args: impl IntoIterator<Item = OsString>, build: &BuildFacts<'_>) -> Result<Invocation, CliError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => return Ok(Invocation::Help(error.to_string())),
            ErrorKind::DisplayVersion => return Ok(Invocation::Version),
            _ => return Err(CliError::usage(&error)),
        },
    };
    if let Some(path) = matches.get_one::<PathBuf>(NEW_KEY) {
        return Ok(Invocation::NewKey(path.clone()));
    }
    if let Some(path) = matches.get_one::<PathBuf>(CONVERT_CONFIG) {
        return Ok(Invocation::ConvertConfig(path.clone()));
    }
    if let Some(mut words) = matches.get_many::<OsString>(CONTROL).map(|words| words.cloned()) {
        let needed = build.require(&[CONTROL_FEATURE]);
        needed.map_err(|problem| ConfigError::of_option("--control", None, problem))?;
        let socket = words.next().unwrap_or_default().into();
        return Ok(Invocation::Control { socket, words: words.collect() });
    }
    if let Some(value) = matches.get_one::<OsString>(HEALTH) {
        let target = HealthTarget::read(value, build);
        let target = target.map_err(|problem| ConfigError::of_option("--health", None, problem))?;
        return Ok(Invocation::Health(target));
    }
    let mut steps = Steps::new(build);
    let mut log = None;
    for (flag, value) in in_order(&matches) {
        match flag.action {
            FlagAction::Step(step) => steps.take(&flag.name(), step, value)?,
            FlagAction::SetLog => log = Some(LogLevels::read(value).map_err(|problem| flag.error(problem))?),
        }
    }
    let settings = steps.finish()?;
    Ok(if matches.get_flag(CHECK_CONFIG) {
        Invocation::CheckConfig { settings, log }
    } else {
        Invocation::Run { settings, log }
    })
}

/// An option with a value.
struct Flag {
    short: Option<char>,
    long: &'static str,
    /// What the help calls its value.
    value: &'static str,
    action: FlagAction,
    /// What the help says in front of repetition, default and needs of the keys that the option sets. `None`: the
    /// summary of its key, which takes the very value that the option does.
    help: Option<&'static str>,
}

/// What an option does with its value.
enum FlagAction {
    /// Changes the settings.
    Step(Step),
    /// Chooses how much is logged.
    SetLog,
}

// The options with a value, in the order of the help.
const LISTENING: &[Flag] = &[
    flag(
        'i',
        "ip",
        "IP",
        Step::SelectAddress,
        "Address for the next ports; with dual-stack :: is both families [default: every address]",
    ),
    flag('p', "tcp-port", "PORT", Step::Listen("listen.tcp"), "HTTP port, 0: any free one"),
    flag('P', "udp-port", "PORT", Step::Listen("listen.udp"), "UDP port, 0: any free one"),
    flag('s', "livesync-port", "PORT", LIVESYNC, "Live sync port"),
];
const ACCESS: &[Flag] = &[
    key_flag('w', "whitelist", "FILE", "access.whitelist"),
    key_flag('b', "blacklist", "FILE", "access.blacklist"),
    flag('A', "bless", "IP[/BITS]", BLESS, "Network let in to statistics and live sync"),
];
const PROCESS: &[Flag] = &[
    flag('f', "config", "FILE", Step::ReadFile, "Read this configuration file here; repeatable [default: none]"),
    key_flag('d', "dir", "DIR", "tracker.rootdir"),
    key_flag('u', "user", "USER", "tracker.user"),
    key_flag('r', "redirect-url", "URL", "tracker.redirect_url"),
    key_flag('l', "statefile", "FILE", "tracker.statefile"),
    Flag { short: None, long: "log", value: "LEVELS", action: FlagAction::SetLog, help: Some(LOG_HELP) },
];
/// The headings of the help, with the options under each.
const GROUPS: [(&str, &[Flag]); 3] = [("Listening", LISTENING), ("Access", ACCESS), ("Process", PROCESS)];

const BLESS: Step = Step::Bless(&["access.stats", "livesync.cluster.node_ip"]);
const LIVESYNC: Step = Step::ListenForSync("livesync.cluster.listen");
const LOG_HELP: &str = "error, warn, info, debug, trace; or warn,completed=info [default: RUST_LOG, else info]";
const CHECK_CONFIG: &str = "check-config";
const NEW_KEY: &str = "new-key";
const CONTROL: &str = "control";
const CONVERT_CONFIG: &str = "convert-config";
const HEALTH: &str = "health";
/// What brings the socket at which a tracker is told something.
const CONTROL_FEATURE: &str = "accesslist-dynamic";

/// What the help ends with.
const ORDER: &str = "\
Options work in their order: -i selects the address for what follows, -f reads its file at that
point, later options override earlier ones. With no port and no file that names an address, both
protocols listen on port 6969.

Example: opentracker -i 192.0.2.1 -p 6969 -P 6969 -f opentracker.conf -i 198.51.100.1 -p 80";

/// Returns the row of an option with a summary of its own.
const fn flag(short: char, long: &'static str, value: &'static str, step: Step, help: &'static str) -> Flag {
    Flag { short: Some(short), long, value, action: FlagAction::Step(step), help: Some(help) }
}

/// Returns the row of an option that does what its key does, and whose summary is the key's.
const fn key_flag(short: char, long: &'static str, value: &'static str, key: &'static str) -> Flag {
    Flag { short: Some(short), long, value, action: FlagAction::Step(Step::Set(key)), help: None }
}

/// Returns the whole command line, as clap is told of it: the same in every build.
#[must_use]
pub fn command() -> Command {
    let plain = |id: &'static str, action, help: &'static str| Arg::new(id).long(id).action(action).help(help);
    let mut command = Command::new("opentracker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A BitTorrent tracker")
        .override_usage("opentracker [OPTIONS]")
        // Ours are listed under a heading, and -v is the original's letter.
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_help(ORDER);
    for (heading, flags) in GROUPS {
        command = command.args(flags.iter().map(|flag| flag.arg().help_heading(heading)));
    }
    command.next_help_heading("Instead of running").args([
        plain(CHECK_CONFIG, ArgAction::SetTrue, "Read and check the configuration, then stop")
            .overrides_with(CHECK_CONFIG),
        Arg::new(CONVERT_CONFIG)
            .long(CONVERT_CONFIG)
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .exclusive(true)
            .help("Print a configuration of the original as TOML, then stop"),
        Arg::new(NEW_KEY)
            .long(NEW_KEY)
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .exclusive(true)
            .help("Make a key for listen.udp_connection_id_key_file, then stop"),
        Arg::new(CONTROL)
            .long(CONTROL)
            .value_names(["SOCKET", "WORD"])
            .num_args(2..)
            .allow_hyphen_values(true)
            .value_parser(ValueParser::os_string())
            .exclusive(true)
            .help(format!("Say words to access.control, then stop (needs {CONTROL_FEATURE})")),
        Arg::new(HEALTH)
            .long(HEALTH)
            .value_name("WHERE")
            .num_args(0..=1)
            .default_missing_value("")
            .value_parser(ValueParser::os_string())
            .exclusive(true)
            .help("Ask [udp:|tcp:][IP:PORT] whether it answers, then stop [default: both, port 6969]"),
        plain("version", ArgAction::Version, "Print the version").short('v'),
        plain("help", ArgAction::Help, "Print this text").short('h'),
    ])
}

/// Returns the options with values, in the order of the arguments.
fn in_order(matches: &ArgMatches) -> Vec<(&'static Flag, &OsStr)> {
    let mut found = Vec::new();
    for flag in GROUPS.iter().flat_map(|(_, flags)| *flags) {
        let positions = matches.indices_of(flag.long).into_iter().flatten();
        let values = matches.get_raw(flag.long).into_iter().flatten();
        found.extend(positions.zip(values).map(|(position, value)| (position, flag, value)));
    }
    found.sort_by_key(|&(position, ..)| position);
    found.into_iter().map(|(_, flag, value)| (flag, value)).collect()
}

impl Flag {
    /// Returns the option as clap is told of it: any value will do, and the option may be repeated.
    fn arg(&self) -> Arg {
        Arg::new(self.long)
            .short(self.short)
            .long(self.long)
            .value_name(self.value)
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string())
            .help(self.help())
    }

    /// Returns the text of the help: what the rows of the option's keys say is not said again here.
    fn help(&self) -> String {
        let FlagAction::Step(step) = &self.action else { return self.help.unwrap_or_default().to_owned() };
        let keys = step.keys();
        let summary = keys.first().map_or("", |key| key.summary);
        let mut help = self.help.unwrap_or(summary).to_owned();
        if keys.first().is_some_and(|key| key.takes.is_list()) {
            help.push_str("; repeatable");
        }
        if let Some(default) = step.default_in_words() {
            help.push_str(&format!(" [default: {default}]"));
        }
        let needs = step.needs();
        if !needs.is_empty() {
            help.push_str(&format!(" (needs {})", needs.join(" or ")));
        }
        help
    }

    /// Returns the name that errors use.
    fn name(&self) -> String {
        self.short.map_or_else(|| format!("--{}", self.long), |short| format!("-{short}"))
    }

    /// Returns the error of the option's own value.
    fn error(&self, problem: Problem) -> ConfigError {
        ConfigError::of_option(&self.name(), None, problem)
    }
}

#[cfg(test)]
mod tests;
