//! Runs the tests and reports them as Cargo's own harness does, with one difference: a test may find out while it runs
//! that it does not apply ([`skip`]). It is then counted as ignored, and the summary gives the reason.
//!
//! The crates that offer this ask for features of clap. Cargo would build the program under test with these features
//! too, so that another program would be tested than the one that is shipped.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// A test: a function that panics if something is wrong.
pub(crate) struct Test {
    pub(crate) module: &'static str,
    pub(crate) function: &'static str,
    pub(crate) run: fn(),
}

/// Lists the test functions of a file as its `TESTS`, which `main.rs` lists in turn. A function or a file that is
/// forgotten is never used: the compiler warns of it, and CI takes no warnings.
macro_rules! tests {
    ($($function:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::harness::Test] = &[$($crate::harness::Test {
            module: module_path!(),
            function: stringify!($function),
            run: $function,
        }),*];
    };
}
pub(crate) use tests;

enum Outcome {
    Passed,
    /// With what is known of it.
    Failed(String),
    /// With the reason.
    Ignored(String),
}

/// What a test panics with that does not apply.
struct Skip(String);

thread_local! {
    /// What is printed if the test that runs on this thread fails. None if no test runs on it.
    static NOTES: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Ends the test: it is ignored for this reason. Stands at the beginning of a test, and on its own thread.
pub(crate) fn skip(reason: &str) -> ! {
    panic::resume_unwind(Box::new(Skip(reason.to_owned())))
}

/// Adds a text to what is printed if the test fails. On a thread that the test has started, prints it at once.
pub(crate) fn note(text: &str) {
    NOTES.with_borrow_mut(|notes| match notes {
        Some(notes) => notes.extend([text.trim_end(), "\n"]),
        None => eprintln!("{text}"),
    });
}

/// Runs the tests that the command line asks for. The exit code is 101 if one of them fails.
pub(crate) fn run(files: &[&'static [Test]]) -> ExitCode {
    let arguments = command().get_matches();
    let all = files.iter().copied().flatten();
    let (chosen, others): (Vec<_>, Vec<_>) = all.partition(|test| is_chosen(&test.name(), &arguments));
    if arguments.get_flag("list") {
        chosen.iter().for_each(|test| println!("{}: test", test.name()));
        return ExitCode::SUCCESS;
    }
    let threads = arguments.get_one("test-threads").copied().or_else(|| thread::available_parallelism().ok());
    let with_names = arguments.get_one::<String>("format").is_some_and(|format| format == PRETTY);
    let mut report = Report::new(chosen.len(), with_names);
    panic::set_hook(Box::new(note_panic));
    let (next, (sender, outcomes)) = (AtomicUsize::new(0), mpsc::channel());
    thread::scope(|scope| {
        for _ in 0..threads.map_or(1, NonZero::get) {
            let (sender, chosen, next) = (sender.clone(), &chosen, &next);
            scope.spawn(move || {
                while let Some(test) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sender.send((test.name(), test.outcome())).expect("the report waits for all tests");
                }
            });
        }
        drop(sender);
        outcomes.iter().for_each(|(name, outcome)| report.add(name, outcome));
    });
    report.finish(others.len())
}

/// The options of Cargo's own harness, as Cargo gives one command line to all tests. What is printed differs: `--quiet`
/// does not get here from `cargo test --quiet`, so it is the default.
fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let option = |name, help| Arg::new(name).long(name).action(ArgAction::Append).help(help);
    let threads = option("test-threads", "How many tests run at once").action(ArgAction::Set);
    Command::new("suite")
        .arg(Arg::new("filter").action(ArgAction::Append).help("Runs the tests with one of these texts in their names"))
        .arg(flag("exact", "The texts are whole names"))
        .arg(option("skip", "Leaves out the tests with this text in their names"))
        .arg(flag("list", "Prints the names of the tests instead of running them"))
        .arg(option("format", "Prints a line for each test, or a letter").action(ArgAction::Set).value_parser(FORMATS))
        .arg(threads.value_parser(value_parser!(NonZero<usize>)))
        .arg(flag("ignored", "Runs only the tests that are never run otherwise; there are none"))
        .next_help_heading("Without effect")
        .arg(flag("quiet", "").short('q'))
        .args(["include-ignored", "nocapture", "no-capture", "show-output"].map(|name| flag(name, "")))
        .arg(option("color", ""))
}

