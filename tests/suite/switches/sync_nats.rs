//! `sync-nats`: a cluster of trackers tells each other their peers over NATS.

use std::fs;

use nix::sys::signal::Signal;

use super::refuses_key;
use crate::clients::http;
use crate::clients::nats::{Certificates, Server, only_with_nats_server, only_with_openssl, secret};
use crate::clients::udp::{self, Announce, Client};
use crate::directory::Directory;
use crate::flavour::{has, info_hash, loopbacks, only_with, only_without};
use crate::harness::tests;
use crate::http::announce_target;
use crate::tracker::{Start, Tracker, is_root, unused_port};
use crate::wait::wait_until;

tests![
    without_it_its_keys_are_refused,
    without_a_server_the_tracker_is_in_no_cluster_and_says_so,
    half_a_configuration_is_a_mistake,
    what_is_no_server_is_refused,
    a_name_without_an_address_keeps_the_tracker_from_starting,
    peers_of_one_tracker_are_handed_out_by_the_others,
    a_tracker_that_stops_tells_its_last_changes,
    what_is_announced_while_a_tracker_stops_is_told_too,
    after_a_cut_all_is_told_again,
    a_frozen_server_keeps_no_client_waiting,
    an_identity_that_is_right_is_taken_and_a_wrong_one_is_reported,
    secrets_are_in_no_log,
    secrets_that_others_can_read_are_refused_by_the_names_of_their_keys,
    files_in_which_there_is_something_else_are_refused,
    a_server_is_believed_by_its_certificate,
    in_the_jail_and_without_one_connections_are_made_with_tls,
    what_the_environment_says_of_certificates_is_no_riddle,
    a_server_that_cannot_be_reached_is_reported,
    servers_that_are_announced_are_used_where_they_are_within_reach,
];

/// Every key, with a value that is right.
const KEYS: [(&str, &str); 7] = [
    ("sync.nats.servers", "nats.example.org"),
    ("sync.nats.subject", "trackers"),
    ("sync.nats.credentials", "/nats.creds"),
    ("sync.nats.tls_ca", "/ca.pem"),
    ("sync.nats.user", "tracker"),
    ("sync.nats.password_file", "/password"),
    ("sync.nats.token_file", "/token"),
];

fn without_it_its_keys_are_refused() {
    only_without("sync-nats");
    KEYS.iter().for_each(|(key, value)| refuses_key("sync-nats", key, value));
}

