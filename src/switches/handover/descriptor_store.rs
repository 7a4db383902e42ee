//! Under a service manager: its file descriptor store keeps sockets and swarms between two processes.
//!
//! - [`name`]: what sockets are called there.
//! - [`memory`]: what the swarms are in.
//!
//! The manager hands over all that it keeps at every start, and goes on keeping it. Sockets stay there until the
//! configuration does not name their address any more; swarms from the end of one process to the start of the next.

mod memory;
mod name;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use tracing::{info, warn};

use crate::sandbox::descriptors::{self, HandedOver, Kind};
use crate::server::{
    Handing, Identity, Inheritance, InheritedSocket, ListeningSocket, MonotonicClock, PROBE, PlugSocket, Provider,
    Receiving, ServiceManager, StartError, StoreSize,
};
use crate::swarms::{Progress, Reader, Report, Writer};
use crate::tracker::{Clock as _, Flavour, Tracker};

use name::SocketName;

/// What the swarms are called in the store.
const SWARMS: &str = "swarms";

/// What they are called from when a process has begun to read them. It may end before it has.
const TRIED: &str = "swarms-tried";

/// What the names of sockets begin with at which plugs answer; the key of the configuration follows.
const OF_PLUGS: &str = "unix/";

/// How long the manager may take to do as it was told while the tracker starts.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long before its deadline the writing of swarms ends, so that the manager can still take them.
const RESERVE: Duration = Duration::from_secs(5);

/// How long the manager is asked to wait for a tracker that takes over many swarms.
const FILL_TIME: Duration = Duration::from_secs(300);

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// What the manager keeps of this tracker, and hands over to the next process.
pub(super) struct DescriptorStore {
    size: StoreSize,
    /// The names under which it keeps sockets.
    names: HashSet<String>,
    /// Some of these come from the predecessor.
    has_sockets: bool,
    /// The names under which it keeps swarms, which are to be removed when they are taken.
    swarms_names: HashSet<&'static str>,
    /// What the predecessor has left.
    swarms: Option<Swarms>,
}

/// Swarms that the predecessor has left.
struct Swarms {
    /// By what clients know the tracker, and when the swarms were written.
    identity: Identity,
    /// Where their stream begins.
    stream: File,
    /// Another process has begun to read them, and ended before it answered.
    is_tried: bool,
}

impl DescriptorStore {
    /// Takes what the manager hands over.
    ///
    /// # Errors
    ///
    /// Something that the tracker itself has not given it, and that is no socket which it could use.
    pub(super) fn receive(receiving: &mut Receiving<'_>) -> Result<(Self, Inheritance), StartError> {
        let mut this = Self {
            size: StoreSize::Known(0),
            names: HashSet::new(),
            has_sockets: false,
            swarms_names: HashSet::new(),
            swarms: None,
        };
        let (mut sockets, mut plug_sockets) = (Vec::new(), Vec::new());
        for HandedOver { name, descriptor } in descriptors::take_handed_over() {
            if let Some(key) = name.strip_prefix(OF_PLUGS) {
                plug_sockets.push(PlugSocket { key: key.into(), socket: descriptor, is_new: false });
                this.names.insert(name);
                continue;
            }
            let is_own_socket = SocketName::parse(&name).is_some();
            match descriptors::kind(descriptor.as_fd()) {
                Ok(Kind::Socket(..)) => {
                    if is_own_socket {
                        this.names.insert(name.clone());
                        this.has_sockets = true;
                    }
                    let provider = if is_own_socket { Provider::Manager } else { Provider::Unit };
                    sockets.push(InheritedSocket { socket: descriptor, name, provider });
                }
                Ok(Kind::SealedMemory) if name == SWARMS => this.find_swarms(SWARMS, descriptor),
                Ok(Kind::SealedMemory) if name == TRIED => this.find_swarms(TRIED, descriptor),
                // Nothing is wrong with it if a process has ended right after it was given to the manager.
                _ if name == PROBE => forget(receiving.manager, &name),
                other => {
                    let what = other.map_or_else(|unusable| unusable.to_string(), |_| "sealed memory".into());
                    if !is_own_socket && name != SWARMS && name != TRIED {
                        return Err(StartError::HandedOver { name, what });
                    }
                    warn!("{name}, which the service manager hands over, is {what}: closed");
                    forget(receiving.manager, &name);
                }
            }
        }
        let identity = this.swarms.as_ref().map(|swarms| swarms.identity);
        Ok((this, Inheritance { sockets, plug_sockets, identity }))
    }

