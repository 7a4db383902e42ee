//! The memory that limits follow from where they are not set: that of a real control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clients::http::get;
use crate::clients::udp::{Announce, Client, header};
use crate::flavour::only_without;
use crate::harness::{skip, tests};
use crate::tracker::{Start, Tracker, only_as_root};
use crate::wait::wait_until;

tests![
    the_least_memory_of_a_control_group_and_its_parents_is_found,
    limits_that_are_not_set_follow_from_the_memory_of_the_control_group,
];

/// A control group with a limit, and one in it without a limit of its own, where the tracker runs. Removed when
/// dropped.
struct Group(PathBuf);

impl Group {
    /// Makes them where memory is accounted: in the group of these tests in version 1, at the top in version 2, where a
    /// group that has processes has no others.
    fn new(bytes: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("opentracker-suite-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = memory_groups().into_iter().find_map(|(parent, file)| {
            let group = Self(parent.join(&name));
            // Where the directory is one of another file system, it has no such file.
            fs::create_dir(&group.0).ok().filter(|()| group.0.join("cgroup.procs").exists())?;
            fs::create_dir(group.inner()).ok()?;
            fs::write(group.0.join(file), bytes.to_string()).ok()?;
            Some(group)
        });
        made.unwrap_or_else(|| skip("no control group that limits memory can be made"))
    }

    fn inner(&self) -> PathBuf {
        self.0.join("inner")
    }

    /// Starts it in the inner group.
    fn run(&self, start: Start) -> Tracker {
        let there = format!("echo $$ >'{}' && exec \"$0\" \"$@\"", self.inner().join("cgroup.procs").display());
        start.wrapped(&["sh", "-c", &there]).run()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group is busy until the last process in it is gone.
        let removed = |path: &Path| wait_until(|| fs::remove_dir(path).ok().or((!path.exists()).then_some(())));
        let _ = removed(&self.inner()).and_then(|()| removed(&self.0));
    }
}

/// The groups in which one can be made, and the file that has its limit.
fn memory_groups() -> Vec<(PathBuf, &'static str)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.split_once(":memory:/")).map_or("", |(_, path)| path);
    let version_1 = Path::new("/sys/fs/cgroup/memory");
    vec![
        (version_1.join(own), "memory.limit_in_bytes"),
        (version_1.into(), "memory.limit_in_bytes"),
        ("/sys/fs/cgroup".into(), "memory.max"),
    ]
}

fn the_least_memory_of_a_control_group_and_its_parents_is_found() {
    only_as_root();
    let group = Group::new(96 << 20);
    let log = group.run(Start::loopback()).stop();
    assert!(log.contains("a control group leaves the tracker 96 MiB of memory"), "{log}");
}

fn limits_that_are_not_set_follow_from_the_memory_of_the_control_group() {
    only_as_root();
    only_without("accesslist-white");
    /// What a tracker with every switch needs before it knows anybody is half of it.
    const MEMORY: u32 = 16 << 20;
    /// More than fit a quarter of the memory, of 60 bytes or more each.
    const MORE: u32 = 80_000;
    let group = Group::new(MEMORY.into());
    let tracker = group.run(Start::loopback());
    let client = Client::new(tracker.udp());
    for torrent in 0..MORE {
        let mut info_hash = [0; 20];
        info_hash[..4].copy_from_slice(&torrent.to_be_bytes());
        // Whether it is still served is for others to test.
        let reply = client.exchange(&Announce::leecher(info_hash, 1).packet(client.id, torrent));
        assert_eq!(reply[4..8], header(0, 0, torrent)[12..], "it answers");
    }
    let page = get(tracker.http(), "/stats?mode=torr").text();
    let torrents: u32 = page.lines().next().unwrap().parse().unwrap();
    assert!(0 < torrents && torrents < MEMORY / 4 / 60, "{torrents} of {MORE}");
    tracker.stop();
}