fn without_a_server_the_tracker_is_in_no_cluster_and_says_so() {
    only_with("sync-nats");
    let log = Tracker::start(&[]).stop();
    let said = "WARN sync.nats.servers is not configured: this tracker is in no cluster over NATS";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

/// Asserts that the tracker does not start with this configuration, and says this of it.
#[track_caller]
fn refuses(config: &str, said: &str) {
    Start::minimal().config(config).on_loopback().finish().refuses(2, &[said]);
    Start::minimal().config(config).args(["--check-config"]).finish().refuses(2, &[said]);
}

fn half_a_configuration_is_a_mistake() {
    only_with("sync-nats");
    let alone = |key: &str, other: &str| format!("{key} does nothing without {other}: set both or neither");
    for (key, value) in KEYS.into_iter().skip(2) {
        refuses(&format!("{key} = {value:?}\n"), &alone(key, "sync.nats.servers"));
    }
    let server = "sync.nats.servers = ['nats.example.org']\n";
    let user = "sync.nats.user = 'tracker'\n";
    let password = "sync.nats.password_file = '/password'\n";
    refuses(&[server, user].concat(), &alone("sync.nats.user", "sync.nats.password_file"));
    refuses(&[server, password].concat(), &alone("sync.nats.password_file", "sync.nats.user"));
    let token = "sync.nats.token_file = '/token'\n";
    let together = "sync.nats.user cannot stand beside sync.nats.token_file: set one of them";
    refuses(&[server, user, password, token].concat(), together);
    let credentials = "sync.nats.credentials = '/nats.creds'\n";
    let together = "sync.nats.credentials cannot stand beside sync.nats.token_file: set one of them";
    refuses(&[server, credentials, token].concat(), together);
}

fn what_is_no_server_is_refused() {
    only_with("sync-nats");
    for server in ["http://nats.example.org", "nats.example.org:0", "", "nats://a/b", "256.1.1.1"] {
        refuses(&format!("sync.nats.servers = ['{server}']\n"), "sync.nats.servers (line 1) takes a server such as");
    }
    let said = "sync.nats.servers names nats://nats.example.org:4222 with a user or a token: take that out, and see";
    refuses("sync.nats.servers = ['nats://user:secret@nats.example.org']\n", said);
    // One that is wrong in another way too is not repeated with what may be a password.
    for (server, shown) in [
        ("nats://user:secret@a/", "nats://...@a/"),
        ("ws://user:secret@a", "ws://...@a"),
        ("user:secret@", "...@"),
        ("nats://user:secret@a, nats://user:secret@b/", "nats://...@b/"),
        ("nats://user:secret", "nats://user:..."),
        ("user:secret://x@a/", "...@a/"),
    ] {
        let finished = Start::minimal().config(&format!("sync.nats.servers = ['{server}']\n")).on_loopback().finish();
        assert!(!finished.stderr.contains("secret") && !finished.stdout.contains("secret"), "{finished:?}");
        finished.refuses(2, &[shown]);
    }
    refuses("sync.nats.servers = ['a']\nsync.nats.subject = 'a..b'\n", "sync.nats.subject (line 2) takes a subject");
}

fn a_name_without_an_address_keeps_the_tracker_from_starting() {
    only_with("sync-nats");
    let alone = loopback().config("sync.nats.servers = ['nowhere.invalid']\n").finish();
    alone.refuses(1, &["sync.nats.servers: cannot look up nowhere.invalid: "]);
    let both = format!("sync.nats.servers = ['nowhere.invalid', '127.0.0.1:{}']\n", unused_port());
    let log = loopback().config(&both).run().stop();
    assert!(log.contains("WARN sync.nats.servers: cannot look up nowhere.invalid: "), "{log}");
}

/// A tracker that waits for no snapshot.
fn loopback() -> Start {
    Start::loopback().config("sync.snapshot_wait = 0\n")
}

/// Starts a tracker in the cluster of a server, and waits until it hears what others tell.
pub(super) fn member(server: &Server) -> Tracker {
    member_with(server, "")
}

/// The same with more configuration.
pub(super) fn member_with(server: &Server, config: &str) -> Tracker {
    let before = server.listeners();
    let tracker = connected(loopback().config(&server.config()).config(config));
    let hears = wait_until(|| (server.listeners() > before).then_some(()));
    assert!(hears.is_some(), "it has subscribed to nothing:\n{}", tracker.log());
    tracker
}

/// Starts it, and waits until it is connected.
pub(super) fn connected(start: Start) -> Tracker {
    let mut tracker = start.run();
    tracker.wait_for_log("INFO connected to NATS at ");
    tracker
}

fn peers_of_one_tracker_are_handed_out_by_the_others() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    let trackers = [member(&server), member(&server), member(&server)];
    for at in 0..loopbacks().len() {
        let clients = trackers.each_ref().map(|tracker| Client::new(tracker.udps()[at]));
        let [one, others @ ..] = &clients;
        let torrent = u8::try_from(at).unwrap() + 1;
        let leecher = |port| Announce::leecher(info_hash(torrent), port);
        let seeder = |port| Announce::seeder(info_hash(torrent), port);
        one.announce(&leecher(0x1234));
        others.iter().for_each(|other| other.wait_for_counts(info_hash(torrent), (0, 0, 1)));
        one.announce(&seeder(0x1234).event(udp::COMPLETED));
        for (other, port) in others.iter().zip(1..) {
            other.wait_for_counts(info_hash(torrent), (1, 1, u32::from(port) - 1));
            // What they hand out is the peer, as it was announced to the first.
            assert!(other.announce(&leecher(port)).peers.contains(&one.endpoint(0x1234)));
            clients.iter().for_each(|client| client.wait_for_counts(info_hash(torrent), (1, 1, port.into())));
        }
        one.announce(&seeder(0x1234).event(udp::STOPPED));
        clients.iter().for_each(|client| client.wait_for_counts(info_hash(torrent), (0, 1, 2)));
    }
    // Another cluster on the same server hears nothing of it.
    let stranger = connected(loopback().config(&(server.config() + "sync.nats.subject = 'others'\n")));
    let (stranger, one) = (Client::new(stranger.udp()), Client::new(trackers[0].udp()));
    stranger.announce(&Announce::leecher(info_hash(9), 9));
    one.announce(&Announce::leecher(info_hash(8), 8));
    Client::new(trackers[1].udp()).wait_for_counts(info_hash(8), (0, 0, 1));
    assert_eq!(stranger.counts(info_hash(8)), (0, 0, 0));
    assert_eq!(one.counts(info_hash(9)), (0, 0, 0));
}

