//! The socket's place in the file system: who answers there, and how a new one comes there.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{SockType, UnixAddr, connect, getsockopt};
use nix::unistd::Uid;

use crate::server::{Account, StartError};
use crate::sockets::unix::{SocketFile, name_of, new_socket, too_long};

/// Processes that may wait to take over.
const BACKLOG: i32 = 4;

/// It keeps messages apart.
const KIND: SockType = SockType::SeqPacket;

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
pub(super) fn connect_to(path: &Path, user: Option<&Account>) -> Result<Option<OwnedFd>, StartError> {
    let refused = |reason: String| refused(path, reason);
    let socket = new_socket(KIND).map_err(|error| refused(error.to_string()))?;
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
fn is_trusted(uid: Uid, user: Option<&Account>) -> bool {
    uid.is_root() || uid == Uid::effective() || user.is_some_and(|user| user.uid == uid)
}

/// Opens a socket at a path, where there is nothing, or a socket that nobody answers at. Root and `user` can connect to
/// it, nobody else.
///
/// # Errors
///
/// The system's.
pub(super) fn listen_at(path: &Path, user: Option<&Account>) -> Result<OwnedFd, StartError> {
    let file = SocketFile { owner: user.map(|user| user.uid), group: user.map(|user| user.gid), is_for_group: false };
    file.listen_at(path, KIND, BACKLOG).map_err(|reason| refused(path, reason))
}
