//! The second stage: root given up, for good.

use std::env;
use std::fmt;
use std::io;
use std::path::{self, Path, PathBuf};

use nix::unistd::{self, Uid};
use tracing::{info, warn};

use crate::config::Settings;
use crate::sandbox::rights;

use super::account::Account;
use super::bound::Bound;
use super::error::StartError;
use super::inside::is_inside;
use super::plug::Build;
use super::sight::Sight;

/// A tracker whose process can do nothing any more that only root can. Files are opened from here on: if it was root,
/// inside its root directory, where it has one.
pub struct Jailed<B: Build> {
    pub(super) bound: Bound<B>,
    /// What the process sees of the file system, and with whose rights.
    pub(super) sight: Sight,
}

impl<B: Build> Bound<B> {
    /// As root: becomes the user, and makes `tracker.rootdir` the process's root. Without that key the current
    /// directory becomes the root if it can and if nothing outside it is needed; otherwise there is no new root, and a
    /// warning. Not as root: goes to the directory.
    ///
    /// # Errors
    ///
    /// A chosen directory that cannot be entered; rights that cannot be given up, or that are still there afterwards; a
    /// path that the original takes for another file.
    pub fn jail(mut self) -> Result<Jailed<B>, StartError> {
        let root = self.settings.tracker.rootdir.clone();
        let sight = match (&self.user, root) {
            (Some(user), Some(root)) => {
                // The path as it was given may have links in it, and other paths may be written in the same way.
                let configured = path::absolute(&root).ok();
                let root = enter(&root)?;
                change_root(&root)?;
                give_up_root(user)?;
                inside(&mut self.settings, user, root, configured.as_deref())
            }
            (Some(user), None) => {
                let chosen = choose_current(&mut self.settings)?;
                give_up_root(user)?;
                match chosen {
                    Ok(root) => inside(&mut self.settings, user, root, None),
                    Err(Unconfined { why, directory }) => {
                        let name = &user.name;
                        warn!("running as {name}, but not confined to a root directory: {why}; -d names one");
                        Sight { reader: reader(user), root: None, start: directory }
                    }
                }
            }
            (None, root) => {
                root.as_deref().map(enter).transpose()?;
                Sight { reader: format!("user {}", Uid::effective()), root: None, start: None }
            }
        };
        Ok(Jailed { bound: self, sight })
    }
}

/// Logs that the process is inside `root`, which is also `configured`, and has the settings name files as they are seen
/// from there.
fn inside(settings: &mut Settings, user: &Account, root: PathBuf, configured: Option<&Path>) -> Sight {
    info!("running as {} in {}", user.name, root.display());
    if root == Path::new("/") {
        warn!("the root directory is /, where every file of the system is: that is no jail; -d names another");
    }
    see_from_inside(settings, [configured, Some(&root)].into_iter().flatten());
    Sight { reader: reader(user), root: Some(root), start: None }
}

/// Returns who reads files, in the words of errors.
fn reader(user: &Account) -> String {
    format!("user {}, see tracker.user", user.name)
}

/// Makes a directory the working directory. Returns its path without links.
fn enter(directory: &Path) -> Result<PathBuf, StartError> {
    let entered = directory.canonicalize().and_then(|path| env::set_current_dir(&path).map(|()| path));
    entered.map_err(|error| StartError::RootDirectory { path: directory.into(), error })
}

/// Makes a directory the root and the working directory of the process.
fn change_root(root: &Path) -> Result<(), StartError> {
    let failed = |error: nix::Error| StartError::RootDirectory { path: root.into(), error: error.into() };
    unistd::chroot(root).map_err(failed)?;
    unistd::chdir("/").map_err(failed)
}

/// Why the process keeps the root that it has.
struct Unconfined {
    why: Reason,
    /// The current directory, if it has a path.
    directory: Option<PathBuf>,
}

/// Why the current directory does not become the root. Goes on from "not confined to a root directory:".
enum Reason {
    /// The directory has no path that the process sees.
    NoDirectory(io::Error),
    /// It is the root already.
    AtTheTop,
    /// A configured file is elsewhere.
    Outside { key: &'static str, path: PathBuf, directory: PathBuf },
    /// The system does not permit it, as in some containers.
    Forbidden(StartError),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory(error) => write!(f, "the current directory has no path ({error})"),
            Self::AtTheTop => write!(f, "the current directory is /"),
            Self::Outside { key, path, directory } => {
                write!(f, "{key}, {}, is outside the current directory, {}", path.display(), directory.display())
            }
            Self::Forbidden(StartError::RootDirectory { path, error }) => {
                write!(f, "{} cannot become one ({error})", path.display())
            }
            Self::Forbidden(error) => write!(f, "{error}"),
        }
    }
}

