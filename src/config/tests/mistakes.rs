//! Every kind of mistake in a file, with the exact words; and bytes that are no configuration at all.

use std::path::Path;

use proptest::prelude::*;

use super::super::{MAX_FILE_SIZE, apply_file};
use super::*;

const ADDRESS: &str = "an address such as 0.0.0.0, 192.0.2.1:80 or [2001:db8::1]:80";

#[track_caller]
fn says(text: &str, features: &[&str], expected: &str) {
    assert_eq!(read(text, features).unwrap_err(), format!("opentracker.conf: {expected}"), "{text}");
}

#[test]
fn a_key_of_an_absent_switch_is_refused_and_names_the_feature() {
    says(
        "# closed\n\n[access]\nwhitelist = \"list\"\n",
        DEFAULT_BUILD,
        "access.whitelist (line 4) needs a build with the feature accesslist-white; this build has: fullscrape, handover",
    );
    says(
        "\taccess.blacklist  list \r\n",
        &["v6", "gzip"],
        "access.blacklist (line 1) needs a build with the feature accesslist-black; this build has: v6, gzip",
    );
    says(
        "access.refusal_minutes never",
        &[],
        "access.refusal_minutes (line 1) needs a build with the feature accesslist-black or accesslist-white or \
         client-ids; this build has: none",
    );
    // The value does not matter, an empty list included.
    says(
        "access.stats = []",
        &[],
        "access.stats (line 1) needs a build with the feature restrict-stats; this build has: none",
    );
    says(
        "access.proxy nonsense",
        DEFAULT_BUILD,
        "access.proxy (line 1) needs a build with the feature ip-from-proxy; this build has: fullscrape, handover",
    );
}

#[test]
fn a_key_that_does_not_exist_is_refused_and_the_nearest_one_suggested() {
    says("acess.stats 192.0.2.1", ALL, "acess.stats (line 1) is not a key; did you mean access.stats?");
    says("[listen]\nupd = []", ALL, "listen.upd (line 2) is not a key; did you mean listen.udp?");
    says("[limts]\npeers = 1", ALL, "limts.peers (line 2) is not a key; did you mean limits.peers?");
    says("listen.udp.worker 1", ALL, "listen.udp.worker (line 1) is not a key; did you mean listen.udp.workers?");
    says("user = 'a'", ALL, "user (line 1) is not a key; did you mean tracker.user?");
    says("\n[surprise]\n", ALL, "surprise (line 2) is not a key");
    says("listen = '0.0.0.0'", ALL, "listen (line 1) is not a key");
    says("[[listen]]\ntcp = []", ALL, "listen (line 1) is not a key");
    says("something.else 1", ALL, "something.else (line 1) is not a key");
    says("\"a\\nb\\\"\" = 1", ALL, "a\\nb\\\" (line 1) is not a key");
    says(&format!("{} 1", "k".repeat(81)), ALL, &format!("{}... (line 1) is not a key", "k".repeat(80)));
}

#[test]
fn keys_of_the_original_that_are_still_to_come_are_refused_as_such() {
    let expected = "batchsync.cluster.admin_ip (line 1) is known to this build, which does not offer it yet";
    says("batchsync.cluster.admin_ip x", ALL, expected);
    says("batchsync.cluster.admin_ip = 'x'", ALL, expected);
}

