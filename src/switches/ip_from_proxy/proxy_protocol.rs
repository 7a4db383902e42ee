//! The stage in which a proxy that does not speak HTTP names its client, before HTTP begins.
//!
//! With `access.proxy_protocol`, a connection from a proxy must begin with a [`Greeting`]: whoever could leave it out
//! could pass for the proxy. Connections from anywhere else are not looked at, or anybody could name any address. Whom
//! the greeting names is at the other end of the connection from then on, as if there were no proxy; only if that is a
//! proxy too, one that speaks HTTP, is its header read.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tracing::warn;

use crate::config::Settings;
use crate::http::byte_stream::ByteStream;
use crate::http::wrapper::Wrapper;
use crate::server::{Plug, StartError, opens_nothing};

use super::Proxies;
use super::greeting::{Greeting, MAX_GREETING, Malformed};

/// Bytes that are read at once at first: a greeting and a request that came with it.
const ROOM: usize = 2 * MAX_GREETING;

/// The proxies that greet; none if `access.proxy_protocol` is off.
#[derive(Debug)]
pub struct ProxyProtocol {
    proxies: Proxies,
}

impl Wrapper for ProxyProtocol {
    const HAS_LAST_WORD: bool = false;

    type Stream<S: ByteStream + 'static> = S;

    fn wraps(&self, peer: SocketAddr) -> bool {
        self.proxies.contain(peer.ip())
    }

    async fn wrap<S: ByteStream + 'static>(
        &self,
        mut stream: S,
        client: SocketAddr,
        received: &mut Vec<u8>,
    ) -> io::Result<(S, SocketAddr)> {
        if !self.wraps(client) {
            return Ok((stream, client));
        }
        loop {
            if let Some(greeting) = Greeting::parse(received).map_err(|Malformed| ErrorKind::InvalidData)? {
                received.drain(..greeting.len);
                return Ok((stream, greeting.client.unwrap_or(client)));
            }
            // A greeting that is not whole is shorter than this, so once is enough.
            received.reserve(ROOM.saturating_sub(received.len()));
            if stream.read_buf(received).await? == 0 {
                let cut_off = if received.is_empty() { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData };
                return Err(cut_off.into());
            }
        }
    }
}

impl Plug for ProxyProtocol {
    opens_nothing!();

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        let access = &settings.access;
        if access.proxy_protocol && access.proxy.is_empty() {
            warn!(
                "access.proxy_protocol does nothing: there is no access.proxy to say which connections begin with it"
            );
        }
        let proxies = if access.proxy_protocol { access.proxy.clone() } else { Vec::new() };
        Ok(Self { proxies: Proxies(proxies) })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::runtime::Builder;

    use super::*;
    use crate::config::AccessSettings;

    const FROM: &str = "10.0.0.1:5";
    const LINE: &[u8] = b"PROXY TCP6 2001:db8::1 ::1 7 8\r\n";
    const HTTP: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn plug(proxy_protocol: bool) -> ProxyProtocol {
        let mut settings = Settings::default();
        settings.access.proxy = vec!["10.0.0.0/8".parse().unwrap()];
        settings.access.proxy_protocol = proxy_protocol;
        ProxyProtocol::plug((), &settings).unwrap()
    }

    /// Takes a connection through the stage over which `received` has come and `rest` comes, so many bytes at a time.
    /// Returns who is at its end, and what is left for HTTP.
    fn pass(from: &str, received: &[u8], rest: &[u8], at_a_time: usize) -> Result<(String, Vec<u8>), ErrorKind> {
        let (mut client, server) = duplex(at_a_time);
        let (mut received, rest) = (received.to_vec(), rest.to_vec());
        Builder::new_current_thread().build().unwrap().block_on(async {
            tokio::spawn(async move {
                let _ = client.write_all(&rest).await;
            });
            let passed = plug(true).wrap(server, from.parse().unwrap(), &mut received).await;
            let (mut stream, client) = passed.map_err(|error| error.kind())?;
            assert!(received.capacity() <= 2 * ROOM);
            stream.read_to_end(&mut received).await.unwrap();
            Ok((client.to_string(), received))
        })
    }

    #[test]
    fn http_begins_behind_the_greeting_however_it_comes() {
        let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x01\xc0\0\x02\x02\0\x07\0\x08\x04\0\0";
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        for (greeting, expected) in
            [(LINE, "[2001:db8::1]:7"), (&binary[..], "192.0.2.1:7"), (b"PROXY UNKNOWN\r\n", FROM), (local, FROM)]
        {
            for behind in [HTTP, b"", &[b'x'; 3000]] {
                let all = [greeting, behind].concat();
                let expected = Ok((expected.to_owned(), behind.to_vec()));
                for split in 0..=greeting.len() {
                    let (received, rest) = all.split_at(split);
                    assert_eq!(pass(FROM, received, rest, 4000), expected, "{split}");
                }
                for at_a_time in [1, 2, 13, 107, 536] {
                    assert_eq!(pass(FROM, b"", &all, at_a_time), expected, "{at_a_time}");
                }
            }
        }
    }

    #[test]
    fn only_the_first_greeting_is_one() {
        let twice = [LINE, LINE].concat();
        assert_eq!(pass(FROM, b"", &twice, 1000), Ok(("[2001:db8::1]:7".into(), LINE.to_vec())));
    }

    #[test]
    fn what_is_malformed_or_cut_off_is_told_from_silence() {
        for bytes in [HTTP, b"PROXY TCP4 x\r\n", &LINE[..LINE.len() - 1], b"P", b"\r\n", &[b'P'; 600]] {
            for at_a_time in [1, 1000] {
                assert_eq!(pass(FROM, b"", bytes, at_a_time), Err(ErrorKind::InvalidData), "{}", bytes.escape_ascii());
            }
        }
        assert_eq!(pass(FROM, b"", b"", 1), Err(ErrorKind::UnexpectedEof));
    }

    #[test]
    fn nobody_else_is_asked_to_greet() {
        let wraps = |plug: ProxyProtocol, peer: &str| Wrapper::wraps(&plug, peer.parse().unwrap());
        for (peer, expected) in [(FROM, true), ("[::ffff:10.9.9.9]:1", true), ("11.0.0.1:1", false), ("[::1]:1", false)]
        {
            assert_eq!(wraps(plug(true), peer), expected, "{peer}");
            assert!(!wraps(plug(false), peer), "{peer}");
        }
        // A stage before this one may have found another client.
        assert_eq!(pass("11.0.0.1:1", LINE, HTTP, 1000), Ok(("11.0.0.1:1".into(), [LINE, HTTP].concat())));
        let nobody =
            Settings { access: AccessSettings { proxy_protocol: true, ..Default::default() }, ..Default::default() };
        assert!(!wraps(ProxyProtocol::plug((), &nobody).unwrap(), FROM));
    }
}
