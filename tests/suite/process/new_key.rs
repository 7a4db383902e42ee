//! `--new-key`: a key that several trackers share.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::directory::Directory;
use crate::harness::tests;
use crate::tracker::{Exit, Start};

tests![
    a_new_key_is_for_its_owner_alone_whatever_the_umask,
    a_new_key_serves_a_tracker,
    a_new_key_takes_the_place_of_nothing,
    a_key_that_cannot_be_made_is_reported,
];

fn make(path: &Path) -> Start {
    Start::without_options().args(["--new-key".as_ref(), path.as_os_str()])
}

/// Asserts that nothing of a key is printed, as bytes or as digits.
fn assert_secret(key: &[u8], exit: &Exit) {
    let digits: String = key[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    for printed in [&exit.stdout, &exit.stderr] {
        assert!(!printed.to_lowercase().contains(&digits), "{printed}");
        assert!(!printed.as_bytes().windows(4).any(|bytes| bytes == &key[..4]), "{printed}");
    }
}

fn a_new_key_is_for_its_owner_alone_whatever_the_umask() {
    let directory = Directory::new();
    let mut keys = Vec::new();
    for umask in ["000", "022", "077", "777"] {
        let path = directory.0.join(umask);
        let exit = make(&path).wrapped(&["sh", "-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]).finish();
        exit.succeeds();
        assert_eq!(exit.stdout, format!("{} has a new key: what it holds is secret\n", path.display()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "umask {umask}");
        let key = fs::read(&path).unwrap();
        assert_secret(&key, &exit);
        assert!(key.len() == 32 && !keys.contains(&key));
        keys.push(key);
    }
}

fn a_new_key_serves_a_tracker() {
    let directory = Directory::new();
    let path = directory.0.join("key");
    make(&path).finish().succeeds();
    let key = format!("listen.udp_connection_id_key_file {}\n", path.display());
    let log = Start::loopback().config(&key).run().stop();
    assert!(log.contains("UDP connection ids are those of listen.udp_connection_id_key_file"), "{log}");
}

fn a_new_key_takes_the_place_of_nothing() {
    let directory = Directory::new();
    let [file, link, pipe] = ["file", "link", "pipe"].map(|name| directory.0.join(name));
    fs::write(&file, "something").unwrap();
    symlink(directory.0.join("nothing"), &link).unwrap();
    super::input::make_pipe(&pipe);
    for path in [&file, &link, &pipe, &directory.0] {
        let said = format!("opentracker: cannot make the key {}: File exists", path.display());
        make(path).finish().refuses(1, &[&said]);
    }
    assert_eq!(fs::read(&file).unwrap(), b"something");
    assert!(!directory.0.join("nothing").exists(), "a link is not followed");
    let path = directory.0.join("key");
    make(&path).finish().succeeds();
    let key = fs::read(&path).unwrap();
    make(&path).finish().refuses(1, &["File exists"]);
    assert_eq!(fs::read(&path).unwrap(), key);
}

fn a_key_that_cannot_be_made_is_reported() {
    let path = Path::new("/nowhere/key");
    make(path).finish().refuses(1, &["opentracker: cannot make the key /nowhere/key: No such file or directory"]);
    for start in [make(path).args(["-p", "80"]), Start::without_options().args(["--new-key"])] {
        let exit = start.finish();
        exit.refuses(2, &["try '--help'"]);
        assert!(exit.stderr.starts_with("opentracker: ") && exit.stderr.contains("--new-key"), "{}", exit.stderr);
    }
}
