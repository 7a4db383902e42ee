//! Tells a service manager that the tracker is ready (the protocol of `sd_notify`).
//!
//! Ours because the socket is outside the jail and readiness comes after it: it has to be connected before and used
//! afterwards, which the libraries at hand do not offer.

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use tracing::warn;

/// A connection to the service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// Connects to the socket that `NOTIFY_SOCKET` names. A tracker runs without as well.
    pub(super) fn connect() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self(None) };
        let connected = address(&name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                warn!("cannot tell the service manager at NOTIFY_SOCKET={}: {error}", Path::new(&name).display());
                Self(None)
            }
        }
    }

    /// Says that the tracker answers requests.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// Says that the tracker is about to end.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.0 {
            if let Err(error) = socket.send(state.as_bytes()) {
                warn!("cannot tell the service manager {state}: {error}");
            }
        }
    }
}

/// Reads the name of a socket: a path, or after an `@` an abstract name.
fn address(name: &OsStr) -> std::io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}
