//! What the plugs of a tracker still do once its process is confined. Nothing else is left possible.

use std::path::PathBuf;

use nix::libc::c_long;

use crate::config::Settings;
use crate::sandbox::files::Reach;

/// What plugs have said in [`Plug::open`](super::Plug::open).
#[derive(Debug, Default)]
pub struct Needs {
    /// Keys of files.
    reads: Vec<&'static str>,
    writes: Vec<&'static str>,
    directories: Vec<PathBuf>,
    tcp_ports: Vec<u16>,
    bound_tcp_ports: Vec<u16>,
    udp: bool,
    leaves_memory: bool,
    system_calls: Vec<c_long>,
}

impl Needs {
    /// The file that this key of the configuration names is read, from [`Plug::plug`](super::Plug::plug) on. It may be
    /// replaced meanwhile: [`crate::sandbox::files`] says how. The key stands for the path, which is another one inside
    /// the root directory.
    pub fn reads(&mut self, key: &'static str) {
        self.reads.push(key);
    }

    /// The file that this key names is written, or made beside it and renamed.
    pub fn writes(&mut self, key: &'static str) {
        self.writes.push(key);
    }

    /// The files of this directory are read, and it is listed. It is one of the system's, which no key names: where the
    /// root directory is a jail there probably is none.
    pub fn reads_directory(&mut self, directory: PathBuf) {
        self.directories.push(directory);
    }

    /// New connections are made to this TCP port, of any machine.
    pub fn connects_tcp(&mut self, port: u16) {
        self.tcp_ports.push(port);
    }

    /// TCP sockets are bound to this port; 0 stands for one that the system chooses.
    pub fn binds_tcp(&mut self, port: u16) {
        self.bound_tcp_ports.push(port);
    }

    /// New UDP sockets are made. One that [`Plug::open`](super::Plug::open) has made needs nothing.
    pub fn connects_udp(&mut self) {
        self.udp = true;
    }

    /// Memory is made and sealed, which another process gets.
    pub fn leaves_memory(&mut self) {
        self.leaves_memory = true;
    }

    /// These are called as well (`libc::SYS_...`): beside what every tracker calls, and what the other methods imply.
    pub fn system_calls(&mut self, numbers: &[c_long]) {
        self.system_calls.extend(numbers);
    }

    /// Returns whether files are read or written.
    pub fn opens_files(&self) -> bool {
        !self.reads.is_empty() || !self.directories.is_empty() || self.writes_files()
    }

    /// Returns whether files are written.
    pub fn writes_files(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Returns whether sockets are made.
    pub fn connects(&self) -> bool {
        self.udp || !self.tcp_ports.is_empty()
    }

    /// Returns whether memory is made for another process.
    pub fn makes_memory(&self) -> bool {
        self.leaves_memory
    }

    /// Returns what is called as well.
    pub fn further_system_calls(&self) -> &[c_long] {
        &self.system_calls
    }

    /// Returns the files and connections that this comes to, in a process whose root directory is a jail or not.
    pub(super) fn reach(&self, settings: &mut Settings, is_jailed: bool) -> Reach {
        let mut reach = Reach::nothing(is_jailed);
        settings.visit_paths_inside_root(|key, path| {
            if self.reads.contains(&key) {
                reach.add_read(path);
            }
            if self.writes.contains(&key) {
                reach.add_written(path);
            }
        });
        self.directories.iter().for_each(|directory| reach.add_listed(directory));
        self.tcp_ports.iter().for_each(|port| reach.add_port(*port));
        self.bound_tcp_ports.iter().for_each(|port| reach.add_bound_port(*port));
        reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_the_path_that_it_has_when_the_process_is_confined() {
        let mut needs = Needs::default();
        needs.reads("access.whitelist");
        needs.writes("tracker.statefile");
        needs.connects_tcp(53);
        needs.binds_tcp(0);
        let mut settings = Settings::default();
        settings.access.whitelist = Some("/nowhere/at/all/list".into());
        settings.access.blacklist = Some("/nowhere/else/list".into());
        settings.tracker.statefile = Some("/nowhere/dump".into());
        let mut expected = Reach::nothing(true);
        expected.add_read("/nowhere/at/all/list".as_ref());
        expected.add_written("/nowhere/dump".as_ref());
        expected.add_port(53);
        expected.add_bound_port(0);
        assert_eq!(needs.reach(&mut settings, true), expected);
        assert_eq!(Needs::default().reach(&mut settings, true), Reach::nothing(true));

        let mut needs = Needs::default();
        assert!(!needs.opens_files());
        needs.reads_directory("/".into());
        assert!(needs.opens_files() && !needs.writes_files());
        let mut expected = Reach::nothing(true);
        expected.add_listed("/".as_ref());
        assert_eq!(needs.reach(&mut settings, true), expected);
    }
}
