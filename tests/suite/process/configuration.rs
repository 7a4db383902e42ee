//! Configuration files: both syntaxes, and every kind of mistake.

use std::fs;
use std::path::Path;

use crate::clients::udp::{Announce, Client};
use crate::flavour::{self, endpoint, has, info_hash, loopback, loopbacks};
use crate::harness::tests;
use crate::tracker::{Exit, Start};

tests![
    every_key_is_understood_in_both_syntaxes,
    a_file_of_the_original_works_unchanged,
    a_native_file_works,
    every_build_starts_with_a_minimal_file_of_its_own_kind,
    the_sample_is_valid_wherever_a_configuration_may_be_empty,
    mistakes_are_reported_with_file_line_and_key,
    a_minimal_interval_above_the_interval_is_refused,
    unreadable_files_are_reported,
    the_first_of_several_files_with_a_mistake_is_named,
];

/// A value for every key that every build has, in the original's syntax.
const KEYS: &[(&str, &str)] = &[
    ("listen.tcp_udp", "LOOPBACK"),
    ("listen.tcp", "LOOPBACK"),
    ("listen.udp", "LOOPBACK"),
    ("listen.udp.workers", "2"),
    ("listen.udp_workers", "2"),
    ("listen.tcp_workers", "2"),
    ("listen.udp_connection_id_minutes", "10"),
    ("access.stats_path", "some/where"),
    ("tracker.rootdir", "/"),
    ("tracker.user", "daemon"),
    ("tracker.redirect_url", "https://tracker.example/"),
    ("tracker.interval", "900"),
    ("tracker.min_interval", "300"),
    ("limits.torrents", "1000"),
    ("limits.peers", "1000"),
    ("limits.peers_per_address", "4"),
    ("limits.connections", "1000"),
    ("limits.connections_per_address", "100"),
];

fn check(text: &str) -> Exit {
    Start::minimal().args(["--check-config"]).config(text).finish()
}

fn every_key_is_understood_in_both_syntaxes() {
    let address = endpoint(loopback(), 0);
    let (mut classic, mut toml) = (String::new(), String::new());
    for &(key, value) in KEYS {
        let value = if value == "LOOPBACK" { address.as_str() } else { value };
        let quoted = if value.parse::<u32>().is_ok() { value.to_owned() } else { format!("{value:?}") };
        check(&format!("{key} {value}\n")).succeeds();
        check(&format!("{key} = {quoted}\n")).succeeds();
        classic += &format!("{key}\t {value}\r\n");
        // TOML refuses a key twice, and this is listen.udp_workers in its other spelling.
        if key != "listen.udp.workers" {
            toml += &format!("{key} = {quoted}\n");
        }
    }
    check(&classic).succeeds();
    check(&toml).succeeds();
}

fn a_file_of_the_original_works_unchanged() {
    let start = Start::without_options();
    let root = start.path(".");
    let needs = flavour::minimal_config(&root);
    let address = endpoint(loopback(), 0);
    let text = format!(
        "# opentracker config file
#

# I)  Address opentracker will listen on, using both, tcp AND udp family
#     (note, that port 6969 is implicit if omitted).
#
# If no listen option is given (here or on the command line), opentracker
# listens on 0.0.0.0:6969 tcp and udp.
#
  listen.tcp_udp {address}
listen.tcp {address}   # a comment
listen.udp\t{address}
listen.udp.workers 4

{needs}
access.stats_path stats

tracker.rootdir {root}
tracker.user    nobody
tracker.redirect_url https://your.tracker.local/
",
        root = root.display()
    );
    let tracker = start.config(&text).run();
    assert_eq!((tracker.https().len(), tracker.udps().len()), (2, 2));
    tracker.stop();
}

fn a_native_file_works() {
    let addresses: Vec<_> = loopbacks().iter().map(|&ip| endpoint(ip, 0)).collect();
    let text = format!("[listen]\ntcp_udp = {addresses:?}\nudp_workers = 0\n[tracker]\nuser = 'nobody'\n");
    let tracker = Start::minimal().config(&text).run();
    assert_eq!((tracker.https().len(), tracker.udps().len()), (addresses.len(), addresses.len()));
}

