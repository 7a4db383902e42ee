//! The plug point for what a process takes over from its predecessor, and leaves to its successor.
//!
//! The order of its calls is that of the process: [`Handover::receive`], [`Handover::discard`] and [`Handover::bound`]
//! while it still has all its rights, [`Handover::fill`] before it begins to answer, [`Handover::next`] for as long as
//! it answers, and [`Handover::leave`] when it has been told to end.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::config::Settings;
use crate::sandbox::descriptors::{self, HandedOver};
use crate::tracker::{Flavour, Tracker};

use super::account::Account;
use super::clock::{ClockReading, MonotonicClock};
use super::error::StartError;
use super::needs::Needs;
use super::notify::ServiceManager;
use super::plug_sockets::PlugSocket;

/// How long a service manager may take to close what it has kept.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a process has before it binds anything.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Sockets that are bound already, TCP ones in the state of listening.
    pub sockets: Vec<InheritedSocket>,
    /// Unix sockets at which plugs answer.
    pub plug_sockets: Vec<PlugSocket>,
    /// By what clients know the tracker.
    pub identity: Option<Identity>,
}

/// A socket that another process has bound.
#[derive(Debug)]
pub struct InheritedSocket {
    /// The socket.
    pub socket: OwnedFd,
    /// What it is called where it comes from, for the log.
    pub name: String,
    /// Who hands it over.
    pub provider: Provider,
}

/// Who hands over a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// A service manager, which has kept it: the tracker has bound it, perhaps under an earlier configuration.
    Manager,
    /// A `.socket` unit, which has chosen its address: it is an error if the configuration does not name that.
    Unit,
    /// The predecessor, which still answers there.
    Predecessor,
}

/// By what clients know a tracker, beside its addresses. It is secret, and never printed.
#[derive(Clone, Copy)]
pub struct Identity {
    /// The secret of the connection ids.
    pub secret: (u64, u64),
    /// Its clock, by which connection ids expire and peers grow old.
    pub clock: ClockReading,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// What there is when [`Handover::receive`] is called.
#[derive(Debug)]
pub struct Receiving<'a> {
    /// What the operator chose. Paths are as they are seen from outside the jail.
    pub settings: &'a Settings,
    /// Whom the process will become; `None`: it stays who it is.
    pub user: Option<&'a Account>,
    /// The service manager, if there is one.
    pub manager: &'a ServiceManager,
    /// Where the plug says what it will still do once the process is confined.
    pub needs: &'a mut Needs,
}

/// A socket on which the tracker answers.
#[derive(Debug, Clone, Copy)]
pub struct ListeningSocket<'a> {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where it is bound.
    pub address: SocketAddr,
    /// The socket.
    pub socket: BorrowedFd<'a>,
}

/// A tracker that answers, for whoever may have to hand it over.
pub struct Handing<'a, F: Flavour> {
    /// Its torrents and peers.
    pub tracker: &'a Arc<Tracker<F>>,
    /// Its clock.
    pub clock: MonotonicClock,
    /// The secret of its connection ids.
    pub secret: (u64, u64),
    /// Every socket on which it answers; none if it does not any more.
    pub sockets: &'a [ListeningSocket<'a>],
    /// The Unix sockets at which its plugs answer.
    pub plug_sockets: &'a [PlugSocket],
    /// The service manager, if there is one.
    pub manager: &'a ServiceManager,
    /// The memory that this process may use, in bytes.
    pub memory: u64,
}

impl<F: Flavour> Handing<'_, F> {
    /// Returns by what clients know the tracker, with what its clock says now.
    pub fn identity(&self) -> Identity {
        Identity { secret: self.secret, clock: self.clock.reading() }
    }
}

/// What a handover asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nobody is to be answered from now on; the sockets stay open.
    Pause,
    /// The tracker is to answer again: the successor is gone.
    Resume,
    /// The successor answers: the process is to end.
    End,
}

/// Takes over from the predecessor, and hands over to the successor.
pub trait Handover: Sized + Send + 'static {
    /// Takes what the predecessor has. Root has not been given up, and nothing is bound.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting. The predecessor goes on.
    fn receive(receiving: &mut Receiving<'_>) -> Result<(Self, Inheritance), StartError>;

    /// Closes the inherited sockets of addresses that are not configured. Nothing is bound yet: what keeps one of these
    /// open may keep others from being bound, as a wildcard does those of its port.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn discard(&mut self, receiving: &mut Receiving<'_>, unused: Vec<InheritedSocket>) -> Result<(), StartError>;

    /// Called when the tracker has all its sockets; `new` are those that no service manager has handed over, and
    /// `of_plugs` those at which plugs answer, whoever has opened them.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn bound(
        &mut self,
        receiving: &mut Receiving<'_>,
        new: &[ListeningSocket<'_>],
        of_plugs: &[PlugSocket],
    ) -> Result<(), StartError>;

    /// Fills the tracker, which is whole and does not answer yet, with the swarms of the predecessor. From when this
    /// returns, the predecessor does not answer any more. Returns whether all of them have come; false if the
    /// predecessor has ended before, or has left no more.
    ///
    /// # Errors
    ///
    /// The predecessor goes on, and this one must not answer.
    fn fill<F: Flavour>(
        &mut self,
        tracker: &Arc<Tracker<F>>,
        clock: MonotonicClock,
        manager: &ServiceManager,
    ) -> Result<bool, StartError>;

    /// Waits until something is asked of the process; for ever if nobody comes. Runs in an event loop. Whoever calls it
    /// may drop what it returns and call it again: nothing is lost.
    fn next<F: Flavour>(&mut self, handing: &Handing<'_, F>) -> impl Future<Output = Step>;

    /// Leaves the swarms to the successor, wherever that can find them. Nobody is answered any more. Returns by
    /// `deadline`.
    fn leave<F: Flavour>(self, handing: &Handing<'_, F>, deadline: Instant);
}

/// The off twin: every start is from nothing. What a service manager hands over is closed, so that it keeps nothing
/// from being bound.
#[derive(Debug)]
pub struct NoHandover;

impl Handover for NoHandover {
    fn receive(receiving: &mut Receiving<'_>) -> Result<(Self, Inheritance), StartError> {
        let handed_over = descriptors::take_handed_over();
        for HandedOver { name, .. } in &handed_over {
            warn!(
                "{name}, which the service manager hands over, is closed: this build does not have the feature handover"
            );
            // If it does not hear of it, the addresses are in use, and that will be said.
            let _ = receiving.manager.remove(name);
        }
        if !handed_over.is_empty() {
            let _ = receiving.manager.barrier(Instant::now() + PATIENCE);
        }
        Ok((Self, Inheritance::default()))
    }

    fn discard(&mut self, _: &mut Receiving<'_>, _: Vec<InheritedSocket>) -> Result<(), StartError> {
        Ok(())
    }

    fn bound(&mut self, _: &mut Receiving<'_>, _: &[ListeningSocket<'_>], _: &[PlugSocket]) -> Result<(), StartError> {
        Ok(())
    }

    fn fill<F: Flavour>(
        &mut self,
        _: &Arc<Tracker<F>>,
        _: MonotonicClock,
        _: &ServiceManager,
    ) -> Result<bool, StartError> {
        Ok(true)
    }

    async fn next<F: Flavour>(&mut self, _: &Handing<'_, F>) -> Step {
        std::future::pending().await
    }

    fn leave<F: Flavour>(self, _: &Handing<'_, F>, _: Instant) {}
}
