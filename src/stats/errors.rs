//! What goes wrong, by kind: the names under which pages show it, and the counters behind each.

use crate::tracker::AnnounceError;

use super::counters::{AddressFamily, Counter, Counters, Protocol};

/// The name of a kind of errors, and the counters that are added up to their number.
pub type ErrorKind = (&'static str, &'static [Counter]);

/// What goes wrong over HTTP.
pub const HTTP_ERRORS: [ErrorKind; 8] = [
    ("malformed", &[Counter::Http400Parse, Counter::HttpMethod]),
    ("invalid_parameter", &[Counter::Http400Parameter]),
    ("access_denied", &[Counter::Http403]),
    ("not_found", &[Counter::Http404]),
    ("internal", &[Counter::Http500]),
    ("busy", &[Counter::Http503]),
    ("not_modest", &[Counter::Http402]),
    ("no_info_hash", &[Counter::TcpNoInfoHash]),
];

/// The same over UDP.
pub const UDP_ERRORS: [ErrorKind; 3] = [
    ("dropped", &[Counter::UdpDropped]),
    ("truncated", &[Counter::UdpTruncated]),
    ("connection_id_mismatch", &[Counter::UdpMismatched]),
];

/// Returns the name of an announce that is refused, over either.
pub fn refusal_name(refusal: AnnounceError) -> &'static str {
    match refusal {
        AnnounceError::NotAdmitted => "not_admitted",
        AnnounceError::FamilyNotServed => "family_not_served",
        AnnounceError::Full => "full",
        AnnounceError::ClientNotServed => "client_not_served",
    }
}

/// How many kinds there are, those of both protocols together.
pub const KINDS: usize = HTTP_ERRORS.len() + UDP_ERRORS.len() + 2 * AnnounceError::ALL.len();

/// Returns the name of every kind of a protocol, in the order of [`of_protocol`].
pub fn names(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let refusals = AnnounceError::ALL.into_iter().map(refusal_name);
    kinds(protocol).iter().map(|(name, _)| *name).chain(refusals)
}

/// Returns every kind of a protocol, with how many such errors there were in both address families.
pub fn of_protocol(protocol: Protocol, counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    let errors = kinds(protocol)
        .iter()
        .map(|(name, counts)| (*name, counts.iter().map(|&counter| counters.total(counter)).sum()));
    let refusals = AnnounceError::ALL.into_iter().map(move |refusal| {
        let of = |family| counters.refusals(protocol, refusal, family);
        (refusal_name(refusal), of(AddressFamily::Ipv4) + of(AddressFamily::Ipv6))
    });
    errors.chain(refusals)
}

fn kinds(protocol: Protocol) -> &'static [ErrorKind] {
    match protocol {
        Protocol::Http => &HTTP_ERRORS,
        Protocol::Udp => &UDP_ERRORS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    #[test]
    fn every_kind_is_there_once_and_adds_up_families_and_counters() {
        let counters = Counters::default();
        let worker_counters = counters.for_worker();
        worker_counters.count_from(Counter::Http400Parse, Ipv6Addr::LOCALHOST.into());
        worker_counters.add(Counter::HttpMethod, 2);
        let clients: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        clients.iter().for_each(|&from| worker_counters.count_refusal(Protocol::Udp, AnnounceError::Full, from));
        let http: Vec<_> = of_protocol(Protocol::Http, &counters).collect();
        let udp: Vec<_> = of_protocol(Protocol::Udp, &counters).collect();
        assert_eq!(
            (http.first(), udp.iter().find(|(name, _)| *name == "full")),
            (Some(&("malformed", 3)), Some(&("full", 2)))
        );
        assert_eq!(http.iter().chain(&udp).map(|(_, count)| count).sum::<u64>(), 5);
        assert_eq!(http.len() + udp.len(), KINDS);
        for (protocol, kinds) in [(Protocol::Http, http), (Protocol::Udp, udp)] {
            let in_order: Vec<_> = kinds.iter().map(|&(name, _)| name).collect();
            assert!(names(protocol).eq(in_order.iter().copied()));
            assert_eq!(in_order.iter().collect::<std::collections::BTreeSet<_>>().len(), kinds.len());
        }
    }
}
