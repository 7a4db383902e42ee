//! A list of torrents that is read from a file, asked for every announce, and read anew on SIGHUP while it is asked.
//! What `accesslist-white` and `accesslist-black` share.
//!
//! - [`mod@list`]: the list itself, in memory.
//! - [`mod@file`]: from a file to a list.
//! - [`mod@in_force`]: what decides, if that is more than the list.

pub(super) mod file;
pub(super) mod in_force;
pub(super) mod list;

use std::fmt::Display;
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
use in_force::InForce;
use list::List;

/// The list in force, and where it comes from. Clones are the same list.
#[derive(Debug)]
pub struct AccessList<S: InForce = List>(Arc<SharedList<S>>);

impl<S: InForce> Clone for AccessList<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct SharedList<S: InForce> {
    /// The key of the configuration, for messages.
    key: &'static str,
    path: PathBuf,
    terms: RefusalTerms,
    /// Whether a reading may fail because the file has moved to another directory.
    has_landlock: bool,
    in_force: ArcSwap<S>,
    /// Locked by whoever puts another one in force.
    said: Mutex<S::Said>,
    reader: Mutex<Reader>,
    history: Mutex<History>,
}

/// How readings have gone.
#[derive(Debug, Clone, Copy)]
struct History {
    /// When the list in force took over.
    since: SystemTime,
    /// How many readings since the start have failed.
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

impl<S: InForce> AccessList<S> {
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
            said: Mutex::new(S::nothing_said(settings)),
            reader: Mutex::new(Reader::Idle),
            history: Mutex::new(History { since: SystemTime::now(), failures: 0 }),
        };
        let this = Self(Arc::new(shared));
        let began = Instant::now();
        this.with_said(S::begin_reading);
        match file::read(&this.0.path) {
            Ok(contents) => this.take_over(contents, began),
            Err(error) => {
                return Err(StartError::File { key, path: this.0.path.clone(), error: io::Error::other(error) });
            }
        }
        Ok(this)
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

    /// Begins to read the file again, in a thread of its own: signals are heard meanwhile.
    pub(super) fn reload(&self, threads: &mut Threads) {
        // What went wrong is in the log.
        let _ = self.read_again_by(|read| threads.spawn("list", move |_| read()));
    }

    /// Has the file read again in a thread that `spawn` starts. While one reading is under way, all that is asked for
    /// meanwhile becomes one more.
    ///
    /// # Errors
    ///
    /// There is no such thread. The list in force stays, and the log says so.
    pub(super) fn read_again_by<E: Display>(
        &self,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = self.0.reader();
        // Now, not in the thread: what is said until the thread begins may not be in the file.
        self.with_said(S::ask_for_reading);
        if *reader != Reader::Idle {
            *reader = Reader::AskedAgain;
            return Ok(());
        }
        self.with_said(S::begin_reading);
        let list = self.clone();
        spawn(Box::new(move || list.read_while_asked())).inspect(|()| *reader = Reader::Reading).inspect_err(|error| {
            self.0.history().failures += 1;
            self.with_said(|said| S::refuse(&error.to_string(), said));
            error!("{}: {error}; the list in force stays", self.0.key);
        })
    }

    /// Returns what `look` finds in what has been said, which it may change.
    pub(super) fn with_said<R>(&self, look: impl FnOnce(&mut S::Said) -> R) -> R {
        look(&mut self.0.said())
    }

    /// Puts in force what `change` makes of what is in force now, if anything.
    pub(super) fn replace<R>(&self, change: impl FnOnce(&S, &mut S::Said) -> (Option<S>, R)) -> R {
        let mut said = self.0.said();
        let (new, result) = change(&self.0.in_force.load(), &mut said);
        let old = new.map(|new| self.0.in_force.swap(Arc::new(new)));
        drop(said);
        if let Some(old) = old {
            drop_when_unused(old);
        }
        result
    }

    /// Reads the file until a reading has begun after everyone had asked for it.
    fn read_while_asked(&self) {
        loop {
            self.read_again();
            let mut reader = self.0.reader();
            if *reader == Reader::Reading {
                *reader = Reader::Idle;
                return;
            }
            *reader = Reader::Reading;
            // With the lock, so that whoever asks does so before it begins, or for another one.
            self.with_said(S::begin_reading);
        }
    }

    /// Puts the file's list in force, if it is whole.
    fn read_again(&self) {
        let began = Instant::now();
        match file::read(&self.0.path) {
            // What writes a list in place begins by making it empty.
            Ok(contents) if contents.bytes == 0 => self.refuse(&Error::Empty),
            Ok(contents) => self.take_over(contents, began),
            Err(error) => self.refuse(&error),
        }
    }

    /// Puts a list in force, and logs what there was to read.
    fn take_over(&self, contents: Contents, began: Instant) {
        let Contents { list, good, bad, first_bad, .. } = contents;
        let (key, path) = (self.0.key, self.0.path.display());
        for line in &first_bad {
            warn!("{key}: {path}: {line}: skipped");
        }
        let torrents = list.len();
        self.replace(|_, said| {
            // Before anybody who waits for the reading can ask.
            self.0.history().since = SystemTime::now();
            (Some(S::read(list, said)), ())
        });
        let took = began.elapsed();
        info!("{key}: {path}: {good} good lines, {bad} bad ones, {torrents} torrents on the list, read in {took:.1?}");
    }

    /// Leaves the list in force, and logs why.
    fn refuse(&self, error: &Error) {
        self.0.history().failures += 1;
        self.with_said(|said| S::refuse(&error.to_string(), said));
        let reader = match error {
            Error::Unreadable(InputError::System(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let moved =
                    if self.0.has_landlock { ", and with tracker.landlock only where it was at the start" } else { "" };
                format!(" (it is read with the rights of user {}{moved})", geteuid())
            }
            _ => String::new(),
        };
        error!("{}: cannot read {}: {error}{reader}; the list in force stays", self.0.key, self.0.path.display());
    }
}

/// Gives the memory back of what is not in force any more. Whoever lets go of it last does, which takes milliseconds:
/// that is not to be a thread that answers announces. Each of those holds it for less than a microsecond.
fn drop_when_unused<S>(mut old: Arc<S>) {
    while Arc::get_mut(&mut old).is_none() {
        thread::yield_now();
    }
}

impl<S: InForce> SharedList<S> {
    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, S::Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
