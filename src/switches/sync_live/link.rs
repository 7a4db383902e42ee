//! The socket: joins the group, sends to it and receives from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::server::StartError;

use super::packet::MAX_PACKET;

/// The group of every cluster. IPv4 in every build, whatever the peers are.
pub(super) const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 23, 5);

/// Bytes of packets that may wait until the thread gets to them; the system may allow less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A member of the group.
#[derive(Debug)]
pub struct Link {
    socket: UdpSocket,
    /// The address of the interface on which the group was joined; 0.0.0.0 if the system chose it.
    pub(super) interface: Ipv4Addr,
    /// The group's port is the one that we listen on: a cluster has one port.
    pub(super) group: SocketAddrV4,
}

impl Link {
    /// Joins the group on the interface with this address; with 0.0.0.0, on the one that the system's routes choose.
    /// With port 0, on a port that nobody else uses: then there is no cluster, but whoever reads the log can join.
    ///
    /// Neither sending nor receiving takes much longer than `patience`.
    ///
    /// # Errors
    ///
    /// The address is not one of this machine's, or another program has the port for itself.
    pub(super) fn open(listen: SocketAddrV4, patience: Duration) -> Result<Self, StartError> {
        let failed = |what| {
            let (key, address) = ("livesync.cluster.listen", listen.into());
            move |error| StartError::Address { key, what, address, error }
        };
        let socket = bind(listen.port()).map_err(failed("receive what is sent to the group on"))?;
        socket.set_multicast_if_v4(listen.ip()).map_err(failed("send to the group from"))?;
        socket.join_multicast_v4(&GROUP, listen.ip()).map_err(failed("join the group on"))?;
        prepare(&socket, patience).map_err(failed("prepare a socket for"))?;
        let port = socket.local_addr().ok().and_then(|address| address.as_socket());
        let group = SocketAddrV4::new(GROUP, port.map_or(listen.port(), |address| address.port()));
        Ok(Self { socket: socket.into(), interface: *listen.ip(), group })
    }

    /// Sends a packet to the group.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, self.group).map(|_| ())
    }

    /// Returns the next datagram and the address that it comes from; `None` if none comes within `patience`.
    pub(super) fn receive<'a>(&self, buffer: &'a mut Buffer) -> io::Result<Option<(&'a [u8], IpAddr)>> {
        match self.socket.recv_from(&mut buffer.0) {
            Ok((len, from)) => Ok(Some((buffer.0.get(..len).unwrap_or_default(), from.ip()))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Room for a datagram: one byte longer than any packet, so that a datagram which is too long is seen to be.
pub(super) struct Buffer([u8; MAX_PACKET + 1]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; MAX_PACKET + 1])
    }
}

/// Makes a socket that is bound to the group: a packet that is sent to one of our own addresses, from however far away,
/// does not get here.
fn bind(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Several trackers on one machine, say one for each address family, share the port, and each hears all packets.
    // A port that the system chooses is to be nobody else's, though.
    socket.set_reuse_address(port != 0)?;
    socket.bind(&SocketAddr::from((GROUP, port)).into())?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Sets what a member of the group sends and hears, and for how long it waits.
fn prepare(socket: &Socket, patience: Duration) -> io::Result<()> {
    // Only what comes in where we have joined, not where another program on this machine has.
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_ttl_v4(1)?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    // The system's own maximum is what we get; an error would say no more than that.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(10);

    fn open(address: &str) -> Result<Link, StartError> {
        Link::open(address.parse().unwrap(), PATIENCE)
    }

    #[test]
    fn members_hear_each_other() {
        let one = open("127.0.0.1:0").unwrap();
        let other = open(&format!("127.0.0.1:{}", one.group.port())).unwrap();
        assert_eq!(one.group, other.group);
        let mut buffer = Buffer::default();
        for (len, received) in [(100, 100), (MAX_PACKET, MAX_PACKET), (MAX_PACKET + 9, MAX_PACKET + 1)] {
            one.send(&vec![7; len]).unwrap();
            let (datagram, from) = other.receive(&mut buffer).unwrap().unwrap();
            assert_eq!((datagram, from), (&vec![7; received][..], Ipv4Addr::LOCALHOST.into()));
        }
        assert_eq!(other.receive(&mut buffer).unwrap(), None);
    }

    #[test]
    fn what_is_not_sent_to_the_group_is_not_heard() {
        let link = open("127.0.0.1:0").unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&[1], (Ipv4Addr::LOCALHOST, link.group.port())).unwrap();
        assert_eq!(link.receive(&mut Buffer::default()).unwrap(), None);
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_the_key() {
        let error = open("192.0.2.1:0").unwrap_err().to_string();
        let expected = "livesync.cluster.listen: cannot send to the group from 192.0.2.1:0: ";
        assert!(error.starts_with(expected), "{error}");
    }
}
