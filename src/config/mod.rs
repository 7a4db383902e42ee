//! Configuration: a file, or one option of the command line, becomes [`Settings`]. No effects but reading the file.
//!
//! - `settings`: everything that can be chosen, as a plain value;
//! - `build`: what the configuration is told about the build;
//! - `check`: what holds for the whole of it, and the defaults that depend on the build;
//! - `keys`: the table of every key; both syntaxes, the command line and the documents go through it;
//! - `value`: one value as it was written, and the readings that keys ask of it;
//! - `file`: a file becomes settings, in one of two syntaxes: `toml`, `classic`;
//! - `convert`: a file of the original, written as TOML;
//! - `steps`: the options of the command line, one after the other;
//! - `user`: users and groups as they are written;
//! - `paths`: the settings that are paths inside the root directory;
//! - `sample`: the sample file, and what other documents say of keys, from their table;
//! - `error`: what can be wrong, and the words for it.
//!
//! The grammar is the same in every build, and a key of an absent switch is an error, because a tracker that was meant
//! to be closed must never run open.

mod build;
mod check;
mod classic;
mod client_id;
mod convert;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;
mod nats_server;
mod paths;
mod sample;
mod settings;
mod steps;
mod toml;
mod user;
mod value;

#[cfg(test)]
mod tests;

pub use build::BuildFacts;
pub use client_id::ClientId;
pub use convert::{Conversion, convert_file};
pub use error::{ConfigError, Location, More, Problem};
pub use file::{MAX_FILE_SIZE, apply_bytes, apply_file};
pub use nats_server::{NatsHost, NatsServer};
pub use sample::{KeyText, SectionText, introduction, sample, sections};
pub use settings::{
    AccessSettings, DEFAULT_PORT, GeneralSettings, LIVESYNC_PORT, LimitSettings, ListenSettings, LivesyncSettings,
    NatsSettings, RefusalOverUdp, Settings, SyncSettings, SyslogSocket, SystemCallRule,
};
pub use user::{group_id, user_ids};

pub(crate) use steps::{Step, Steps};