    /// Looks into what is called swarms, and keeps what was written last: should one not have been removed, it comes
    /// back with the next.
    fn find_swarms(&mut self, name: &'static str, memory: OwnedFd) {
        self.swarms_names.insert(name);
        match memory::open(memory) {
            Ok((identity, stream)) => {
                let is_newer = |than: &Swarms| identity.clock.since_boot > than.identity.clock.since_boot;
                if self.swarms.as_ref().is_none_or(is_newer) {
                    self.swarms = Some(Swarms { identity, stream, is_tried: name == TRIED });
                }
            }
            Err(error) => warn!("the swarms that the service manager hands over are not taken: {error}"),
        }
    }

    /// Closes sockets of addresses that are not configured, and has the manager do so.
    ///
    /// # Errors
    ///
    /// One of them has been opened by somebody else, for this tracker.
    pub(super) fn discard(
        &mut self,
        receiving: &mut Receiving<'_>,
        unused: Vec<InheritedSocket>,
    ) -> Result<(), StartError> {
        let mut is_any_kept = false;
        for InheritedSocket { socket, name, provider } in unused {
            let kind = descriptors::kind(socket.as_fd());
            let Ok(Kind::Socket(protocol, address)) = kind else { continue };
            if provider == Provider::Unit {
                return Err(StartError::NotConfigured { name, protocol, address });
            }
            info!("closing a socket bound to {protocol} {address}, which the configuration does not name any more");
            if self.names.remove(&name) {
                forget(receiving.manager, &name);
                is_any_kept = true;
            }
        }
        if is_any_kept {
            // What the manager still has open would keep others from being bound.
            if let Err(error) = receiving.manager.barrier(Instant::now() + PATIENCE) {
                warn!("the service manager does not say that it has closed them: {error}");
            }
        }
        Ok(())
    }

