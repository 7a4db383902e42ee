//! `/stats`, to the byte and as the monitors that are in use read it.

pub(crate) mod history;
pub(crate) mod monitors;
pub(crate) mod pages;

use std::net::SocketAddr;

use crate::clients::http::get;

/// Every mode that is in every build.
const MODES: &[&str] = &[
    "peer",
    "conn",
    "scrp",
    "udp4",
    "tcp4",
    "torr",
    "fscr",
    "s24s",
    "herr",
    "completed",
    "top10",
    "top100",
    "renew",
    "syncs",
    "version",
    "everything",
];

/// The page of a mode.
#[track_caller]
fn page(server: SocketAddr, mode: &str) -> String {
    let reply = get(server, &format!("/stats?mode={mode}"));
    assert_eq!(reply.status, 200, "{mode}");
    reply.text()
}

fn hex(hash: [u8; 20]) -> String {
    hash.iter().map(|byte| format!("{byte:02X}")).collect()
}
