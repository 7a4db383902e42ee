//! The memory that this process may use: the machine's, or what its control groups leave it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use nix::sys::sysinfo::sysinfo;
use tracing::info;

/// Bytes that addresses reach, of which a program of 32 bits has two to four GiB, its code and stacks included.
const ADDRESSED: u64 = isize::MAX as u64;

/// Returns the bytes that this process may use: the least of the machine's memory, of what addresses reach, and of the
/// limits of the process's control group and of all its parents, in both versions of control groups. Read while the
/// file system is still in sight.
pub(super) fn usable() -> u64 {
    let machine = sysinfo().map_or(u64::MAX, |info| info.ram_total()).min(ADDRESSED);
    match limit(Path::new("/")) {
        Some(limit) if limit < machine => {
            info!("a control group leaves the tracker {} MiB of memory", limit >> 20);
            limit
        }
        _ => machine,
    }
}

/// Returns the least limit of the control groups below the root directory `root`; `None` if no group in sight has one.
fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    // Mount points may have any bytes in their names, those of others too.
    let mounts = fs::read(root.join("proc/self/mountinfo")).ok()?;
    let mounts = mounts.split(|byte| *byte == b'\n').filter_map(Mount::parse);
    mounts.filter_map(|mount| mount.limit(root, groups.lines().find_map(|line| mount.version.group(line))?)).min()
}

/// Where the groups that account memory are mounted. A machine may have both versions (`hybrid`), of which one accounts
/// it.
#[derive(Debug, PartialEq)]
struct Mount {
    version: Version,
    /// The group that is seen at the mount point: in a container, often its own.
    group: PathBuf,
    point: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

impl Mount {
    /// Parses a line of `mountinfo` (proc_pid_mountinfo(5)); `None` for all other mounts.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let (group, point) = (fields.nth(3)?, fields.next()?);
        // Optional fields end with a hyphen; the type, the source and the options of the file system follow.
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let version = match (fields.next()?, fields.nth(1)?) {
            (b"cgroup2", _) => Version::Two,
            (b"cgroup", options) if options.split(|byte| *byte == b',').any(|option| option == b"memory") => {
                Version::One
            }
            _ => return None,
        };
        Some(Self { version, group: unescaped(group), point: unescaped(point) })
    }

    /// Returns the least limit of `group`, the process's own, and of its parents up to the mount point.
    fn limit(&self, root: &Path, group: &str) -> Option<u64> {
        let point = root.join(self.point.strip_prefix("/").ok()?);
        // A container may see its groups under other names than its processes have, or none of them but one. What is
        // mounted there applies to it all the same, so far as anybody can tell.
        let below = Path::new(group).strip_prefix(&self.group).unwrap_or(Path::new(""));
        let leads_out = below.components().any(|component| component == Component::ParentDir);
        let own = if leads_out { point.clone() } else { point.join(below) };
        let groups = own.ancestors().take_while(|group| group.starts_with(&point));
        groups.filter_map(|group| self.version.limit(group)).min()
    }
}

