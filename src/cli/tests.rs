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
        (
            "--log all",
            "--log takes a level (error, warn, info, debug or trace), TARGET=LEVEL for completed or a module such as \
             opentracker::udp, or several of these with commas, not \"all\""
                .into(),
        ),
        ("--user=", "-u: tracker.user takes the name of a user, or UID[:GID], not \"\"".into()),
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
    let log = LogLevels { level: tracing::Level::DEBUG, targets: Vec::new() };
    let check = Invocation::CheckConfig { settings: Settings::default(), log: Some(log) };
    assert_eq!(run("--check-config --log debug --check-config", DEFAULT), Ok(check));
    assert!(run("--check-config -u", DEFAULT).is_err());
    assert_eq!(run("", DEFAULT), Ok(Invocation::Run { settings: Settings::default(), log: None }));
}

#[test]
fn a_key_is_made_instead_of_all_else() {
    // Nothing else is read or checked: no list is needed, and no file.
    for words in ["--new-key /nowhere/key", "--new-key=/nowhere/key"] {
        assert_eq!(run(words, &["accesslist-white"]), Ok(Invocation::NewKey("/nowhere/key".into())));
    }
    for words in
        ["--new-key", "--new-key=", "--new-key a -p 80", "--new-key a --new-key b", "--new-key a --check-config"]
    {
        let error = run(words, DEFAULT).unwrap_err();
        assert!(error.contains("--new-key") && error.contains("try '--help'"), "{error}");
    }
}

#[test]
fn a_file_is_converted_instead_of_all_else() {
    let expected = Ok(Invocation::ConvertConfig("/nowhere/old.conf".into()));
    assert_eq!(run("--convert-config /nowhere/old.conf", &["accesslist-white"]), expected);
    for words in ["--convert-config", "--convert-config=", "--convert-config a -f b"] {
        let error = run(words, DEFAULT).unwrap_err();
        assert!(error.contains("--convert-config") && error.contains("try '--help'"), "{error}");
    }
}

#[test]
fn a_tracker_is_asked_instead_of_all_else() {
    let health = |words: &str| run(words, &["accesslist-white"]);
    let here = "127.0.0.1:6969".parse().unwrap();
    let both = HealthTarget { tcp: true, udp: true, address: here };
    for words in ["--health", "--health="] {
        assert_eq!(health(words), Ok(Invocation::Health(both)), "{words}");
    }
    for words in ["--health udp:127.0.0.1:6969", "--health=udp:"] {
        assert_eq!(health(words), Ok(Invocation::Health(HealthTarget { tcp: false, ..both })), "{words}");
    }
    assert!(health("--health localhost").unwrap_err().starts_with("--health takes [udp:|tcp:][IP:PORT], "));
    for words in ["--health -p 80", "--health tcp: udp:", "--health --check-config"] {
        let error = health(words).unwrap_err();
        assert!(error.contains("try '--help'"), "{error}");
    }
}

#[test]
fn a_command_is_said_instead_of_all_else() {
    let control = |words: &str| run(words, &["accesslist-white", "accesslist-dynamic"]);
    for (words, expected) in
        [("stats", &["stats"][..]), ("add -", &["add", "-"]), ("-p 80 --help", &["-p", "80", "--help"])]
    {
        let words = control(&format!("--control /nowhere/socket {words}"));
        let expected = expected.iter().map(Into::into).collect();
        assert_eq!(words, Ok(Invocation::Control { socket: "/nowhere/socket".into(), words: expected }));
    }
    for words in ["--control", "--control /nowhere/socket", "-p 80 --control /nowhere/socket count"] {
        let error = control(words).unwrap_err();
        assert!(error.contains("--control") && error.contains("try '--help'"), "{error}");
    }
    let error = run("--control /nowhere/socket count", &["accesslist-white"]).unwrap_err();
    assert!(error.contains("--control needs a build with the feature accesslist-dynamic"), "{error}");
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
    for plain in [
        "--check-config ",
        "--convert-config <FILE> ",
        "--new-key <FILE> ",
        "--health [<WHERE>] ",
        "-v, --version ",
        "-h, --help ",
    ] {
        assert!(help.contains(plain), "{plain}");
    }
    assert!(help.lines().all(|line| line.len() <= 120));
}
