//! The second stage: root given up, for good.

use std::env;
use std::io;
use std::path::{self, Path, PathBuf};

use nix::unistd::{self, Uid, User};
use tracing::info;

use crate::config::Settings;

use super::bound::Bound;
use super::error::StartError;
use super::plug::Build;

/// A tracker whose process can do nothing any more that only root can and, if it was root, sees nothing outside its root
/// directory. Files are opened from here on.
pub struct Jailed<B: Build>(pub(super) Bound<B>);

impl<B: Build> Bound<B> {
    /// As root: makes the root directory the process's root and becomes the user. Otherwise: goes to the directory.
    ///
    /// # Errors
    ///
    /// A directory that cannot be entered; rights that cannot be given up, or that are still there afterwards.
    pub fn jail(mut self) -> Result<Jailed<B>, StartError> {
        let root = self.settings.tracker.rootdir.clone();
        match &self.user {
            Some(user) => {
                // The path as it was given may have links in it, and other paths may be written in the same way.
                let configured = root.as_deref().and_then(|root| path::absolute(root).ok());
                let root = enter(root.as_deref().unwrap_or(Path::new(".")))?;
                let in_root = |error: nix::Error| StartError::RootDirectory { path: root.clone(), error: error.into() };
                unistd::chroot(&root).map_err(in_root)?;
                unistd::chdir("/").map_err(in_root)?;
                give_up_root(user)?;
                info!("running as {} in {}", user.name, root.display());
                see_from_inside(&mut self.settings, [configured.as_deref(), Some(&root)].into_iter().flatten());
            }
            None => {
                if let Some(root) = root {
                    enter(&root)?;
                }
            }
        }
        Ok(Jailed(self))
    }
}

/// Makes a directory the working directory. Returns its path without links.
fn enter(directory: &Path) -> Result<PathBuf, StartError> {
    let entered = directory.canonicalize().and_then(|path| env::set_current_dir(&path).map(|()| path));
    entered.map_err(|error| StartError::RootDirectory { path: directory.into(), error })
}

/// Becomes the user for good, and verifies that there is no way back.
fn give_up_root(user: &User) -> Result<(), StartError> {
    let step = |step| move |error: nix::Error| StartError::Privileges { step, error: error.into() };
    unistd::setgroups(&[]).map_err(step("setgroups"))?;
    unistd::setresgid(user.gid, user.gid, user.gid).map_err(step("setgid"))?;
    unistd::setresuid(user.uid, user.uid, user.uid).map_err(step("setuid"))?;

    let ids = unistd::getresuid().map_err(step("getuid"))?;
    let groups = unistd::getresgid().map_err(step("getgid"))?;
    let changed = [ids.real, ids.effective, ids.saved] == [user.uid; 3]
        && [groups.real, groups.effective, groups.saved] == [user.gid; 3];
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
