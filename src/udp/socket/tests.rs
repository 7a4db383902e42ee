use std::net::Ipv4Addr;

use nix::sys::socket::getsockopt;

use super::*;
use crate::tracker::ScrapeCounts;

fn socket(address: impl Into<IpAddr>) -> Socket {
    UdpSocket::bind((address.into(), 0)).unwrap().try_into().unwrap()
}

#[test]
fn the_kernel_is_not_to_cut_what_it_sends_over_ipv4() {
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        assert_eq!(getsockopt(&*socket(address).socket, MtuDiscover), Ok(libc::IP_PMTUDISC_DO));
    }
}

#[test]
fn a_reply_that_its_path_does_not_take_is_cut_and_the_others_are_sent_whole() {
    let [mut connected, mut announced, mut scraped, mut endless, mut refused] =
        [16, 70_000, 72_008, 70_008, 10].map(|len| vec![7; len]);
    packet::write_connect(&mut connected, 1, 1);
    // No IPv4 datagram is as long, so the loopback refuses it.
    packet::begin_announce(&mut announced, 2);
    let len = packet::begin_scrape(&mut scraped, 3);
    (0..6000).fold(len, |len, _| packet::add_scraped(&mut scraped, len, ScrapeCounts::default()));
    packet::write_error(&mut endless, 4, &"no".repeat(35_000));
    packet::write_error(&mut refused, 5, "no");
    let expected =
        [&connected[..], &announced[..MAX_CUT_LEN], &scraped[..8 + 43 * 12], &endless[..MAX_CUT_LEN], &refused];

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(from) = client.local_addr().unwrap() else { panic!("not bound to IPv4") };
    let mut replies: [&[u8]; MAX_BATCH] = [&[]; MAX_BATCH];
    replies[..5].copy_from_slice(&[&connected, &announced, &scraped, &endless, &refused]);
    let mut headers = MultiHeaders::preallocate(MAX_BATCH, None);
    let to = [Some(SockaddrIn::from(from)); 5];
    socket(Ipv4Addr::LOCALHOST).send_all(&mut headers, &replies, &to, &[Source::Bound; 5]);

    client.set_nonblocking(true).unwrap();
    let mut received = [0; 1000];
    for expected in expected {
        let len = client.recv(&mut received).unwrap();
        assert_eq!(&received[..len], expected);
    }
    assert!(client.recv(&mut received).is_err(), "nothing is sent twice");
}