impl Version {
    /// Returns the path of the process's group if this line of `/proc/self/cgroup` has it: `4:memory:/a/b`, `0::/a/b`.
    fn group(self, line: &str) -> Option<&str> {
        let (hierarchy, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(':')?;
        let is_it = match self {
            Self::One => controllers.split(',').any(|controller| controller == "memory"),
            Self::Two => hierarchy == "0" && controllers.is_empty(),
        };
        is_it.then_some(group)
    }

    /// Returns the limit that a group's directory tells; `None` if it sets none (`max`) or has no such file. Version 1
    /// has a huge number for none, and knows the least limit of all parents, those that a container does not see
    /// included.
    fn limit(self, group: &Path) -> Option<u64> {
        let read = |name| fs::read_to_string(group.join(name)).ok();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match self {
            Self::One => {
                let own = read("memory.limit_in_bytes").and_then(|text| number(&text));
                let parents = read("memory.stat").and_then(|text| {
                    text.lines().find_map(|line| number(line.strip_prefix("hierarchical_memory_limit ")?))
                });
                own.into_iter().chain(parents).min()
            }
            Self::Two => number(&read("memory.max")?),
        }
    }
}

/// Returns a path as it is, from the kernel's notation: spaces, line breaks and backslashes are three octal digits
/// each.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = rest {
            path.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
            rest = tail;
        } else {
            path.push(*first);
            rest = tail;
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 says for no limit.
    const UNLIMITED: u64 = 9_223_372_036_854_771_712;
    const V1: &str = "36 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:2 - cgroup cgroup rw,memory\n";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    /// A made-up file system, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, groups: &str, mounts: &str) -> Self {
            let root = std::env::temp_dir().join(format!("opentracker-memory-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let others =
                "22 1 254:0 / / rw - ext4 /dev/vda rw\n\n38 31 0:34 / /sys/fs/cgroup/cpu rw - cgroup x rw,cpu\n";
            let mounts = format!("{others}{mounts}");
            Self(root).with("proc/self/cgroup", groups).with("proc/self/mountinfo", &mounts)
        }

        fn with(self, path: &str, text: impl ToString) -> Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.to_string()).unwrap();
            self
        }

        fn limit(&self) -> Option<u64> {
            limit(&self.0)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_least_limit_of_a_group_and_of_all_its_parents_counts() {
        for (least, limits) in [(5, ["5", "max", "9"]), (6, ["max", "6\n", "9"]), (7, ["9", "8", "7"])] {
            let tree = Tree::new("v2", "0::/a/b\n", V2)
                .with("sys/fs/cgroup/memory.max", limits[0])
                .with("sys/fs/cgroup/a/memory.max", limits[1])
                .with("sys/fs/cgroup/a/b/memory.max", limits[2]);
            assert_eq!(tree.limit(), Some(least));
        }
        for (least, limits) in [(5, [5, UNLIMITED, 9]), (6, [UNLIMITED, 6, 9]), (7, [9, 8, 7])] {
            let tree = Tree::new("v1", "5:cpu,cpuacct:/\n4:hugetlb,memory:/a/b\n0::/elsewhere\n", V1)
                .with("sys/fs/cgroup/memory/memory.limit_in_bytes", limits[0])
                .with("sys/fs/cgroup/memory/a/memory.limit_in_bytes", limits[1])
                .with("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", format!("{}\n", limits[2]));
            assert_eq!(tree.limit(), Some(least));
        }
    }

    #[test]
    fn no_limit_in_sight_is_none_or_more_than_any_machine_has() {
        assert_eq!(Tree::new("none", "0::/a\n", V2).limit(), None);
        assert_eq!(Tree::new("max", "0::/\n", V2).with("sys/fs/cgroup/memory.max", "max\n").limit(), None);
        let tree = Tree::new("huge", "4:memory:/\n", V1);
        assert_eq!(tree.with("sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED).limit(), Some(UNLIMITED));
        assert_eq!(Tree::new("unmounted", "0::/a\n4:memory:/a\n", "").limit(), None);
        assert_eq!(Tree::new("empty", "", V2).with("sys/fs/cgroup/memory.max", 1).limit(), None);
        assert_eq!(limit(Path::new("/nowhere/at/all")), None);
    }

    #[test]
    fn where_both_versions_are_mounted_the_one_that_accounts_memory_is_read() {
        let unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
        let tree = Tree::new("hybrid", "4:memory:/a\n0::/b\n", &format!("{unified}{V1}"))
            .with("sys/fs/cgroup/memory/a/memory.limit_in_bytes", 7)
            .with("sys/fs/cgroup/unified/b/cgroup.procs", "");
        assert_eq!(tree.limit(), Some(7));
    }

    #[test]
    fn a_container_reads_what_is_mounted_for_it() {
        // Its own group is mounted, under the name that it has on the host.
        let mount = V1.replace(" / ", " /docker/7f ");
        let tree = Tree::new("own", "4:memory:/docker/7f/inner\n", &mount)
            .with("sys/fs/cgroup/memory/memory.limit_in_bytes", 9)
            .with("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", UNLIMITED);
        assert_eq!(tree.limit(), Some(9));
        // It has a name space of its own, and what is mounted is called after the host's.
        for group in ["/", "/elsewhere", "/../../a", "/docker"] {
            let tree = Tree::new("name-space", &format!("4:memory:{group}\n"), &mount)
                .with("sys/fs/cgroup/memory/memory.limit_in_bytes", 9)
                .with("sys/fs/cgroup/memory.limit_in_bytes", 1);
            assert_eq!(tree.limit(), Some(9), "{group}");
        }
        // Its group is outside its name space: nothing is read from above the mount point.
        let tree = Tree::new("outside", "0::/../../a\n", V2)
            .with("sys/fs/cgroup/memory.max", 9)
            .with("sys/a/memory.max", 1)
            .with("a/memory.max", 1);
        assert_eq!(tree.limit(), Some(9));
        // The host's groups are named, and are not to be seen.
        let tree = Tree::new("unseen", "0::/docker/7f\n", V2).with("sys/fs/cgroup/memory.max", 9);
        assert_eq!(tree.limit(), Some(9));
    }

    #[test]
    fn in_version_1_the_kernel_knows_the_limits_of_parents_that_are_not_seen() {
        let tree = Tree::new("parents", "4:memory:/\n", V1)
            .with("sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED)
            .with(
                "sys/fs/cgroup/memory/memory.stat",
                "cache 1\nhierarchical_memory_limit 8\nhierarchical_memsw_limit 9\n",
            );
        assert_eq!(tree.limit(), Some(8));
    }

    #[test]
    fn mount_points_may_have_any_name() {
        let mount = V2.replace("/sys/fs/cgroup ", r"/sys/a\040b\134c ");
        let tree = Tree::new("name", "0::/g\n", &mount).with(r"sys/a b\c/g/memory.max", 7);
        assert_eq!(tree.limit(), Some(7));
        assert_eq!(unescaped(br"a\04\999\400"), Path::new(r"a\04\999\400"));
        for line in ["", " ", "30 23 0:26 / /x rw", "30 23 0:26 / /x rw -", "30 23 0:26 / /x rw - cgroup2"] {
            assert_eq!(Mount::parse(line.as_bytes()), None, "{line}");
        }
    }
}