#[test]
fn a_value_of_the_wrong_type_or_form_is_refused_with_what_was_expected() {
    let address = |found| format!("listen.tcp (line 1) takes {ADDRESS}, not {found}");
    says("listen.tcp = 'localhost'", ALL, &address("\"localhost\""));
    says("listen.tcp = ''", ALL, &address("\"\""));
    says("listen.tcp = 80", ALL, &address("80"));
    says("listen.tcp = true", ALL, &address("true"));
    says("listen.tcp = 1.5", ALL, &address("a number with a fraction"));
    says("listen.tcp = 2001-01-01", ALL, &address("a date or time"));
    says("listen.tcp = [['0.0.0.0']]", ALL, &address("a list"));
    says("listen.tcp = [{}]", ALL, &address("a table"));
    says("listen.tcp = {}", ALL, &address("a table"));
    says("listen.tcp \"0.0.0.0\"", ALL, &address("\"\\\"0.0.0.0\\\"\""));
    says(&format!("listen.tcp {}", "x".repeat(99)), ALL, &address(&format!("\"{}...\"", "x".repeat(80))));
    says(
        "listen.tcp = [\n  '0.0.0.0',\n  '0.0.0.0:99999',\n]",
        ALL,
        &format!("listen.tcp (line 3) takes {ADDRESS}, not \"0.0.0.0:99999\""),
    );
    let workers = |found| format!("listen.udp_workers (line 1) takes a whole number from 0 to 1024, not {found}");
    says("listen.udp_workers = '4'", ALL, &workers("\"4\""));
    says("listen.udp_workers = [4]", ALL, &workers("a list"));
    says("listen.udp_workers = 1025", ALL, &workers("1025"));
    says("listen.udp_workers many", ALL, &workers("\"many\""));
    says("tracker.user = ['a']", ALL, "tracker.user (line 1) takes the name of a user, or UID[:GID], not a list");
    says(
        "access.stats_path announce",
        ALL,
        "access.stats_path (line 1) takes a path without white space, ? or #, other than announce and scrape, \
         not \"announce\"",
    );
    says(
        "tracker.redirect_url example.org",
        ALL,
        "tracker.redirect_url (line 1) takes a URL in ASCII that starts with http:// or https://, without white \
         space, not \"example.org\"",
    );
}

#[test]
fn a_keyword_without_a_value_is_refused() {
    says(
        "listen.tcp 0.0.0.0\nlisten.udp  \t\r\n",
        ALL,
        &format!("listen.udp (line 2) has no value; it takes {ADDRESS}"),
    );
    says("listen.tcp 0.0.0.0\nlisten.udp=::", ALL, "listen.udp=:: (line 2) is not a key; did you mean listen.udp?");
    // On the first line too, whatever the end of the line, and whatever comes after it.
    for text in [
        "listen.udp",
        "listen.udp\n",
        "\u{feff}listen.udp\r\n",
        "\tlisten.udp \t \r\n",
        "listen.udp # a comment",
        "listen.udp\t#",
        "listen.udp\n[tracker]\nuser = 'a'",
        "listen.udp\ntracker.user a",
    ] {
        says(text, ALL, &format!("listen.udp (line 1) has no value; it takes {ADDRESS}"));
    }
    says("# 1\n\naccess.whitelist\n", ALL, "access.whitelist (line 3) has no value; it takes the path of a file");
    says("tracker.rootdir #/srv\n", ALL, "tracker.rootdir (line 1) has no value; it takes the path of a directory");
    says("surprise\nlisten.udp ::", ALL, "surprise (line 1) is not a key");
    says("listen.upd\n", ALL, "listen.upd (line 1) is not a key; did you mean listen.udp?");
    says(
        "batchsync.cluster.admin_ip",
        ALL,
        "batchsync.cluster.admin_ip (line 1) is known to this build, which does not offer it yet",
    );
    says(
        "access.whitelist",
        DEFAULT_BUILD,
        "access.whitelist (line 1) needs a build with the feature accesslist-white; this build has: fullscrape, handover",
    );
    // In TOML as well, as far as a line has the whole name.
    says("[tracker]\n[access]\nlisten.udp\n", ALL, &format!("listen.udp (line 3) has no value; it takes {ADDRESS}"));
}

