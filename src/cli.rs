//! The command line: arguments become [`Settings`] and what to do with them. No effects but reading the files of `-f`.
//!
//! Options work in the order in which they stand, as in the original: `-i` selects the address for the ports behind it,
//! `-f` reads its file at that point, and what comes later overrides. Every option exists in every build; one that
//! belongs to an absent switch is an error that names the switch.

use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use tracing::Level;

use crate::config::{BuildFacts, ConfigError, Problem, Settings, Step, Steps};

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
    let mut steps = Steps::new(build);
    let mut log = None;
    for (flag, value) in in_order(&matches) {
        match flag.action {
            FlagAction::Step(step) => steps.take(&flag.name(), step, value)?,
            FlagAction::SetLog => log = Some(level(value).map_err(|problem| flag.error(problem))?),
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
    Flag { short: None, long: "log", value: "LEVEL", action: FlagAction::SetLog, help: Some(LOG_HELP) },
];
/// The headings of the help, with the options under each.
const GROUPS: [(&str, &[Flag]); 3] = [("Listening", LISTENING), ("Access", ACCESS), ("Process", PROCESS)];

const BLESS: Step = Step::Bless(&["access.stats", "livesync.cluster.node_ip"]);
const LIVESYNC: Step = Step::ListenForSync("livesync.cluster.listen");
const LOG_HELP: &str = "error, warn, info, debug or trace [default: RUST_LOG, else info]";
const CHECK_CONFIG: &str = "check-config";

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

/// Returns the whole command line, as clap is told of it.
fn command() -> Command {
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

/// Reads how much is logged.
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

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &[&str] = &["fullscrape", "handover"];
    const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/opentracker.conf.sample");

    /// Words with no spaces in them.
    fn run(words: &str, features: &[&str]) -> Result<Invocation, String> {
        let args = std::iter::once("opentracker").chain(words.split_whitespace()).map(OsString::from);
        parse(args, &BuildFacts::with_features(features)).map_err(|error| error.to_string())
    }

    fn settings(words: &str, features: &[&str]) -> Settings {
        match run(words, features) {
            Ok(Invocation::Run { settings, .. }) => settings,
            other => panic!("{words}: {other:?}"),
        }
    }

    /// The addresses of `-p`, then those of `-P`.
    fn listening(words: &str, features: &[&str]) -> String {
        let listen = settings(words, features).listen;
        let join = |list: &[std::net::SocketAddr]| list.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(" ");
        format!("{} | {}", join(&listen.tcp), join(&listen.udp))
    }

    #[test]
    fn an_address_is_for_the_ports_behind_it() {
        for (words, expected) in [
            ("", " | "),
            ("-i 192.0.2.1", " | "),
            ("-p 80", "0.0.0.0:80 | "),
            ("-p80 --udp-port=0", "0.0.0.0:80 | 0.0.0.0:0"),
            ("-p 80 -i 192.0.2.1 -p 81 -P 82", "0.0.0.0:80 192.0.2.1:81 | 192.0.2.1:82"),
            (
                "-i 192.0.2.1 -P 1 -p 2 --ip 192.0.2.2 -P 3 --tcp-port 4 -P 5",
                "192.0.2.1:2 192.0.2.2:4 | 192.0.2.1:1 192.0.2.2:3 192.0.2.2:5",
            ),
            ("-i ::ffff:192.0.2.1 -p 80", "192.0.2.1:80 | "),
        ] {
            assert_eq!(listening(words, DEFAULT), expected, "{words}");
        }
        assert_eq!(listening("-p 80 -i [::1] -p 80", &["v6"]), "[::]:80 [::1]:80 | ");
        let both = listening("-P 80 -i 192.0.2.1 -p 80 -i ::1 -p 80", &["v6", "dual-stack"]);
        assert_eq!(both, "192.0.2.1:80 [::1]:80 | 0.0.0.0:80 [::]:80");
    }

    #[test]
    fn an_address_without_ports_is_the_default() {
        let settings = settings("-i 192.0.2.1 -i 192.0.2.2", DEFAULT);
        assert_eq!(settings.listen.default_ip, Some([192, 0, 2, 2].into()));
        assert_eq!(settings.resolved(&BuildFacts::with_features(DEFAULT)).listen.tcp, [([192, 0, 2, 2], 6969).into()]);
        assert_eq!(
            run("-i ::1", DEFAULT).unwrap_err(),
            "-i names ::1, but an IPv6 address needs a build with the feature v6 or dual-stack; this build has: \
             fullscrape, handover"
        );
        assert_eq!(
            run("-i 192.0.2.1", &["v6"]).unwrap_err(),
            "-i names 192.0.2.1, but this build has the feature v6 and serves IPv6 only; dual-stack serves both"
        );
    }

    #[test]
    fn later_options_override_earlier_ones() {
        assert_eq!(settings("-u a -u b", DEFAULT).tracker.user, "b");
        assert_eq!(settings(&format!("-u a -f {SAMPLE} -p 80 -f {SAMPLE}"), DEFAULT).tracker.user, "a");
        let all = settings("-d dir -r https://example.org/ -l dump -u user", DEFAULT).tracker;
        assert_eq!(all.rootdir.unwrap().to_str(), Some("dir"));
        assert_eq!(all.redirect_url.unwrap(), "https://example.org/");
        assert_eq!(all.statefile.unwrap().to_str(), Some("dump"));
    }

    #[test]
    fn a_file_is_read_where_it_stands() {
        let path = std::env::temp_dir().join(format!("opentracker-cli-{}.conf", std::process::id()));
        std::fs::write(&path, "tracker.user file\nlisten.tcp 192.0.2.9\n").unwrap();
        let file = path.to_str().unwrap();
        let user = |words: &str| settings(words, DEFAULT).tracker.user;
        assert_eq!(user(&format!("-u option -f {file}")), "file");
        assert_eq!(user(&format!("-f {file} -u option")), "option");
        let words = format!("-i 192.0.2.1 -p 1 -f {file} -p 2");
        assert_eq!(listening(&words, DEFAULT), "192.0.2.1:1 192.0.2.9:6969 192.0.2.1:2 | ");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn live_sync_uses_the_selected_address() {
        let sync = &["sync-live"];
        let listen = |words| settings(words, sync).livesync.listen.unwrap().to_string();
        assert_eq!(listen("-s 9696"), "0.0.0.0:9696");
        assert_eq!(listen("-i 192.0.2.1 -s 1 -i 192.0.2.2"), "192.0.2.1:1");
        let v6 = settings("-i 192.0.2.1 -s 1 -i ::1 -p 80", &["v6", "sync-live"]);
        assert_eq!(v6.livesync.listen, Some(([192, 0, 2, 1], 1).into()));
    }

    #[test]
    fn what_the_build_requires_is_checked_last() {
        let check = |settings: &Settings| match &settings.access.whitelist {
            Some(_) => Ok(()),
            None => Err(ConfigError::missing("access.whitelist", "accesslist-white")),
        };
        let build = BuildFacts { check, ..BuildFacts::with_features(&["accesslist-white"]) };
        let run = |words: &[&str]| parse(words.iter().map(OsString::from), &build).map_err(|error| error.to_string());
        assert_eq!(
            run(&["", "-p", "80"]).unwrap_err(),
            "access.whitelist is missing: a build with the feature accesslist-white does not start without it"
        );
        assert!(run(&["", "-p", "80", "-w", "list"]).is_ok());
    }

    #[test]
    fn blessing_is_for_statistics_and_live_sync_as_far_as_the_build_has_them() {
        let net = ["192.0.2.0/24".parse().unwrap()];
        let one = settings("-A 192.0.2.7/24", &["restrict-stats"]);
        assert_eq!((&one.access.stats[..], one.livesync.node_ip.len()), (&net[..], 0));
        let other = settings("-A 192.0.2.7/24 -s 1", &["sync-live"]);
        assert_eq!((other.access.stats.len(), &other.livesync.node_ip[..]), (0, &net[..]));
        let both = settings("-A 192.0.2.7/24 -A 192.0.2.8 -s 1", &["restrict-stats", "sync-live"]);
        assert_eq!((both.access.stats.len(), both.livesync.node_ip.len()), (2, 2));
        let alone = settings("-A 192.0.2.7/24", &["restrict-stats", "sync-live"]);
        assert_eq!((alone.access.stats.len(), alone.livesync.node_ip.len()), (1, 0), "there is no cluster");
        let alone = settings("-A 192.0.2.7/24", &["sync-live"]);
        assert_eq!(alone.livesync.node_ip.len(), 1, "it can mean nothing else");
    }

    #[test]
    fn mistakes_are_told_with_the_option() {
        let build = "this build has: fullscrape, handover";
        for (words, expected) in [
            ("-w list", format!("-w: access.whitelist needs a build with the feature accesslist-white; {build}")),
            ("--blacklist x", format!("-b: access.blacklist needs a build with the feature accesslist-black; {build}")),
            ("-s 1", format!("-s: livesync.cluster.listen needs a build with the feature sync-live; {build}")),
            ("-A x", format!("-A needs a build with the feature restrict-stats or sync-live; {build}")),
            ("-p 65536", "-p takes a port from 0 to 65535, not \"65536\"".into()),
            ("-P http", "-P takes a port from 0 to 65535, not \"http\"".into()),
            ("-i here", "-i takes an address such as 192.0.2.1 or 2001:db8::1, not \"here\"".into()),
            ("--log all", "--log takes error, warn, info, debug or trace, not \"all\"".into()),
            ("--user=", "-u: tracker.user takes the name of a user, not \"\"".into()),
            ("-f /nowhere/x", "/nowhere/x cannot be read: No such file or directory (os error 2)".into()),
            ("-p 80 -p 80", "listen.tcp names 0.0.0.0:80 twice".into()),
        ] {
            assert_eq!(run(words, DEFAULT).unwrap_err(), expected, "{words}");
        }
        assert_eq!(
            run("-A x", &["restrict-stats"]).unwrap_err(),
            "-A: access.stats takes an address or a network, such as 192.0.2.1 or 192.0.2.0/24, not \"x\""
        );
        assert!(settings("-w list", &["accesslist-white"]).access.whitelist.is_some());
        for (words, hint) in [("--nonsense", "--nonsense"), ("-p", "--tcp-port"), ("word", "word"), ("-z", "-z")] {
            let error = run(words, DEFAULT).unwrap_err();
            assert!(error.contains(hint) && error.contains("try '--help'") && !error.starts_with("error"), "{error}");
        }
        assert!(parse([], &BuildFacts::with_features(DEFAULT)).is_ok());
    }

    #[test]
    fn only_paths_may_be_other_than_unicode() {
        use std::os::unix::ffi::OsStringExt;
        let build = BuildFacts::with_features(DEFAULT);
        let run = |option: &str| parse(["".into(), option.into(), OsString::from_vec(vec![b'a', 0xff])], &build);
        assert!(run("-d").is_ok());
        for option in ["-i", "-p", "-u", "-r", "--log"] {
            assert!(run(option).unwrap_err().to_string().ends_with("not \"a\u{fffd}\""), "{option}");
        }
    }

    #[test]
    fn version_help_and_check_are_asked_for_instead_of_running() {
        assert_eq!(run("-p 80 -v", DEFAULT), Ok(Invocation::Version));
        assert_eq!(run("--version", DEFAULT), Ok(Invocation::Version));
        let check = Invocation::CheckConfig { settings: Settings::default(), log: Some(Level::DEBUG) };
        assert_eq!(run("--check-config --log debug --check-config", DEFAULT), Ok(check));
        assert!(run("--check-config -u", DEFAULT).is_err());
        assert_eq!(run("", DEFAULT), Ok(Invocation::Run { settings: Settings::default(), log: None }));
    }

    #[test]
    fn the_help_has_one_line_for_each_option() {
        let Ok(Invocation::Help(help)) = run("-h", DEFAULT) else { panic!("no help") };
        assert_eq!(run("--help -f /nowhere/x", DEFAULT), Ok(Invocation::Help(help.clone())));
        for flag in GROUPS.iter().flat_map(|(_, flags)| *flags) {
            let line = help.lines().find(|line| line.contains(&format!("--{} <{}>", flag.long, flag.value))).unwrap();
            assert!(line.ends_with(&flag.help()), "{line}");
            let needs = matches!(&flag.action, FlagAction::Step(step) if !step.needs().is_empty());
            assert_eq!(line.contains("(needs "), needs, "{line}");
        }
        for plain in ["--check-config ", "-v, --version ", "-h, --help "] {
            assert!(help.contains(plain), "{plain}");
        }
        assert!(help.lines().all(|line| line.len() <= 120));
    }
}
