//! The donor's side: who asks a tracker of a cluster, and what it gives.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::super::sync_live::peer;
use super::{NETWORKS, TRACKER, joining};
use crate::clients::cluster::{ASK, Member, OFFER};
use crate::clients::udp::{Announce, Client};
use crate::flavour::{info_hash, only_with};
use crate::harness::tests;
use crate::tracker::{Tracker, unused_port};
use crate::wait::{MAX_WAIT, wait_until};

tests![
    who_asks_hears_what_there_is_and_where,
    a_question_of_another_version_is_not_answered,
    who_is_in_no_named_network_is_not_served,
    who_says_what_makes_no_sense_is_closed,
    no_more_than_two_are_given_at_a_time,
    who_takes_nothing_or_does_not_close_is_closed,
    with_a_rate_of_zero_none_is_given,
    a_port_that_is_taken_is_used_once_it_is_free,
];

/// Longer than it takes to answer a question.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Starts a tracker that gives snapshots and looks for none.
pub(crate) fn start(config: &str) -> Tracker {
    joining(&[NETWORKS, "sync.snapshot_wait 0\n", config].concat()).run()
}

/// The member's own question for a snapshot.
fn ask(member: &Member) {
    member.send(&[&b"test"[..], &ASK.to_be_bytes(), &[0, 1]].concat());
}

/// The id that the log of a tracker says it has.
pub(super) fn id(tracker: &Tracker) -> [u8; 4] {
    let log = tracker.log();
    let (_, id) = log.split_once("tracker id ").unwrap();
    u32::from_str_radix(id.split_whitespace().next().unwrap(), 16).unwrap().to_be_bytes()
}

/// Connects to where a tracker gives snapshots, from a loopback address.
fn connect_from(ip: Ipv4Addr, tracker: &Tracker) -> TcpStream {
    connect_as(ip, tracker, |_| {})
}

fn connect_as(ip: Ipv4Addr, tracker: &Tracker, prepare: impl FnOnce(&Socket)) -> TcpStream {
    let log = tracker.log();
    let (_, address) = log.split_once("gives snapshots on tcp ").unwrap_or_else(|| panic!("{log}"));
    let address: SocketAddr = address.split_whitespace().next().unwrap().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    prepare(&socket);
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
    socket.into()
}

/// Connects, and says what a joiner says.
pub(crate) fn connect(tracker: &Tracker) -> TcpStream {
    connect_with(tracker, |_| {})
}

fn connect_with(tracker: &Tracker, prepare: impl FnOnce(&Socket)) -> TcpStream {
    let mut stream = connect_as(Ipv4Addr::LOCALHOST, tracker, prepare);
    stream.write_all(&[&b"otsnap\0\x01"[..], &id(tracker)].concat()).unwrap();
    stream
}

/// All that comes until the end of the connection, however it ends.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn announce(tracker: &Tracker, peers: u16) {
    let client = Client::new(tracker.udp());
    (1..=peers).for_each(|port| _ = client.announce(&Announce::seeder(info_hash(1), port)));
}

fn who_asks_hears_what_there_is_and_where() {
    only_with("sync-live");
    let mut tracker = start("");
    announce(&tracker, 5);
    let member = Member::of(&tracker);
    ask(&member);
    let (from, offer) = member.receive_type(OFFER);
    assert_eq!(from, id(&tracker));
    let expected = [&[0, 1][..], &member.port().to_be_bytes()].concat();
    assert_eq!(offer[..4], expected);
    let uptime = u32::from_be_bytes(offer[4..8].try_into().unwrap());
    assert!(uptime < 60, "{uptime}");
    assert_eq!(offer[8..], [[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 5]].concat());

    let bytes = rest(&mut connect(&tracker));
    assert_eq!((bytes[0], &bytes[1..9]), (1, &b"otswarms"[..]));
    tracker.wait_for_log(&format!("given a snapshot to 127.0.0.1: 1 torrents, 5 peers, {} bytes", bytes.len() - 1));
}

fn a_question_of_another_version_is_not_answered() {
    only_with("sync-live");
    let tracker = start("");
    let member = Member::of(&tracker);
    for body in [&[][..], &[0], &[0, 2], &[1, 1]] {
        member.send(&[&b"test"[..], &ASK.to_be_bytes(), body].concat());
    }
    assert!(member.hears_none(OFFER, ANSWER_TIME));
}

