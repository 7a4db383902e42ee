//! A NATS server for unit tests.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};

/// Where the server is looked for. Debian's stands where only root looks.
const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

/// How long it may take until the server listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a port of the loopback interface that nobody else uses. It ends with the value.
pub(super) struct NatsServer {
    process: Child,
    address: SocketAddr,
    /// Its configuration.
    file: PathBuf,
}

impl NatsServer {
    /// Starts a server with this configuration; `None`, which is said, if none is installed.
    pub(super) fn start(configuration: &str) -> Option<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("opentracker-nats-{}-{number}.conf", std::process::id()));
        fs::write(&file, configuration).unwrap();
        let Some(process) = Self::spawn(&file, -1) else {
            fs::remove_file(file).unwrap();
            eprintln!("skipped: nats-server is not installed");
            return None;
        };
        // Ended also if nothing comes.
        let mut server = Self { process, address: ([127, 0, 0, 1], 0).into(), file };
        server.await_listening();
        Some(server)
    }

    /// Starts a process that listens on this port; on one that the system chooses if it is -1.
    fn spawn(file: &Path, port: i32) -> Option<Child> {
        PROGRAMS.iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-c"]).arg(file);
            match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                spawned => Some(spawned.unwrap()),
            }
        })
    }

    /// Kills it. It can [come back](Self::come_back).
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts one that has been killed again, where it was.
    pub(super) fn come_back(&mut self) {
        self.process = Self::spawn(&self.file, self.port().into()).unwrap();
        self.await_listening();
    }

    fn await_listening(&mut self) {
        let lines = BufReader::new(self.process.stderr.take().unwrap()).lines();
        let (say, said) = mpsc::channel();
        // Read to its end: whoever closes the other end of its log ends it.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, word)) = line.split_once("client connections on ") {
                    let _ = say.send(word.trim().parse());
                }
            }
        });
        self.address = said.recv_timeout(PATIENCE).expect("nats-server listens").unwrap();
    }

    /// Returns its port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connects a client.
    pub(super) async fn connect(&self) -> Client {
        ConnectOptions::new().connect(self.address.to_string()).await.unwrap()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_file(&self.file);
    }
}
