//! Loads an HTTP tracker on this machine with announces, counts what comes back, and prints that as one line of JSON.
//!
//! ```sh
//! http_load close --to 127.0.0.1:6969 --seconds 5       # a connection for each announce
//! http_load keep-alive --to 127.0.0.1:6969 --seconds 5  # as many announces over a connection as the tracker takes
//! ```
//!
//! `wrk` takes every connection for one that is kept alive unless the reply says otherwise, and asks again over
//! connections that a tracker such as the original closes without a word. This one looks.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use opentracker_bench::arguments::{Arguments, Task};
use opentracker_bench::hashes::info_hash;
use opentracker_bench::population::Population;

/// Connections at a time.
const CONNECTIONS: usize = 32;
/// How long none of them may be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// A reply is a head and at most 200 peers.
const MAX_REPLY: usize = 4096;

fn main() -> ExitCode {
    let done = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| match arguments.task {
        Task::Close | Task::KeepAlive => Load::run(&arguments).map_err(|error| error.to_string()),
        _ => Err("expected close or keep-alive".into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http_load: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Load {
    to: SocketAddr,
    close: bool,
    population: Population,
    wanted: i32,
    rng: Rng,
    epoll: Epoll,
    connections: Vec<Connection>,
    tally: Tally,
}

#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    reply: Vec<u8>,
    /// Its reply has been counted; only the end is still to come.
    answered: bool,
}

#[derive(Default)]
struct Tally {
    responses: u64,
    errors: u64,
    connections: u64,
    bytes: u64,
}

/// What is there of a reply.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Incomplete,
    Announce,
    /// Another status than 200, or a failure reason.
    Refused,
}

impl Load {
    fn run(arguments: &Arguments) -> io::Result<()> {
        if !arguments.to.ip().is_loopback() {
            return Err(io::Error::other("loads trackers on this machine only: give a loopback address"));
        }
        let (torrents, peers, skew) = (arguments.torrents, arguments.peers, arguments.skew);
        let mut load = Self {
            to: arguments.to,
            close: arguments.task == Task::Close,
            population: Population { torrents, peers, skew, sockets: 1 },
            wanted: arguments.wanted,
            rng: Rng::with_seed(arguments.seed),
            epoll: Epoll::new(EpollCreateFlags::empty())?,
            connections: (0..CONNECTIONS).map(|_| Connection::default()).collect(),
            tally: Tally::default(),
        };
        let begun = Instant::now();
        let until = arguments.seconds.map(|seconds| begun + seconds);
        for n in 0..CONNECTIONS {
            load.ask(n)?;
        }
        let mut events = [EpollEvent::empty(); CONNECTIONS];
        while until.is_none_or(|until| Instant::now() < until) && load.tally.responses < arguments.count {
            let timeout = EpollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
            let ready = load.epoll.wait(&mut events, timeout)?;
            if ready == 0 {
                return Err(io::Error::other("the tracker does not answer any more"));
            }
            for event in &events[..ready] {
                load.take(usize::try_from(event.data()).unwrap_or(0))?;
            }
        }
        load.tally.print(begun.elapsed());
        Ok(())
    }

    /// Reads what has come on a connection, and asks again once all is there.
    fn take(&mut self, n: usize) -> io::Result<()> {
        let connection = &mut self.connections[n];
        let Some(stream) = &mut connection.stream else { return Ok(()) };
        let mut buffer = [0; MAX_REPLY];
        let len = match stream.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            // Closed with something unread: a request that came after the tracker had made up its mind.
            Err(_) => 0,
        };
        if len == 0 {
            // A connection that was kept alive may end before it is answered; one that was not may not.
            self.tally.errors += u64::from(!connection.answered && self.close);
            connection.stream = None;
            return self.ask(n);
        }
        connection.reply.extend_from_slice(&buffer[..len]);
        if connection.answered || read(&connection.reply) == Reply::Incomplete {
            return Ok(());
        }
        self.tally.bytes += connection.reply.len() as u64;
        match read(&connection.reply) {
            Reply::Announce => self.tally.responses += 1,
            _ => self.tally.errors += 1,
        }
        connection.answered = true;
        if self.close { Ok(()) } else { self.ask(n) }
    }

    /// Sends the next announce: over the same connection if there is one.
    fn ask(&mut self, n: usize) -> io::Result<()> {
        let request = self.request();
        let connection = &mut self.connections[n];
        connection.reply.clear();
        connection.answered = false;
        if let Some(stream) = &mut connection.stream {
            // If it is closed by now, that is read soon.
            let _ = stream.write_all(request.as_bytes());
            return Ok(());
        }
        // On loopback a connection stands as soon as the tracker's queue has room for it.
        let mut stream = TcpStream::connect(self.to)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes())?;
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, n as u64))?;
        connection.stream = Some(stream);
        self.tally.connections += 1;
        Ok(())
    }

    fn request(&mut self) -> String {
        let mut request = String::with_capacity(400);
        let Some(peer) = self.population.peer(0, &mut self.rng) else { return request };
        request.push_str("GET /announce?info_hash=");
        for byte in info_hash(peer.torrent) {
            // All of it encoded: what clients encode differs, and so does what trackers do faster.
            let _ = write!(request, "%{byte:02x}");
        }
        let (port, left, wanted) = (peer.port, u8::from(!peer.is_seeder), self.wanted);
        let kept = if self.close { "close" } else { "keep-alive" };
        let _ = write!(
            request,
            "&peer_id=-BENCH0-abcdefghijkl&port={port}&uploaded=0&downloaded=0&left={left}&compact=1&numwant={wanted} \
             HTTP/1.1\r\nHost: {}\r\nConnection: {kept}\r\n\r\n",
            self.to
        );
        request
    }
}

impl Tally {
    fn print(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let answers = self.responses + self.errors;
        print!(r#"{{"seconds": {seconds:.3}, "responses": {}, "errors": {}, "#, self.responses, self.errors);
        println!(
            r#""per_second": {:.0}, "connections": {}, "bytes_each": {:.1}}}"#,
            self.responses as f64 / seconds,
            self.connections,
            self.bytes as f64 / answers.max(1) as f64,
        );
    }
}

/// Is the reply complete, and what is it? Without a length it never is: all trackers give one.
fn read(reply: &[u8]) -> Reply {
    let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else { return Reply::Incomplete };
    let (head, body) = (String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase(), &reply[end + 4..]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    if length.is_none_or(|length: usize| body.len() < length) {
        return Reply::Incomplete;
    }
    let refused = !head.starts_with("http/1.1 200") || body.starts_with(b"d14:failure reason");
    if refused { Reply::Refused } else { Reply::Announce }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_complete_with_its_body() {
        for cut in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\nde", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nde"]
        {
            assert_eq!(read(cut.as_bytes()), Reply::Incomplete, "{cut}");
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length:   2\r\n\r\nde"), Reply::Announce);
        assert_eq!(read(b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nde"), Reply::Refused);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nd14:failure reason"), Reply::Refused);
    }
}
