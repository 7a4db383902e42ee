//! The Unix sockets at which plugs answer. They go from one process to the next as those do at which the tracker
//! answers, so that whoever connects meanwhile waits.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// A socket of a plug.
#[derive(Debug)]
pub struct PlugSocket {
    /// The key of the configuration that says where it is.
    pub key: String,
    /// The socket, which listens.
    pub socket: OwnedFd,
    /// Whether this process has opened it.
    pub is_new: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct PlugSockets {
    /// What has come from another process and nobody has taken yet.
    inherited: Vec<PlugSocket>,
    /// What goes to the next process.
    open: Vec<PlugSocket>,
}

impl PlugSockets {
    /// Takes what has come from another process.
    pub fn new(inherited: Vec<PlugSocket>) -> Self {
        Self { inherited, open: Vec::new() }
    }

    /// Takes the socket of this key that another process has opened; `None` if there is none.
    pub fn take(&mut self, key: &str) -> Option<OwnedFd> {
        let at = self.inherited.iter().position(|one| one.key == key)?;
        Some(self.inherited.swap_remove(at).socket)
    }

    /// Closes what nobody has taken: whoever connects there would wait for ever.
    pub fn close_untaken(&mut self) {
        self.inherited.clear();
    }

    /// Keeps a socket open for the next process; `is_new` if it was not [taken](Self::take).
    ///
    /// # Errors
    ///
    /// The system's: there are too many open files.
    pub fn keep(&mut self, key: &str, socket: &OwnedFd, is_new: bool) -> io::Result<()> {
        self.open.push(PlugSocket { key: key.into(), socket: socket.as_fd().try_clone_to_owned()?, is_new });
        Ok(())
    }

    /// Returns what goes to the next process.
    pub fn open(&self) -> &[PlugSocket] {
        &self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_is_taken_once_by_its_key_and_what_is_kept_goes_on() {
        let socket = || OwnedFd::from(std::os::unix::net::UnixDatagram::unbound().unwrap());
        let inherited = ["a", "b"].map(|key| PlugSocket { key: key.into(), socket: socket(), is_new: false });
        let mut sockets = PlugSockets::new(inherited.into());
        assert!(sockets.take("c").is_none());
        let taken = sockets.take("a").unwrap();
        assert!(sockets.take("a").is_none() && sockets.open().is_empty());
        sockets.keep("a", &taken, false).unwrap();
        let keys: Vec<_> = sockets.open().iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["a"]);
        sockets.close_untaken();
        assert!(sockets.take("b").is_none(), "what nobody takes is closed");
    }
}
