//! The socket's place in the file system: who answers there, and how a new one comes there.

use std::fs::{self, File, FileType};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, User, fchownat};

use crate::server::StartError;

/// Processes that may wait to take over.
const BACKLOG: i32 = 4;

/// What is added to the name until the socket listens.
const UNFINISHED: &str = ".new";

/// Maximum number of bytes of a socket's path, without the NUL behind it (unix(7)).
const MAX_ADDRESS: usize = 107;

/// Returns what is wrong with a path that is no address of a socket.
fn too_long() -> String {
    format!("the path is too long for a socket: it may have {} bytes", MAX_ADDRESS - UNFINISHED.len())
}

/// A socket to a process of this machine: it keeps messages apart.
pub(super) fn new_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

/// Returns why a handover is not possible.
pub(super) fn refused(path: &Path, reason: impl ToString) -> StartError {
    StartError::Handover { path: path.into(), reason: reason.to_string() }
}

/// Connects to the process that answers at a path; `None` if there is none.
///
/// # Errors
///
/// What has this name is no socket of a tracker, or one of somebody who is neither root nor `user` nor the user that
/// this process is.
pub(super) fn connect_to(path: &Path, user: Option<&User>) -> Result<Option<OwnedFd>, StartError> {
    let refused = |reason: String| refused(path, reason);
    let socket = new_socket().map_err(|error| refused(error.to_string()))?;
    let address = UnixAddr::new(path).map_err(|_| refused(too_long()))?;
    match connect(socket.as_raw_fd(), &address) {
        Ok(()) => {
            let peer = getsockopt(&socket, PeerCredentials).map_err(|error| refused(error.to_string()))?;
            let uid = Uid::from_raw(peer.uid());
            if is_trusted(uid, user) {
                Ok(Some(socket))
            } else {
                Err(refused(format!("user {uid} answers there, who is neither root nor the tracker's user")))
            }
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ECONNREFUSED) => {
            let found = fs::metadata(path).map_err(|error| refused(error.to_string()))?;
            let owner = Uid::from_raw(found.uid());
            match found.file_type() {
                kind if !kind.is_socket() => Err(refused(format!("it is {}, and no socket", name_of(kind)))),
                _ if !is_trusted(owner, user) => {
                    Err(refused(format!("it is a socket of user {owner}, who is neither root nor the tracker's user")))
                }
                // Whoever opened it has ended.
                _ => Ok(None),
            }
        }
        Err(Errno::EPROTOTYPE) => Err(refused("it is another program's socket".into())),
        Err(error) => Err(refused(format!("cannot connect: {}", io::Error::from(error)))),
    }
}

/// Returns whether handovers from and to this user are possible.
fn is_trusted(uid: Uid, user: Option<&User>) -> bool {
    uid.is_root() || uid == Uid::effective() || user.is_some_and(|user| user.uid == uid)
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "something else"
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

/// Gives a user a socket that this process has just bound.
///
/// # Errors
///
/// Something else is there by now. Whoever may write to the directory can have put it there, to be given it: so it is
/// looked at and given by one descriptor, and a second name of somebody's socket is refused.
fn give(unfinished: &Path, user: &User) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = File::from(open(unfinished, flags, Mode::empty())?);
    let metadata = found.metadata()?;
    if !metadata.file_type().is_socket() || metadata.nlink() != 1 || metadata.uid() != Uid::effective().as_raw() {
        return Err(io::Error::other("somebody else has put something in its place"));
    }
    Ok(fchownat(&found, "", Some(user.uid), Some(user.gid), AtFlags::AT_EMPTY_PATH)?)
}

/// Opens a socket at a path, where there is nothing, or a socket that nobody answers at. Root and `user` can connect to
/// it, nobody else.
///
/// # Errors
///
/// The system's.
pub(super) fn listen_at(path: &Path, user: Option<&User>) -> Result<OwnedFd, StartError> {
    let failed = |error: io::Error| refused(path, format_args!("cannot open a socket: {error}"));
    // Nobody can connect before it listens, or under its own name before it is whole.
    let unfinished = PathBuf::from([path.as_os_str(), UNFINISHED.as_ref()].into_iter().collect::<std::ffi::OsString>());
    let address = UnixAddr::new(&unfinished).map_err(|_| refused(path, too_long()))?;
    clear(&unfinished).map_err(|reason| refused(path, reason))?;
    let socket = new_socket().map_err(|error| failed(error.into()))?;
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(socket.as_raw_fd(), &address);
    umask(before);
    bound.map_err(|error| failed(error.into()))?;
    let opened = (|| {
        if let Some(user) = user {
            give(&unfinished, user)?;
        }
        listen(&socket, Backlog::new(BACKLOG)?)?;
        fs::rename(&unfinished, path)
    })();
    opened.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        failed(error)
    })?;
    Ok(socket)
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
        let user = User::from_uid(Uid::effective()).unwrap().unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        symlink(&socket, &link).unwrap();
        fs::write(&file, "").unwrap();
        let given = [&socket, &link, &file].map(|path| give(path, &user).is_ok());
        fs::hard_link(&socket, &name).unwrap();
        let given_by_another_name = give(&name, &user).is_ok();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((given, given_by_another_name), ([true, false, false], false));
    }
}
