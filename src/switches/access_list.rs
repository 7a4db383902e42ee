//! A list of torrents that is read from a file, asked for every announce, and read anew on SIGHUP while it is asked.
//! What `accesslist-white` and `accesslist-black` share.
//!
//! - [`mod@list`]: the list itself, in memory.
//! - [`mod@file`]: from a file to a list.

mod file;
mod list;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use nix::unistd::geteuid;
use tracing::{error, info, warn};

use crate::config::Settings;
use crate::input::InputError;
use crate::server::{StartError, Threads};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{InfoHash, RefusalTerms};

use super::refusals::terms;

#[cfg(any(test, fuzzing))]
pub(super) use file::fuzz;
use file::{Contents, Error};
use list::List;

/// The list in force, and where it comes from.
#[derive(Debug)]
pub(super) struct AccessList(Arc<SharedList>);

#[derive(Debug)]
struct SharedList {
    /// The key of the configuration, for messages.
    key: &'static str,
    path: PathBuf,
    terms: RefusalTerms,
    /// Whether a reading may fail because the file has moved to another directory.
    has_landlock: bool,
    in_force: ArcSwap<List>,
    reader: Mutex<Reader>,
    history: Mutex<History>,
}

/// How readings have gone.
#[derive(Debug, Clone, Copy)]
struct History {
    /// When the list in force took over.
    since: SystemTime,
    /// How many readings on SIGHUP have failed.
    failures: u64,
}

/// What the thread that reads the file again is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// There is none.
    Idle,
    Reading,
    /// It reads, and begins anew afterwards: the file may have changed since it began.
    AskedAgain,
}

impl AccessList {
    /// Reads the list that `key` names. The settings say how clients are refused what is not served.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the file as a whole: see [`Error`].
    pub(super) fn open(key: &'static str, path: PathBuf, settings: &Settings) -> Result<Self, StartError> {
        let shared = SharedList {
            key,
            path,
            terms: terms(&settings.access),
            has_landlock: settings.tracker.landlock,
            in_force: ArcSwap::default(),
            reader: Mutex::new(Reader::Idle),
            history: Mutex::new(History { since: SystemTime::now(), failures: 0 }),
        };
        let began = Instant::now();
        match file::read(&shared.path) {
            Ok(contents) => shared.take_over(contents, began),
            Err(error) => {
                return Err(StartError::File { key, path: shared.path, error: io::Error::other(error) });
            }
        }
        Ok(Self(Arc::new(shared)))
    }

    /// Returns whether the torrent is on the list. Takes no lock, and writes nothing that another thread reads often.
    pub(super) fn contains(&self, info_hash: &InfoHash) -> bool {
        self.0.in_force.load().contains(info_hash)
    }

    /// Returns how clients are refused what is not served.
    pub(super) fn refusal_terms(&self) -> RefusalTerms {
        self.0.terms
    }

    /// Returns how long the list in force is, and how readings have gone.
    pub(super) fn status(&self) -> ListStatus {
        let History { since, failures } = *self.0.history();
        ListStatus { torrents: self.0.in_force.load().len(), since, failures }
    }

    /// Begins to read the file again, in a thread of its own: signals are heard meanwhile. While one reading is under
    /// way, all that is asked for meanwhile becomes one more.
    pub(super) fn reload(&self, threads: &mut Threads) {
        let mut reader = self.0.reader();
        if *reader != Reader::Idle {
            *reader = Reader::AskedAgain;
            return;
        }
        let shared = Arc::clone(&self.0);
        match threads.spawn("list", move |_| shared.read_while_asked()) {
            Ok(()) => *reader = Reader::Reading,
            Err(error) => error!("{}: {error}; the list in force stays", self.0.key),
        }
    }
}

impl SharedList {
    /// Reads the file until a reading has begun after everyone had asked for it.
    fn read_while_asked(&self) {
        loop {
            self.read_again();
            let mut reader = self.reader();
            if *reader == Reader::Reading {
                *reader = Reader::Idle;
                return;
            }
            *reader = Reader::Reading;
        }
    }

    /// Puts the file's list in force, if it is whole.
    fn read_again(&self) {
        let began = Instant::now();
        match file::read(&self.path) {
            // What writes a list in place begins by making it empty.
            Ok(contents) if contents.bytes == 0 => self.refuse(&Error::Empty),
            Ok(contents) => self.take_over(contents, began),
            Err(error) => self.refuse(&error),
        }
    }

    /// Puts a list in force, and logs what there was to read.
    fn take_over(&self, contents: Contents, began: Instant) {
        let Contents { list, good, bad, first_bad, .. } = contents;
        let (key, path) = (self.key, self.path.display());
        for line in &first_bad {
            warn!("{key}: {path}: {line}: skipped");
        }
        let torrents = list.len();
        let mut old = self.in_force.swap(Arc::new(list));
        self.history().since = SystemTime::now();
        // Whoever lets go of it last gives its memory back, which takes milliseconds: that is not to be a thread that
        // answers announces. Each of those holds it for less than a microsecond.
        while Arc::get_mut(&mut old).is_none() {
            thread::yield_now();
        }
        drop(old);
        let took = began.elapsed();
        info!("{key}: {path}: {good} good lines, {bad} bad ones, {torrents} torrents on the list, read in {took:.1?}");
    }

    /// Leaves the list in force, and logs why.
    fn refuse(&self, error: &Error) {
        self.history().failures += 1;
        let reader = match error {
            Error::Unreadable(InputError::System(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let moved =
                    if self.has_landlock { ", and with tracker.landlock only where it was at the start" } else { "" };
                format!(" (it is read with the rights of user {}{moved})", geteuid())
            }
            _ => String::new(),
        };
        error!("{}: cannot read {}: {error}{reader}; the list in force stays", self.key, self.path.display());
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