    /// Gives the manager the sockets that it does not have.
    pub(super) fn bound(
        &mut self,
        receiving: &mut Receiving<'_>,
        new: &[ListeningSocket<'_>],
        of_plugs: &[PlugSocket],
    ) {
        let Receiving { manager, needs, .. } = receiving;
        self.size = manager.store_size();
        let is_unused =
            |name: &String| name.strip_prefix(OF_PLUGS).is_some_and(|key| of_plugs.iter().all(|one| one.key != key));
        let unused: Vec<_> = self.names.iter().filter(|name| is_unused(name)).cloned().collect();
        // One that was opened anew takes the place of the one before.
        let of_plugs = of_plugs.iter().map(|one| (format!("{OF_PLUGS}{}", one.key), one));
        let of_plugs: Vec<_> = of_plugs.filter(|(name, one)| one.is_new || !self.names.contains(name)).collect();
        for name in unused.iter().chain(of_plugs.iter().map(|(name, _)| name)) {
            if self.names.remove(name) {
                forget(manager, name);
            }
        }
        // The swarms are to have a place, too.
        let wanted = self.names.len() + new.len() + of_plugs.len() + 1;
        let room = match self.size {
            StoreSize::Known(0) if manager.is_there() => {
                return info!("the service manager keeps nothing over a restart (FileDescriptorStoreMax= in its unit)");
            }
            StoreSize::Known(0) => return,
            StoreSize::Known(size) if wanted > size as usize => {
                warn!("sockets will be lost at a restart: FileDescriptorStoreMax={size} has to be {wanted}");
                (size as usize).saturating_sub(self.names.len() + 1)
            }
            StoreSize::Known(_) | StoreSize::Untold => new.len() + of_plugs.len(),
        };
        needs.leaves_memory();
        let mut left = room;
        let mut store = |names: &mut HashSet<String>, name: String, socket| {
            left = left.checked_sub(1)?;
            let stored = manager.store(&name, socket);
            stored
                .inspect_err(|error| {
                    warn!("the service manager does not take the sockets, for a restart that loses nothing: {error}");
                })
                .ok()?;
            names.insert(name);
            Some(())
        };
        for socket in new {
            let mut name = SocketName::first(socket.protocol, socket.address);
            while self.names.contains(&name.to_string()) {
                name = name.next();
            }
            if store(&mut self.names, name.to_string(), socket.socket).is_none() {
                return;
            }
        }
        for (name, PlugSocket { socket, .. }) in of_plugs {
            if store(&mut self.names, name, socket.as_fd()).is_none() {
                return;
            }
        }
    }

    /// Fills the tracker with what the predecessor has left. Returns whether that is all that it knew.
    pub(super) fn fill<F: Flavour>(
        &mut self,
        tracker: &Arc<Tracker<F>>,
        clock: MonotonicClock,
        manager: &ServiceManager,
    ) -> bool {
        let mut is_whole = false;
        for name in self.swarms_names.drain() {
            forget(manager, name);
        }
        if let Some(swarms) = self.swarms.take() {
            manager.extend_timeout(FILL_TIME);
            // Whoever ends meanwhile leaves them to one more process. To a third they would be too many for the
            // machine.
            let is_kept = !swarms.is_tried && manager.store(TRIED, swarms.stream.as_fd()).is_ok();
            is_whole = swarms.read_into(tracker, clock);
            if is_kept {
                forget(manager, TRIED);
            }
        } else if self.has_sockets {
            warn!("starting empty: the process before has left its sockets to the service manager and no swarms");
        }
        is_whole
    }

    /// Leaves the swarms to the next process.
    pub(super) fn leave<F: Flavour>(self, handing: &Handing<'_, F>, deadline: Instant) {
        match self.size {
            StoreSize::Known(0) => return,
            StoreSize::Known(size) if self.names.len() >= size as usize => {
                let needed = self.names.len() + 1;
                return warn!(
                    "the next process starts empty: FileDescriptorStoreMax={size} has to be {needed} at least"
                );
            }
            _ => {}
        }
        handing.manager.extend_timeout(deadline.saturating_duration_since(Instant::now()));
        match leave(handing, deadline) {
            Ok(Left { peers, lacks: None }) => {
                // In the stream some are counted several times, as they come in parts.
                let torrents = handing.tracker.store().census().torrents;
                info!("left {torrents} torrents and {peers} peers to the next process");
            }
            Ok(Left { peers, lacks: Some(lacks) }) => {
                warn!("left {peers} peers to the next process, and not all, for want of {lacks}");
            }
            Err(error) => warn!("the next process starts empty, as nothing can be left to it: {error}"),
        }
    }
}

impl Swarms {
    /// Returns whether they are whole.
    fn read_into<F: Flavour>(mut self, tracker: &Arc<Tracker<F>>, clock: MonotonicClock) -> bool {
        // By the writer's clock, on which minutes begin when they did for it.
        let written = self.identity.clock;
        let elapsed = MonotonicClock::going_on(written).now().since(written.minute());
        let mut reader = Reader::new(Arc::clone(tracker), elapsed);
        let mut piece = vec![0; PIECE];
        let failed = loop {
            let read = match self.stream.read(&mut piece) {
                Ok(0) if reader.is_whole() => break None,
                Ok(0) => break Some("they end in the middle".into()),
                Ok(read) => reader.read(piece.get(..read).unwrap_or_default(), clock.now()).map_err(|e| e.to_string()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = read {
                break Some(error);
            }
        };
        let report = Report(reader.counts());
        match &failed {
            None => info!("taken over from the process before: {report}"),
            Some(why) => warn!("taken over from the process before: {report}; there was more, but {why}"),
        }
        failed.is_none()
    }
}

/// What was left, and what kept it from being all.
struct Left {
    peers: u64,
    lacks: Option<&'static str>,
}

/// Writes the swarms into memory, and gives that to the manager.
fn leave<F: Flavour>(handing: &Handing<'_, F>, deadline: Instant) -> io::Result<Left> {
    let Handing { tracker, clock, manager, .. } = handing;
    let identity = handing.identity();
    let mut memory = memory::create(&identity)?;
    let generation = u64::try_from(identity.clock.since_boot.as_nanos()).unwrap_or(u64::MAX);
    let mut writer = Writer::new(Arc::clone(tracker), generation, clock.now());
    let (mut room, mut piece) = (room(handing.memory), Vec::new());
    let lacks = loop {
        if Instant::now() + RESERVE >= deadline {
            break Some("time");
        }
        let progress = writer.write_unchanged(clock.now(), &mut piece);
        room = match room.checked_sub(piece.len() as u64) {
            Some(room) => room,
            None => break Some("memory"),
        };
        memory.write_all(&piece)?;
        piece.clear();
        if progress == Progress::Done {
            break None;
        }
    };
    memory::seal(&memory)?;
    // Had the last ones not been removed, there would be ever more.
    manager.remove(SWARMS)?;
    manager.store(SWARMS, memory.as_fd())?;
    manager.barrier(deadline)?;
    Ok(Left { peers: writer.totals().peers, lacks })
}

/// Returns how many bytes the swarms may take: half of the memory, beside the tracker that they are read from, and then
/// beside that into which they are read; and no more than a file may have, or the process would be ended.
fn room(memory: u64) -> u64 {
    let largest_file = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft);
    // A little less, for the envelope.
    (memory / 2).min(largest_file.saturating_sub(1 << 10))
}

/// Has the manager forget something that it keeps.
fn forget(manager: &ServiceManager, name: &str) {
    // Without one, something else has handed it over (`systemd-socket-activate`).
    if manager.is_there() {
        if let Err(error) = manager.remove(name) {
            warn!("the service manager cannot be told to close {name}: {error}");
        }
    }
}