#[test]
fn several_values_where_a_key_takes_one_are_refused_as_such() {
    let address = |text: &str, found, more| {
        says(text, ALL, &format!("listen.tcp_udp (line 1) takes one value, not {found}: {ADDRESS}; {more}"));
    };
    let again = "give it again for another one";
    address("listen.tcp_udp 0.0.0.0 192.0.2.1:80", "\"0.0.0.0 192.0.2.1:80\"", again);
    address("listen.tcp_udp 0.0.0.0\t::\r\n", "\"0.0.0.0\\t::\"", again);
    address("listen.tcp_udp 0.0.0.0, :: # both", "\"0.0.0.0, :: # both\"", again);
    address("listen.tcp_udp 192.0.2.1,192.0.2.2", "\"192.0.2.1,192.0.2.2\"", again);
    address("listen.tcp_udp 0.0.0.0 6969", "\"0.0.0.0 6969\"", again);
    let list = "several are a list, in brackets";
    address("listen.tcp_udp = '0.0.0.0 ::'", "\"0.0.0.0 ::\"", list);
    address("listen.tcp_udp = ['0.0.0.0; ::']", "\"0.0.0.0; ::\"", list);
    says(
        "access.stats 192.0.2.1 192.0.2.2",
        ALL,
        "access.stats (line 1) takes one value, not \"192.0.2.1 192.0.2.2\": an address or a network, such as \
         192.0.2.1 or 192.0.2.0/24; give it again for another one",
    );
    // Keys that are no lists.
    let says = |text, found: &str, expected: &str| {
        let key = text_key(text);
        says(text, ALL, &format!("{key} (line 1) takes one value, not {found}: {expected}"));
    };
    says("listen.udp.workers 4 8", "\"4 8\"", "a whole number from 0 to 1024");
    says("tracker.user nobody nogroup", "\"nobody nogroup\"", "the name of a user, or UID[:GID]");
    says("access.proxy_header = 'X-A, X-B'", "\"X-A, X-B\"", "the name of a header");
    says(
        "livesync.cluster.listen 192.0.2.1 192.0.2.2",
        "\"192.0.2.1 192.0.2.2\"",
        "an IPv4 address of this machine, such as 192.0.2.1 or 192.0.2.1:9696",
    );
    // A path may have white space in it.
    let path = read("access.whitelist a b", ALL).unwrap().access.whitelist;
    assert_eq!(path.as_deref(), Some(Path::new("a b")));
}

fn text_key(text: &str) -> &str {
    text.split_whitespace().next().unwrap()
}

#[test]
fn every_key_but_a_path_says_that_it_takes_one_value() {
    for key in keys::all().filter(|key| !matches!(key.takes, ValueType::Path { .. })) {
        let two = format!("{0} {1} {1}", key.name, bare(key));
        let error = read(&two, ALL).unwrap_err();
        assert!(error.contains(&format!("{} (line 1) takes one value, not ", key.name)), "{error}");
        assert_eq!(error.contains("give it again"), key.takes.is_list(), "{error}");
    }
}

#[test]
fn a_line_of_the_other_syntax_is_refused_as_such() {
    let classic = "is written as in TOML, but the first line makes this a file of \"keyword value\" lines";
    for (line, key) in [
        ("tracker.user = 'a'", "tracker.user"),
        ("access.whitelist = list", "access.whitelist"),
        ("tracker.rootdir =/srv", "tracker.rootdir"),
        ("[tracker]", "[tracker]"),
        ("[[a", "[[a"),
    ] {
        says(&format!("listen.tcp 0.0.0.0\r\n{line}\r\n"), ALL, &format!("{key} (line 2) {classic}"));
    }
    let toml = "is written as \"keyword value\", but the first line makes this a file of TOML";
    for line in ["listen.tcp 0.0.0.0", "  listen.udp.workers\t4  ", "access.whitelist /a=b"] {
        let key = text_key(line);
        says(&format!("tracker.user = 'a'\n\n{line}\n"), ALL, &format!("{key} (line 3) {toml}"));
    }
    says("[tracker]\nsurprise here\n", ALL, "line 2 is not TOML: key with no value, expected `=`");
    // The first mistake counts.
    says(
        "listen.tcp 0.0.0.0\ntracker.usr a\n[tracker]",
        ALL,
        "tracker.usr (line 2) is not a key; did you mean tracker.user?",
    );
}

