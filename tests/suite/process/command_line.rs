//! Every option, and those that print something instead of starting the tracker.

use crate::clients::udp::Client;
use crate::flavour::{self, has, loopback};
use crate::harness::tests;
use crate::tracker::{Start, Tracker};

tests![
    every_option_has_a_short_and_a_long_name,
    the_help_describes_every_option,
    the_version_names_target_and_features,
    wrong_options_are_reported,
    the_log_level_can_be_chosen,
    the_tracker_writes_to_standard_error_only,
];

/// Short name, long name, a value, and the features one of which is needed (none: every build has the option).
const OPTIONS: &[(&str, &str, &str, &[&str])] = &[
    ("-i", "--ip", "LOOPBACK", &[]),
    ("-p", "--tcp-port", "0", &[]),
    ("-P", "--udp-port", "0", &[]),
    ("-s", "--livesync-port", "0", &["sync-live"]),
    ("-w", "--whitelist", "list", &["accesslist-white"]),
    ("-b", "--blacklist", "list", &["accesslist-black"]),
    ("-A", "--bless", "192.0.2.0/24", &["restrict-stats", "sync-live"]),
    ("-f", "--config", "/dev/null", &[]),
    ("-d", "--dir", "/", &[]),
    ("-u", "--user", "daemon", &[]),
    ("-r", "--redirect-url", "https://tracker.example/?a=b", &[]),
    ("-l", "--statefile", "dump", &["fullscrape"]),
    ("", "--log", "warn,completed=info", &[]),
];

fn every_option_has_a_short_and_a_long_name() {
    for &(short, long, value, needs) in OPTIONS {
        let value = if value == "LOOPBACK" { &loopback().to_string() } else { value };
        let mut spellings = vec![vec![long.to_owned(), value.to_owned()], vec![format!("{long}={value}")]];
        if !short.is_empty() {
            spellings.extend([vec![short.to_owned(), value.to_owned()], vec![format!("{short}{value}")]]);
        }
        for spelling in spellings {
            let finished = Start::minimal().args(["--check-config"]).args(&spelling).finish();
            if needs.is_empty() || needs.iter().any(|feature| has(feature)) {
                finished.succeeds();
                assert_eq!(finished.stdout, "configuration is valid\n");
            } else {
                let feature = format!("needs a build with the feature {}", needs.join(" or "));
                let build = format!("this build has: {}", flavour::in_words());
                finished.refuses(2, &[&format!("opentracker: {short}"), &feature, &build]);
                assert_eq!(finished.stdout, "");
            }
        }
    }
}

fn the_help_describes_every_option() {
    let texts = ["-h", "--help"].map(|option| {
        let finished = Start::without_options().args(["-f", "/nowhere/opentracker.conf", option]).finish();
        finished.succeeds();
        finished.stdout
    });
    assert_eq!(texts[0], texts[1]);
    for &(short, long, _, needs) in OPTIONS {
        let line = texts[0].lines().find(|line| line.contains(&format!("{long} <"))).expect(long);
        assert!(line.trim_start().starts_with(if short.is_empty() { long } else { short }), "{line}");
        assert!(line.contains("[default: ") || line.contains("repeatable"), "{line}");
        for feature in needs {
            assert!(line.contains(feature), "{line}");
        }
    }
    for option in [
        "--check-config",
        "--convert-config <FILE>",
        "--new-key <FILE>",
        "--health [<WHERE>]",
        "-v, --version",
        "-h, --help",
    ] {
        assert!(texts[0].contains(option), "{option}");
    }
}

fn the_version_names_target_and_features() {
    for option in ["-v", "--version"] {
        let finished = Start::without_options().args(["-p", "80", option]).finish();
        finished.succeeds();
        let lines: Vec<_> = finished.stdout.lines().collect();
        let [version, features] = lines[..] else { panic!("{finished:?}") };
        assert!(version.starts_with(concat!("opentracker ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
        // It may have been built for another processor than the tests.
        let target = version.strip_suffix(')').and_then(|version| version.rsplit(' ').next()).expect(version);
        assert!(target.matches('-').count() >= 2 && target.contains(std::env::consts::OS), "{version}");
        assert_eq!(features, format!("features: {}", flavour::in_words().replace(',', "")));
    }
}

fn wrong_options_are_reported() {
    for (words, said) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["-z"], "-z"),
        (&["word"], "word"),
        (&["--nonsense", "--check-config"], "--nonsense"),
        (&["-p"], "--tcp-port"),
        (&["-f"], "--config"),
    ] {
        let finished = Start::minimal().args(words).finish();
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert!(finished.stderr.starts_with("opentracker: ") && finished.stderr.contains(said), "{finished:?}");
        finished.refuses(2, &["--help"]);
    }
    for (option, value, said) in [
        ("-p", "65536", "-p takes a port from 0 to 65535, not \"65536\""),
        ("-p", "", "-p takes a port from 0 to 65535, not \"\""),
        ("--udp-port", "http", "-P takes a port from 0 to 65535, not \"http\""),
        ("-i", "localhost", "-i takes an address such as 192.0.2.1 or 2001:db8::1, not \"localhost\""),
        ("-u", "", "-u: tracker.user takes the name of a user, or UID[:GID], not \"\""),
        ("-d", "", "-d: tracker.rootdir takes the path of a directory, not \"\""),
        ("-r", "tracker.example", "-r: tracker.redirect_url takes a URL"),
        ("--log", "loud", "or several of these with commas, not \"loud\""),
        (
            "--log",
            "completed",
            "--log takes a level (error, warn, info, debug or trace), TARGET=LEVEL for completed or",
        ),
        ("--log", "warn,complete=info", "not \"warn,complete=info\""),
        ("-f", "/nowhere/opentracker.conf", "/nowhere/opentracker.conf cannot be read: No such file"),
    ] {
        for extra in [&[][..], &["--check-config"]] {
            let finished = Start::minimal().args([option, value]).args(extra).finish();
            finished.refuses(2, &[said]);
            assert_eq!((finished.stderr.lines().count(), finished.stdout.as_str()), (1, ""), "{finished:?}");
        }
    }
}

fn the_log_level_can_be_chosen() {
    let log = |start: Start| start.run().stop();
    assert!(log(Start::loopback()).contains(" INFO listening on udp "));
    assert_eq!(log(Start::loopback().args(["--log", "error"])), "");
    assert_eq!(log(Start::loopback().env("RUST_LOG", "error")), "");
    assert!(log(Start::loopback().env("RUST_LOG", "error").args(["--log", "info"])).contains(" INFO "));
    let misunderstood = log(Start::loopback().env("RUST_LOG", "a=b=c"));
    assert!(misunderstood.contains("WARN RUST_LOG is not understood") && misunderstood.contains(" INFO "));
}

fn the_tracker_writes_to_standard_error_only() {
    let tracker = Tracker::start(&[]);
    Client::new(tracker.udp());
    let output = std::fs::read_to_string(tracker.root().join("stdout")).unwrap();
    assert_eq!(output, "");
    let log = tracker.stop();
    assert!(log.contains(&format!("features: {}", flavour::in_words())), "{log}");
    assert!(!log.contains('\x1b'), "no colours where nobody sees them");
}
