//! `client-ids`: clients are served or not by how their peer ids begin. What a client says of itself nobody can check:
//! this keeps out those that do not care to hide.
//!
//! - [`mod@beginnings`]: the client ids of a list, in memory.
//! - [`mod@file`]: from a file to client ids.

mod beginnings;
mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::config::{ClientId, Settings};
use crate::server::{Opening, Plug, StartError, Threads};
use crate::tracker::{Clients, RefusalTerms};

use super::refusals;
use beginnings::Beginnings;
#[cfg(any(test, fuzzing))]
pub(super) use file::fuzz;
use file::{Contents, Error};

const DENIED: &str = "access.client_ids_denied";
const DENIED_FILE: &str = "access.client_ids_denied_file";
const ALLOWED: &str = "access.client_ids_allowed";
const ALLOWED_FILE: &str = "access.client_ids_allowed_file";

/// The clients that are served: those on the one list, if there is one, and not on the other.
#[derive(Debug)]
pub struct ClientIds {
    denied: Option<Arc<List>>,
    allowed: Option<Arc<List>>,
    terms: RefusalTerms,
}

/// A list of client ids: those of the configuration, and those of a file, which is read again on SIGHUP.
#[derive(Debug)]
struct List {
    configured: Vec<ClientId>,
    source: Option<Source>,
    in_force: ArcSwap<Beginnings>,
    /// How many times the file was asked to be read again since a thread began to do it; 0: there is no such thread.
    asked: AtomicU32,
}

/// Where the rest of a list comes from.
#[derive(Debug)]
struct Source {
    /// The key of the configuration, for messages.
    key: &'static str,
    path: PathBuf,
}

impl Clients for ClientIds {
    const RESTRICTS: bool = true;

    fn serves(&self, peer_id: &[u8]) -> bool {
        let has = |list: &Arc<List>| list.in_force.load().has_one_of(peer_id);
        !self.denied.as_ref().is_some_and(has) && self.allowed.as_ref().is_none_or(has)
    }

    fn refusal_terms(&self) -> Option<RefusalTerms> {
        Some(self.terms)
    }
}

impl Plug for ClientIds {
    type Opened = ();

    fn open(opening: &mut Opening<'_>) -> Result<(), StartError> {
        let access = &opening.settings.access;
        for (key, path) in
            [(DENIED_FILE, &access.client_ids_denied_file), (ALLOWED_FILE, &access.client_ids_allowed_file)]
        {
            if path.is_some() {
                opening.needs.reads(key);
            }
        }
        Ok(())
    }

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        let access = &settings.access;
        let denied = access.client_ids_denied.as_slice();
        let denied = Some(denied).filter(|ids| !ids.is_empty());
        let denied = List::open(denied, DENIED_FILE, access.client_ids_denied_file.as_deref())?;
        let allowed = access.client_ids_allowed.as_deref();
        if allowed.is_some_and(<[_]>::is_empty) && access.client_ids_allowed_file.is_none() {
            warn!("no client is served: {ALLOWED} is empty");
        }
        let allowed = List::open(allowed, ALLOWED_FILE, access.client_ids_allowed_file.as_deref())?;
        if denied.is_none() && allowed.is_none() {
            warn!(
                "every client is served: none of {DENIED}, {DENIED_FILE}, {ALLOWED} and {ALLOWED_FILE} is configured"
            );
        }
        Ok(Self { denied, allowed, terms: refusals::terms(access) })
    }

    fn reload(&self, threads: &mut Threads) {
        for list in [&self.denied, &self.allowed].into_iter().flatten() {
            list.reload(threads);
        }
    }
}

impl List {
    /// Makes a list, which may be empty. Returns none where neither client ids nor a file are configured.
    fn open(
        configured: Option<&[ClientId]>,
        key: &'static str,
        path: Option<&Path>,
    ) -> Result<Option<Arc<Self>>, StartError> {
        if configured.is_none() && path.is_none() {
            return Ok(None);
        }
        let (configured, in_force) = (configured.unwrap_or_default().to_vec(), ArcSwap::default());
        let source = path.map(|path| Source { key, path: path.to_owned() });
        let list = Self { configured, source, in_force, asked: AtomicU32::new(0) };
        match list.source.as_ref().map(|source| (source, file::read(&source.path))) {
            None => list.put_in_force(Vec::new()),
            Some((source, Ok(contents))) => list.take_over(contents, source),
            Some((Source { key, path }, Err(error))) => {
                return Err(StartError::File { key, path: path.clone(), error: io::Error::other(error) });
            }
        }
        Ok(Some(Arc::new(list)))
    }

    /// Begins to read the file again, in a thread of its own: signals are heard meanwhile. While one reading is under
    /// way, all that is asked for meanwhile becomes one more.
    fn reload(self: &Arc<Self>, threads: &mut Threads) {
        let Some(source) = &self.source else { return };
        if self.asked.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let list = Arc::clone(self);
        if let Err(error) = threads.spawn("list", move |_| list.read_while_asked()) {
            self.asked.store(0, Ordering::Release);
            error!("{}: {error}; the list in force stays", source.key);
        }
    }

    /// Reads the file until a reading has begun after everyone had asked for it.
    fn read_while_asked(&self) {
        loop {
            let asked = self.asked.load(Ordering::Acquire);
            self.read_again();
            if self.asked.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }

    /// Puts the file's client ids in force, if it is whole, and else logs why not.
    fn read_again(&self) {
        let Some(source) = &self.source else { return };
        // What writes a file in place begins by making it empty.
        let read = file::read(&source.path)
            .and_then(|contents| if contents.is_empty { Err(Error::Empty) } else { Ok(contents) });
        match read {
            Ok(contents) => self.take_over(contents, source),
            Err(error) => {
                let (key, path) = (source.key, source.path.display());
                error!("{key}: cannot read {path}: {error}; the list in force stays");
            }
        }
    }

    /// Puts what was read in force, and logs what there was to read.
    fn take_over(&self, contents: Contents, source: &Source) {
        let (key, path) = (source.key, source.path.display());
        for line in &contents.first_bad {
            warn!("{key}: {path}: {line}: skipped");
        }
        let (good, bad) = (contents.ids.len(), contents.bad);
        self.put_in_force(contents.ids);
        info!("{key}: {path}: {good} client ids, {bad} bad lines; in force from now on");
    }

    /// Puts the configured client ids in force, and these.
    fn put_in_force(&self, read: Vec<ClientId>) {
        self.in_force.store(Arc::new(self.configured.iter().cloned().chain(read).collect()));
    }
}

#[cfg(test)]
mod tests;