const PRETTY: &str = "pretty";
const FORMATS: [&str; 2] = [PRETTY, "terse"];

fn is_chosen(name: &str, arguments: &ArgMatches) -> bool {
    let exact = arguments.get_flag("exact");
    let fits = |text: &String| if exact { name == text } else { name.contains(text.as_str()) };
    let texts = |id| arguments.get_many::<String>(id);
    texts("filter").is_none_or(|mut texts| texts.any(fits))
        && !texts("skip").is_some_and(|mut texts| texts.any(fits))
        && !arguments.get_flag("ignored")
}

/// Notes what went wrong, and the places in these files that led there; optimised builds do not know them.
fn note_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::force_capture().to_string();
    let is_ours = |line: &&str| line.contains("tests/suite/") && !line.contains(file!());
    let places: Vec<_> = backtrace.lines().filter(is_ours).map(str::trim).collect();
    note(&format!("{panic}\n{}", places.join("\n")));
}

impl Test {
    /// Its name as Cargo's own harness writes it: the modules below `main.rs` and the function.
    fn name(&self) -> String {
        let (_, module) = self.module.split_once("::").expect("a module below main.rs");
        format!("{module}::{}", self.function)
    }

    fn outcome(&self) -> Outcome {
        NOTES.set(Some(String::new()));
        let ended = panic::catch_unwind(self.run);
        let notes = NOTES.take().unwrap_or_default();
        match ended.map_err(|panic| panic.downcast::<Skip>()) {
            Ok(()) => Outcome::Passed,
            Err(Ok(skip)) => Outcome::Ignored(skip.0),
            Err(Err(_)) => Outcome::Failed(notes),
        }
    }
}

/// Prints what comes of the tests while they run, and the summary.
struct Report {
    with_names: bool,
    started: Instant,
    tests: usize,
    passed: usize,
    failures: Vec<(String, String)>,
    /// How many tests are ignored for each reason.
    ignored: BTreeMap<String, usize>,
}

impl Report {
    fn new(tests: usize, with_names: bool) -> Self {
        println!("\nrunning {tests} test{}", if tests == 1 { "" } else { "s" });
        Self { with_names, started: Instant::now(), tests, passed: 0, failures: Vec::new(), ignored: BTreeMap::new() }
    }

    fn add(&mut self, name: String, outcome: Outcome) {
        let (letter, line) = match &outcome {
            Outcome::Passed => (".", format!("test {name} ... ok")),
            Outcome::Failed(_) => ("F", format!("test {name} ... FAILED")),
            Outcome::Ignored(reason) => ("i", format!("test {name} ... ignored, {reason}")),
        };
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(notes) => self.failures.push((name, notes)),
            Outcome::Ignored(reason) => *self.ignored.entry(reason).or_default() += 1,
        }
        if self.with_names { println!("{line}") } else { self.print_letter(letter) }
    }

    /// In lines of 80 letters.
    fn print_letter(&self, letter: &str) {
        let ended = self.passed + self.failures.len() + self.ignored.values().sum::<usize>();
        match ended % 80 {
            _ if ended == self.tests => println!("{letter}"),
            0 => println!("{letter} {ended}/{}", self.tests),
            _ => print!("{letter}"),
        }
        io::stdout().flush().expect("standard output");
    }

    fn finish(mut self, filtered_out: usize) -> ExitCode {
        if !self.ignored.is_empty() {
            println!("\nignored:");
            self.ignored.iter().for_each(|(reason, tests)| println!("    {tests:3} {reason}"));
        }
        self.failures.sort_unstable();
        for (name, notes) in &self.failures {
            print!("\n---- {name} ----\n{notes}");
        }
        if !self.failures.is_empty() {
            println!("\nfailures:");
            self.failures.iter().for_each(|(name, _)| println!("    {name}"));
        }
        let (result, code) =
            if self.failures.is_empty() { ("ok", ExitCode::SUCCESS) } else { ("FAILED", ExitCode::from(101)) };
        println!(
            "\ntest result: {result}. {} passed; {} failed; {} ignored; 0 measured; {filtered_out} filtered out; \
             finished in {:.2}s\n",
            self.passed,
            self.failures.len(),
            self.ignored.values().sum::<usize>(),
            self.started.elapsed().as_secs_f64()
        );
        code
    }
}
