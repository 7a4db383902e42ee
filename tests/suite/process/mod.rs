//! What the operator sees: options, files, signals, rights.

mod command_line;
mod configuration;
mod life;
mod listening;
mod rights;
