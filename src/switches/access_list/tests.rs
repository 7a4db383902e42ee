use super::*;
use crate::tracker::testing::TestTracker;
use crate::tracker::{
    Admission, AnnounceError, AnnounceRequest, Capacity, Event, Ipv4Only, Minute, PeerRequest, Retry, Standalone,
};
use fastrand::Rng;
use std::fs;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A list of these torrents, in a directory that is gone with it.
struct Listed {
    directory: PathBuf,
    list: AccessList,
}

impl Listed {
    fn new(torrents: &[u8]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = || {
            let name = format!("opentracker-lists-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            std::env::temp_dir().join(name)
        };
        // One may be left behind by a process of the same number that was killed.
        let mut directories = std::iter::repeat_with(directory).take(100);
        let directory = directories.find(|path| fs::create_dir(path).is_ok()).expect("a temporary directory");
        let path = directory.join("list");
        fs::write(&path, text(torrents)).expect("a temporary file");
        let list = AccessList::open("access.whitelist", path, &Settings::default()).expect("a list");
        Self { directory, list }
    }

    fn write(&self, text: &str) {
        fs::write(&self.list.0.path, text).expect("a temporary file");
    }

    /// The torrents of the list in force.
    fn torrents(&self) -> Vec<u8> {
        (0..=u8::MAX).filter(|&n| self.list.contains(&hash(n))).collect()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn hash(n: u8) -> InfoHash {
    InfoHash([n; 20])
}

fn text(torrents: &[u8]) -> String {
    torrents.iter().map(|&n| format!("{}\n", hash(n))).collect()
}

#[test]
fn a_file_that_is_no_list_stops_the_start() {
    let listed = Listed::new(&[]);
    let path = &listed.list.0.path;
    let refusal = |text: &str| {
        listed.write(text);
        AccessList::<List>::open("access.blacklist", path.clone(), &Settings::default())
            .expect_err("no list")
            .to_string()
    };
    let cut = refusal("0011");
    let expected = format!("access.blacklist: cannot read {}: its last line, 1, is cut off", path.display());
    assert!(cut.starts_with(&expected), "{cut}");
    assert!(refusal("no hash\n").contains("none of its 1 lines"));
    fs::remove_file(path).expect("it is there");
    let gone = AccessList::<List>::open("access.blacklist", path.clone(), &Settings::default())
        .expect_err("no list")
        .to_string();
    assert!(gone.contains("No such file"), "{gone}");
}

#[test]
fn what_is_no_list_leaves_the_list_in_force() {
    let listed = Listed::new(&[1, 2]);
    let path = &listed.list.0.path;
    let whole = text(&[3, 4]);
    for broken in ["", "no hash\n", &whole[..whole.len() - 2], &whole[..42]] {
        listed.write(broken);
        listed.list.read_again();
        assert_eq!(listed.torrents(), [1, 2], "{broken:?}");
    }
    fs::remove_file(path).expect("it is there");
    listed.list.read_again();
    assert_eq!(listed.torrents(), [1, 2], "gone");
    fs::create_dir(path).expect("nothing is there");
    listed.list.read_again();
    assert_eq!(listed.torrents(), [1, 2], "a directory");
    fs::remove_dir(path).expect("it is there");
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("nothing is there");
    listed.list.read_again();
    assert_eq!(listed.torrents(), [1, 2], "a pipe that nobody writes to");
    fs::remove_file(path).expect("it is there");

    listed.write(&whole);
    listed.list.read_again();
    assert_eq!(listed.torrents(), [3, 4]);
    listed.write("# nothing\n");
    listed.list.read_again();
    assert_eq!(listed.torrents(), [0_u8; 0], "nothing is listed, on purpose");
}

#[test]
fn what_is_asked_for_last_is_read() {
    let listed = Listed::new(&[]);
    let mut threads = Threads::default();
    for n in 0..50 {
        let other = listed.directory.join("other");
        fs::write(&other, text(&[n])).expect("a temporary file");
        fs::rename(&other, &listed.list.0.path).expect("on the same disk");
        // Some of these come while the file is being read, and some do not.
        for _ in 0..n % 4 + 1 {
            listed.list.reload(&mut threads);
        }
    }
    while *listed.list.0.reader() != Reader::Idle {
        thread::yield_now();
    }
    assert_eq!(listed.torrents(), [49]);
}

#[test]
fn a_list_can_be_asked_while_it_is_replaced() {
    let listed = Listed::new(&[0]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(listed.list.contains(&hash(0)) && !listed.list.contains(&hash(255)));
                }
            });
        }
        for n in 1..60 {
            listed.write(&text(&[n, 0]));
            listed.list.read_again();
            assert_eq!(listed.torrents(), [0, n]);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Serves the listed torrents only.
impl Admission for Arc<Listed> {
    const RESTRICTS: bool = true;

    fn admits(&self, info_hash: &InfoHash) -> bool {
        self.list.contains(info_hash)
    }
}

#[test]
fn the_settings_say_how_clients_are_refused() {
    let expected = RefusalTerms { retry: Retry::InMinutes(NonZeroU16::new(60).unwrap()), as_empty: false };
    assert_eq!(Listed::new(&[]).list.refusal_terms(), expected, "by default");
}

#[test]
fn torrents_that_fall_off_the_list_are_dropped() {
    let now = Minute(29_000_000);
    let listed = Arc::new(Listed::new(&[1, 2]));
    let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, now, Arc::clone(&listed), Standalone);
    let announce = |n: u8| {
        let endpoint = (Ipv4Addr::LOCALHOST, 1000).into();
        let announce =
            AnnounceRequest { info_hash: hash(n), endpoint, seeder: true, uploaded: false, event: Event::Completed };
        tracker
            .announce(&announce, now, &mut Rng::with_seed(1), &mut PeerRequest::none())
            .map(|outcome| outcome.counts.downloaded)
    };
    let torrents = || tracker.store().census().torrents;
    assert_eq!((announce(1), announce(2), announce(3)), (Ok(1), Ok(1), Err(AnnounceError::NotAdmitted)));
    assert_eq!(torrents(), 2);

    listed.write(&text(&[2, 3]));
    listed.list.read_again();
    assert_eq!((announce(1), announce(3)), (Err(AnnounceError::NotAdmitted), Ok(1)));
    assert!(tracker.scrape(&hash(1)).is_none() && tracker.scrape(&hash(2)).is_some());
    assert_eq!(torrents(), 3);
    tracker.sweep(now + 1, || {});
    assert_eq!(torrents(), 2);

    listed.write(&text(&[1]));
    listed.list.read_again();
    assert_eq!(announce(1), Ok(1), "its downloads are forgotten too");
}
