//! What the micro-benchmarks ask.

#![allow(dead_code, reason = "no benchmark asks all of it")]

use std::net::{Ipv4Addr, SocketAddr};

/// The n-th peer. An odd factor maps numbers to addresses that do not follow one another.
pub(crate) fn client(n: u32) -> SocketAddr {
    (Ipv4Addr::from(n.wrapping_mul(0x9e37_79b1)), 6881).into()
}

/// A connect (BEP 15).
pub(crate) fn connect() -> Vec<u8> {
    [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 8]].concat()
}

/// An announce (BEP 15) of the n-th peer, which wants 50; one in four is a seeder that has uploaded.
pub(crate) fn announce(connection_id: [u8; 8], torrent: [u8; 20], n: u32) -> Vec<u8> {
    let mut datagram = vec![0; 98];
    datagram[..8].copy_from_slice(&connection_id);
    datagram[8..12].copy_from_slice(&1_u32.to_be_bytes());
    datagram[16..36].copy_from_slice(&torrent);
    datagram[64..72].copy_from_slice(&u64::from(n % 4).to_be_bytes());
    datagram[72..80].copy_from_slice(&u64::from(n.is_multiple_of(4)).to_be_bytes());
    datagram[92..96].copy_from_slice(&50_i32.to_be_bytes());
    datagram[96..98].copy_from_slice(&6881_u16.to_be_bytes());
    datagram
}

/// An announce (BEP 3) of the n-th peer, as a client in wide use writes it; one in four is a
/// seeder that has uploaded.
pub(crate) fn head(n: u32) -> String {
    format!(
        "GET /announce?info_hash=%01%23Eg%89%ab%cd%ef%01%23Eg%89%ab%cd%ef%01%23Eg&peer_id=-BE0001-abcdefghijkl\
         &port=6881&uploaded={}&downloaded=0&left={}&compact=1&numwant=50 HTTP/1.1\r\nHost: tracker.example:6969\r\n\
         User-Agent: client/1.0\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
        u32::from(n.is_multiple_of(4)),
        n % 4
    )
}
