//! How what a plug point holds comes into being.

use std::sync::Arc;

use crate::config::Settings;
use crate::http::flavour::{Connected, Everyone, HttpFlavour, NoFullScrape, NoMetrics};
use crate::stats::Counters;
use crate::tracker::{Flavour, Open, Standalone, Tracker, Unlogged};

use super::StartError;
use super::clock::MonotonicClock;
use super::threads::Threads;

/// A whole build: what fills every plug point, each made in the same way. The server knows no more of the switches.
pub trait Build:
    Flavour<Admission: Plug, Cluster: Plug, NetworkLog: Plug>
    + HttpFlavour<ClientAddress: Plug, StatsAccess: Plug, FullScrape: Plug, Metrics: Plug>
{
    /// The names of its features.
    const FEATURES: &'static [&'static str];
}

/// What there is when [`Plug::begin`] is called.
pub struct Beginning<'a, F: Flavour> {
    /// What the operator chose.
    pub settings: &'a Settings,
    /// The tracker, still without peers.
    pub tracker: &'a Arc<Tracker<F>>,
    /// Where a new thread gets counters of its own.
    pub counters: &'a Counters,
    /// The time.
    pub clock: MonotonicClock,
    /// Where a new thread is started.
    pub threads: &'a mut Threads,
}

/// What is plugged in: made once at the start, and told of SIGHUP.
pub trait Plug: Sized + Send + Sync + 'static {
    /// Made from the settings. Called when root has been given up: a file's path is one inside the jail.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn plug(settings: &Settings) -> Result<Self, StartError>;

    /// Called once, when the tracker is whole and does not answer yet: to fill it, or to start a thread.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn begin<F: Flavour>(&self, _: &mut Beginning<'_, F>) -> Result<(), StartError> {
        Ok(())
    }

    /// SIGHUP: read again what was read at the start. Whatever goes wrong is logged, and what was in force stays so.
    fn reload(&self) {}
}

/// The twins that do nothing are made from nothing.
macro_rules! plug_default {
    ($($twin:ty),*) => {$(
        impl Plug for $twin {
            fn plug(_: &Settings) -> Result<Self, StartError> {
                Ok(Self::default())
            }
        }
    )*};
}

plug_default!(Open, Standalone, Unlogged, Connected, Everyone, NoFullScrape, NoMetrics);
