//! What the operator sees: options, files, signals, rights.

pub(crate) mod clocks;
pub(crate) mod command_line;
pub(crate) mod configuration;
pub(crate) mod control_group;
pub(crate) mod convert_config;
pub(crate) mod examples;
pub(crate) mod health;
pub(crate) mod input;
pub(crate) mod interrupted;
pub(crate) mod intervals;
pub(crate) mod life;
pub(crate) mod listening;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod new_key;
pub(crate) mod rights;
pub(crate) mod sandbox;