/// What each of this build's switches is there for, and nothing else.
fn config_of_its_kind(root: &Path) -> String {
    let mut config = flavour::needed_config(root);
    let mut with = |feature: &str, line: &str| {
        if has(feature) {
            config += line;
            config.push('\n');
        }
    };
    fs::write(root.join("list"), flavour::hex(*b"a torrent not served")).unwrap();
    with("accesslist-black", "access.blacklist list");
    with("sync-live", "livesync.cluster.listen 127.0.0.1:0");
    with("sync-live", "livesync.cluster.node_ip 127.0.0.1");
    with("restrict-stats", "access.stats 127.0.0.1");
    with("ip-from-proxy", "access.proxy 192.0.2.1");
    with("fulllog-networks", "access.log_networks 192.0.2.0/24");
    with("fullscrape", "tracker.statefile dump");
    with("modest-fullscrapes", "limits.full_scrape_interval 60");
    with("handover", &format!("tracker.handover {}", root.join("handover.sock").display()));
    config
}

fn every_build_starts_with_a_minimal_file_of_its_own_kind() {
    for config in [flavour::needed_config, config_of_its_kind] {
        Start::configured(config).args(["--check-config"]).finish().succeeds();
        let tracker = Start::configured(config).on_loopback().run();
        for &server in tracker.udps() {
            let client = Client::new(server);
            client.announce(&Announce::leecher(info_hash(1), 1));
            assert_eq!(client.announce(&Announce::leecher(info_hash(1), 2)).peers, [client.endpoint(1)]);
        }
        tracker.stop();
    }
}

fn the_sample_is_valid_wherever_a_configuration_may_be_empty() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/opentracker.conf.sample");
    let finished = Start::without_options().args(["--check-config", "-f", sample]).finish();
    if has("accesslist-white") {
        finished.refuses(2, &["access.whitelist is missing", "accesslist-white"]);
    } else {
        finished.succeeds();
        assert_eq!(finished.stdout, "configuration is valid\n");
    }
}