fn a_tracker_that_stops_tells_its_last_changes() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    let (one, other) = (member(&server), member(&server));
    let (first, second) = (Client::new(one.udp()), Client::new(other.udp()));
    // The first change goes out at once, others wait for a second.
    first.announce(&Announce::leecher(info_hash(1), 1));
    second.wait_for_counts(info_hash(1), (0, 0, 1));
    first.announce(&Announce::leecher(info_hash(1), 2));
    first.announce(&Announce::seeder(info_hash(1), 3));
    let log = one.stop();
    assert!(!log.contains("WARN the last"), "{log}");
    second.wait_for_counts(info_hash(1), (1, 0, 2));
}

fn what_is_announced_while_a_tracker_stops_is_told_too() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    let (mut one, other) = (member(&server), member(&server));
    let mut connection = http::Connection::open(one.http());
    let request = http::request(&announce_target(1, "port=1&left=0&event=completed"), "");
    let (first, rest) = request.split_at(request.len() - 2);
    connection.send_until_read(first);
    one.signal(Signal::SIGTERM);
    one.wait_for_log("SIGTERM: stopping");
    connection.send(rest);
    assert_eq!(connection.reply().status, 200);
    assert_eq!(one.end().code, Some(0));
    Client::new(other.udp()).wait_for_counts(info_hash(1), (1, 1, 0));
}

fn after_a_cut_all_is_told_again() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start_to_restart();
    let (mut one, other) = (member(&server), member(&server));
    let (first, second) = (Client::new(one.udp()), Client::new(other.udp()));
    // What a tracker has missed that has never been connected, a snapshot has.
    first.announce(&Announce::leecher(info_hash(3), 1));
    second.announce(&Announce::leecher(info_hash(4), 1));
    second.wait_for_counts(info_hash(3), (0, 0, 1));
    first.wait_for_counts(info_hash(4), (0, 0, 1));
    let port = server.kill();
    one.wait_for_log("WARN the connection to NATS at 127.0.0.1:");
    for port in 1..=50 {
        first.announce(&Announce::leecher(info_hash(1), port));
        second.announce(&Announce::seeder(info_hash(2), port).event(udp::COMPLETED));
    }
    let _server = Server::restart(port, &[]);
    second.wait_for_counts(info_hash(1), (0, 0, 50));
    first.wait_for_counts(info_hash(2), (50, 50, 0));
    let log = one.stop();
    assert_eq!(log.matches("INFO connected to NATS at 127.0.0.1:").count(), 2, "{log}");
}

fn a_frozen_server_keeps_no_client_waiting() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&[]);
    let tracker = member(&server);
    server.freeze();
    let client = Client::new(tracker.udp());
    for port in 1..=2000 {
        client.announce(&Announce::leecher(info_hash(1), port));
    }
    assert_eq!(client.counts(info_hash(1)).2, 2000);
    // It is not waited for at the end either: not for longer than the tracker waits for anybody.
    let log = tracker.stop();
    assert!(log.contains(" batches of changes may not have reached the cluster over NATS"), "{log}");
}

fn an_identity_that_is_right_is_taken_and_a_wrong_one_is_reported() {
    only_with("sync-nats");
    only_with_nats_server();
    let user = Server::start(&["--user", "tracker", "--pass", "right"]);
    let token = Server::start(&["--auth", "right"]);
    let directory = Directory::new();
    let password_of = |text: &str| {
        let file = secret(&directory.0.join("password"), "sync.nats.password_file", text, 0o600);
        format!("sync.nats.user = 'tracker'\n{file}")
    };
    let token_of = |text: &str| secret(&directory.0.join("token"), "sync.nats.token_file", text, 0o600);
    for (server, identity) in [(&user, password_of("right\n")), (&token, token_of("right"))] {
        connected(loopback().config(&(server.config() + &identity))).stop();
    }
    let asked = "the server asks for an identity, and none is configured";
    for (server, identity, see) in [
        (&user, password_of("wrong\n"), "see sync.nats.user and password_file"),
        (&token, token_of("wrong"), "see sync.nats.token_file"),
        (&user, String::new(), asked),
        (&token, String::new(), asked),
    ] {
        let mut tracker = loopback().config(&(server.config() + &identity)).run();
        let address = format!("127.0.0.1:{}", server.port());
        let said =
            format!("WARN cannot connect to NATS at {address}: it refuses who the tracker says that it is: {see}");
        tracker.wait_for_log(&said);
        still_answers(&tracker);
        let log = tracker.stop();
        assert_eq!(log.matches("it refuses who").count(), 1, "once a minute is enough:\n{log}");
        assert!(!log.contains("wrong") && !log.contains("connected to NATS at"), "{log}");
    }
}

