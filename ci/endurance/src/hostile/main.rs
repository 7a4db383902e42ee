//! Attacks a tracker in the ways that strangers do, and watches a good client and the tracker's memory meanwhile.
//! `ci/hostile` builds and starts it; its head says how it is used, and what a verdict means.

mod arguments;
mod attack;
mod cases;
mod report;

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use opentracker_endurance::good::Good;
use opentracker_endurance::group::Group;
use opentracker_endurance::tracker::{Tracker, unexpected};
use opentracker_endurance::{Result, interrupted, raise_open_files};

use arguments::Arguments;
use cases::Case;
use report::Row;

/// What the control group may use.
const GROUP: u64 = 64 << 20;
/// How long the good client is alone with the tracker before an attack, and after it: longer, if new torrents of it are
/// not served yet.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_secs(2);
const MAX_AFTER: Duration = Duration::from_secs(30);

/// What every one of these attacks may have said in the log: that there is no room for it.
const SAID: &[&str] = &["connection", "torrents", "peers", "full scrape", "UDP"];

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("hostile: {error}");
            return ExitCode::from(2);
        }
    };
    interrupted();
    let files = raise_open_files();
    println!("{}", report::HEAD);
    let mut failures = Vec::new();
    let cases = cases::all(arguments.scale, files);
    for in_group in [false, true] {
        for case in cases.iter().filter(|case| arguments.wants(case.name, in_group)) {
            if interrupted() {
                break;
            }
            let name = if in_group { format!("{}, 64 MiB", case.name) } else { case.name.to_owned() };
            let group = match in_group.then(|| Group::new(GROUP)).transpose() {
                Ok(group) => group,
                Err(reason) => {
                    println!("{name:<26} not run: no control group that limits memory can be made ({reason})");
                    continue;
                }
            };
            match run(case, &arguments, group.as_ref()) {
                Ok(row) => {
                    println!("{}", row.line(&name));
                    failures.extend(row.failures.into_iter().map(|failure| format!("{name}: {failure}")));
                }
                Err(error) => {
                    println!("{name:<26} FAILED");
                    failures.push(format!("{name}: {error}"));
                }
            }
        }
    }
    if interrupted() {
        failures.push("interrupted".into());
    }
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one case against a tracker of its own.
fn run(case: &Case, arguments: &Arguments, group: Option<&Group>) -> Result<Row> {
    let config = case.limits(group.is_some()).config();
    let tracker = Tracker::start(&arguments.binary, &config, group, |_| ())?;
    attack::prepare(case.attack, &tracker)?;
    let good = Good::start(tracker.udp, tracker.tcp)?;
    sleep(BEFORE);
    let begun = Instant::now();
    let sent = attack::run(case.attack, &tracker, begun + arguments.at_most);
    let over = Instant::now();
    sleep(AFTER);
    while !good.takes_new() && over.elapsed() < MAX_AFTER && !interrupted() {
        sleep(Duration::from_millis(100));
    }
    let after = over.elapsed();
    let records = good.stop()?;
    let uses = tracker.uses();
    let bound = if group.is_some() { GROUP } else { case.limits(false).bytes() + tracker.at_start.memory };
    let log = tracker.stop();
    let mut failures = Vec::new();
    let sent = sent.unwrap_or_else(|error| {
        failures.push(error.to_string());
        0
    });
    match log {
        Ok(log) => failures.extend(unexpected(&log, SAID).into_iter().map(|line| format!("in the log: {line}"))),
        Err(error) => failures.push(error.to_string()),
    }
    let peak = uses.map_or(0, |uses| uses.peak);
    Ok(Row::new(sent, [over - begun, after], records, [peak, bound], failures))
}
