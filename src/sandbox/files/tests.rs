use super::*;
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::thread;

use landlock::LandlockStatus;

/// A directory of one test, which is removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("opentracker-files-{name}-{}", std::process::id());
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A path in it, whose directory is made.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Calls `act` in a thread with this reach alone. Returns what that returns, and whether the kernel knows Landlock.
fn confined<T: Send>(reach: &Reach, act: impl FnOnce() -> T + Send) -> (T, bool) {
    thread::scope(|scope| {
        let act = || {
            let enforced = reach.enforce().unwrap();
            (act(), enforced != Enforced::Not)
        };
        scope.spawn(act).join().unwrap()
    })
}

fn is_refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn a_file_is_permitted_by_its_directory_and_by_those_of_the_targets_of_links() {
    let directory = Directory::new("links");
    let top = directory.0.to_str().unwrap();
    for name in ["a/list", "releases/1/list", "config/..1/list"] {
        fs::write(directory.path(name), "").unwrap();
    }
    directory.link("../a/list", "links/relative");
    directory.link(&format!("{top}/a/list"), "links/absolute");
    directory.link("releases/1", "current");
    directory.link("..1", "config/..data");
    directory.link("..data/list", "config/list");
    directory.link("round", "round");
    directory.link("../links/relative", "more/twice");
    let found = |path: &str| {
        let found = directories(&directory.0.join(path), false);
        found.iter().map(|path| path.strip_prefix(&directory.0).unwrap().display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("a/list"), ["a"]);
    assert_eq!(found("a/../a/./not-there-yet"), ["a"]);
    assert_eq!(found("nowhere/at/all"), ["nowhere/at"]);
    assert_eq!(found("links/relative"), ["a", "links"]);
    assert_eq!(found("links/absolute"), ["a", "links"]);
    assert_eq!(found("more/twice"), ["a", "links", "more"]);
    assert_eq!(found("current/list"), ["releases", "releases/1"]);
    assert_eq!(found("config/list"), ["config", "config/..1"], "as Kubernetes mounts files");
    assert_eq!(found("round"), [""], "and that is the end of it");
}

#[test]
fn a_link_to_a_directory_at_the_top_does_not_permit_everything() {
    // On most systems this leads to /run.
    let link = ["/var/run", "/bin", "/lib"].into_iter().find(|path| fs::read_link(path).is_ok());
    let link = Path::new(link.expect("a system with a link to a directory at the top, or beside it"));
    let target = link.canonicalize().unwrap();
    let file = link.join("list");
    assert!(directories(&file, false).contains(&target));
    assert!(!directories(&file, false).contains(Path::new("/")));
    let in_jail = directories(&file, true).contains(Path::new("/"));
    assert_eq!(in_jail, target.parent() == Some(Path::new("/")));
    // There is no other way to the next list that takes its place.
    for (is_jailed, is_everything) in [(false, true), (true, false)] {
        let mut reach = Reach::nothing(is_jailed);
        reach.add_read(Path::new("/list"));
        assert_eq!(reach.is_everything(), is_everything);
    }
}

#[test]
fn nothing_but_what_is_needed_is_within_reach() {
    let directory = Directory::new("read");
    let (inside, outside) = (directory.path("in/list"), directory.path("out/list"));
    fs::write(&inside, "old").unwrap();
    fs::write(&outside, "").unwrap();
    let mut reach = Reach::nothing(false);
    reach.add_read(&inside);
    assert_eq!(reach.directories().collect::<Vec<_>>(), [inside.parent().unwrap()]);
    let before = File::open(&outside).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap();
    let (refused, has_landlock) = confined(&reach, || {
        fs::read(&inside).expect("it is needed");
        before.metadata().expect("what is open stays open");
        fs::metadata(&outside).expect("it can be seen, and not opened");
        [
            is_refused(File::open(&outside)),
            is_refused(File::create(&inside)),
            is_refused(File::create(directory.0.join("in/other"))),
            is_refused(fs::remove_file(&inside)),
            is_refused(fs::rename(&outside, &inside)),
            is_refused(fs::read_dir(directory.0.join("in"))),
        ]
    });
    assert_eq!(refused, [has_landlock; 6]);
    fs::write(&inside, "new").unwrap();
    fs::write(&outside, "new").unwrap();
    // Older kernels do not restrict connections.
    let (connected, _) = confined(&reach, || TcpStream::connect(port).map(drop));
    let mut with_port = Reach::nothing(false);
    with_port.add_port(port.port());
    let (allowed, _) = confined(&with_port, || TcpStream::connect(port).map(drop));
    allowed.expect("the port is needed");
    let knows_ports = landlock_version().is_some_and(|version| version >= 4);
    assert_eq!(is_refused(connected), knows_ports);
    drop(listener);

    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).map(drop);
    let mut with_any = Reach::nothing(false);
    with_any.add_bound_port(0);
    let ((any, one), _) = confined(&with_any, || (bind(0), bind(port.port())));
    any.expect("it need not be a certain one");
    assert_eq!(is_refused(one), knows_ports);
    let mut with_one = Reach::nothing(false);
    with_one.add_bound_port(port.port());
    let ((any, one), _) = confined(&with_one, || (bind(0), bind(port.port())));
    one.expect("the port is needed");
    assert_eq!(is_refused(any), knows_ports);
}

/// The kernel's version of Landlock; `None` without it.
fn landlock_version() -> Option<i32> {
    let ask = || Ruleset::default().handle_access(AccessFs::Execute)?.create()?.restrict_self();
    match thread::spawn(ask).join().unwrap().unwrap().landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        _ => None,
    }
}

#[test]
fn what_is_written_can_be_made_anew_and_put_in_the_place_of_the_old() {
    let directory = Directory::new("written");
    let (file, outside) = (directory.path("in/dump"), directory.path("out/file"));
    fs::write(&outside, "").unwrap();
    let mut reach = Reach::nothing(false);
    reach.add_written(&file);
    let (refused, has_landlock) = confined(&reach, || {
        let new = directory.0.join("in/new");
        for _ in 0..2 {
            fs::write(&new, "new").unwrap();
            fs::rename(&new, &file).unwrap();
        }
        File::options().write(true).truncate(true).open(&file).unwrap();
        fs::remove_file(&file).unwrap();
        [is_refused(File::open(&outside)), is_refused(fs::remove_file(&outside))]
    });
    assert_eq!(refused, [has_landlock; 2]);
}

#[test]
fn a_directory_of_the_system_is_listed_and_read_and_nothing_else() {
    let directory = Directory::new("listed");
    let (file, outside) = (directory.path("in/file"), directory.path("out/file"));
    fs::write(&file, "text").unwrap();
    fs::write(&outside, "").unwrap();
    let mut reach = Reach::nothing(false);
    reach.add_listed(&directory.0.join("in"));
    reach.add_listed(&directory.0.join("nowhere"));
    assert_eq!(reach.directories().collect::<Vec<_>>(), [directory.0.join("in")]);
    let (refused, has_landlock) = confined(&reach, || {
        assert_eq!(fs::read_dir(directory.0.join("in")).unwrap().count(), 1);
        assert_eq!(fs::read(&file).unwrap(), b"text");
        [is_refused(File::create(&file)), is_refused(File::open(&outside)), is_refused(fs::read_dir(&directory.0))]
    });
    assert_eq!(refused, [has_landlock; 3]);
}
