//! Black-box tests: the real binary, real sockets, and only what an operator or a client can see.
//!
//! The same tests run against every flavour of the build. What a build can do is asked at run time, so that nothing
//! here is compiled away: with a switch on its behaviour is tested, with it off its absence. A test that is not for
//! every build begins with [`flavour::only_with`] or [`flavour::only_without`], one that needs root with
//! [`tracker::only_as_root`]. Where it does not apply it is ignored, and the summary counts it with the reason.
//!
//! A test is a function without arguments that its file lists in `tests!`. `cargo test --test suite TEXT` runs those
//! with this text in their names, and `cargo test --test suite -- --help` shows the other options.
//!
//! - [`harness`]: runs the tests and reports the results.
//! - [`tracker`], [`directory`]: starts the binary in a directory of its own, and ends it.
//! - [`programs`]: starts other programs.
//! - [`flavour`]: what this build needs and serves.
//! - [`service_manager`]: keeps descriptors of trackers, as systemd does.
//! - [`wait`]: waits for a condition or a socket.
//! - [`clients`]: a UDP client, an HTTP client, a reader of bencode, and others that the tracker talks to. They know
//!   nothing of its own code.
//! - [`udp`], [`http`]: the protocols, line by line.
//! - [`stats`]: the statistics, as monitors read them.
//! - [`process`]: the command line, the configuration, signals, rights.
//! - [`switches`]: one file for each switch.
//! - [`sources`], [`documents`]: rules that the sources keep, and what the documents say.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod clients;
mod directory;
mod documents;
mod flavour;
mod harness;
mod http;
mod process;
mod programs;
mod service_manager;
mod sources;
mod stats;
mod switches;
mod tracker;
mod udp;
mod wait;

use std::process::ExitCode;

/// Every file with tests.
const FILES: &[&[harness::Test]] = &[
    clients::bencode::TESTS,
    documents::TESTS,
    flavour::TESTS,
    http::announce::TESTS,
    http::connections::TESTS,
    http::lenient::TESTS,
    http::limits::TESTS,
    http::malformed::TESTS,
    http::methods::TESTS,
    http::paths::TESTS,
    http::pressure::TESTS,
    http::scrape::TESTS,
    process::clocks::TESTS,
    process::command_line::TESTS,
    process::configuration::TESTS,
    process::control_group::TESTS,
    process::convert_config::TESTS,
    process::examples::TESTS,
    process::health::TESTS,
    process::input::TESTS,
    process::interrupted::TESTS,
    process::intervals::TESTS,
    process::life::TESTS,
    process::listening::TESTS,
    process::log::TESTS,
    process::memory::TESTS,
    process::new_key::TESTS,
    process::rights::TESTS,
    process::sandbox::TESTS,
    sources::TESTS,
    stats::history::TESTS,
    stats::monitors::TESTS,
    stats::pages::TESTS,
    switches::access_list::TESTS,
    switches::access_list_refusals::TESTS,
    switches::accesslist_black::TESTS,
    switches::accesslist_dynamic::TESTS,
    switches::accesslist_dynamic::many::TESTS,
    switches::accesslist_dynamic::places::TESTS,
    switches::accesslist_dynamic::successions::TESTS,
    switches::accesslist_white::TESTS,
    switches::client_ids::TESTS,
    switches::dashboard::TESTS,
    switches::dual_stack::TESTS,
    switches::fulllog_networks::TESTS,
    switches::fullscrape::TESTS,
    switches::fullscrape::many::TESTS,
    switches::gzip::TESTS,
    switches::gzip_always::TESTS,
    switches::handover::TESTS,
    switches::handover_socket::TESTS,
    switches::handover_socket::changes::TESTS,
    switches::handover_socket::killed::TESTS,
    switches::handover_socket::load::TESTS,
    switches::handover_socket::places::TESTS,
    switches::handover_socket::predecessors::TESTS,
    switches::handover_socket::successors::TESTS,
    switches::handover_store::TESTS,
    switches::handover_store::strange::TESTS,
    switches::ip_from_proxy::TESTS,
    switches::ip_from_query::TESTS,
    switches::log_networks::TESTS,
    switches::log_numwant::TESTS,
    switches::metrics::TESTS,
    switches::modest_fullscrapes::TESTS,
    switches::proxy_protocol::TESTS,
    switches::TESTS,
    switches::restrict_stats::TESTS,
    switches::seccomp::TESTS,
    switches::spot_woodpecker::TESTS,
    switches::sync_live::TESTS,
    switches::sync_live_bad_input::TESTS,
    switches::sync_live_snapshot::TESTS,
    switches::sync_live_snapshot::donor::TESTS,
    switches::sync_live_snapshot::endless::TESTS,
    switches::sync_live_snapshot::strange::TESTS,
    switches::sync_nats::TESTS,
    switches::sync_nats_bad_input::TESTS,
    switches::sync_nats_bad_input::snapshots::TESTS,
    switches::sync_nats_metrics::TESTS,
    switches::sync_nats_snapshot::TESTS,
    switches::syslog::TESTS,
    switches::v6::TESTS,
    switches::zstd::TESTS,
    switches::zstd_always::TESTS,
    udp::exchange::TESTS,
    udp::hostile::TESTS,
    udp::peers::TESTS,
    udp::capacity::TESTS,
    udp::crowds::TESTS,
    udp::room::TESTS,
    udp::shared_ids::TESTS,
    udp::sockets::TESTS,
    udp::unproved::TESTS,
];

fn main() -> ExitCode {
    harness::run(FILES)
}
