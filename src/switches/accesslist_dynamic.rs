//! `accesslist-dynamic` (`WANT_DYNAMIC_ACCESSLIST`): torrents are put on the list and taken off it at once, by lines in
//! two FIFOs or commands at a Unix socket, without reading its file again.
//!
//! - [`changed`]: a list that changes, in memory.
//! - [`fifo`], [`control`]: where it is said what changes, and how these come into the file system.
//! - [`lines`], [`command`]: what is said there.
//! - [`desk`]: what is done about it, in one thread; [`gate`] closes it while another process takes over.
//! - [`client`]: `opentracker --control`.
//!
//! One thread hears all of it in an event loop. Announces see a whole list at any time, and take no lock.

mod changed;
mod client;
mod command;
mod control;
mod desk;
mod fifo;
mod gate;
mod lines;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::unistd::{Gid, Group};
use tokio::task::spawn_local;

use crate::config::{ConfigError, Settings, group_id};
use crate::server::{Beginning, Inheriting, Opening, Plug, StartError, Threads, new_runtime};
use crate::tracker::Flavour;

use super::access_list::AccessList;
use super::list_changes::Changes;

use changed::Changed;
pub(super) use client::say;
use desk::Desk;
use gate::Gate;
#[cfg(any(test, fuzzing))]
pub(super) use lines::fuzz;

const ADD: &str = "access.fifo_add";
const DELETE: &str = "access.fifo_delete";
const GROUP: &str = "access.control_group";

/// Where it is heard what is to change.
#[derive(Debug)]
pub struct Opened {
    add: Option<OwnedFd>,
    delete: Option<OwnedFd>,
    control: Option<control::Door>,
}

/// Changes the list.
#[derive(Debug)]
pub struct Dynamic {
    opened: Mutex<Option<Opened>>,
    gate: Arc<Gate>,
}

impl Changes for Dynamic {
    type InForce = Changed;

    fn begin_with<F: Flavour>(
        &self,
        list: &AccessList<Changed>,
        beginning: &mut Beginning<'_, F>,
    ) -> Result<(), StartError> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(opened) = opened.filter(Opened::is_anything) else { return Ok(()) };
        self.gate.attend();
        hear(opened, list.clone(), Arc::clone(&self.gate), beginning.inherits.clone(), beginning.threads)
    }
}

impl Opened {
    fn is_anything(&self) -> bool {
        self.add.is_some() || self.delete.is_some() || self.control.is_some()
    }
}

impl Plug for Dynamic {
    type Opened = Opened;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        let access = &settings.access;
        let set = [(ADD, &access.fifo_add), (DELETE, &access.fifo_delete), (control::KEY, &access.control)];
        let set = set.into_iter().find(|(_, path)| path.is_some());
        match (set, &access.control_group) {
            (Some((key, _)), _) if access.whitelist.is_none() && access.blacklist.is_none() => {
                Err(ConfigError::alone(key, "access.blacklist"))
            }
            (None, Some(_)) => Err(ConfigError::alone(GROUP, control::KEY)),
            _ => Ok(()),
        }
    }

    fn open(opening: &mut Opening<'_>) -> Result<Opened, StartError> {
        let access = &opening.settings.access;
        let group = access.control_group.as_deref().map(find_group).transpose()?;
        let maker = fifo::Maker { user: opening.user, group, root: opening.settings.tracker.rootdir.as_deref() };
        let open = |key, path: &Option<_>| path.as_deref().map(|path| maker.open(key, path)).transpose();
        let (add, delete) = (open(ADD, &access.fifo_add)?, open(DELETE, &access.fifo_delete)?);
        if let (Some(add), Some(delete), Some(path)) = (&add, &delete, &access.fifo_delete) {
            if is_same(add, delete).unwrap_or(false) {
                let reason = format!("it is {ADD} too");
                return Err(StartError::Unusable { key: DELETE, path: path.clone(), reason });
            }
        }
        let control = access.control.clone();
        let control = control.map(|path| control::Door::open(&path, group, opening)).transpose()?;
        Ok(Opened { add, delete, control })
    }

    fn plug(opened: Opened, _: &Settings) -> Result<Self, StartError> {
        Ok(Self { opened: Mutex::new(Some(opened)), gate: Arc::default() })
    }

    fn pause(&self) {
        self.gate.pause();
    }

    fn resume(&self) {
        self.gate.resume();
    }
}

fn find_group(name: &str) -> Result<Gid, StartError> {
    let unusable = |reason: String| StartError::Unusable { key: GROUP, path: name.into(), reason };
    if let Some(id) = group_id(name) {
        return Ok(Gid::from_raw(id));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        // The list itself is not there, as in a container that holds one program.
        Ok(None) | Err(Errno::ENOENT) => Err(unusable("there is no such group on this machine".into())),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let identity = |file: &OwnedFd| File::from(file.try_clone()?).metadata().map(|found| (found.dev(), found.ino()));
    Ok(identity(one)? == identity(other)?)
}

/// Starts the thread that hears what is to change.
fn hear(
    opened: Opened,
    list: AccessList<Changed>,
    gate: Arc<Gate>,
    inherits: Option<Inheriting>,
    threads: &mut Threads,
) -> Result<(), StartError> {
    let runtime = new_runtime()?;
    threads.spawn("changes", move |stop| {
        let tasks = tokio::task::LocalSet::new();
        let heard = tasks.run_until(async {
            spawn_local(attend(Desk::new(list), opened, gate, inherits));
            stop.stopped().await;
        });
        runtime.block_on(heard);
    })
}

/// Hears what is said, for ever.
async fn attend(desk: Desk, opened: Opened, gate: Arc<Gate>, inherits: Option<Inheriting>) {
    let desk = Rc::new(desk);
    let keeper = Arc::clone(&gate);
    spawn_local(async move { keeper.keep().await });
    let hears = Rc::clone(&desk);
    spawn_local(async move { hears.hear_of_readings().await });
    if let Some(inherits) = inherits {
        // Until then the process before hears it.
        inherits.end().await;
        // It may have heard of what was not in the file yet when this process read it.
        let _ = desk.begin_reading();
    }
    for (fifo, key, are_to_be_listed) in [(opened.add, ADD, true), (opened.delete, DELETE, false)] {
        let Some(fifo) = fifo else { continue };
        let (desk, gate) = (Rc::clone(&desk), Arc::clone(&gate));
        spawn_local(async move { fifo::hear(fifo, key, are_to_be_listed, desk, &gate).await });
    }
    if let Some(door) = opened.control {
        spawn_local(control::answer(door, Rc::clone(&desk), gate));
    }
    desk.fold().await;
}

#[cfg(test)]
mod tests;
