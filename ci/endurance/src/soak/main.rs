//! Loads a tracker in all ways at once for some minutes, and then compares what it knows, holds and has logged with
//! what it should. `ci/soak` builds and starts it; its head says how it is used, and what has to hold.

mod load;
mod memory;
mod model;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use opentracker_endurance::flood::{self, Manner};
use opentracker_endurance::good::Good;
use opentracker_endurance::requests::scrape;
use opentracker_endurance::tracker::{Tracker, Use, unexpected};
use opentracker_endurance::{GOOD, Result, interrupted, raise_open_files, stranger, udp};

use load::{CLIENTS, Load, WARM};
use memory::Samples;
use model::{Counts, Model, TORRENTS, full_scrape, torrent};

/// The name of the list in the tracker's directory.
const LIST: &str = "blacklist.txt";
const CONFIG: &str = "[access]\nblacklist = \"blacklist.txt\"\n\n[limits]\ntorrents = 1_000_000\npeers = 1_000_000\n";
/// How long what the load held may take to be let go of.
const CALM: Duration = Duration::from_secs(40);
/// How long it may take until the load leaves about as much behind as it takes away.
const WARM_UP: Duration = Duration::from_secs(120);
/// A full scrape that slow readers and others keep from having a seat waits for one.
const PAGES: u32 = 20;

fn main() -> ExitCode {
    let (binary, minutes) = match arguments(std::env::args().skip(1).collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(2);
        }
    };
    interrupted();
    raise_open_files();
    let failures = run(&binary, minutes).unwrap_or_else(|error| vec![error.to_string()]);
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if failures.is_empty() {
        println!("passed");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn arguments(words: Vec<String>) -> Result<(PathBuf, f64)> {
    let [name, binary, minutes] = words.as_slice() else { return Err("expected --binary PATH MINUTES".into()) };
    let minutes = minutes.parse().ok().filter(|minutes| (0.1..=10_000.0).contains(minutes) && name == "--binary");
    Ok((binary.into(), minutes.ok_or("MINUTES is a number from 0.1 to 10000")?))
}

/// Runs the load, and returns what does not hold.
fn run(binary: &std::path::Path, minutes: f64) -> Result<Vec<String>> {
    let list = |directory: &std::path::Path| {
        // If it cannot be written, the tracker says so.
        let _ = std::fs::write(directory.join(LIST), load::lines(0, 0));
    };
    let tracker = Tracker::start(binary, CONFIG, None, list)?;
    let time = Duration::from_secs_f64(minutes * 60.0);
    let stop = AtomicBool::new(false);
    let warm = AtomicUsize::new(0);
    let load = Load { udp: tracker.udp, tcp: tracker.tcp, stop: &stop, warm: &warm };
    let good = Good::start(tracker.udp, tracker.tcp)?;
    let mut samples = Samples::default();
    let mut failures = Vec::new();
    let models = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || load.client(n))).collect();
        let churn = scope.spawn(|| load.churn());
        let datagrams = scope.spawn(|| load.datagrams());
        let requests = scope.spawn(|| load.requests());
        let pages = scope.spawn(|| load.pages());
        let reloads = scope.spawn(|| load.reloads(&tracker.path(LIST), || tracker.reload()));
        let second = Duration::from_secs;
        let slow = [
            (Manner::Silent, 30),
            (Manner::Trickling(second(5)), 30),
            (Manner::KeptAlive(second(10)), 10),
            (Manner::Reading(20_000), 5),
        ];
        let slow = slow.map(|(manner, count)| {
            scope.spawn(move || flood::run(manner, count, stranger(500), load.tcp, || load.is_over()).opened)
        });
        let began = Instant::now();
        while warm.load(Ordering::Relaxed) < WARM
            && began.elapsed() < WARM_UP
            && tracker.uses().is_ok()
            && !load.is_over()
        {
            sleep(Duration::from_millis(10));
        }
        println!("{:<12} {:.0?}", "warm after", began.elapsed());
        let begun = Instant::now();
        while begun.elapsed() < time && !load.is_over() {
            match tracker.uses() {
                Ok(uses) => samples.add(begun.elapsed(), uses.memory),
                // It is gone.
                Err(_) => break,
            }
            sleep(Duration::from_secs(1).min(time / 50));
        }
        stop.store(true, Ordering::Relaxed);
        let mut say = |what: &str, result: thread::Result<Result<String>>| match result {
            Ok(Ok(figures)) => println!("{what:<12} {figures}"),
            Ok(Err(error)) => failures.push(format!("{what}: {error}")),
            Err(_) => failures.push(format!("{what}: panicked")),
        };
        let mut models = Vec::new();
        let mut announced = 0;
        for client in clients {
            say(
                "client",
                client.join().map(|done| {
                    done.map(|(model, requests)| {
                        models.push(model);
                        announced += requests;
                        format!("{requests} requests, all answered")
                    })
                }),
            );
        }
        say("churn", churn.join().map(|done| done.map(|n| format!("{n} torrents came and went"))));
        say("garbage", datagrams.join().map(|done| done.map(|n| format!("{n} datagrams"))));
        say("garbage", requests.join().map(|done| done.map(|n| format!("{n} requests"))));
        say(
            "full scrapes",
            pages.join().map(|done| done.map(|[asked, whole]| format!("{whole} of {asked} came whole"))),
        );
        say("reloads", reloads.join().map(|done| done.map(|n| format!("{n}, each with another list"))));
        let slow: u64 = slow.into_iter().map(|thread| thread.join().unwrap_or(0)).sum();
        println!("{:<12} {slow} slow connections", "slow");
        models
    });
    for (protocol, record) in ["UDP", "HTTP"].iter().zip(good.stop()?) {
        let [median, worst] = record.milliseconds();
        let (answered, asked) = (record.answered, record.asked);
        println!(
            "{:<12} {answered} of {asked} answered over {protocol}, median {median:.2} ms, worst {worst:.0} ms",
            "good client"
        );
        if answered * 2 < asked || record.silence > Duration::from_secs(10) {
            failures
                .push(format!("the good client is not answered over {protocol} ({:.1?} of silence)", record.silence));
        }
    }
    if models.len() == usize::from(CLIENTS) {
        failures.extend(compare(&models, &tracker)?);
    }
    println!("{:<12} {samples}", "memory");
    failures.extend(samples.growth());
    failures.extend(let_go(&tracker)?);
    failures.extend(logged(&tracker.stop()?, minutes));
    if interrupted() {
        failures.push("interrupted".into());
    }
    Ok(failures)
}

