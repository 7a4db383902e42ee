//! The reply to an announce.
//!
//! It is bencoded by hand, straight to where it is sent from. `bendy`, which encodes everything else, makes some twenty
//! allocations for it, and half of the work of an announce.

use std::net::IpAddr;

use crate::tracker::ScrapeCounts;

use super::decimal::Decimal;
use super::reply;

/// The body of a reply to an announce, in compact form (BEP 23, BEP 7, BEP 24).
#[derive(Debug, Clone, Copy)]
pub(super) struct AnnounceReply<'a> {
    pub(super) counts: ScrapeCounts,
    /// The client's address as the tracker sees it, of a family that it serves.
    pub(super) external_ip: Option<IpAddr>,
    /// Seconds until the next announce is due.
    pub(super) interval: u32,
    /// Seconds before which another announce is not welcome.
    pub(super) min_interval: u32,
    /// IPv4 peers: 6 bytes each.
    pub(super) peers: &'a [u8],
    /// IPv6 peers: 18 bytes each. `None` where the tracker does not serve IPv6.
    pub(super) peers6: Option<&'a [u8]>,
}

impl AnnounceReply<'_> {
    /// Appends the reply, with its head, to `out`.
    #[inline]
    pub(super) fn write(&self, keep_alive: bool, out: &mut Vec<u8>) {
        let Self { counts, peers, .. } = *self;
        let numbers = [counts.seeders, counts.downloaded, counts.leechers, self.interval, self.min_interval];
        let [complete, downloaded, incomplete, interval, min_interval] = numbers.map(Decimal::new);
        let peers_len = Decimal::new(peers.len() as u64);
        let peers6 = self.peers6.unwrap_or_default();
        let peers6_len = Decimal::new(peers6.len() as u64);
        // Without IPv6 the reply ends with the IPv4 peers.
        let (behind_peers, parts): (&[u8], _) = if self.peers6.is_some() { (b"6:peers6", 21) } else { (b"e", 17) };
        let (ipv4, ipv6);
        let (external_ip_key, external_ip): (&[u8], &[u8]) = match self.external_ip {
            Some(IpAddr::V4(ip)) => {
                ipv4 = ip.octets();
                (b"e11:external ip4:", &ipv4)
            }
            Some(IpAddr::V6(ip)) => {
                ipv6 = ip.octets();
                (b"e11:external ip16:", &ipv6)
            }
            None => (b"e", b""),
        };
        // Keys stand in the order of their bytes (BEP 3).
        let body: [&[u8]; 21] = [
            b"d8:completei",
            complete.bytes(),
            b"e10:downloadedi",
            downloaded.bytes(),
            external_ip_key,
            external_ip,
            b"10:incompletei",
            incomplete.bytes(),
            b"e8:intervali",
            interval.bytes(),
            b"e12:min intervali",
            min_interval.bytes(),
            // Clients complain where it is missing, so it is there even when it is empty.
            b"e5:peers",
            peers_len.bytes(),
            b":",
            peers,
            behind_peers,
            peers6_len.bytes(),
            b":",
            peers6,
            b"e",
        ];
        reply::write_text(keep_alive, body.get(..parts).unwrap_or(&body), out);
    }
}