#[test]
fn a_key_that_is_given_twice_is_refused_in_toml_alone() {
    says("[tracker]\nuser = 'a'\nuser = 'b'", ALL, "line 3 is not TOML: duplicate key");
    says(
        "[listen]\nudp_workers = 1\nudp.workers = 2",
        ALL,
        "listen.udp.workers (line 3) is given twice, first on line 2",
    );
    says("\"tracker.user\" = 'a'\n[tracker]\nuser = 'b'", ALL, "tracker.user (line 3) is given twice, first on line 1");
    // In the original's syntax the last one counts, as it always did.
    assert_eq!(read("tracker.user a\ntracker.user b", ALL).unwrap().tracker.user, "b");
}

#[test]
fn the_first_mistake_of_the_file_is_told() {
    says(
        "[tracker]\nusr = 1\n[access]\nstats = 1",
        ALL,
        "tracker.usr (line 2) is not a key; did you mean tracker.user?",
    );
}

#[test]
fn a_text_that_is_not_toml_is_refused_with_its_line() {
    says("[listen\n", ALL, "line 1 is not TOML: unclosed table, expected `]`");
    says("[listen]\n\ntcp\n", ALL, "line 3 is not TOML: key with no value, expected `=`");
    says("[listen]\ntcp 0.0.0.0\n", ALL, "line 2 is not TOML: key with no value, expected `=`");
    says(
        &format!("a = {}", "[".repeat(1000)),
        ALL,
        "line 1 is not TOML: cannot recurse further; max recursion depth met",
    );
    // Without a place, because the parser gives none.
    let deep = read(&format!("{}a = 1", "a.".repeat(1000)), ALL);
    assert_eq!(deep.unwrap_err(), "opentracker.conf is not TOML: recursion limit");
}

#[test]
fn files_that_cannot_be_read_are_named_with_the_reason() {
    let says = |path: &str, expected: &str| {
        let mut settings = Settings::default();
        let error = apply_file(&mut settings, Path::new(path), &BuildFacts::with_features(ALL)).unwrap_err();
        assert_eq!(error.to_string(), format!("{path} {expected}"));
    };
    says("/nowhere/opentracker.conf", "cannot be read: No such file or directory (os error 2)");
    says("/", "cannot be read: it is a directory, not a regular file");
    says("", "cannot be read: No such file or directory (os error 2)");
    says("/dev/zero", "is larger than 1048576 bytes");
}

#[test]
fn files_that_are_too_large_or_not_text_are_refused() {
    let build = BuildFacts::with_features(ALL);
    let read = |bytes: &[u8]| apply_bytes(&mut Settings::default(), Path::new("x\ny"), bytes, &build);
    let comment = vec![b'#'; MAX_FILE_SIZE];
    assert_eq!(read(&comment), Ok(()));
    let error = read(&[comment, vec![b'#']].concat()).unwrap_err();
    assert_eq!(error.to_string(), "x\\ny is larger than 1048576 bytes");
    let error = read(b"# one\n# two \xff\n").unwrap_err();
    assert_eq!(error.to_string(), "x\\ny: line 2 is not UTF-8");
}

const PIECES: &[&str] = &[
    "listen",
    "tcp_udp",
    "listen.udp",
    "workers",
    "access.stats",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ".",
    "=",
    " ",
    "\n",
    "\r\n",
    "\"",
    "'''",
    "#",
    ",",
    "0.0.0.0",
    "::1",
    "/24",
    ":80",
    "-1",
    "1e9",
    "\u{feff}",
    "é",
];

proptest! {
    #[test]
    fn any_bytes_are_configuration_or_a_one_line_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let build = BuildFacts::with_features(ALL);
        if let Err(error) = apply_bytes(&mut Settings::default(), Path::new("x"), &bytes, &build) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    /// Most random bytes are no UTF-8; pieces of real files get further.
    #[test]
    fn any_pieces_of_configurations_are_one_or_a_one_line_error(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::sample::select(PIECES).prop_map(str::to_owned),
                "[a-z.]{1,8}",
                any::<String>(),
            ],
            0..30,
        ),
        features in prop::sample::subsequence(ALL.to_vec(), 0..=ALL.len()),
    ) {
        if let Err(error) = read(&pieces.concat(), &features) {
            prop_assert!(!error.contains('\n'));
        }
    }
}