/// Asserts that a tracker without a connection does what it is for.
#[track_caller]
fn still_answers(tracker: &Tracker) {
    assert_eq!(Client::new(tracker.udp()).announce(&Announce::leecher(info_hash(1), 1)).leechers, 1);
}

fn secrets_are_in_no_log() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&["--user", "tracker", "--pass", "right"]);
    let directory = Directory::new();
    for password in ["right", "mistaken"] {
        let file = secret(&directory.0.join("password"), "sync.nats.password_file", password, 0o600);
        let config = format!("{}sync.nats.user = 'tracker'\n{file}", server.config());
        for level in ["trace", "trace,async_nats=trace"] {
            let mut tracker = loopback().config(&config).env("RUST_LOG", level).run();
            tracker.wait_for_log("connect");
            tracker.wait_for_log(if password == "right" { "connected to NATS" } else { "it refuses who" });
            let log = tracker.stop();
            assert!(!log.contains(password), "{log}");
            assert_eq!(
                log.contains("attempting connection") || log.contains("establishing connection"),
                level != "trace"
            );
        }
    }
}

fn secrets_that_others_can_read_are_refused_by_the_names_of_their_keys() {
    only_with("sync-nats");
    only_with_nats_server();
    let server = Server::start(&["--auth", "right"]);
    let directory = Directory::new();
    let path = directory.0.join("secret");
    for key in ["sync.nats.token_file", "sync.nats.password_file", "sync.nats.credentials"] {
        let user = if key == "sync.nats.password_file" { "sync.nats.user = 'tracker'\n" } else { "" };
        for mode in [0o644, 0o604, 0o602, 0o601] {
            let config = [&server.config(), user, &secret(&path, key, "right\n", mode)].concat();
            let said = format!(
                "{key}: cannot read {}: every user of this machine can use it (mode 0{mode:o})",
                path.display()
            );
            loopback().config(&config).finish().refuses(1, &[&said]);
        }
    }
    for mode in [0o600, 0o640, 0o440] {
        let config = server.config() + &secret(&path, "sync.nats.token_file", "right\n", mode);
        connected(loopback().config(&config)).stop();
        fs::remove_file(&path).unwrap();
    }
}

fn files_in_which_there_is_something_else_are_refused() {
    only_with("sync-nats");
    let directory = Directory::new();
    let path = directory.0.join("file");
    let server = "sync.nats.servers = ['127.0.0.1:1']\n";
    for (key, text, why) in [
        ("sync.nats.token_file", "", "it is empty"),
        ("sync.nats.token_file", "\n\n", "it is empty"),
        ("sync.nats.token_file", "one\ntwo\n", "it has several lines"),
        ("sync.nats.credentials", "secret\n", "it is no file of credentials as nsc makes them"),
        ("sync.nats.tls_ca", "secret\n", "it has no certificate in PEM"),
    ] {
        let finished = loopback().config(&(server.to_owned() + &secret(&path, key, text, 0o600))).finish();
        finished.refuses(1, &[&format!("{key}: cannot read {}: {why}", path.display())]);
        fs::remove_file(&path).unwrap();
        let finished = loopback().config(&format!("{server}{key} = {path:?}\n")).finish();
        finished.refuses(1, &[&format!("{key}: cannot read {}: No such file", path.display())]);
    }
}

/// Without what the environment of the tests says of certificates.
fn without_certificates_of_the_environment(start: Start) -> Start {
    start.wrapped(&["env", "-u", "SSL_CERT_FILE", "-u", "SSL_CERT_DIR"])
}