/// Makes the current directory the root of the process, if that is any use, and every configured file is in it, and the
/// system permits it. Returns the directory's path, or why it is not the root.
///
/// # Errors
///
/// A path that the original takes for another file.
fn choose_current(settings: &mut Settings) -> Result<Result<PathBuf, Unconfined>, StartError> {
    let directory = match Path::new(".").canonicalize() {
        Ok(directory) => directory,
        Err(error) => return Ok(Err(Unconfined { why: Reason::NoDirectory(error), directory: None })),
    };
    if directory == Path::new("/") {
        return Ok(Err(Unconfined { why: Reason::AtTheTop, directory: Some(directory) }));
    }
    refuse_paths_of_the_original(settings, &directory)?;
    let mut inside = settings.clone();
    follow_links_to(&directory, &mut inside);
    let why = match first_outside(&mut inside, &directory) {
        Some((key, path)) => Reason::Outside { key, path, directory: directory.clone() },
        None => match change_root(&directory) {
            Ok(()) => {
                *settings = inside;
                return Ok(Ok(directory));
            }
            Err(error) => Reason::Forbidden(error),
        },
    };
    Ok(Err(Unconfined { why, directory: Some(directory) }))
}

/// Refuses a relative path that is not there in the current `directory`, but is in `/`: there the original looks, which
/// goes there when it gives up root.
fn refuse_paths_of_the_original(settings: &mut Settings, directory: &Path) -> Result<(), StartError> {
    let mut found = None;
    settings.visit_paths_inside_root(|key, path| {
        let original = Path::new("/").join(&*path);
        if path.is_relative() && !directory.join(&*path).exists() && original.exists() {
            found.get_or_insert(StartError::OriginalsPath { key, path: path.clone(), directory: directory.into() });
        }
    });
    found.map_or(Ok(()), Err)
}

/// Rewrites each absolute path that leads into `directory` over a link, as one from `/var/run` leads to `/run`: it
/// names the directory by the path that has no links in it.
fn follow_links_to(directory: &Path, settings: &mut Settings) {
    settings.visit_paths_inside_root(|_, path| {
        if path.is_relative() || path.starts_with(directory) {
            return;
        }
        // The file itself need not be there, and may be a link.
        let followed = path.parent().and_then(|parent| parent.canonicalize().ok()).zip(path.file_name());
        if let Some((parent, name)) = followed.filter(|(parent, _)| parent.starts_with(directory)) {
            *path = parent.join(name);
        }
    });
}

/// Returns the first configured file that is not in the directory, with its key.
fn first_outside(settings: &mut Settings, directory: &Path) -> Option<(&'static str, PathBuf)> {
    let mut first = None;
    settings.visit_paths_inside_root(|key, path| {
        if !is_inside(directory, path) {
            first.get_or_insert((key, path.clone()));
        }
    });
    first
}

/// Becomes the user for good, and verifies that there is no way back.
fn give_up_root(user: &Account) -> Result<(), StartError> {
    let step = |step| move |error: nix::Error| StartError::Privileges { step, error: error.into() };
    // Some containers withhold the right to; nothing can come of these capabilities even so, as no program gets any.
    if let Err(error) = rights::empty_bounding_set() {
        warn!("cannot empty the bounding set of capabilities: {error}");
    }
    unistd::setgroups(&[]).map_err(step("setgroups"))?;
    unistd::setresgid(user.gid, user.gid, user.gid).map_err(step("setgid"))?;
    unistd::setresuid(user.uid, user.uid, user.uid).map_err(step("setuid"))?;

    let ids = unistd::getresuid().map_err(step("getuid"))?;
    let groups = unistd::getresgid().map_err(step("getgid"))?;
    let changed = [ids.real, ids.effective, ids.saved] == [user.uid; 3]
        && [groups.real, groups.effective, groups.saved] == [user.gid; 3]
        && unistd::getgroups().is_ok_and(|groups| groups.is_empty());
    if !changed || unistd::setuid(Uid::from_raw(0)).is_ok() {
        let error = io::Error::other("the system says that they are still there");
        return Err(StartError::Privileges { step: "verification", error });
    }
    Ok(())
}

/// Rewrites every path that is opened inside the jail and was written as it is seen from outside: it means the same
/// file.
fn see_from_inside<'a>(settings: &mut Settings, names_of_root: impl Iterator<Item = &'a Path> + Clone) {
    settings.visit_paths_inside_root(|_, path| {
        let mut roots = names_of_root.clone().filter(|root| *root != Path::new("/"));
        if let Some(inside) = roots.find_map(|root| path.strip_prefix(root).ok()) {
            let inside = Path::new("/").join(inside);
            info!("{} is {} inside the root directory", path.display(), inside.display());
            *path = inside;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_begins_with_the_roots_own_path_is_understood() {
        for (root, path, expected) in [
            ("/var/lib/opentracker", "/var/lib/opentracker/white", "/white"),
            ("/var/lib/opentracker", "/white", "/white"),
            ("/var/lib/opentracker", "white", "white"),
            ("/var/lib/opentracker", "/var/lib/opentracker2/white", "/var/lib/opentracker2/white"),
            ("/", "/white", "/white"),
            ("/var/lib/opentracker", "/run/link/white", "/white"),
        ] {
            let mut settings = Settings::default();
            settings.access.whitelist = Some(path.into());
            settings.tracker.statefile = Some(path.into());
            settings.tracker.rootdir = Some(path.into());
            see_from_inside(&mut settings, [root, "/run/link"].map(Path::new).into_iter());
            assert_eq!(settings.access.whitelist.as_deref(), Some(Path::new(expected)), "{root} {path}");
            assert_eq!(settings.tracker.statefile.as_deref(), Some(Path::new(expected)), "{root} {path}");
            assert_eq!(settings.tracker.rootdir.as_deref(), Some(Path::new(path)), "{root} {path}");
        }
    }
}
