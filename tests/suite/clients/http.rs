//! An HTTP client that sends exactly the bytes it is given.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::bencode::Value;
use super::coding::decoded;
use crate::wait::{MAX_WAIT, retry_interrupted, wait_until};

/// A parsed reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) status_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A connection to one address of a tracker.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has been received and not been parsed.
    buffer: Vec<u8>,
}

/// Sends a plain GET for this target, and reads the reply until the tracker closes.
#[track_caller]
pub(crate) fn get(tracker: SocketAddr, target: &str) -> Reply {
    get_with(tracker, target, "")
}

/// [`get`] with more header lines, each with its line end.
#[track_caller]
pub(crate) fn get_with(tracker: SocketAddr, target: &str, headers: &str) -> Reply {
    ask(tracker, request(target, headers).as_bytes())
}

/// [`get_with`] for a proxy: its connections stay open unless it wants them closed.
#[track_caller]
pub(crate) fn get_closing(tracker: SocketAddr, target: &str, headers: &str) -> Reply {
    get_with(tracker, target, &format!("Connection: close\r\n{headers}"))
}

/// [`get_with`] from this address.
#[track_caller]
pub(crate) fn get_from(ip: IpAddr, tracker: SocketAddr, target: &str, headers: &str) -> Reply {
    Connection::open_from(ip, tracker).ask_last(request(target, headers).as_bytes())
}

/// Asks for the header of a page, and reads the reply until the tracker closes: it has no body.
#[track_caller]
pub(crate) fn head(tracker: SocketAddr, target: &str) -> Reply {
    let mut connection = Connection::open(tracker);
    connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: tracker.example\r\n\r\n"));
    let reply = connection.reply_to_head();
    let rest = connection.rest();
    assert!(rest.is_empty(), "a body: {}", rest.escape_ascii());
    reply
}

/// Sends these bytes, and reads the one reply until the tracker closes.
#[track_caller]
pub(crate) fn ask(tracker: SocketAddr, bytes: &[u8]) -> Reply {
    Connection::open(tracker).ask_last(bytes)
}

pub(crate) fn request(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: tracker.example\r\n{headers}\r\n")
}

/// Percent-encodes every byte, as some clients do.
pub(crate) fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    })
}

