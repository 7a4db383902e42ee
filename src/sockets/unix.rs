//! Unix sockets at a path: how one comes there, so that nobody can connect to it for whom it is not meant.

use std::fs::{self, File, FileType};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fchownat};

/// What is added to the name until the socket listens.
pub const UNFINISHED: &str = ".new";

/// Maximum number of bytes of a socket's path, without the NUL behind it (unix(7)).
const MAX_ADDRESS: usize = 107;

/// Returns what is wrong with a path that is no address of a socket.
pub fn too_long() -> String {
    format!("the path is too long for a socket: it may have {} bytes", MAX_ADDRESS - UNFINISHED.len())
}

/// Makes a socket to a process of this machine.
///
/// # Errors
///
/// The system's.
pub fn new_socket(kind: SockType) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// Returns what there is in the place of a socket.
pub fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "something else"
    }
}

/// Returns the name that a socket has until it listens.
pub fn unfinished(path: &Path) -> PathBuf {
    PathBuf::from([path.as_os_str(), UNFINISHED.as_ref()].into_iter().collect::<std::ffi::OsString>())
}

/// The file of a socket: whose it is, and so who can connect. That has to be possible for this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketFile {
    /// The socket's owner, if that is not this process's user.
    pub owner: Option<Uid>,
    /// The socket's group, if that is not this process's.
    pub group: Option<Gid>,
    /// Whether the group can connect as well as the owner.
    pub is_for_group: bool,
}

impl SocketFile {
    /// Returns the mode that the socket has.
    pub fn mode(&self) -> u32 {
        if self.is_for_group { 0o660 } else { 0o600 }
    }

    /// Opens a socket at a path, where there is nothing, or a socket that nobody answers at. It replaces what is there.
    ///
    /// # Errors
    ///
    /// The system's, in words.
    pub fn listen_at(&self, path: &Path, kind: SockType, backlog: i32) -> Result<OwnedFd, String> {
        let failed = |error: io::Error| format!("cannot open a socket: {error}");
        // Nobody can connect before it listens, or under its own name before it is whole.
        let unfinished = unfinished(path);
        let address = UnixAddr::new(&unfinished).map_err(|_| too_long())?;
        clear(&unfinished)?;
        let socket = new_socket(kind).map_err(|error| failed(error.into()))?;
        let before = umask(Mode::from_bits_truncate(0o777 & !self.mode()));
        let bound = bind(socket.as_raw_fd(), &address);
        umask(before);
        bound.map_err(|error| failed(error.into()))?;
        let opened = (|| {
            if self.owner.is_some() || self.group.is_some() {
                self.give(&unfinished)?;
            }
            listen(&socket, Backlog::new(backlog)?)?;
            fs::rename(&unfinished, path)
        })();
        opened.map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            failed(error)
        })?;
        Ok(socket)
    }

    /// Gives away a socket that this process has just bound.
    ///
    /// # Errors
    ///
    /// Something else is there by now. Whoever may write to the directory can have put it there, to be given it: so it
    /// is looked at and given by one descriptor, and a second name of somebody's socket is refused.
    fn give(&self, unfinished: &Path) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = File::from(open(unfinished, flags, Mode::empty())?);
        let metadata = found.metadata()?;
        if !metadata.file_type().is_socket() || metadata.nlink() != 1 || metadata.uid() != Uid::effective().as_raw() {
            return Err(io::Error::other("somebody else has put something in its place"));
        }
        Ok(fchownat(&found, "", self.owner, self.group, AtFlags::AT_EMPTY_PATH)?)
    }
}

/// Removes a socket that a start has left behind which did not come to its end, or a link in its place.
///
/// # Errors
///
/// Something else is there, or it cannot be removed.
fn clear(unfinished: &Path) -> Result<(), String> {
    let in_the_way = |error: io::Error| format!("{} is in the way: {error}", unfinished.display());
    let found = match fs::symlink_metadata(unfinished) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(in_the_way)?.file_type(),
    };
    if !found.is_socket() && !found.is_symlink() {
        return Err(format!("{} is in the way: it is {}, and no socket", unfinished.display(), name_of(found)));
    }
    fs::remove_file(unfinished).map_err(in_the_way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_the_socket_itself_is_given_away() {
        let directory = std::env::temp_dir().join(format!("opentracker-give-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let [socket, link, file, name] = ["socket", "link", "file", "name"].map(|name| directory.join(name));
        let wanted = SocketFile { owner: Some(Uid::effective()), ..SocketFile::default() };
        let _listener = UnixListener::bind(&socket).unwrap();
        symlink(&socket, &link).unwrap();
        fs::write(&file, "").unwrap();
        let given = [&socket, &link, &file].map(|path| wanted.give(path).is_ok());
        fs::hard_link(&socket, &name).unwrap();
        let given_by_another_name = wanted.give(&name).is_ok();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((given, given_by_another_name), ([true, false, false], false));
    }
}