fn who_is_in_no_named_network_is_not_served() {
    only_with("sync-live");
    let tracker = joining("livesync.cluster.node_ip 127.0.0.1\nsync.snapshot_wait 0\n").run();
    let stranger = Ipv4Addr::new(127, 0, 0, 9);
    let member = Member::of(&tracker).moved_to(stranger);
    ask(&member);
    assert!(member.hears_none(OFFER, ANSWER_TIME));
    let mut stream = connect_from(stranger, &tracker);
    let _ = stream.write_all(&[&b"otsnap\0\x01"[..], &id(&tracker)].concat());
    assert_eq!(rest(&mut stream), b"");
    assert_eq!(rest(&mut connect(&tracker))[0], 1);
}

fn who_says_what_makes_no_sense_is_closed() {
    only_with("sync-live");
    let tracker = start("");
    let id = id(&tracker);
    for said in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[&b"otsnap\0\x02"[..], &id].concat(),
        &[&b"otsnap\0\x01"[..], &id.map(|byte| !byte)].concat(),
    ] {
        let mut stream = connect_from(Ipv4Addr::LOCALHOST, &tracker);
        stream.write_all(said).unwrap();
        assert_eq!(rest(&mut stream), b"");
    }
    assert_eq!(rest(&mut connect(&tracker))[0], 1);
}

fn no_more_than_two_are_given_at_a_time() {
    only_with("sync-live");
    let tracker = start("sync.snapshot_rate 100\n");
    announce(&tracker, 100);
    let first_bytes = |mut stream: TcpStream| {
        let mut bytes = [0; 9];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"\x01otswarms");
        stream
    };
    let two = [first_bytes(connect(&tracker)), first_bytes(connect(&tracker))];
    assert_eq!(rest(&mut connect(&tracker)), [0], "it is busy");
    let member = Member::of(&tracker);
    ask(&member);
    // It says that it is there, and that it is to be asked again.
    assert_eq!(member.receive_type(OFFER).1, [&[0, 1][..], &[0; 22]].concat());
    drop(two);
}

fn who_takes_nothing_or_does_not_close_is_closed() {
    only_with("sync-live");
    let mut tracker = start("");
    let lingers = connect(&tracker);
    tracker.wait_for_log("is given up: nothing has come or gone for 10 s; sent so far: 56 bytes");
    drop(lingers);

    // More than sockets hold, of whose bytes the joiner takes some only.
    let member = Member::of(&tracker);
    let client = Client::new(tracker.udp());
    let (many, each) = (40_000_u16, if client.ip().is_ipv4() { 50 } else { 36 });
    let ports: Vec<u16> = (1..=many).collect();
    for (sent, ports) in ports.chunks(each).enumerate() {
        let records: Vec<_> = ports.iter().map(|port| peer(client.ip(), *port)).collect();
        member.publish(&records);
        if sent % 20 == 0 {
            let all = u32::from(*ports.last().unwrap());
            assert!(wait_until(|| (client.counts(info_hash(1)).2 == all).then_some(())).is_some());
        }
    }
    let mut stalls = connect_with(&tracker, |socket| socket.set_recv_buffer_size(1).unwrap());
    stalls.read_exact(&mut [0; 9]).unwrap();
    let is_closed = || tracker.log().matches("is given up: nothing has come or gone for 10 s").count() == 2;
    assert!(wait_until(|| is_closed().then_some(())).is_some(), "{}", tracker.log());
    drop(stalls);
    assert_eq!(rest(&mut connect(&tracker))[0], 1, "it gives to others as before");
}

fn with_a_rate_of_zero_none_is_given() {
    only_with("sync-live");
    let tracker = start("sync.snapshot_rate 0\n");
    let member = Member::of(&tracker);
    assert!(TcpStream::connect((TRACKER, member.port())).is_err());
    ask(&member);
    assert!(member.hears_none(OFFER, ANSWER_TIME));
}

fn a_port_that_is_taken_is_used_once_it_is_free() {
    only_with("sync-live");
    let port = unused_port();
    let other = TcpListener::bind((TRACKER, port)).unwrap();
    let mut tracker = start(&format!("livesync.cluster.listen {TRACKER}:{port}\n"));
    let said = format!("gives no snapshots until another program lets go of tcp {TRACKER}:{port}");
    assert!(tracker.log().contains(&said), "{}", tracker.log());
    drop(other);
    tracker.wait_for_log("gives snapshots on tcp");
    assert_eq!(rest(&mut connect(&tracker))[0], 1);
}
