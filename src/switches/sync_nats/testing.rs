//! A NATS server for unit tests.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use async_nats::{Client, ConnectOptions};

/// Where the server is looked for. Debian's stands where only root looks.
const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

/// A server on a port of the loopback interface that nobody else uses. It ends with the value.
pub(super) struct NatsServer {
    process: Child,
    address: SocketAddr,
}

impl NatsServer {
    /// Starts a server with this configuration; `None`, which is said, if none is installed.
    pub(super) fn start(configuration: &str) -> Option<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("opentracker-nats-{}-{number}.conf", std::process::id()));
        fs::write(&path, configuration).unwrap();
        let started = PROGRAMS.iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(["-a", "127.0.0.1", "-p", "-1", "-c"]).arg(&path);
            match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                spawned => Some(spawned.unwrap()),
            }
        });
        let server = started.map(Self::await_listening);
        fs::remove_file(path).unwrap();
        if server.is_none() {
            eprintln!("skipped: nats-server is not installed");
        }
        server
    }

    fn await_listening(mut process: Child) -> Self {
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let said = lines.by_ref().map(Result::unwrap);
        let words = said.filter_map(|line| line.split_once("client connections on ").map(|(_, word)| word.to_owned()));
        let address = words.take(1).next().unwrap().trim().parse().unwrap();
        // Whoever closes the other end of its log ends it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
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
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
