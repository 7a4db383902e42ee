//! The FIFOs: how they come into the file system, and how they are read.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{Gid, Uid, fchown, mkfifo};
use tokio::net::unix::pipe::Receiver;
use tokio::task::yield_now;
use tracing::warn;

use crate::server::{Account, StartError};
use crate::sockets::unix::name_of;

use super::desk::Desk;
use super::gate::Gate;
use super::lines::Lines;

/// Bytes that are read at a time: as many as a FIFO holds, unless it was made larger.
const PIECE: usize = 64 << 10;

/// How long to wait after an error of the system's.
const PAUSE: Duration = Duration::from_millis(100);

/// For whom FIFOs are made.
pub(super) struct Maker<'a> {
    /// Whom the process will become; `None`: it stays who it is.
    pub(super) user: Option<&'a Account>,
    /// The group that can write to them, if there is one.
    pub(super) group: Option<Gid>,
    /// The directory that will be the root.
    pub(super) root: Option<&'a Path>,
}

impl Maker<'_> {
    /// Opens the FIFO at a path, which is made if nothing is there.
    ///
    /// # Errors
    ///
    /// Something else is there; the system's.
    pub(super) fn open(&self, key: &'static str, path: &Path) -> Result<OwnedFd, StartError> {
        let opened = self.refuse_path_of_the_original(path).and_then(|()| self.open_or_make(path));
        opened.map_err(|error| StartError::Unusable { key, path: path.into(), reason: error.to_string() })
    }

    fn open_or_make(&self, path: &Path) -> io::Result<OwnedFd> {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        // Whatever the process keeps from files that it makes, it opens this one itself.
        let before = umask(Mode::from_bits_truncate(0o777).difference(mode));
        let made = mkfifo(path, mode);
        umask(before);
        match made {
            Ok(()) => self.open_and_give(path).inspect_err(|_| {
                let _ = fs::remove_file(path);
            }),
            Err(Errno::EEXIST) => open(path, OFlag::empty()).map(OwnedFd::from),
            Err(error) => {
                let error = io::Error::from(error);
                Err(io::Error::new(error.kind(), format!("cannot make it: {error}")))
            }
        }
    }

    fn open_and_give(&self, path: &Path) -> io::Result<OwnedFd> {
        let fifo = open(path, OFlag::O_NOFOLLOW)?;
        self.give(&fifo)?;
        Ok(fifo.into())
    }

    /// Gives away a FIFO that has just been made: only then can others write to it.
    fn give(&self, fifo: &File) -> io::Result<()> {
        let metadata = fifo.metadata()?;
        // Whoever may write to the directory can have put another one in its place.
        if metadata.nlink() != 1 || metadata.uid() != Uid::effective().as_raw() {
            return Err(io::Error::other("somebody else has put something in its place"));
        }
        let group = self.group.or(self.user.map(|user| user.gid));
        let owner = self.user.map(|user| user.uid);
        if group.is_some() {
            fchown(fifo.as_fd(), None, group)?;
        }
        // As long as it is this process's: not every one that may give files away may change those of others.
        let group_mode = if self.group.is_some() { Mode::S_IWGRP } else { Mode::empty() };
        fchmod(fifo.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR | group_mode)?;
        if owner.is_some() {
            fchown(fifo.as_fd(), owner, None)?;
        }
        Ok(())
    }

    /// Refuses a path at which the original would find another FIFO, as it opens them inside its root directory.
    fn refuse_path_of_the_original(&self, path: &Path) -> io::Result<()> {
        let Some(root) = self.root.filter(|root| self.user.is_some() && !path.starts_with(root)) else { return Ok(()) };
        let inside = root.join(path.strip_prefix("/").unwrap_or(path));
        if inside.exists() && !path.exists() {
            let inside = inside.display();
            return Err(io::Error::other(format!(
                "there is nothing here, and something at {inside}, where the original looks: name that if it is meant"
            )));
        }
        Ok(())
    }
}

/// Opens a FIFO, with these flags and those that one needs.
fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    // Looked at first: to open some devices is to start them.
    refuse_others(fs::metadata(path)?.file_type())?;
    // Open for writing too, so that it never ends when a writer goes, and never has to be opened again.
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let fifo = fs::OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
    refuse_others(fifo.metadata()?.file_type())?;
    Ok(fifo)
}

fn refuse_others(kind: fs::FileType) -> io::Result<()> {
    if kind.is_fifo() { Ok(()) } else { Err(io::Error::other(format!("it is {}, and no FIFO", name_of(kind)))) }
}

/// Hears what is written to a FIFO, for ever: each hash is to be on the list, or not to be.
pub(super) async fn hear(fifo: OwnedFd, key: &'static str, are_to_be_listed: bool, desk: Rc<Desk>, gate: &Gate) {
    let fifo = match Receiver::from_owned_fd(fifo) {
        Ok(fifo) => fifo,
        Err(error) => return warn!("{key}: cannot be read: {error}"),
    };
    let (mut lines, mut buffer) = (Lines::default(), vec![0; PIECE]);
    loop {
        let readable = fifo.readable().await;
        gate.opened().await;
        match readable.and_then(|()| fifo.try_read(&mut buffer)) {
            Ok(read) if read > 0 => {
                let piece = lines.take(buffer.get(..read).unwrap_or_default());
                desk.complain_of_lines(key, &piece);
                desk.change(piece.hashes.into_iter().map(|hash| (hash, are_to_be_listed)));
                // The socket has its turn.
                yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // It never ends: this process could write to it itself.
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                desk.complain(|| warn!("{key}: cannot be read for now: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