fn a_server_is_believed_by_its_certificate() {
    only_with("sync-nats");
    only_with_nats_server();
    only_with_openssl();
    let (local, number) = (Certificates::new("DNS:localhost"), Certificates::new("IP:127.0.0.1"));
    let (other, plain) = (Certificates::new("DNS:other.example"), Server::start(&[]));
    let servers = [&local, &number, &other].map(Certificates::server);
    let start = |server: &Server, host: &str, ca: &str| {
        without_certificates_of_the_environment(loopback().config(&(server.config_as(host) + ca)))
    };
    for (server, host, certificates) in [
        (&servers[0], "tls://localhost", &local),
        // The server asks for it.
        (&servers[0], "localhost", &local),
        (&servers[1], "tls://127.0.0.1", &number),
    ] {
        connected(start(server, host, &certificates.config())).stop();
    }
    for (server, host, ca, said) in [
        (
            &servers[0],
            "localhost",
            number.config(),
            "its certificate is not trusted: it is not signed by a certificate in",
        ),
        (&servers[0], "tls://localhost", number.config(), "its certificate is not trusted"),
        (&servers[2], "localhost", other.config(), "its certificate is for another name"),
        (&servers[0], "127.0.0.1", local.config(), "its certificate is for another name"),
        // It is asked for TLS, and does not know it.
        (&plain, "127.0.0.1", local.config(), "it does not speak TLS 1.3"),
    ] {
        let mut tracker = start(server, host, &ca).run();
        tracker.wait_for_log(said);
        still_answers(&tracker);
        let log = tracker.stop();
        assert!(!log.contains("connected to NATS at"), "{log}");
    }
}

fn in_the_jail_and_without_one_connections_are_made_with_tls() {
    only_with("sync-nats");
    only_with_nats_server();
    only_with_openssl();
    let certificates = Certificates::new("DNS:localhost");
    let server = certificates.server();
    let config = server.config_as("tls://localhost") + &certificates.config();
    let tightened = |more: &str| loopback().config(&config).config(&format!("{more}\n"));
    let seccomp = |how: &str| if has("seccomp") { format!("tracker.seccomp {how}\n") } else { String::new() };
    for more in [seccomp("true"), seccomp("false"), seccomp("true") + "tracker.landlock false"] {
        // As root inside its directory, otherwise without a jail.
        connected(without_certificates_of_the_environment(tightened(&more))).stop();
        // As a user, who has no jail.
        let by_user = tightened(&more).started_by("nobody");
        let tracker = connected(without_certificates_of_the_environment(by_user));
        let log = tracker.stop();
        assert!(!log.contains("running as nobody in"), "{log}");
    }
}

fn what_the_environment_says_of_certificates_is_no_riddle() {
    only_with("sync-nats");
    only_with_nats_server();
    only_with_openssl();
    let certificates = Certificates::new("DNS:localhost");
    let server = certificates.server();
    let config = server.config_as("tls://localhost");
    let start = |config: &str| loopback().config(config).env("SSL_CERT_FILE", certificates.ca());
    // It is what the system's certificates are.
    connected(start(&config).started_by("nobody")).stop();
    if is_root() {
        // Inside the root directory there is no such file.
        for config in [config.clone(), config + &certificates.config()] {
            let said = "start the tracker without SSL_CERT_FILE and SSL_CERT_DIR";
            start(&config).finish().refuses(1, &[said]);
        }
    }
}

fn a_server_that_cannot_be_reached_is_reported() {
    only_with("sync-nats");
    let port = unused_port();
    let mut tracker = loopback().config(&format!("sync.nats.servers = ['127.0.0.1:{port}']\n")).run();
    tracker.wait_for_log(&format!("WARN cannot connect to NATS at 127.0.0.1:{port}: nobody listens there"));
    still_answers(&tracker);
    let log = tracker.stop();
    assert_eq!(log.matches("nobody listens there").count(), 1, "{log}");
}

fn servers_that_are_announced_are_used_where_they_are_within_reach() {
    only_with("sync-nats");
    only_with_nats_server();
    let route = format!("nats://127.0.0.1:{}", unused_port());
    let cluster = ["--cluster_name", "servers", "--cluster"];
    let one = Server::start(&[&cluster[..], &[&route]].concat());
    let other = Server::start(&[&cluster[..], &["nats://127.0.0.1:-1", "--routes", &route]].concat());
    one.wait_for_log("Route connection created");
    let confined = loopback().config(&one.config());
    let free = loopback().config(&one.config()).config("tracker.landlock false\n");
    let (mut confined, mut free) = (connected(confined), connected(free));
    let server = format!("127.0.0.1:{}", other.port());
    drop(one);
    free.wait_for_log(&format!("INFO connected to NATS at {server}, which another server announced"));
    let aside = format!("announces 127.0.0.1, port {}, which is left aside: Landlock permits only", other.port());
    confined.wait_for_log(&aside);
}
