//! The example configurations of `ci/cluster`: the program takes each of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::flavour::{has, only_with};
use crate::harness::{skip, tests};
use crate::tracker::Start;

tests![
    every_example_for_a_tracker_has_its_test,
    the_example_for_one_network_is_valid,
    the_example_for_two_sites_is_valid,
    the_example_for_three_clouds_is_valid,
];

/// Where the examples say that files are, and which of them they name.
const FOLDER: &str = "/etc/opentracker/";
const FILES: &[&str] = &["connection-id.key", "nats-ca.pem", "nats.password"];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/cluster").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn every_example_for_a_tracker_has_its_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/cluster");
    let names = fs::read_dir(folder).expect("the examples").map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> =
        names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".conf")).collect();
    names.sort();
    assert_eq!(names, ["one-network.conf", "three-clouds.conf", "two-sites.conf"]);
}

/// Checks an example by a build that serves IPv4 and restricts its statistics, as those do that it is for. The files
/// that it names are there.
fn is_valid(text: &str) {
    only_with("restrict-stats");
    if has("v6") && !has("dual-stack") {
        skip("the examples are for trackers that serve IPv4");
    }
    let start = Start::needed();
    let folder = start.path(".");
    for name in FILES {
        let path = folder.join(name);
        fs::write(&path, "a secret of more than thirty-two bytes\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    }
    let text = text.replace(FOLDER, &format!("{}/", folder.display()));
    start.config(&text).args(["--check-config"]).finish().succeeds();
}

fn the_example_for_one_network_is_valid() {
    only_with("sync-live");
    is_valid(&read("one-network.conf"));
}

fn the_example_for_two_sites_is_valid() {
    only_with("sync-live");
    only_with("sync-nats");
    is_valid(&read("two-sites.conf"));
}

fn the_example_for_three_clouds_is_valid() {
    only_with("sync-nats");
    is_valid(&read("three-clouds.conf"));
}
