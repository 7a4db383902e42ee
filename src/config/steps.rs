//! The options of the command line as steps towards [`Settings`]: each is taken where it stands, so that their order
//! matters as in the original.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::build::BuildFacts;
use super::error::{ConfigError, Problem};
use super::file::apply_file;
use super::keys;
use super::keys::KeySpec;
use super::settings::{DEFAULT_PORT, Settings};
use super::value::{Value, address, port};

/// What an option does with its value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Reads a configuration file.
    ReadFile,
    /// Selects the address for the ports that follow.
    SelectAddress,
    /// Adds the selected address with this port to a key.
    Listen(&'static str),
    /// The same for live sync, whose packets are IPv4 in every build.
    ListenForSync(&'static str),
    /// Gives the value to a key.
    Set(&'static str),
    /// Lets a network in: gives it to the first key, for statistics, and to the second, for the cluster, as far as the
    /// build has them; it must have one. Where it has both, the second gets it only if the tracker joins a cluster.
    Bless(&'static [&'static str; 2]),
}

/// The settings so far, and what one option leaves for the next.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    settings: Settings,
    /// The address of the last `-i`.
    selected: Option<IpAddr>,
    /// What the second key of [`Step::Bless`] is to get, each with the option and the key.
    blessed: Vec<(String, &'static str, OsString)>,
    build: &'a BuildFacts<'a>,
}

/// What an option that selects an address takes, in the words of errors.
const IP: &str = "an address such as 192.0.2.1 or 2001:db8::1";
/// What an option that listens takes, in the words of errors.
const PORT: &str = "a port from 0 to 65535";

impl<'a> Steps<'a> {
    /// Begins with the defaults.
    pub(crate) fn new(build: &'a BuildFacts<'a>) -> Self {
        Self { settings: Settings::default(), selected: None, blessed: Vec::new(), build }
    }

    /// Takes one step. Errors name it as `option`.
    pub(crate) fn take(&mut self, option: &str, step: Step, value: &OsStr) -> Result<(), ConfigError> {
        let read_port = || {
            let port = value.to_str().and_then(port);
            port.ok_or_else(|| ConfigError::of_option(option, None, Problem::unexpected(PORT, value)))
        };
        match step {
            Step::ReadFile => apply_file(&mut self.settings, Path::new(value), self.build),
            Step::SelectAddress => {
                let ip = value.to_str().and_then(address);
                let ip = ip.ok_or_else(|| ConfigError::of_option(option, None, Problem::unexpected(IP, value)))?;
                self.selected = Some(ip);
                self.settings.listen.default_ip = Some(ip);
                Ok(())
            }
            Step::Listen(key) => {
                let port = read_port()?;
                let ips = self.selected.map_or_else(|| self.build.wildcards(), |ip| vec![ip]);
                ips.into_iter().try_for_each(|ip| self.listen(option, key, ip, port))
            }
            Step::ListenForSync(key) => {
                self.listen(option, key, self.selected.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), read_port()?)
            }
            Step::Set(key) => self.set(option, key, value),
            Step::Bless([stats, cluster]) => match (self.has(stats), self.has(cluster)) {
                (true, both) => {
                    if both {
                        self.blessed.push((option.to_owned(), cluster, value.to_owned()));
                    }
                    self.set(option, stats, value)
                }
                (false, true) => self.set(option, cluster, value),
                (false, false) => {
                    let needs = self.build.require(&step.needs());
                    needs.map_err(|problem| ConfigError::of_option(option, None, problem))
                }
            },
        }
    }

    /// Returns the settings after the last step, if they hold together.
    pub(crate) fn finish(mut self) -> Result<Settings, ConfigError> {
        if self.settings.livesync.listen.is_some() {
            for (option, key, value) in std::mem::take(&mut self.blessed) {
                self.set(&option, key, &value)?;
            }
        }
        self.settings.check(self.build)?;
        Ok(self.settings)
    }

    /// Returns whether the build has the key.
    fn has(&self, key: &str) -> bool {
        keys::row(key).is_some_and(|key| self.build.require(key.needs).is_ok())
    }

    /// Adds an address and port to a key, with the checks of the key.
    fn listen(&mut self, option: &str, key: &str, ip: IpAddr, port: u16) -> Result<(), ConfigError> {
        self.set(option, key, SocketAddr::new(ip, port).to_string().as_ref())
    }

    /// Gives a value to a key, with the checks of the key.
    fn set(&mut self, option: &str, key: &str, value: &OsStr) -> Result<(), ConfigError> {
        keys::find(key)
            .and_then(|key| key.set(&mut self.settings, &Value::Bare(value), self.build))
            .map_err(|problem| ConfigError::of_option(option, Some(key), problem))
    }
}

impl Step {
    /// Returns the features of which any one brings the option; none if every build has it.
    pub(crate) fn needs(&self) -> Vec<&'static str> {
        self.keys().into_iter().flat_map(|key| key.needs).copied().collect()
    }

    /// Returns the rows of the keys that the option sets.
    pub(crate) fn keys(&self) -> Vec<&'static KeySpec> {
        let names = match self {
            Self::ReadFile | Self::SelectAddress => &[],
            Self::Listen(key) | Self::ListenForSync(key) | Self::Set(key) => std::slice::from_ref(key),
            Self::Bless(keys) => keys.as_slice(),
        };
        names.iter().filter_map(|name| keys::row(name)).collect()
    }

    /// Returns the words for "[default: ...]"; `None` if the option sets no key, or lists that start empty.
    pub(crate) fn default_in_words(&self) -> Option<String> {
        match self {
            Self::Listen(_) => Some(DEFAULT_PORT.to_string()),
            Self::ListenForSync(key) | Self::Set(key) => keys::row(key).map(|key| key.default.in_words()),
            Self::ReadFile | Self::SelectAddress | Self::Bless(_) => None,
        }
    }
}