/// Compares what scrapes and a full scrape say of every torrent of the model.
fn compare(models: &[Model], tracker: &Tracker) -> Result<Vec<String>> {
    let mut expected = vec![Counts::default(); usize::try_from(TORRENTS)?];
    models.iter().for_each(|model| model.add_to(&mut expected));
    let mut client = udp::Client::connect(GOOD, tracker.udp)?;
    let mut scraped = Vec::new();
    let hashes: Vec<_> = (0..TORRENTS).map(torrent).collect();
    for hashes in hashes.chunks(74) {
        let reply = client.ask(|id, transaction| scrape(id, transaction, hashes))?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes);
        scraped.extend(reply[8..].chunks_exact(12).map(|row| Counts {
            seeders: number(&row[..4]),
            downloads: number(&row[4..8]),
            leechers: number(&row[8..]),
        }));
    }
    let mut page = None;
    for _ in 0..PAGES {
        page = full_scrape(&load::last_page(tracker.tcp)?);
        if page.is_some() {
            break;
        }
        sleep(Duration::from_millis(500));
    }
    let mut failures = Vec::new();
    let Some(page) = page else { return Ok(vec!["there is no whole full scrape in the end".into()]) };
    let named: Vec<_> = hashes.iter().map(|hash| page.get(hash).copied().unwrap_or_default()).collect();
    for (what, found) in [("scrapes", &scraped), ("the full scrape", &named)] {
        let wrong: Vec<_> =
            (0..).zip(expected.iter().zip(found)).filter(|(_, (model, found))| model != found).collect();
        if found.len() != expected.len() || !wrong.is_empty() {
            let first = wrong.first().map(|(n, (model, found))| format!("torrent {n} has {model:?}, found {found:?}"));
            failures.push(format!(
                "{what}: {} torrents differ from the model: {}",
                wrong.len(),
                first.unwrap_or_default()
            ));
        }
    }
    let sum = |count: fn(&Counts) -> u32| expected.iter().map(count).sum::<u32>();
    let [seeders, leechers, downloads] = [sum(|c| c.seeders), sum(|c| c.leechers), sum(|c| c.downloads)];
    println!("{:<12} {TORRENTS} torrents, {seeders} seeders, {leechers} leechers, {downloads} downloads", "model");
    Ok(failures)
}

/// Waits until it has as few threads and open files as at the start.
fn let_go(tracker: &Tracker) -> Result<Vec<String>> {
    let began = Instant::now();
    let start = tracker.at_start;
    loop {
        let Use { threads, files, .. } = tracker.uses()?;
        let is_calm = threads == start.threads && files == start.files;
        if is_calm || began.elapsed() > CALM || interrupted() {
            println!(
                "{:<12} {threads} threads, {files} files; at the start {} and {}",
                "holds", start.threads, start.files
            );
            return Ok(if is_calm {
                Vec::new()
            } else {
                vec!["it holds other threads or files than at the start".into()]
            });
        }
        sleep(Duration::from_millis(100));
    }
}

/// What is in the log that the load has not caused: that connections, or room for what strangers bring, run out is said
/// now and then; a list that is read is said each time.
fn logged(log: &str, minutes: f64) -> Vec<String> {
    let mut failures = unexpected(log, &["connection", "torrents", "peers", "full scrape", "UDP"]);
    failures.iter_mut().for_each(|line| line.insert_str(0, "in the log: "));
    let lists = log.lines().filter(|line| line.contains("good lines")).count();
    let others = log.lines().count() - lists;
    println!("{:<12} {lists} lines of lists, {others} others", "log");
    #[allow(clippy::cast_precision_loss, reason = "a number of lines")]
    if others as f64 > 10.0 + 10.0 * minutes {
        failures.push(format!("{others} lines in the log that are not of lists"));
    }
    failures
}
