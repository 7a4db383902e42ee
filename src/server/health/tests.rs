use std::net::TcpListener;
use std::thread;

use super::*;

fn target(address: SocketAddr, udp: bool) -> HealthTarget {
    HealthTarget { tcp: !udp, udp, address }
}

/// Serves one connection with these bytes. Returns what is said of it.
fn served_over_http(reply: &'static [u8]) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        // In pieces, as anything may come. Whoever has read enough does not wait for the last.
        reply.chunks(5).take_while(|piece| stream.write_all(piece).is_ok()).for_each(drop);
        String::from_utf8(request).unwrap()
    });
    let checked = check(&target(address, false));
    assert_eq!(server.join().unwrap(), format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    checked.map_err(|error| error.replace(&address.to_string(), "HERE"))
}

#[test]
fn any_status_below_500_is_an_answer() {
    for reply in
        [&b"HTTP/1.1 302 Found\r\n\r\n"[..], b"HTTP/1.0 404 Not Found\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 499 x"]
    {
        assert_eq!(served_over_http(reply), Ok(()));
    }
}

#[test]
fn what_comes_instead_of_an_answer_is_told() {
    let says = |what: &str| Err(format!("HERE does not answer over HTTP: {what}"));
    assert_eq!(served_over_http(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), says("it says status 503"));
    assert_eq!(served_over_http(b""), says("it closes the connection"));
    for no_http in
        [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 2", b"HTTP/1.1 +20 x", b"HTTP/1.1 099 x", b"HTTP/2.0 200 x"]
    {
        assert_eq!(served_over_http(no_http), says("what it says is not HTTP"));
    }
}

#[test]
fn where_nobody_listens_nobody_answers() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(check(&target(address, false)).unwrap_err().contains("does not answer over HTTP: Connection refused"));
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(check(&target(address, true)).unwrap_err().contains("does not answer over UDP: Connection refused"));
}

#[test]
fn who_listens_and_says_nothing_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let expected = |over: &str| format!("does not answer over {over}: nothing came within 2s");
    assert!(check(&target(listener.local_addr().unwrap(), false)).unwrap_err().ends_with(&expected("HTTP")));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(check(&target(socket.local_addr().unwrap(), true)).unwrap_err().ends_with(&expected("UDP")));
}

/// Answers the second of what comes by these bytes, in which the transaction id is put behind the first four.
fn served_over_udp(action: u32, rest: &'static [u8]) -> Result<(), String> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut packet = [0; 64];
        let (len, first) = socket.recv_from(&mut packet).unwrap();
        assert_eq!((len, &packet[..12]), (16, &[0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0][..]));
        // It is asked again, as if this had been lost; an answer to another question is none.
        socket.send_to(&[0; 16], first).unwrap();
        let (_, second) = socket.recv_from(&mut packet).unwrap();
        assert_eq!(first, second);
        let reply = [&action.to_be_bytes(), &packet[12..16], rest].concat();
        socket.send_to(&reply, second).unwrap();
    });
    let checked = check(&target(address, true));
    server.join().unwrap();
    checked.map_err(|error| error.replace(&address.to_string(), "HERE"))
}

#[test]
fn a_connection_id_is_an_answer_and_an_error_is_none() {
    assert_eq!(served_over_udp(0, b"8 bytes."), Ok(()));
    let instead = Err("HERE does not answer over UDP: its reply is not the one to a connect".to_owned());
    assert_eq!(served_over_udp(3, b"no such protocol"), instead);
    assert_eq!(served_over_udp(0, b"too few"), instead);
}
