//! Which files and connections are within reach: what Landlock leaves, a part of the kernel that takes rights from a
//! process that asks for it.
//!
//! A file is permitted by its directory: whoever replaces it makes another file and renames it. Where links are on the
//! way to it, the directories that their targets are in are permitted too, as the next target is beside the last.
//!
//! Landlock restricts the thread that asks for it and those that it starts. What is open stays open.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

/// What is restricted, of what the kernel knows: everything up to this version.
const NEWEST: ABI = ABI::V8;

/// The links on the way to one file that are followed at most; the system follows as many.
const MAX_LINKS: usize = 40;

/// The files and connections that a process needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether the root directory is one that was chosen, and not that of the system.
    is_jailed: bool,
    /// The directories beneath which files are read.
    read: BTreeSet<PathBuf>,
    /// Those that are listed as well, and beneath which files are read.
    listed: BTreeSet<PathBuf>,
    /// Those beneath which files are made, written, renamed and removed as well.
    written: BTreeSet<PathBuf>,
    /// The ports to which connections are made.
    ports: BTreeSet<u16>,
    /// The ports that sockets are bound to.
    bound_ports: BTreeSet<u16>,
}

/// How much of it the kernel takes care of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// All of it.
    Wholly,
    /// What it knows: it is older than this program.
    Partly,
    /// Nothing: it has no Landlock, or it is turned off.
    Not,
}

impl Reach {
    /// Returns what is no reach at all, in a process whose root directory is a jail or not.
    pub fn nothing(is_jailed: bool) -> Self {
        Self { is_jailed, ..Self::default() }
    }

    /// Adds a file to be read, which may be replaced.
    pub fn add_read(&mut self, file: &Path) {
        self.read.extend(directories(file, self.is_jailed));
    }

    /// Adds a file to be read and written, made anew and put in the place of another.
    pub fn add_written(&mut self, file: &Path) {
        self.written.extend(directories(file, self.is_jailed));
    }

    /// Adds a directory that is listed, and whose files are read; nothing if it is not there.
    pub fn add_listed(&mut self, directory: &Path) {
        if directory.is_dir() {
            self.listed.insert(directory.to_owned());
        }
    }

    /// Adds a TCP port to connect to, on any machine.
    pub fn add_port(&mut self, port: u16) {
        self.ports.insert(port);
    }

    /// Adds a TCP port that a socket may be bound to; 0 stands for one that the system chooses.
    pub fn add_bound_port(&mut self, port: u16) {
        self.bound_ports.insert(port);
    }

    /// Returns the directories within reach, but for those that are inside another.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let is_new = |one: &&PathBuf| !self.read.contains(*one) && !self.written.contains(*one);
        let all = move || self.read.union(&self.written).chain(self.listed.iter().filter(is_new));
        all().filter(move |one| !all().any(|other| other != *one && one.starts_with(other))).map(PathBuf::as_path)
    }

    /// Returns whether every file of the system is within reach.
    pub fn is_everything(&self) -> bool {
        !self.is_jailed && self.directories().any(|directory| directory == Path::new("/"))
    }

    /// Puts all else out of the reach of this thread, and of those that it starts from now on.
    ///
    /// # Errors
    ///
    /// The system's, unless it is that there is no Landlock.
    pub fn enforce(&self) -> Result<Enforced, RulesetError> {
        let written = AccessFs::from_file(NEWEST) & !BitFlags::from(AccessFs::Execute)
            | AccessFs::MakeReg
            | AccessFs::RemoveFile
            | AccessFs::Refer;
        let listed = AccessFs::ReadFile | AccessFs::ReadDir;
        // What is not there, or in a directory that is closed to this user, cannot be opened either.
        let beneath = |directory: &PathBuf, access: BitFlags<AccessFs>| {
            PathFd::new(directory).ok().map(|directory| Ok::<_, RulesetError>(PathBeneath::new(directory, access)))
        };
        let ports = [(&self.ports, AccessNet::ConnectTcp), (&self.bound_ports, AccessNet::BindTcp)];
        let ports = ports.into_iter().flat_map(|(ports, access)| ports.iter().map(move |port| (*port, access)));
        let ports = ports.map(|(port, access)| Ok::<_, RulesetError>(NetPort::new(port, access)));
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(self.read.iter().filter_map(|directory| beneath(directory, AccessFs::ReadFile.into())))?
            .add_rules(self.listed.iter().filter_map(|directory| beneath(directory, listed)))?
            .add_rules(self.written.iter().filter_map(|directory| beneath(directory, written)))?
            .add_rules(ports)?
            .restrict_self()?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Enforced::Wholly,
            RulesetStatus::PartiallyEnforced => Enforced::Partly,
            RulesetStatus::NotEnforced => Enforced::Not,
        })
    }
}

/// Returns the directory of a file, and those of the targets of the links on the way to it. The file need not be there.
///
/// A directory in `/` is not reason enough to permit all of `/`, though, which a link such as `/var/run` would lead to:
/// unless that is a jail, the next target of such a link is out of reach.
fn directories(file: &Path, is_jailed: bool) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(file) = std::path::absolute(file) else { return found };
    let mut at = PathBuf::from("/");
    let mut left = steps(&file);
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        match step {
            Step::Top => at = PathBuf::from("/"),
            Step::Up => _ = at.pop(),
            Step::Target => {
                if is_jailed || at != Path::new("/") {
                    found.insert(at.clone());
                }
            }
            Step::Down(name) => {
                if left.is_empty() {
                    found.insert(at.clone());
                }
                match fs::read_link(at.join(&name)) {
                    Ok(target) if links < MAX_LINKS => {
                        links += 1;
                        let mut target = steps(&target);
                        if let Some(last) = target.pop_back() {
                            if !left.is_empty() {
                                target.push_back(Step::Target);
                            }
                            target.push_back(last);
                        }
                        left = target.into_iter().chain(left).collect();
                    }
                    _ => at.push(name),
                }
            }
        }
    }
    found
}

enum Step {
    Top,
    Down(OsString),
    Up,
    /// The next step leads to the target of a link.
    Target,
}

fn steps(path: &Path) -> VecDeque<Step> {
    let step = |component| match component {
        Component::RootDir | Component::Prefix(_) => Some(Step::Top),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::ParentDir => Some(Step::Up),
        Component::CurDir => None,
    };
    path.components().filter_map(step).collect()
}

#[cfg(test)]
mod tests;
