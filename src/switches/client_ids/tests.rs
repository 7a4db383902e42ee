use std::fs;
use std::thread;

use super::*;
use crate::config::AccessSettings;

/// A directory that is gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = || {
            let name = format!("opentracker-ids-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            std::env::temp_dir().join(name)
        };
        // One may be left behind by a process of the same number that was killed.
        let mut directories = std::iter::repeat_with(directory).take(100);
        Self(directories.find(|path| fs::create_dir(path).is_ok()).expect("a temporary directory"))
    }

    /// Writes a file, and returns its path.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a temporary file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ids(texts: &[&str]) -> Vec<ClientId> {
    texts.iter().map(|text| ClientId::parse(text).expect("a client id")).collect()
}

fn plug(access: AccessSettings) -> Result<ClientIds, StartError> {
    ClientIds::plug((), &Settings { access, ..Settings::default() })
}

/// Which of these clients are served.
fn served(clients: &ClientIds) -> Vec<&'static str> {
    let all = ["", "-TR3000-", "-TR4000-", "-XL0012-"];
    all.into_iter().filter(|peer_id| clients.serves(peer_id.as_bytes())).collect()
}

#[test]
fn of_both_lists_the_denied_one_wins_and_only_the_allowed_one_asks_for_a_peer_id() {
    for (denied, allowed, expected) in [
        (&[][..], &[][..], &["", "-TR3000-", "-TR4000-", "-XL0012-"][..]),
        (&["-XL"], &[], &["", "-TR3000-", "-TR4000-"]),
        (&[], &["-TR"], &["-TR3000-", "-TR4000-"]),
        (&["-TR3"], &["-TR"], &["-TR4000-"]),
        (&["-TR"], &["-TR3"], &[]),
    ] {
        let (client_ids_denied, client_ids_allowed) = (ids(denied), Some(ids(allowed)).filter(|ids| !ids.is_empty()));
        let access = AccessSettings { client_ids_denied, client_ids_allowed, ..AccessSettings::default() };
        assert_eq!(served(&plug(access).unwrap()), expected, "{denied:?} {allowed:?}");
    }
}

#[test]
fn a_file_adds_to_what_is_configured_and_is_read_again() {
    let directory = Directory::new();
    let access = AccessSettings {
        client_ids_denied: ids(&["-TR3"]),
        client_ids_denied_file: Some(directory.write("denied", "-XL\n")),
        ..AccessSettings::default()
    };
    let clients = plug(access).unwrap();
    assert_eq!(served(&clients), ["", "-TR4000-"]);
    let read_again = |text: &str| {
        directory.write("denied", text);
        clients.denied.as_ref().expect("a list").read_again();
        served(&clients)
    };
    assert_eq!(read_again("# none\n"), ["", "-TR4000-", "-XL0012-"], "nothing is listed, on purpose");
    assert_eq!(read_again("-TR4\n"), ["", "-XL0012-"]);
    for broken in ["", "-", "-XL\n-", "*\n"] {
        assert_eq!(read_again(broken), ["", "-XL0012-"], "{broken:?} is no list");
    }
    fs::remove_file(directory.0.join("denied")).expect("it is there");
    clients.denied.as_ref().expect("a list").read_again();
    assert_eq!(served(&clients), ["", "-XL0012-"], "gone");
    assert_eq!(read_again("-TR4\n-XL\n*\n"), [""]);
}

#[test]
fn a_file_of_allowed_clients_that_lists_none_lets_nobody_in() {
    let directory = Directory::new();
    let path = directory.write("allowed", "");
    let access = AccessSettings { client_ids_allowed_file: Some(path), ..AccessSettings::default() };
    assert_eq!(served(&plug(access).unwrap()), [] as [&str; 0]);
}

#[test]
fn a_file_that_is_no_list_stops_the_start() {
    let directory = Directory::new();
    let refusal = |path: PathBuf| {
        let access = AccessSettings { client_ids_allowed_file: Some(path), ..AccessSettings::default() };
        plug(access).expect_err("no list").to_string()
    };
    let path = directory.write("allowed", "-XL");
    let expected = format!("access.client_ids_allowed_file: cannot read {}: its last line, 1,", path.display());
    let cut = refusal(path);
    assert!(cut.starts_with(&expected), "{cut}");
    assert!(refusal(directory.write("allowed", &"#".repeat(1 << 20))).contains("its last line"));
    assert!(refusal(directory.write("allowed", &"#".repeat((1 << 20) + 1))).contains("more than 1048576 bytes"));
    assert!(refusal(directory.0.join("none")).contains("No such file"));
    assert!(refusal(directory.0.clone()).contains("a directory, not a regular file"));
}

#[test]
fn what_is_asked_for_last_is_read() {
    let directory = Directory::new();
    let access = AccessSettings {
        client_ids_denied_file: Some(directory.write("denied", "#\n")),
        client_ids_allowed: Some(ids(&["-"])),
        ..AccessSettings::default()
    };
    let clients = plug(access).unwrap();
    let mut threads = Threads::default();
    for n in 0..50 {
        let other = directory.write("other", &format!("-{n}-\n"));
        fs::rename(other, directory.0.join("denied")).expect("on the same disk");
        // Some of these come while the file is being read, and some do not.
        for _ in 0..n % 4 + 1 {
            clients.reload(&mut threads);
        }
    }
    while clients.denied.as_ref().expect("a list").asked.load(Ordering::Acquire) > 0 {
        thread::yield_now();
    }
    assert!(clients.serves(b"-48-") && !clients.serves(b"-49-"));
}
