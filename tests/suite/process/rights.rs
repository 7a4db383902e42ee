//! What the tracker gives up when it is started as root, and how it runs when it is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::clients::udp::Client;
use crate::directory::Directory;
use crate::flavour::{self, has, info_hash, loopback, only_with, upper_hex};
use crate::harness::{skip, tests};
use crate::tracker::{Start, Tracker, is_root, only_as_root};

tests![
    root_is_given_up_for_the_user_nobody_for_good,
    the_user_and_the_directory_can_be_chosen,
    the_directory_is_the_current_one_unless_chosen,
    a_directory_that_cannot_be_entered_is_named,
    unsuitable_users_are_named,
    a_user_is_chosen_by_numbers_that_no_list_has,
    a_container_needs_no_list_of_users,
    without_root_the_tracker_changes_its_directory_and_keeps_its_user,
    ports_below_1024_are_opened_before_root_is_given_up,
    a_path_seen_from_outside_the_root_directory_is_understood,
    in_the_top_directory_root_is_given_up_without_a_root_directory,
    a_file_outside_the_current_directory_is_read_without_a_root_directory,
    a_link_that_leads_out_of_the_current_directory_is_followed,
    a_file_named_over_a_link_to_the_current_directory_is_inside_it,
    where_chroot_is_forbidden_only_a_chosen_directory_is_an_error,
    a_relative_path_that_the_original_reads_from_the_top_is_named,
    a_file_that_the_user_may_not_read_is_named_with_the_user,
];

fn proc(tracker: &Tracker, name: &str) -> PathBuf {
    Path::new("/proc").join(tracker.pid().to_string()).join(name)
}

/// Asserts that every thread has only the rights of this user and of the user's own group.
fn assert_rights_of(tracker: &Tracker, name: &str) {
    let user = User::from_name(name).unwrap().unwrap();
    assert_ids_of(tracker, user.uid.as_raw(), user.gid.as_raw());
}

/// Asserts that every thread has only the rights of this user and this group.
fn assert_ids_of(tracker: &Tracker, uid: u32, gid: u32) {
    let mut threads = 0;
    for thread in fs::read_dir(proc(tracker, "task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid"), vec![uid.to_string(); 4]);
        assert_eq!(field("Gid"), vec![gid.to_string(); 4]);
        assert_eq!(field("Groups"), Vec::<String>::new());
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(field(set), ["0000000000000000"]);
        }
        threads += 1;
    }
    assert!(threads > 1);
}

/// Asserts which directories a tracker has, if this is root: nobody else sees them, not even its own user.
fn assert_directories(tracker: &Tracker, root: &Path, current: &Path) {
    let seen = ["root", "cwd"].map(|name| fs::read_link(proc(tracker, name)));
    if is_root() {
        assert_eq!(seen.map(Result::unwrap), [root, current]);
    } else {
        assert!(seen.into_iter().all(|directory| directory.is_err()));
    }
}

fn root_is_given_up_for_the_user_nobody_for_good() {
    only_as_root();
    let tracker = Tracker::start(&[]);
    assert_rights_of(&tracker, "nobody");
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), tracker.root());
    assert_eq!(fs::read_link(proc(&tracker, "cwd")).unwrap(), tracker.root());
    Client::new(tracker.udp());
    tracker.stop();
}

fn the_user_and_the_directory_can_be_chosen() {
    only_as_root();
    let start = Start::loopback();
    let inner = start.path("inner");
    fs::create_dir(&inner).unwrap();
    if has("accesslist-white") {
        fs::copy(start.path("whitelist"), inner.join("whitelist")).unwrap();
    }
    let tracker = start.config(&format!("tracker.user daemon\ntracker.rootdir {}\n", inner.display())).run();
    assert_rights_of(&tracker, "daemon");
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), inner);
    tracker.stop();
}

fn the_directory_is_the_current_one_unless_chosen() {
    let start = Start::without_options();
    let directory = start.path(".");
    let needs = flavour::minimal_config(&directory);
    let there = format!("cd '{}' && exec \"$0\" \"$@\"", directory.display());
    let tracker = start.config(&needs).listen(loopback()).wrapped(&["sh", "-c", &there]).run();
    let root = if is_root() { directory.clone() } else { "/".into() };
    assert_directories(&tracker, &root, &directory);
    tracker.stop();
}

