//! A real server of NATS, and certificates for it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::clients::http::get_closing;
use crate::directory::Directory;
use crate::harness::{note, skip};
use crate::programs::{output, start};
use crate::tracker::unused_port;
use crate::wait::wait_until;

const PROGRAM: &str = "nats-server";

/// The test needs Debian's `nats-server`.
pub(crate) fn only_with_nats_server() {
    if output(Command::new(PROGRAM).arg("--version")).is_err() {
        skip("nats-server is not installed");
    }
}

/// A server that listens on a loopback address. It is ended when it goes out of scope.
pub(crate) struct Server {
    child: Child,
    port: u16,
    /// Where it says who is connected.
    monitor: SocketAddr,
    directory: Directory,
}

impl Server {
    /// Starts one on a free port with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_on(-1, options)
    }

    /// Starts one that can be [started again](Self::restart): nobody else takes its port while it is away.
    pub(crate) fn start_to_restart() -> Self {
        Self::start_on(unused_port().into(), &[])
    }

    /// Starts one on the port of one that has ended.
    pub(crate) fn restart(port: u16, options: &[&str]) -> Self {
        Self::start_on(port.into(), options)
    }

    /// Port -1 is any free one.
    fn start_on(port: i32, options: &[&str]) -> Self {
        let directory = Directory::new();
        let mut program = Command::new(PROGRAM);
        program.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-m", "-1", "-l"]);
        program.arg(directory.0.join("log")).arg("--ports_file_dir").arg(&directory.0).args(options);
        let mut child = start(program.stderr(Stdio::null())).unwrap();
        let ports = directory.0.join(format!("{PROGRAM}_{}.ports", child.id()));
        let found = wait_until(|| {
            let text = fs::read_to_string(&ports).ok()?;
            let port_at = |scheme: &str| {
                let (_, address) = text.split_once(&format!("{scheme}://127.0.0.1:"))?;
                address.split('"').next()?.parse().ok()
            };
            Some((port_at("nats").or_else(|| port_at("tls"))?, port_at("http")?))
        });
        let Some((port, monitor)) = found else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{}", fs::read_to_string(directory.0.join("log")).unwrap_or_default());
        };
        Self { child, port, monitor: (Ipv4Addr::LOCALHOST, monitor).into(), directory }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The line of the configuration that names it.
    pub(crate) fn config(&self) -> String {
        self.config_as("127.0.0.1")
    }

    /// The same with this name, perhaps behind a scheme.
    pub(crate) fn config_as(&self, host: &str) -> String {
        format!("sync.nats.servers = ['{host}:{}']\n", self.port)
    }

    /// How many trackers it passes changes on to.
    pub(crate) fn listeners(&self) -> usize {
        let connections = get_closing(self.monitor, "/connz?subs=1", "").content();
        String::from_utf8(connections).unwrap().matches(".changes\"").count()
    }

    /// Waits until its log has a line with this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let found = wait_until(|| self.log().contains(text).then_some(()));
        assert!(found.is_some(), "no {text:?} in the log:\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.0.join("log")).unwrap()
    }

    /// Stops it from doing anything, without closing its connections.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Kills it. Returns its port.
    pub(crate) fn kill(self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            note(&format!("the log of {PROGRAM}:\n{}", self.log()));
        }
    }
}

/// A certificate for a server, and the one that signs it.
pub(crate) struct Certificates {
    directory: Directory,
}

impl Certificates {
    /// Makes both. The server's is for this name: `DNS:localhost`, or `IP:127.0.0.1`.
    pub(crate) fn new(name: &str) -> Self {
        let certificates = Self { directory: Directory::new() };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let ca = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2"];
        certificates.openssl(&[&ca[..], &key].concat());
        let request = ["req", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"];
        certificates.openssl(&[&request[..], &key].concat());
        fs::write(certificates.path("names"), format!("subjectAltName={name}\n")).unwrap();
        let signed = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "server.pem"];
        certificates.openssl(&[&signed[..], &["-days", "2", "-CAcreateserial", "-extfile", "names"]].concat());
        certificates
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = output(Command::new("openssl").args(arguments).current_dir(&self.directory.0)).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    /// The certificate that signs the server's.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Starts a server that shows the certificate, and speaks nothing but TLS.
    pub(crate) fn server(&self) -> Server {
        let [certificate, key] = ["server.pem", "server.key"].map(|name| self.path(name).display().to_string());
        Server::start(&["--tls", "--tlscert", &certificate, "--tlskey", &key])
    }

    /// The line of the configuration by which its signer is believed.
    pub(crate) fn config(&self) -> String {
        format!("sync.nats.tls_ca = {:?}\n", self.ca())
    }
}

/// Whether there is `openssl`, which makes certificates.
pub(crate) fn only_with_openssl() {
    if output(Command::new("openssl").arg("version")).is_err() {
        skip("openssl is not installed");
    }
}

/// Writes a file with a secret and this mode. Returns the line of the configuration that names it for `key`.
pub(crate) fn secret(path: &Path, key: &str, text: &str, mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    format!("{key} = {path:?}\n")
}