#[cfg(test)]
mod tests {
    use bendy::decoding::{Decoder, Object};
    use bendy::encoding::{Encoder, Error};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn body(reply: &AnnounceReply<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        reply.write(true, &mut bytes);
        let at = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let body = bytes.split_off(at);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
            body.len()
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), head);
        body
    }

    #[test]
    fn peers_are_always_there_and_peers6_where_ipv6_is_served() {
        let counts = ScrapeCounts { seeders: 1, leechers: 2, downloaded: 3 };
        let mut reply = AnnounceReply {
            counts,
            external_ip: None,
            interval: 1800,
            min_interval: 900,
            peers: b"",
            peers6: Some(b"eighteen bytes...#"),
        };
        let start = "d8:completei1e10:downloadedi3e10:incompletei2e8:intervali1800e12:min intervali900e";
        let text = |reply: &AnnounceReply<'_>| String::from_utf8(body(reply)).unwrap();
        assert_eq!(text(&reply), format!("{start}5:peers0:6:peers618:eighteen bytes...#e"));
        reply.peers6 = Some(b"");
        assert_eq!(text(&reply), format!("{start}5:peers0:6:peers60:e"));
        reply.peers6 = None;
        reply.peers = b"abcdef";
        assert_eq!(text(&reply), format!("{start}5:peers6:abcdefe"));
    }

    #[test]
    fn the_address_of_the_client_is_there_in_compact_form() {
        let text = |ip: &str| {
            let external_ip = Some(ip.parse().unwrap());
            let counts = ScrapeCounts::default();
            let reply =
                AnnounceReply { counts, external_ip, interval: 1, min_interval: 1, peers: b"", peers6: Some(b"") };
            String::from_utf8(body(&reply)).unwrap()
        };
        assert!(text("97.98.99.100").contains("e10:downloadedi0e11:external ip4:abcd10:incompletei0e"));
        let ipv6 = "6162:6364:6566:6768:696a:6b6c:6d6e:6f70";
        assert!(text(ipv6).contains("e10:downloadedi0e11:external ip16:abcdefghijklmnop10:incompletei0e"));
    }

    /// What `bendy` makes of it, which sees to the order of keys.
    fn encoded(reply: &AnnounceReply<'_>) -> Result<Vec<u8>, Error> {
        let mut encoder = Encoder::new();
        encoder.emit_dict(|mut dict| {
            dict.emit_pair(b"complete", reply.counts.seeders)?;
            dict.emit_pair(b"downloaded", reply.counts.downloaded)?;
            match reply.external_ip {
                Some(IpAddr::V4(ip)) => dict.emit_pair_with(b"external ip", |value| value.emit_bytes(&ip.octets()))?,
                Some(IpAddr::V6(ip)) => dict.emit_pair_with(b"external ip", |value| value.emit_bytes(&ip.octets()))?,
                None => (),
            }
            dict.emit_pair(b"incomplete", reply.counts.leechers)?;
            dict.emit_pair(b"interval", reply.interval)?;
            dict.emit_pair(b"min interval", reply.min_interval)?;
            dict.emit_pair_with(b"peers", |value| value.emit_bytes(reply.peers))?;
            reply.peers6.map_or(Ok(()), |peers6| dict.emit_pair_with(b"peers6", |value| value.emit_bytes(peers6)))
        })?;
        encoder.get_output()
    }

    proptest! {
        #[test]
        fn a_reply_is_what_bendy_encodes_and_decodes(
            [seeders, leechers, downloaded, interval, min_interval] in any::<[u32; 5]>(),
            external_ip: Option<IpAddr>,
            peers in any::<Vec<u8>>(),
            peers6 in option::of(any::<Vec<u8>>()),
        ) {
            let counts = ScrapeCounts { seeders, leechers, downloaded };
            let peers6 = peers6.as_deref();
            let reply = AnnounceReply { counts, external_ip, interval, min_interval, peers: &peers, peers6 };
            let body = body(&reply);
            prop_assert_eq!(&body, &encoded(&reply).unwrap());

            let mut decoder = Decoder::new(&body);
            let Some(Object::Dict(mut dict)) = decoder.next_object().unwrap() else { panic!("a dictionary") };
            let mut found = Vec::new();
            while let Some((key, value)) = dict.next_pair().unwrap() {
                found.push(match value {
                    Object::Integer(number) => format!("{} {number}", key.escape_ascii()),
                    Object::Bytes(bytes) => format!("{} {}", key.escape_ascii(), bytes.escape_ascii()),
                    _ => panic!("numbers and bytes only"),
                });
            }
            let mut expected = vec![
                format!("complete {seeders}"),
                format!("downloaded {downloaded}"),
            ];
            expected.extend(external_ip.map(|ip| match ip {
                IpAddr::V4(ip) => format!("external ip {}", ip.octets().escape_ascii()),
                IpAddr::V6(ip) => format!("external ip {}", ip.octets().escape_ascii()),
            }));
            expected.extend([
                format!("incomplete {leechers}"),
                format!("interval {interval}"),
                format!("min interval {min_interval}"),
                format!("peers {}", peers.escape_ascii()),
            ]);
            expected.extend(peers6.iter().map(|peers6| format!("peers6 {}", peers6.escape_ascii())));
            prop_assert_eq!(found, expected);
        }
    }
}
