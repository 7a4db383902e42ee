//! The sockets that another process has bound, and which of them this one needs.

use std::mem;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{SockRef, Socket, Type};
use tracing::info;

use crate::config::ListenSettings;
use crate::sockets::serves_both_families;

use super::error::StartError;
use super::handover::{InheritedSocket, Provider};

/// The inherited sockets of one address.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) address: SocketAddr,
    /// Those that a service manager has handed over.
    pub(super) kept: Vec<Socket>,
    /// Those at which the predecessor answers.
    pub(super) answered: Vec<Socket>,
}

/// Inherited sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    sockets: Vec<Known>,
    /// Those of which the system says nothing that makes sense.
    others: Vec<InheritedSocket>,
    /// Where those are bound that no configured address needs. The process before may hold them open.
    unused: Vec<(Type, SocketAddr)>,
}

#[derive(Debug)]
struct Known {
    kind: Type,
    address: SocketAddr,
    /// Bound to the wildcard of IPv6, and IPv4 clients come there too, under mapped addresses.
    serves_both: bool,
    socket: InheritedSocket,
}

impl Inherited {
    /// Finds out what each socket is. `both` says whether this build serves both families.
    ///
    /// # Errors
    ///
    /// A socket at which clients of both families come in a build that serves one of them.
    pub(super) fn new(inherited: Vec<InheritedSocket>, both: bool) -> Result<Self, StartError> {
        let mut this = Self::default();
        for inherited in inherited {
            match identify(&inherited) {
                Some((_, address, true)) if !both => {
                    return Err(StartError::BothFamilies { name: inherited.name, address });
                }
                Some((kind, address, serves_both)) => {
                    this.sockets.push(Known { kind, address, serves_both, socket: inherited });
                }
                None => this.others.push(inherited),
            }
        }
        Ok(this)
    }

    /// Removes each wildcard of IPv4 from the addresses for whose clients an inherited socket of both families stands,
    /// as it could not be opened beside that.
    pub(super) fn cover(&self, kind: Type, addresses: &mut Vec<SocketAddr>) {
        let configured = addresses.clone();
        addresses.retain(|address| {
            let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            let covers =
                |known: &&Known| known.kind == kind && known.serves_both && known.address.port() == address.port();
            let covering = self.sockets.iter().find(covers).filter(|_| *address == wildcard);
            let is_covered = covering.is_some_and(|known| configured.contains(&known.address));
            if is_covered {
                info!("{address} needs no socket: an inherited one on the same port serves both families");
            }
            !is_covered
        });
    }

    /// Takes the sockets of a configured address, and says where they are bound. Port 0 stands for any one port that
    /// is not configured itself. Returns `None` if there is no such socket.
    pub(super) fn take(&mut self, kind: Type, address: SocketAddr, configured: &[SocketAddr]) -> Option<Taken> {
        let (address, taken) = self.take_known(kind, address, configured)?;
        let mut this = Taken { address, kept: Vec::new(), answered: Vec::new() };
        for Known { socket: InheritedSocket { socket, provider, .. }, .. } in taken {
            let group = if provider == Provider::Predecessor { &mut this.answered } else { &mut this.kept };
            group.push(socket.into());
        }
        Some(this)
    }

    /// Takes those that [`Self::take`] will return for none of the configured addresses.
    pub(super) fn take_unused(&mut self, listen: &ListenSettings) -> Vec<InheritedSocket> {
        let mut used = Vec::new();
        for (kind, addresses) in [(Type::STREAM, &listen.tcp), (Type::DGRAM, &listen.udp)] {
            for address in addresses {
                used.extend(self.take_known(kind, *address, addresses).into_iter().flat_map(|(_, taken)| taken));
            }
        }
        let unused = mem::replace(&mut self.sockets, used);
        self.unused = unused.iter().map(|known| (known.kind, known.address)).collect();
        unused.into_iter().map(|known| known.socket).chain(mem::take(&mut self.others)).collect()
    }

    /// Returns whether a socket that no configured address needs may keep this one from being opened: on the same port,
    /// one of the two stands for every address of the family.
    pub(super) fn is_overlapped(&self, kind: Type, address: SocketAddr) -> bool {
        self.unused.iter().any(|(unused_kind, unused)| {
            let shares_port = *unused_kind == kind && unused.port() == address.port() && address.port() != 0;
            let shares_family = unused.is_ipv4() == address.is_ipv4();
            shares_port && shares_family && (unused.ip().is_unspecified() || address.ip().is_unspecified())
        })
    }

    fn take_known(
        &mut self,
        kind: Type,
        address: SocketAddr,
        configured: &[SocketAddr],
    ) -> Option<(SocketAddr, Vec<Known>)> {
        let fits = |known: &&Known| {
            let has_any_port = address.port() == 0 && known.address.ip() == address.ip();
            known.kind == kind && (known.address == address || has_any_port && !configured.contains(&known.address))
        };
        let bound = self.sockets.iter().find(fits)?.address;
        let is_there = |known: &Known| known.kind == kind && known.address == bound;
        let (taken, left) = mem::take(&mut self.sockets).into_iter().partition(is_there);
        self.sockets = left;
        Some((bound, taken))
    }
}

