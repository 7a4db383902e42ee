//! Black-box tests: the real binary, real sockets, and only what an operator or a client can see.
//!
//! The same tests run against every flavour of the build. What a build can do is asked at run time
//! ([`flavour::has`]), so that nothing here is compiled away: with a switch on its behaviour is tested, with it off its
//! absence.
//!
//! - [`tracker`], [`directory`]: starts the binary in a directory of its own, and ends it.
//! - [`flavour`]: what this build needs and serves.
//! - [`clients`]: a UDP client, an HTTP client and a reader of bencode that know nothing of the tracker's own code.
//! - [`udp`], [`http`]: the protocols, line by line.
//! - [`stats`]: the statistics, as monitors read them.
//! - [`process`]: the command line, the configuration, signals, rights.
//! - [`switches`]: one file for each switch.
//! - [`sources`], [`documents`]: rules that the sources keep, and what the documents say.

mod clients;
mod directory;
mod documents;
mod flavour;
mod http;
mod process;
mod sources;
mod stats;
mod switches;
mod tracker;
mod udp;
