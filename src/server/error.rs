//! Why a tracker does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why the tracker does not start. For the operator.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be opened.
    #[error("cannot listen on {protocol} {address}: {error}{}", hint(.error))]
    Listen {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// As it was configured.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// A socket that was handed to the tracker is one at which clients of both families come.
    #[error(
        "{name}: clients of both families come to the socket at {address}, and this build serves one of them: set \
         BindIPv6Only=ipv6-only where it is opened, or build the tracker with the feature dual-stack"
    )]
    BothFamilies {
        /// What it is called where it comes from.
        name: String,
        /// Where it is bound.
        address: SocketAddr,
    },
    /// The predecessor cannot be taken over from, or no successor could take over later.
    #[error("tracker.handover: {}: {reason}", path.display())]
    Handover {
        /// As it was configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What a service manager hands over is no socket that a tracker can use.
    #[error(
        "{name}, which the service manager hands over, is {what}: a tracker takes listening sockets of TCP and bound ones \
         of UDP; mend the .socket unit that opens it"
    )]
    HandedOver {
        /// What it is called there.
        name: String,
        /// What it is.
        what: String,
    },
    /// A socket that a service manager hands over is of no configured address.
    #[error(
        "{name}, which the service manager hands over, is bound to {protocol} {address}: name that under \
         listen.{protocol}, or take it out of the .socket unit that opens it"
    )]
    NotConfigured {
        /// What it is called there.
        name: String,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Where it is bound.
        address: SocketAddr,
    },
    /// There is no such user.
    #[error(
        "tracker.user: there is no user `{0}` on this machine; create it, or name another with -u, by name or as UID[:GID]"
    )]
    NoSuchUser(String),
    /// The user is root.
    #[error("tracker.user: `{0}` has root's rights; a tracker needs none, name another user with -u")]
    UserIsRoot(String),
    /// The root directory cannot be entered.
    #[error("tracker.rootdir: cannot use {}: {error}", path.display())]
    RootDirectory {
        /// As it was configured.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A relative path that is there in `/` alone, where the original looks, and not where this tracker does.
    #[error(
        "{key}: there is no {0} in {1}, where relative paths begin; the original reads /{0}: name it so if it is meant",
        path.display(), directory.display()
    )]
    OriginalsPath {
        /// The key of the configuration.
        key: &'static str,
        /// As it was configured.
        path: PathBuf,
        /// The directory in which the tracker was started.
        directory: PathBuf,
    },
    /// Rights that the tracker does not need cannot be given up.
    #[error("cannot give up rights ({step}): {error}")]
    Privileges {
        /// What was tried.
        step: &'static str,
        /// The system's reason.
        error: io::Error,
    },
    /// A file that a switch needs.
    #[error("{key}: cannot read {}: {error}", path.display())]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file that can be read, and not used: one with a secret, a pipe, or a socket.
    #[error("{key}: cannot use {}: {reason}", path.display())]
    Unusable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An address that a switch needs.
    #[error("{key}: cannot {what} {address}: {error}")]
    Address {
        /// The key of the configuration.
        key: &'static str,
        /// What was tried.
        what: &'static str,
        /// As it was configured.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// A server whose name has no address.
    #[error("{key}: cannot look up {host}: {error}")]
    Name {
        /// The key of the configuration.
        key: &'static str,
        /// As it was configured.
        host: String,
        /// The system's reason.
        error: io::Error,
    },
    /// Something that the system did not give.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        error: io::Error,
    },
}

impl StartError {
    /// Returns what makes such an error of the system's reason, for `map_err`.
    pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { what, error: error.into() }
    }
}

/// Returns what the operator can do about an address that cannot be opened; empty if that is not known.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (is another tracker running? -p and -P choose other ports)",
        io::ErrorKind::AddrNotAvailable => " (this machine has no such address)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 are for root)",
        _ => "",
    }
}
