//! A control group that limits memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Removed when dropped, by when its processes have to be gone.
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes one that may use so many bytes. The error says why none can be made.
    pub fn new(bytes: u64) -> Result<Self, String> {
        let name = format!("opentracker-endurance-{}", std::process::id());
        let mut reasons = Vec::new();
        for (parent, file) in parents() {
            let path = parent.join(&name);
            if let Err(error) = fs::create_dir(&path) {
                reasons.push(format!("{}: {error}", path.display()));
                continue;
            }
            let group = Self { path };
            let limit = group.path.join(file);
            // Where the directory is one of another file system, or its parent keeps memory to itself, there is no such
            // file, and it cannot be made.
            if !limit.exists() {
                reasons.push(format!("{}: there is none", limit.display()));
            } else if let Err(error) = fs::write(&limit, bytes.to_string()) {
                reasons.push(format!("{}: {error}", limit.display()));
            } else {
                return Ok(group);
            }
        }
        Err(reasons.join("; "))
    }

    /// The file to which a process writes its id to be in the group.
    pub fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        eprintln!("{} could not be removed", self.path.display());
    }
}

/// The groups in which one can be made, and the file that has its limit: in version 1 the own group, in version 2 the
/// top, since no other group may have both processes and groups.
fn parents() -> Vec<(PathBuf, &'static str)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.split_once(":memory:/")).map_or("", |(_, path)| path);
    let version_1 = Path::new("/sys/fs/cgroup/memory");
    vec![
        (version_1.join(own), "memory.limit_in_bytes"),
        (version_1.into(), "memory.limit_in_bytes"),
        ("/sys/fs/cgroup".into(), "memory.max"),
    ]
}
