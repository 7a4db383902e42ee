use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use socket2::{Domain, SockRef, Type};

use super::*;
use crate::stop::StopToken;
use crate::tracker::flavour::Standalone;
use crate::tracker::testing::{NotThatOne, TestTracker};
use crate::tracker::{Capacity, Ipv4Only, ScrapeCounts};
use crate::udp::driver::tests::{Fixed, NOW};
use crate::udp::packet::PROTOCOL_ID;
use crate::udp::packet::tests::request;
use crate::udp::{ConnectionIds, Service, run};

fn socket(address: impl Into<IpAddr>) -> Socket {
    UdpSocket::bind((address.into(), 0)).unwrap().try_into().unwrap()
}

/// Returns a socket that serves both families.
fn shared(address: Ipv6Addr) -> Socket {
    let socket = socket2::Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    UdpSocket::from(socket).try_into().unwrap()
}

/// A worker that answers what comes to a socket.
struct Worker {
    stop: StopToken,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(driver: &Arc<Socket>) -> Self {
        let (driver, stop) = (Arc::clone(driver), StopToken::default());
        let heard = stop.clone();
        let thread = thread::spawn(move || {
            let tracker = TestTracker::<Ipv4Only, _>::with_plugs(Capacity::NONE, NOW, NotThatOne, Standalone);
            let ids = ConnectionIds::new((1, 2), NonZero::new(2).unwrap());
            run(&*driver, Service::new(Arc::new(tracker), ids, Arc::default(), Rng::with_seed(1)), Fixed, &heard);
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.stop();
        self.thread.join().unwrap();
    }
}

fn client_of(address: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect(address).unwrap();
    client
}

/// Sends a connect request, the shortest that is answered.
fn ask(client: &UdpSocket, transaction: u32) {
    client.send(&request(PROTOCOL_ID, 0, transaction, &[])).unwrap();
}

fn assert_answered(client: &UdpSocket, transaction: u32) {
    let mut reply = [0; 100];
    assert_eq!(client.recv(&mut reply).unwrap(), 16);
    assert_eq!(reply[4..8], transaction.to_be_bytes());
}

/// Returns whether whoever reads does not have to wait.
fn is_readable(socket: &UdpSocket) -> bool {
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn a_worker_that_has_ended_leaves_the_socket_as_it_was_to_all_who_hold_it() {
    let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (other, client) = (bound.try_clone().unwrap(), client_of(bound.local_addr().unwrap()));
    let driver = Arc::new(Socket::try_from(bound).unwrap());
    let worker = Worker::start(&driver);
    ask(&client, 1);
    assert_answered(&client, 1);
    worker.stop();
    assert!(!is_readable(&other), "nothing has come");
    ask(&client, 2);
    assert_eq!(other.recv(&mut [0; 100]).unwrap(), 16);
    assert!(!is_readable(&other), "nothing more has come");
}

#[test]
fn what_comes_while_no_worker_answers_is_answered_by_the_next_one() {
    let driver = Arc::new(socket(Ipv4Addr::LOCALHOST));
    let client = client_of(driver.socket.local_addr().unwrap());
    for round in 0..20 {
        ask(&client, round);
        let worker = Worker::start(&driver);
        assert_answered(&client, round);
        ask(&client, round);
        assert_answered(&client, round);
        worker.stop();
    }
}

#[test]
fn a_socket_waits_as_long_as_it_takes_whatever_it_was_set_to_before() {
    let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    bound.set_nonblocking(true).unwrap();
    bound.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    bound.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
    let socket = Socket::try_from(bound).unwrap().socket;
    assert_eq!((socket.read_timeout().unwrap(), socket.write_timeout().unwrap()), (None, None));
    assert!(!SockRef::from(&socket).nonblocking().unwrap());
}

#[test]
fn the_kernel_is_not_to_cut_what_it_sends_over_ipv4() {
    for socket in [socket(Ipv4Addr::LOCALHOST), socket(Ipv4Addr::UNSPECIFIED), shared(Ipv6Addr::UNSPECIFIED)] {
        assert_eq!(getsockopt(&socket, MtuDiscover), Ok(libc::IP_PMTUDISC_DO));
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
    client.set_nonblocking(true).unwrap();
    let SocketAddr::V4(from) = client.local_addr().unwrap() else { panic!("not bound to IPv4") };
    let mut replies: [&[u8]; MAX_BATCH] = [&[]; MAX_BATCH];
    replies[..5].copy_from_slice(&[&connected, &announced, &scraped, &endless, &refused]);
    let assert_received = || {
        let mut received = [0; 1000];
        for expected in expected {
            let len = client.recv(&mut received).unwrap();
            assert_eq!(&received[..len], expected);
        }
        assert!(client.recv(&mut received).is_err(), "nothing is sent twice");
    };
    let (to, sources) = ([Some(SockaddrIn::from(from)); 5], [Source::Bound; 5]);
    socket(Ipv4Addr::LOCALHOST).send_all(&mut MultiHeaders::preallocate(MAX_BATCH, None), &replies, &to, &sources);
    assert_received();
    let mapped = SocketAddrV6::new(from.ip().to_ipv6_mapped(), from.port(), 0, 0);
    let to = [Some(SockaddrIn6::from(mapped)); 5];
    let mut headers = MultiHeaders::preallocate(MAX_BATCH, None);
    shared(Ipv6Addr::UNSPECIFIED).send_all(&mut headers, &replies, &to, &sources);
    assert_received();
}

/// Has a socket answer one datagram from each of some clients with what it takes the client's address for. Each client
/// is one of `from`, and sends to an address `to`.
fn assert_known(socket: &Socket, clients: &[(IpAddr, IpAddr)]) {
    let port = socket.socket.local_addr().unwrap().port();
    let mut batch = socket.batch();
    for &(from, to) in clients {
        let client = UdpSocket::bind((from, 0)).unwrap();
        // It hears of no other address than the one that it asks.
        client.connect((to, port)).unwrap();
        client.send(b"?").unwrap();
        socket.receive(&mut batch).unwrap();
        socket.answer(&mut batch, |questions| {
            let [question] = questions else { panic!("{} questions", questions.len()) };
            let name = question.from.to_string();
            question.reply[..name.len()].copy_from_slice(name.as_bytes());
            question.reply_len = name.len();
        });
        socket.send(&mut batch);
        let mut reply = [0; 100];
        let len = client.recv(&mut reply).unwrap();
        assert_eq!(std::str::from_utf8(&reply[..len]).unwrap(), client.local_addr().unwrap().to_string());
    }
}

#[test]
fn whoever_asks_is_known_by_his_own_address_and_hears_from_the_one_that_he_asked() {
    let [one, other]: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 9].into()];
    let ipv6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let ipv4 = [(one, one), (other, one), (one, other), (other, other)];
    assert_known(&socket(Ipv4Addr::UNSPECIFIED), &ipv4);
    assert_known(&socket(Ipv4Addr::LOCALHOST), &ipv4[..2]);
    assert_known(&socket(Ipv6Addr::UNSPECIFIED), &[(ipv6, ipv6)]);
    assert_known(&socket(Ipv6Addr::LOCALHOST), &[(ipv6, ipv6)]);
    assert_known(&shared(Ipv6Addr::UNSPECIFIED), &[&ipv4[..], &[(ipv6, ipv6)], &ipv4[..]].concat());
    assert_known(&shared(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()), &ipv4);
    assert_known(&shared(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), &ipv4[..2]);
}