fn a_directory_that_cannot_be_entered_is_named() {
    let start = Start::loopback();
    let file = start.path("file");
    fs::write(&file, "").unwrap();
    start
        .args(["-d".as_ref(), file.as_os_str()])
        .finish()
        .refuses(1, &["tracker.rootdir", &file.display().to_string()]);
    Start::loopback().args(["-d", "/nowhere/at/all"]).finish().refuses(1, &["tracker.rootdir", "/nowhere/at/all"]);
}

fn unsuitable_users_are_named() {
    only_as_root();
    Start::loopback().args(["-u", "nobody-at-all"]).finish().refuses(1, &["tracker.user", "`nobody-at-all`"]);
    for root in ["root", "0", "0:1"] {
        let finished = Start::loopback().args(["-u", root]).finish();
        finished.refuses(1, &["tracker.user", &format!("`{root}` has root's rights")]);
    }
    for neither in ["nobody:nogroup", "4294967295", "1:"] {
        Start::loopback().args(["-u", neither]).finish().refuses(2, &["tracker.user", neither]);
    }
}

fn a_user_is_chosen_by_numbers_that_no_list_has() {
    only_as_root();
    for (chosen, uid, gid) in [("3000001:3000002", 3_000_001, 3_000_002), ("3000003", 3_000_003, 3_000_003)] {
        let tracker = Tracker::start(&["-u", chosen]);
        assert_ids_of(&tracker, uid, gid);
        assert!(tracker.log().contains(&format!("running as {chosen} in ")), "{}", tracker.log());
        Client::new(tracker.udp());
        tracker.stop();
    }
}

fn a_container_needs_no_list_of_users() {
    only_as_root();
    let nothing = "mount -t tmpfs none /etc && exec \"$0\" \"$@\"";
    let start = |user| Start::loopback().args(["-u", user]).wrapped(&["unshare", "--mount", "sh", "-c", nothing]);
    start("nobody").finish().refuses(1, &["tracker.user", "no user `nobody`", "UID[:GID]"]);
    let tracker = start("6969").run();
    assert_ids_of(&tracker, 6969, 6969);
    tracker.stop();
}

fn without_root_the_tracker_changes_its_directory_and_keeps_its_user() {
    let start = Start::loopback().args(["-u", "nobody-at-all"]);
    let directory = start.path(".");
    let tracker = start.started_by("daemon").run();
    assert_directories(&tracker, Path::new("/"), &directory);
    if is_root() {
        assert_rights_of(&tracker, "daemon");
    } else {
        let status = fs::read_to_string(proc(&tracker, "status")).unwrap();
        assert!(status.contains(&format!("\nUid:\t{}\t", geteuid())));
    }
    Client::new(tracker.udp());
    tracker.stop();
}

fn ports_below_1024_are_opened_before_root_is_given_up() {
    only_as_root();
    let ip = flavour::wildcard(loopback()).to_string();
    let start = Start::minimal().args(["-i", &ip, "-p", "80", "-P", "80"]).in_own_network();
    let tracker = start.run();
    assert_eq!(tracker.udp().port(), 80);
    assert_rights_of(&tracker, "nobody");
    tracker.stop();
}

fn a_path_seen_from_outside_the_root_directory_is_understood() {
    only_as_root();
    only_with("fullscrape");
    let start = Start::loopback();
    let dump = start.path("dump");
    let minute = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60;
    fs::write(&dump, format!("{}:{minute}:7\n", upper_hex(info_hash(0)))).unwrap();
    let tracker = start.args(["-l".as_ref(), dump.as_os_str()]).run();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(0)), (0, 7, 0), "what the file says is known");
    let log = tracker.stop();
    assert!(log.contains(&format!("{} is /dump inside the root directory", dump.display())), "{log}");
}