fn mistakes_are_reported_with_file_line_and_key() {
    for (text, said) in [
        // Keys that do not exist.
        ("\n\ntracker.usr a\n", "tracker.usr (line 3) is not a key; did you mean tracker.user?"),
        ("[listen]\nupd = []\n", "listen.upd (line 2) is not a key; did you mean listen.udp?"),
        ("[surprise]\na = 1\n", "surprise.a (line 2) is not a key"),
        // Keys of the original that are still to come.
        (
            "batchsync.cluster.admin_ip 127.0.0.1\n",
            "batchsync.cluster.admin_ip (line 1) is known to this build, which does not offer it yet",
        ),
        // Values of the wrong type.
        ("# 1\n[listen]\nudp = 80\n", "listen.udp (line 3) takes an address such as 0.0.0.0, 192.0.2.1:80"),
        ("listen.udp_workers = 'many'\n", "listen.udp_workers (line 1) takes a whole number from 0 to 1024"),
        ("tracker.user = ['a']\n", "tracker.user (line 1) takes the name of a user, or UID[:GID], not a list"),
        // Values out of range.
        ("listen.udp.workers 1025\n", "listen.udp.workers (line 1) takes a whole number from 0 to 1024, not \"1025\""),
        (
            "limits.peers_per_address -1\n",
            "limits.peers_per_address (line 1) takes a whole number from 0 to 4294967295, not \"-1\"",
        ),
        ("limits.peers -1\n", "limits.peers (line 1) takes a whole number, 0 or more, not \"-1\""),
        (
            "listen.udp_connection_id_minutes = 0\n",
            "listen.udp_connection_id_minutes (line 1) takes a whole number from 1",
        ),
        ("tracker.interval 299\n", "tracker.interval (line 1) takes a whole number from 300 to 3600, not \"299\""),
        ("tracker.min_interval = 59\n", "tracker.min_interval (line 1) takes a whole number from 60 to 3600, not 59"),
        // Values of the wrong form.
        ("\nlisten.tcp localhost\n", "listen.tcp (line 2) takes an address such as"),
        ("listen.tcp_udp = [\n'0.0.0.0:99999',\n]\n", "listen.tcp_udp (line 2) takes an address such as"),
        ("listen.udp 192.0.2.1:80:80\n", "listen.udp (line 1) takes an address such as"),
        ("access.stats_path announce\n", "access.stats_path (line 1) takes a path"),
        ("access.stats_path a?b\n", "access.stats_path (line 1) takes a path"),
        ("tracker.redirect_url ftp://tracker.example/\n", "tracker.redirect_url (line 1) takes a URL"),
        ("tracker.redirect_url = \"http://a/\\r\\nb: c\"\n", "tracker.redirect_url (line 1) takes a URL"),
        ("tracker.rootdir = ''\n", "tracker.rootdir (line 1) takes the path of a directory"),
        // No value, or two of them.
        (
            "tracker.user a\ntracker.rootdir\n",
            "tracker.rootdir (line 2) has no value; it takes the path of a directory",
        ),
        (
            "tracker.rootdir\r\n# and so on\r\ntracker.user a\r\n",
            "tracker.rootdir (line 1) has no value; it takes the path of a directory",
        ),
        ("\u{feff}listen.udp\t# none\n", "listen.udp (line 1) has no value; it takes an address such as"),
        ("surprise\n", "surprise (line 1) is not a key"),
        (
            "listen.tcp_udp 0.0.0.0 192.0.2.1\n",
            "listen.tcp_udp (line 1) takes one value, not \"0.0.0.0 192.0.2.1\": an address such as 0.0.0.0, \
             192.0.2.1:80 or [2001:db8::1]:80; give it again for another one",
        ),
        ("listen.udp = '0.0.0.0, ::'\n", "listen.udp (line 1) takes one value, not \"0.0.0.0, ::\": an address"),
        (
            "tracker.user nobody nogroup\n",
            "tracker.user (line 1) takes one value, not \"nobody nogroup\": the name of a user, or UID[:GID]",
        ),
        ("[tracker]\nuser = 'a'\nuser = 'b'\n", "line 3 is not TOML: duplicate key"),
        (
            "listen.udp_workers = 1\nlisten.udp.workers = 2\n",
            "listen.udp.workers (line 2) is given twice, first on line 1",
        ),
        // Both syntaxes in one file.
        (
            "tracker.user a\ntracker.rootdir = '/'\n",
            "tracker.rootdir (line 2) is written as in TOML, but the first line makes this a file of \"keyword value\"",
        ),
        (
            "tracker.user = 'a'\nlisten.tcp 0.0.0.0\n",
            "listen.tcp (line 2) is written as \"keyword value\", but the first line makes this a file of TOML",
        ),
        // No configuration at all.
        ("[listen\n", "line 1 is not TOML"),
        ("[listen]\ntcp\n", "line 2 is not TOML"),
    ] {
        let finished = check(text);
        let file = finished.path("2.conf").display().to_string();
        finished.refuses(2, &["opentracker: ", &file, said]);
        assert_eq!((finished.stderr.lines().count(), finished.stdout.as_str()), (1, ""), "{finished:?}");
        // The same without --check-config.
        Start::loopback().config(text).finish().refuses(2, &[said]);
    }
}

fn a_minimal_interval_above_the_interval_is_refused() {
    for text in
        ["tracker.interval = 600\ntracker.min_interval = 601\n", "tracker.min_interval 601\ntracker.interval 600\n"]
    {
        let said = "tracker.min_interval is 601, but may be at most 600: that is tracker.interval";
        check(text).refuses(2, &[said]);
        Start::loopback().config(text).finish().refuses(2, &[said]);
    }
}

fn unreadable_files_are_reported() {
    for (path, said) in [
        ("/nowhere/opentracker.conf", "/nowhere/opentracker.conf cannot be read: No such file or directory"),
        ("/", "/ cannot be read: it is a directory, not a regular file"),
        ("/dev/zero", "/dev/zero is larger than 1048576 bytes"),
    ] {
        Start::minimal().args(["--check-config", "-f", path]).finish().refuses(2, &[said]);
    }
    let start = Start::minimal();
    let path = start.path("binary.conf");
    fs::write(&path, b"# one\n\xff\xfe\n").unwrap();
    let said = format!("{}: line 2 is not UTF-8", path.display());
    start.args(["--check-config".as_ref(), "-f".as_ref(), path.as_os_str()]).finish().refuses(2, &[&said]);
}

fn the_first_of_several_files_with_a_mistake_is_named() {
    let start = Start::minimal().config("tracker.user a\n").config("\ntracker.usr b\n").config("tracker.usr c\n");
    let path = start.path("3.conf");
    start.finish().refuses(2, &[&format!("{}: tracker.usr (line 2)", path.display())]);
}
