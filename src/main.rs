//! `opentracker`: arguments, then [`server::run`], then an exit code.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

use opentracker::cli::{self, Invocation, LogLevels};
use opentracker::config::{self, Conversion, Settings};
use opentracker::log::{self, Described, Log};
use opentracker::sandbox::descriptors;
use opentracker::server::{self, Build as _, Interruptible, LogDestination as _, ProcessFlavour, health, key_file};
use opentracker::switches;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// The exit code of a tracker that cannot start, or of a key that cannot be made.
const CANNOT_START: u8 = 1;
/// The exit code when another tracker does not answer.
const DOES_NOT_ANSWER: u8 = 1;
/// The exit code for arguments or a configuration that make no sense.
const CANNOT_UNDERSTAND: u8 = 2;

static LOG: Log = Log::new();

fn main() -> ExitCode {
    // While nothing is open but what whoever starts it has left open.
    descriptors::keep_handed_over();
    // Next: the configuration may come through a pipe.
    let interruptible = match Interruptible::begin() {
        Ok(interruptible) => interruptible,
        Err(error) => return fail(log::standard_error(), &error, CANNOT_START),
    };
    let invocation = match cli::parse(env::args_os(), &switches::ThisBuild::facts()) {
        Ok(invocation) => invocation,
        Err(error) => return fail(log::standard_error(), &error, CANNOT_UNDERSTAND),
    };
    match invocation {
        Invocation::Help(text) => print(&text),
        Invocation::Version => print(&version()),
        Invocation::CheckConfig { .. } => print("configuration is valid\n"),
        Invocation::ConvertConfig(path) => convert_config(&path),
        Invocation::NewKey(path) => new_key(&path),
        Invocation::Health(target) => match health::check(&target) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(log::standard_error(), &error, DOES_NOT_ANSWER),
        },
        Invocation::Control { socket, words } => {
            // A build that does not say anything has no such invocation.
            let code = switches::CONTROL.map(|say| say(&socket, &words));
            ExitCode::from(code.unwrap_or(CANNOT_UNDERSTAND))
        }
        Invocation::Run { settings, log } => {
            // Now that the configuration is read, which may come by one of them.
            descriptors::close_inherited();
            start_log(log, &settings);
            let code = match server::run::<switches::ThisBuild>(settings, interruptible, &LOG) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // It may not have been started yet, and without it this would wait for whoever reads.
                    let _ = LOG.start_thread();
                    fail(&LOG, &error, CANNOT_START)
                }
            };
            LOG.flush();
            code
        }
    }
}

fn print(text: &str) -> ExitCode {
    // Whoever reads may have enough: `opentracker --help | head -1`.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Prints a file of the original as TOML.
fn convert_config(path: &Path) -> ExitCode {
    match config::convert_file(path, &switches::ThisBuild::facts()) {
        Ok(Conversion { toml, left_out }) => {
            let code = print(&toml);
            // What a tracker would not start with is no success, though there is a text.
            left_out.iter().fold(code, |_, error| fail(log::standard_error(), error, CANNOT_UNDERSTAND))
        }
        Err(error) => fail(log::standard_error(), &error, CANNOT_UNDERSTAND),
    }
}

/// Makes the file of a key that several trackers can share.
fn new_key(path: &Path) -> ExitCode {
    match key_file::make(path) {
        Ok(()) => print(&format!("{} has a new key: what it holds is secret\n", path.display())),
        Err(error) => {
            let error = io::Error::new(error.kind(), format!("cannot make the key {}: {error}", path.display()));
            fail(log::standard_error(), &error, CANNOT_START)
        }
    }
}

fn fail(mut out: impl Write, error: &dyn Display, code: u8) -> ExitCode {
    let _ = out.write_all(format!("opentracker: {error}\n").as_bytes());
    ExitCode::from(code)
}

/// Returns what `--version` prints.
fn version() -> String {
    let features = if switches::FEATURES.is_empty() { "none".into() } else { switches::FEATURES.join(" ") };
    format!(
        "opentracker {} ({}, {})\nfeatures: {features}\n",
        env!("CARGO_PKG_VERSION"),
        env!("OPENTRACKER_COMMIT"),
        env!("OPENTRACKER_TARGET"),
    )
}

/// Leaves out what has to be asked for by its name: completed downloads, which everybody who comes may add to, and what
/// libraries log, since what it means for the tracker, the tracker says.
fn without_unnamed(filter: Targets) -> Targets {
    const SILENT: [&str; 2] = [log::COMPLETED, "async_nats"];
    let is_named = |name: &str| filter.iter().any(|(target, _)| target.starts_with(name));
    let unnamed: Vec<_> = SILENT.into_iter().filter(|name| !is_named(name)).collect();
    filter.with_targets(unnamed.into_iter().map(|name| (name, LevelFilter::OFF)))
}

/// Starts the log, which goes to stderr unless the build and the settings say otherwise. `levels` are those of `--log`;
/// without it `RUST_LOG` chooses, and without that the level is info.
fn start_log(levels: Option<LogLevels>, settings: &Settings) {
    let of = |levels: LogLevels| Targets::new().with_default(levels.level).with_targets(levels.targets);
    let chosen = match (levels, env::var("RUST_LOG")) {
        (Some(levels), _) => Ok(of(levels)),
        (None, Ok(text)) if !text.is_empty() => text.parse(),
        (None, _) => Ok(Targets::new().with_default(LevelFilter::INFO)),
    };
    let (filter, mistake) = match chosen {
        Ok(filter) => (without_unnamed(filter), None),
        Err(error) => (without_unnamed(Targets::new().with_default(LevelFilter::INFO)), Some(error)),
    };
    let opened = <switches::ThisBuild as ProcessFlavour>::LogDestination::open(settings);
    let describe = opened.as_ref().map(|opened| opened.describe);
    LOG.send_to(opened.map_or_else(log::standard_error, |opened| opened.destination));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| &LOG)
        .with_ansi(describe.is_none() && io::stderr().is_terminal())
        .fmt_fields(log::text_format())
        .with_target(false)
        .map_event_format(|line| Described::new(line, describe))
        .with_filter(filter);
    tracing_subscriber::registry().with(lines).init();
    if let Some(error) = mistake {
        tracing::warn!("RUST_LOG is not understood ({error}); logging at level info");
    }
}