/// A key of this build that names a file which is read inside the root directory, and a line that such a file has.
fn file_key() -> (&'static str, String) {
    let minute = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60;
    let line = format!("{}:{minute}:7\n", upper_hex(info_hash(0)));
    let keys = [
        ("accesslist-white", "access.whitelist"),
        ("accesslist-black", "access.blacklist"),
        ("fullscrape", "tracker.statefile"),
    ];
    let key = keys.into_iter().find_map(|(feature, key)| has(feature).then_some(key));
    (key.unwrap_or_else(|| skip("this build reads no file")), line)
}

/// A tracker that is started in `directory`, without `-d`. The files that this build does not start without are named
/// by their absolute paths.
fn started_in(directory: &Path) -> Start {
    let start = Start::without_options();
    let own = start.path(".");
    let absolute = format!("access.whitelist {}/whitelist", own.display());
    let needs = flavour::minimal_config(&own).replace("access.whitelist whitelist", &absolute);
    let there = format!("cd '{}' && exec \"$0\" \"$@\"", directory.display());
    start.config(&needs).listen(loopback()).wrapped(&["sh", "-c", &there])
}

/// Asserts that a tracker which was started in `directory` has given up all rights, sees all files, and has said once
/// why.
fn assert_not_confined(tracker: &Tracker, directory: &Path, why: &str) {
    assert_rights_of(tracker, "nobody");
    assert_eq!(fs::read_link(proc(tracker, "root")).unwrap(), Path::new("/"));
    assert_eq!(fs::read_link(proc(tracker, "cwd")).unwrap(), directory);
    let said = format!("running as nobody, but not confined to a root directory: {why}");
    let log = tracker.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("not confined")).collect();
    let [warning] = warnings[..] else { panic!("{log}") };
    assert!(warning.contains("WARN") && warning.contains(&said) && warning.ends_with("; -d names one"), "{warning}");
    Client::new(tracker.udp());
}

fn in_the_top_directory_root_is_given_up_without_a_root_directory() {
    only_as_root();
    let tracker = started_in(Path::new("/")).run();
    assert_not_confined(&tracker, Path::new("/"), "the current directory is /");
    tracker.stop();
}

fn a_file_outside_the_current_directory_is_read_without_a_root_directory() {
    only_as_root();
    let (key, line) = file_key();
    let elsewhere = Directory::new();
    let file = elsewhere.0.join("file");
    fs::write(&file, &line).unwrap();
    let here = Directory::new();
    let mut tracker = started_in(&here.0).config(&format!("{key} {}\n", file.display())).run();
    let why = format!("is outside the current directory, {}", here.0.display());
    // In a build with a white list that is the file which is named first.
    let log = tracker.log();
    let warning = log.lines().find(|line| line.contains("not confined")).expect(&log);
    assert!(warning.contains(&format!("{key}, ")) && warning.contains(&why), "{warning}");
    assert_not_confined(&tracker, &here.0, &format!("{key}, {}, {why}", file.display()));
    if key == "tracker.statefile" {
        assert_eq!(Client::new(tracker.udp()).counts(info_hash(0)), (0, 7, 0), "the file was read");
    } else {
        assert!(log.contains("1 good lines"), "{log}");
        fs::write(elsewhere.0.join("new"), line.clone() + &upper_hex(info_hash(1)) + "\n").unwrap();
        fs::rename(elsewhere.0.join("new"), &file).unwrap();
        tracker.signal(Signal::SIGHUP);
        tracker.wait_for_log("2 good lines");
    }
    tracker.stop();
}

fn a_link_that_leads_out_of_the_current_directory_is_followed() {
    only_as_root();
    let (key, line) = file_key();
    let elsewhere = Directory::new();
    fs::write(elsewhere.0.join("file"), line).unwrap();
    let here = Directory::new();
    symlink(elsewhere.0.join("file"), here.0.join("link")).unwrap();
    let tracker = started_in(&here.0).config(&format!("{key} link\n")).run();
    let why = format!("{key}, link, is outside the current directory, {}", here.0.display());
    assert_not_confined(&tracker, &here.0, &why);
    tracker.stop();
}