/// Returns the type of a socket, where it is bound, and whether clients of both families come there.
fn identify(InheritedSocket { socket, .. }: &InheritedSocket) -> Option<(Type, SocketAddr, bool)> {
    let known = SockRef::from(socket);
    let address = known.local_addr().ok()?.as_socket()?;
    Some((known.r#type().ok()?, address, serves_both_families(socket).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::OwnedFd;

    fn inherited(name: &str, socket: impl Into<OwnedFd>) -> InheritedSocket {
        InheritedSocket { socket: socket.into(), name: name.into(), provider: Provider::Manager }
    }

    #[test]
    fn sockets_are_taken_by_protocol_and_address_and_the_rest_is_left() {
        let loopback = ("127.0.0.1", 0);
        let (udp, tcp) = (UdpSocket::bind(loopback).unwrap(), TcpListener::bind(loopback).unwrap());
        let second = udp.try_clone().unwrap();
        let (at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let all = vec![inherited("a", udp), inherited("b", tcp), inherited("c", second)];
        let mut sockets = Inherited::new(all, false).unwrap();
        let listen = ListenSettings { udp: vec![at], tcp: Vec::new(), ..ListenSettings::default() };
        assert_eq!(sockets.take_unused(&listen).into_iter().map(|socket| socket.name).collect::<Vec<_>>(), ["b"]);
        assert!(sockets.take_unused(&listen).is_empty());
        assert!(sockets.take(Type::STREAM, tcp_at, &[tcp_at]).is_none());
        let taken = sockets.take(Type::DGRAM, at, &[at]).unwrap();
        assert_eq!((taken.address, taken.kept.len(), taken.answered.len()), (at, 2, 0));
        assert!(sockets.take(Type::DGRAM, at, &[at]).is_none());
        assert_eq!(sockets.take_unused(&listen).len(), 0);
    }

    #[test]
    fn a_wildcard_that_is_not_needed_overlaps_the_addresses_of_its_port_and_one_address_the_wildcard() {
        let [wildcard, one] = ["0.0.0.0:0", "127.0.0.1:0"].map(|address| UdpSocket::bind(address).unwrap());
        let [every_port, one_port] = [&wildcard, &one].map(|socket| socket.local_addr().unwrap().port());
        let mut sockets = Inherited::new(vec![inherited("", wildcard), inherited("", one)], false).unwrap();
        let listen = ListenSettings { udp: Vec::new(), tcp: Vec::new(), ..ListenSettings::default() };
        assert_eq!(sockets.take_unused(&listen).len(), 2);
        for (address, expected) in [
            (format!("127.0.0.1:{every_port}"), true),
            (format!("0.0.0.0:{one_port}"), true),
            (format!("127.0.0.2:{one_port}"), false),
            (format!("[::]:{one_port}"), false),
            (format!("[::1]:{every_port}"), false),
            ("0.0.0.0:0".into(), false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(sockets.is_overlapped(Type::DGRAM, address), expected, "{address}");
            assert!(!sockets.is_overlapped(Type::STREAM, address), "{address}");
        }
    }

    #[test]
    fn port_0_takes_one_port_that_is_not_configured_itself() {
        let sockets = [0; 3].map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap());
        let [one, two, three] = [0, 1, 2].map(|n: usize| sockets[n].local_addr().unwrap());
        let any = SocketAddr::new(one.ip(), 0);
        let all = sockets.into_iter().map(|socket| inherited("", socket)).collect();
        let mut pool = Inherited::new(all, false).unwrap();
        let configured = [any, one];
        let listen = ListenSettings { udp: vec![any, one, any], tcp: Vec::new(), ..ListenSettings::default() };
        assert!(pool.take_unused(&listen).is_empty());
        assert_eq!(pool.take(Type::DGRAM, any, &configured).unwrap().address, two);
        assert_eq!(pool.take(Type::DGRAM, one, &configured).unwrap().address, one);
        assert!(pool.take(Type::DGRAM, "127.0.0.2:0".parse().unwrap(), &configured).is_none());
        assert_eq!(pool.take(Type::DGRAM, any, &configured).unwrap().address, three);
    }

    #[test]
    fn a_socket_of_both_families_stands_for_two_wildcards_or_is_refused() {
        let open = || {
            let socket = Socket::new(socket2::Domain::IPV6, Type::DGRAM, None).unwrap();
            socket.set_only_v6(false).unwrap();
            socket.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket
        };
        assert!(Inherited::new(vec![inherited("both", open())], false).is_err());
        let socket = open();
        let wildcard = socket.local_addr().unwrap().as_socket().unwrap();
        let pool = Inherited::new(vec![inherited("both", socket)], true).unwrap();
        let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wildcard.port()));
        let other = SocketAddr::from(([127, 0, 0, 1], wildcard.port()));
        let mut addresses = vec![wildcard, ipv4, other];
        pool.cover(Type::STREAM, &mut addresses);
        assert_eq!(addresses, [wildcard, ipv4, other]);
        pool.cover(Type::DGRAM, &mut addresses);
        assert_eq!(addresses, [wildcard, other]);
        let mut addresses = vec![ipv4];
        pool.cover(Type::DGRAM, &mut addresses);
        assert_eq!(addresses, [ipv4], "the other wildcard is not configured");
    }
}
