//! How what a plug point holds comes into being.

use crate::config::Settings;
use crate::core::{Open, Standalone, Unlogged};
use crate::http::flavour::{Connected, Everyone, NoFullScrape};

use super::StartError;

/// What is plugged in: made once at the start, and told of SIGHUP.
pub trait Plug: Sized + Send + Sync + 'static {
    /// Made from the settings. Called when root has been given up: a file's path is one inside the jail.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn plug(settings: &Settings) -> Result<Self, StartError>;

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

plug_default!(Open, Standalone, Unlogged, Connected, Everyone, NoFullScrape);