fn a_file_named_over_a_link_to_the_current_directory_is_inside_it() {
    only_as_root();
    let (key, line) = file_key();
    let here = Directory::new();
    fs::write(here.0.join("file"), &line).unwrap();
    let elsewhere = Directory::new();
    let link = elsewhere.0.join("link");
    symlink(&here.0, &link).unwrap();
    let there = format!("cd '{}' && exec \"$0\" \"$@\"", link.display());
    let start = Start::without_options().listen(loopback()).wrapped(&["sh", "-c", &there]);
    let mut tracker = start.config(&format!("{key} {}\n", link.join("file").display())).run();
    assert_rights_of(&tracker, "nobody");
    assert_eq!(fs::read_link(proc(&tracker, "root")).unwrap(), here.0);
    if key == "tracker.statefile" {
        assert_eq!(Client::new(tracker.udp()).counts(info_hash(0)), (0, 7, 0), "the file was read");
    } else {
        fs::write(here.0.join("new"), line + &upper_hex(info_hash(1)) + "\n").unwrap();
        fs::rename(here.0.join("new"), here.0.join("file")).unwrap();
        tracker.signal(Signal::SIGHUP);
        tracker.wait_for_log("2 good lines");
    }
    tracker.stop();
}

fn where_chroot_is_forbidden_only_a_chosen_directory_is_an_error() {
    only_as_root();
    let without_chroot = ["setpriv", "--bounding-set=-sys_chroot", "--inh-caps=-sys_chroot"];
    let start = Start::without_options();
    let here = start.path(".");
    let needs = flavour::minimal_config(&here);
    let there = format!("cd '{}' && exec \"$0\" \"$@\"", here.display());
    let start = start.config(&needs).listen(loopback());
    let tracker = start.wrapped(&["sh", "-c", &there]).wrapped(&without_chroot).run();
    let why = format!("{} cannot become one (Operation not permitted (os error 1))", here.display());
    assert_not_confined(&tracker, &here, &why);
    tracker.stop();

    let start = Start::loopback();
    let chosen = start.path(".");
    let said = format!("tracker.rootdir: cannot use {}: Operation not permitted", chosen.display());
    start.wrapped(&without_chroot).finish().refuses(1, &[&said]);
}

fn a_relative_path_that_the_original_reads_from_the_top_is_named() {
    only_as_root();
    let (key, line) = file_key();
    let elsewhere = Directory::new();
    let file = elsewhere.0.join("file");
    fs::write(&file, line).unwrap();
    let relative = file.strip_prefix("/").unwrap().display().to_string();
    let here = Directory::new();
    let finished = started_in(&here.0).config(&format!("{key} {relative}\n")).finish();
    let said = format!(
        "{key}: there is no {relative} in {}, where relative paths begin; the original reads {}: name it so if it is \
         meant",
        here.0.display(),
        file.display(),
    );
    finished.refuses(1, &[&said]);
    // In the top directory both read the same, and with a root directory the original reads from there too.
    let tracker = started_in(Path::new("/")).config(&format!("{key} {relative}\n")).run();
    tracker.stop();
    if key != "tracker.statefile" {
        let there = ["-d".as_ref(), here.0.as_os_str()];
        let finished = started_in(&here.0).args(there).config(&format!("{key} {relative}\n")).finish();
        let inside = format!("(it is looked for inside {})", here.0.display());
        finished.refuses(1, &[&format!("{key}: cannot read {relative}: No such file"), &inside]);
    }
}

fn a_file_that_the_user_may_not_read_is_named_with_the_user() {
    only_as_root();
    let (key, line) = file_key();
    let elsewhere = Directory::new();
    let file = elsewhere.0.join("file");
    fs::write(&file, line).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for directory in [Path::new("/"), &elsewhere.0] {
        let start = started_in(directory).config(&format!("{key} {}\n", file.display())).args(["-u", "daemon"]);
        let who = "Permission denied (os error 13) (it is read with the rights of user daemon, see tracker.user)";
        start.finish().refuses(1, &[&format!("{key}: cannot read "), who]);
    }
}
