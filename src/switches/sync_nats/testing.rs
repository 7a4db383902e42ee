//! A NATS server for unit tests.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::SocketAddr;
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
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (say, said) = mpsc::channel();
        // Read to its end: whoever closes the other end of its log ends it.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, word)) = line.split_once("client connections on ") {
                    let _ = say.send(word.trim().parse());
                }
            }
        });
        // Ended also if nothing comes.
        let mut server = Self { process, address: ([127, 0, 0, 1], 0).into() };
        server.address = said.recv_timeout(PATIENCE).expect("nats-server listens").unwrap();
        server
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
