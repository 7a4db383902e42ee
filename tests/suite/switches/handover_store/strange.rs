//! What a service manager hands over that no tracker has given it, or cannot use.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use socket2::{Domain, Socket, Type};

use super::{leave_a_peer, names, one_worker};
use crate::clients::http::get;
use crate::clients::udp::{Announce, Client};
use crate::flavour::{endpoint, has, info_hash, loopback, loopbacks, only_with};
use crate::harness::tests;
use crate::service_manager::ServiceManager;
use crate::tracker::Start;

tests![
    what_a_tracker_cannot_use_under_a_name_of_its_own_is_closed,
    swarms_that_are_none_are_not_taken,
    sockets_of_a_socket_unit_are_served_if_the_configuration_names_them,
    a_socket_of_both_families_serves_both_or_is_an_error,
    what_no_tracker_can_use_is_an_error,
];

/// What opens something.
type Make = fn() -> OwnedFd;

/// Memory with these bytes, which can be changed.
fn memory(bytes: &[u8]) -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut memory = File::from(memfd_create("test", flags).unwrap());
    memory.write_all(bytes).unwrap();
    memory
}

fn sealed(bytes: &[u8]) -> File {
    let memory = memory(bytes);
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all() - SealFlag::F_SEAL_FUTURE_WRITE)).unwrap();
    memory
}

fn what_a_tracker_cannot_use_under_a_name_of_its_own_is_closed() {
    only_with("handover");
    let whatever: [(&str, &str, Make); 3] = [
        ("swarms", "memory that is not sealed", || memory(b"").into()),
        ("swarms", "neither a socket nor sealed memory", || File::open("/dev/null").unwrap().into()),
        ("udp/127.0.0.1_1/0", "a socket, but neither of TCP nor of UDP over IP", || {
            UnixDatagram::unbound().unwrap().into()
        }),
    ];
    for (name, what, make) in whatever {
        let manager = ServiceManager::new(512);
        manager.keep(name, make());
        let tracker = manager.start(one_worker());
        manager.keeps(&names(&tracker, 1));
        let log = tracker.stop();
        assert!(
            log.contains(&format!("WARN {name}, which the service manager hands over, is {what}: closed")),
            "{log}"
        );
    }
}

/// What a tracker leaves that knows one peer.
fn left(manager: &ServiceManager) -> Vec<u8> {
    leave_a_peer(manager);
    let file = File::from(manager.copy("swarms"));
    let mut bytes = vec![0; file.metadata().unwrap().len().try_into().unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Has the manager keep swarms that lack their end.
pub(crate) fn leave_a_part(manager: &ServiceManager) {
    let whole = left(manager);
    manager.forget("swarms");
    manager.keep("swarms", sealed(&whole[..whole.len() - 33]));
}

fn swarms_that_are_none_are_not_taken() {
    only_with("handover");
    let manager = ServiceManager::new(512);
    let whole = left(&manager);
    let mut other_version = whole.clone();
    other_version[9] ^= 0x40;
    for (bytes, said, found) in [
        (&b""[..], "are not taken: it is not what a tracker leaves", 0),
        (b"no envelope, and longer than one would be: what else there is does not matter", "is not what a tracker", 0),
        (&other_version, "are not taken: a tracker of another version has left it", 0),
        (&whole[..60], "there was more, but they end in the middle", 0),
        // Everything but the end mark.
        (&whole[..whole.len() - 33], "there was more, but they end in the middle", 1),
        (&whole, "taken over from the process before: 1 torrents, 1 peers", 1),
    ] {
        manager.forget("swarms");
        manager.keep("swarms", sealed(bytes));
        let tracker = manager.start(one_worker());
        assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)).2, found, "{said}");
        manager.keeps(&names(&tracker, 1));
        let log = tracker.stop();
        assert!(log.contains(said), "{said}: {log}");
    }
}

fn sockets_of_a_socket_unit_are_served_if_the_configuration_names_them() {
    only_with("handover");
    let open = || {
        let udp = UdpSocket::bind((loopback(), 0)).unwrap();
        let tcp = TcpListener::bind((loopback(), 0)).unwrap();
        let (at_udp, at_tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let manager = ServiceManager::new(512);
        manager.keep("unknown", udp);
        manager.keep("opentracker.socket", tcp);
        (manager, at_udp, at_tcp)
    };
    let (manager, udp, tcp) = open();
    let tracker = manager.start(Start::minimal().config(&format!("listen.udp {udp}\nlisten.tcp {tcp}\n")));
    assert_eq!((tracker.udps(), tracker.https()), (&[udp][..], &[tcp][..]));
    Client::new(udp).announce(&Announce::leecher(info_hash(1), 1));
    assert_eq!(get(tcp, "/stats").status, 200);
    tracker.stop();

    for (lines, name, address) in [
        (["listen.udp 127.0.0.1:1\n", "listen.tcp TCP\n"], "unknown", format!("udp {udp}")),
        (["listen.udp UDP\n", "listen.tcp [::1]:1\n"], "opentracker.socket", format!("tcp {tcp}")),
    ] {
        let (manager, at_udp, at_tcp) = open();
        let ip = loopback();
        let lines = lines.concat().replace("UDP", &at_udp.to_string()).replace("TCP", &at_tcp.to_string());
        let lines = lines.replace("127.0.0.1:1", &endpoint(ip, 1)).replace("[::1]:1", &endpoint(ip, 1));
        let address =
            address.replace(&udp.to_string(), &at_udp.to_string()).replace(&tcp.to_string(), &at_tcp.to_string());
        let says =
            format!("{name}, which the service manager hands over, is bound to {address}: name that under listen.");
        manager.finish(Start::minimal().config(&lines)).refuses(1, &[&says]);
    }
}

fn a_socket_of_both_families_serves_both_or_is_an_error() {
    only_with("handover");
    only_with("v6");
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let manager = ServiceManager::new(512);
    manager.keep("both.socket", socket);
    let start = Start::minimal().config(&format!("listen.udp {address}\nlisten.tcp {}\n", endpoint(loopback(), 0)));
    if !has("dual-stack") {
        return manager.finish(start).refuses(1, &["both.socket: clients of both families come to the socket at"]);
    }
    let tracker = manager.start(start);
    for ip in loopbacks() {
        let client = Client::new(SocketAddr::new(*ip, address.port()));
        client.announce(&Announce::leecher(info_hash(1), 1));
        let reply = client.announce(&Announce::leecher(info_hash(1), 2));
        assert_eq!(reply.peers, [client.endpoint(1)], "clients of a family know each other");
    }
    tracker.stop();
}

fn what_no_tracker_can_use_is_an_error() {
    only_with("handover");
    let whatever: [(&str, Make); 4] = [
        ("neither a socket nor sealed memory", || File::open("/dev/null").unwrap().into()),
        ("memory that is not sealed", || memory(b"").into()),
        ("sealed memory", || sealed(b"").into()),
        ("a UDP socket that is not bound, or is connected to somebody", || {
            let socket = UdpSocket::bind((loopback(), 0)).unwrap();
            socket.connect(socket.local_addr().unwrap()).unwrap();
            socket.into()
        }),
    ];
    for (what, make) in whatever {
        let manager = ServiceManager::new(512);
        manager.keep("x.socket", make());
        let says = format!("x.socket, which the service manager hands over, is {what}: a tracker takes");
        manager.finish(one_worker()).refuses(1, &[&says]);
    }
}