impl Connection {
    #[track_caller]
    pub(crate) fn open(tracker: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&tracker, MAX_WAIT).unwrap())
    }

    #[track_caller]
    pub(crate) fn open_from(ip: IpAddr, tracker: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(tracker), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
        socket.connect_timeout(&tracker.into(), MAX_WAIT).unwrap();
        Self::of(socket.into())
    }

    /// A connection of which the system takes in little, so that the tracker soon waits for the client to read.
    #[track_caller]
    pub(crate) fn open_narrow(tracker: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(tracker), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect_timeout(&tracker.into(), MAX_WAIT).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        stream.set_write_timeout(Some(MAX_WAIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends something, and waits until the tracker has accepted the connection and read it.
    #[track_caller]
    pub(crate) fn send_until_read(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(bytes);
        let port = |address: io::Result<SocketAddr>| format!(":{:04X}", address.unwrap().port());
        let ends = [port(self.stream.peer_addr()), port(self.stream.local_addr())];
        // proc(5): the ends of a socket are words 1 and 2, its queues word 4, and its inode, once accepted, word 9.
        let is_read = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words[1].ends_with(&ends[0])
                && words[2].ends_with(&ends[1])
                && words[4].ends_with(":00000000")
                && words[9] != "0"
        };
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let found = wait_until(|| {
            let text = tables.map(|table| fs::read_to_string(table).unwrap_or_default()).concat();
            text.lines().any(is_read).then_some(())
        });
        assert!(found.is_some(), "the tracker does not read");
    }

    /// Sends as much as the tracker accepts: it may close before the end.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Tells the tracker that nothing more will come.
    pub(crate) fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads the next reply up to the length in its header: the connection may stay open.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        let end = self.read_until(|buffer| find(buffer, b"\r\n\r\n"));
        let mut reply = Reply::of_head(&self.buffer[..end]);
        let len: usize = reply.header("content-length").expect("a length").parse().unwrap();
        let all = end + 4 + len;
        self.read_until(|buffer| (buffer.len() >= all).then_some(all));
        reply.body = self.buffer[end + 4..all].to_vec();
        self.buffer.drain(..all);
        reply
    }

    /// Reads the next reply, which is to HEAD: it has no body, whatever its header says of its length.
    #[track_caller]
    pub(crate) fn reply_to_head(&mut self) -> Reply {
        let end = self.read_until(|buffer| find(buffer, b"\r\n\r\n"));
        let reply = Reply::of_head(&self.buffer[..end]);
        self.buffer.drain(..end + 4);
        reply
    }

    /// Sends a request, and reads the reply until the tracker closes.
    #[track_caller]
    pub(crate) fn ask_last(mut self, bytes: &[u8]) -> Reply {
        self.send(bytes);
        self.last_reply()
    }

    /// Reads the reply after which the tracker closes.
    #[track_caller]
    pub(crate) fn last_reply(mut self) -> Reply {
        let bytes = self.rest();
        let end = find(&bytes, b"\r\n\r\n").unwrap_or_else(|| panic!("no reply: {}", bytes.escape_ascii()));
        let mut reply = Reply::of_head(&bytes[..end]);
        reply.body = bytes[end + 4..].to_vec();
        if let Some(len) = reply.header("content-length") {
            assert_eq!(len.parse(), Ok(reply.body.len()), "{}", bytes.escape_ascii());
        }
        reply
    }

    /// Reads until the tracker closes. A reset counts as that: the tracker has closed without reading all.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_more() > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the tracker has closed, as far as is known by now; not if something is still to be read before.
    #[track_caller]
    pub(crate) fn is_closed(&self) -> bool {
        match self.peek() {
            Ok(len) => len == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Whether something has come that is not read yet.
    #[track_caller]
    pub(crate) fn has_something(&self) -> bool {
        self.peek().is_ok_and(|len| len > 0)
    }

    #[track_caller]
    fn peek(&self) -> io::Result<usize> {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = retry_interrupted(|| self.stream.peek(&mut [0]));
        self.stream.set_nonblocking(false).unwrap();
        peeked
    }

    #[track_caller]
    fn read_until(&mut self, ready: impl Fn(&[u8]) -> Option<usize>) -> usize {
        loop {
            if let Some(at) = ready(&self.buffer) {
                return at;
            }
            assert!(self.read_more() > 0, "closed after {}", self.buffer.escape_ascii());
        }
    }

    /// Reads some bytes, whatever they are. Returns how many.
    #[track_caller]
    pub(crate) fn skip_some(&mut self) -> usize {
        let len = self.read_more();
        self.buffer.clear();
        len
    }

    #[track_caller]
    fn read_more(&mut self) -> usize {
        let mut piece = [0; 4096];
        match retry_interrupted(|| self.stream.read(&mut piece)) {
            Ok(len) => {
                self.buffer.extend(&piece[..len]);
                len
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error} after {}", self.buffer.escape_ascii()),
        }
    }
}

impl Reply {
    #[track_caller]
    fn of_head(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let code = status_line.strip_prefix("HTTP/1.1 ").or_else(|| status_line.strip_prefix("HTTP/1.0 "));
        let status = code.and_then(|rest| rest.get(..3)).unwrap_or_else(|| panic!("{head}")).parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{head}"));
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self { status, status_line: status_line.to_owned(), headers: headers.collect(), body: Vec::new() }
    }

    /// The value of a header, which may occur only once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The page: the body, taken out of its chunks and out of its content coding if it has one.
    #[track_caller]
    pub(crate) fn content(&self) -> Vec<u8> {
        let sent = self.sent();
        match self.header("content-encoding") {
            Some(coding) => decoded(coding, &sent),
            None => sent,
        }
    }

    /// The body, taken out of its chunks (RFC 9112, section 7.1) if it came in chunks.
    #[track_caller]
    pub(crate) fn sent(&self) -> Vec<u8> {
        if self.header("transfer-encoding").is_none() {
            return self.body.clone();
        }
        assert_eq!((self.header("transfer-encoding"), self.header("content-length")), (Some("chunked"), None));
        let (mut content, mut rest) = (Vec::new(), &self.body[..]);
        loop {
            let end = find(rest, b"\r\n").expect("a chunk's length");
            let digits = std::str::from_utf8(&rest[..end]).unwrap();
            let len = usize::from_str_radix(digits, 16).unwrap();
            let (chunk, behind) = rest[end + 2..].split_at(len);
            content.extend_from_slice(chunk);
            rest = behind.strip_prefix(b"\r\n").expect("the end of a chunk");
            if len == 0 {
                assert!(rest.is_empty(), "behind the last chunk: {}", rest.escape_ascii());
                return content;
            }
        }
    }

    /// The dictionary in the body. It must not be a failure.
    #[track_caller]
    pub(crate) fn bencode(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        let value = Value::of(&self.body);
        assert_eq!(value.find("failure reason"), None, "{value:?}");
        value
    }

    /// The failure in the body, which must be all there is.
    #[track_caller]
    pub(crate) fn failure(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        let value = Value::of(&self.body);
        assert_eq!(value.keys(), [b"failure reason"], "{value:?}");
        String::from_utf8(value.text("failure reason").to_vec()).unwrap()
    }

    /// The failure in the body, with which an access list also says when to ask again.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        let value = Value::of(&self.body);
        assert_eq!(value.keys(), [&b"failure reason"[..], b"interval", b"retry in"], "{value:?}");
        String::from_utf8(value.text("failure reason").to_vec()).unwrap()
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
