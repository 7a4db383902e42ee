//! The first stage: everything that may need root and is opened by address.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use nix::unistd::Uid;
use socket2::Type;

use crate::config::Settings;
use crate::tracker::AddressFamilies as _;
use crate::udp::SharedSecret;

use super::account::Account;
use super::error::StartError;
use super::handover::{Handover as _, Identity, Inheritance, Receiving};
use super::inherited::Inherited;
use super::interruptible::Interruptible;
use super::key_file;
use super::limits;
use super::listening::{Sockets, open_all};
use super::memory;
use super::needs::Needs;
use super::notify::ServiceManager;
use super::plug::{Build, Opening};
use super::plug_sockets::PlugSockets;
use super::wildcards;

/// Files that an event loop holds open: two of epoll, one that wakes it, and one by which it hears of signals.
const EVENT_LOOP_FILES: usize = 4;

/// A tracker whose sockets are bound and whose plugs are opened; the process still has all its rights.
pub struct Bound<B: Build> {
    pub(super) settings: Settings,
    /// Until the tracker answers.
    pub(super) interruptible: Interruptible,
    pub(super) sockets: Sockets<B::Driver>,
    pub(super) plug_sockets: PlugSockets,
    /// Whom to become; looked up before the jail hides the list of users. `None`: not root, stays who it is.
    pub(super) user: Option<Account>,
    pub(super) manager: ServiceManager,
    /// What this process has to do with its predecessor and its successor.
    pub(super) handover: B::Handover,
    /// What has come from the predecessor by which clients know the tracker.
    pub(super) identity: Option<Identity>,
    /// The secret of the connection ids, where other trackers have it as well.
    pub(super) shared_secret: Option<SharedSecret>,
    /// What the plugs have made so far.
    pub(super) opened: B::Opened,
    /// What they will still do once the process is confined.
    pub(super) needs: Needs,
    /// How many TCP connections may be open at a time.
    pub(super) connections: usize,
    /// The memory that this process may use, in bytes. Default limits follow from it.
    pub(super) memory: u64,
}

impl<B: Build> Bound<B> {
    /// Opens every address and every plug, finds the user to become, and connects to the service manager. From here
    /// until the tracker answers, SIGTERM and SIGINT end the process at once, with exit code 0.
    ///
    /// # Errors
    ///
    /// An address, a plug or a key that cannot be opened; a user that does not exist.
    pub fn open(mut settings: Settings, interruptible: Interruptible) -> Result<Self, StartError> {
        interruptible.start();
        if B::Families::IPV4 && B::Families::IPV6 {
            wildcards::add_ipv4("tcp", &mut settings.listen.tcp);
            wildcards::add_ipv4("udp", &mut settings.listen.udp);
        }
        let user = if Uid::effective().is_root() { Some(Account::find(&settings.tracker.user)?) } else { None };
        let shared_secret = key_file::read(&settings.listen)?;
        let tcp_workers = workers(settings.listen.tcp_workers);
        let udp_workers = workers(settings.listen.udp_workers);
        // An HTTP worker accepts one connection before it waits for a permit.
        let http_files = tcp_workers * (EVENT_LOOP_FILES + 2 * settings.listen.tcp.len());
        let files = EVENT_LOOP_FILES + http_files + udp_workers * settings.listen.udp.len();
        let memory = memory::usable();
        let connections = limits::connections(&settings.limits, files, memory);
        let manager = ServiceManager::connect();
        let mut needs = Needs::default();
        let mut receiving =
            Receiving { settings: &settings, user: user.as_ref(), manager: &manager, needs: &mut needs };
        let (mut handover, Inheritance { sockets, plug_sockets: inherited_by_plugs, identity }) =
            B::Handover::receive(&mut receiving)?;

        let mut inherited = Inherited::new(sockets, B::Families::IPV4 && B::Families::IPV6)?;
        inherited.cover(Type::STREAM, &mut settings.listen.tcp);
        inherited.cover(Type::DGRAM, &mut settings.listen.udp);
        let listen = &settings.listen;
        let mut receiving =
            Receiving { settings: &settings, user: user.as_ref(), manager: &manager, needs: &mut needs };
        handover.discard(&mut receiving, inherited.take_unused(listen))?;
        let share = |socket| Ok(Arc::new(TcpListener::from(socket)));
        let tcp = open_all("tcp", &listen.tcp, tcp_workers, Type::STREAM, &mut inherited, share)?;
        let drive = |socket| UdpSocket::from(socket).try_into().map(Arc::new);
        let udp = open_all("udp", &listen.udp, udp_workers, Type::DGRAM, &mut inherited, drive)?;
        let sockets = Sockets { tcp, udp, tcp_workers };
        let mut plug_sockets = PlugSockets::new(inherited_by_plugs);
        let opened = B::open(&mut Opening {
            settings: &settings,
            user: user.as_ref(),
            needs: &mut needs,
            sockets: &mut plug_sockets,
        })?;
        plug_sockets.close_untaken();
        let mut receiving =
            Receiving { settings: &settings, user: user.as_ref(), manager: &manager, needs: &mut needs };
        handover.bound(&mut receiving, &sockets.list_new(), plug_sockets.open())?;
        Ok(Self {
            settings,
            interruptible,
            sockets,
            plug_sockets,
            user,
            manager,
            handover,
            identity,
            shared_secret,
            opened,
            needs,
            connections,
            memory,
        })
    }
}

/// Returns how many workers there are to be: 0 stands for one for each CPU.
fn workers(chosen: u16) -> usize {
    match chosen {
        0 => thread::available_parallelism().map_or(1, usize::from),
        chosen => chosen.into(),
    }
}
