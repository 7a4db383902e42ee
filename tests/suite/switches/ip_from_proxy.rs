//! `ip-from-proxy`: a blessed proxy says who its client is.

use super::refuses_key;
use crate::clients::http::get_with;
use crate::flavour::has;
use crate::http::{announce_target, counts, peers};
use crate::tracker::Tracker;

#[test]
fn without_it_its_keys_are_refused() {
    if has("ip-from-proxy") {
        return;
    }
    refuses_key("ip-from-proxy", "access.proxy", "127.0.0.1");
    refuses_key("ip-from-proxy", "access.proxy_header", "X-Real-IP");
}

/// With the switch, but without a blessed proxy, it is the same.
#[test]
fn the_header_of_nobody_in_particular_is_ignored() {
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        for header in [
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-For: 192.0.2.1, 2001:db8::1",
            "X-Real-IP: 192.0.2.1",
            "CF-Connecting-IP: 192.0.2.1",
            "Forwarded: for=192.0.2.1",
            "X-Forwarded-For: nonsense",
        ] {
            let headers = format!("{header}\r\n");
            get_with(server, &announce_target(0, "port=1&left=0"), &headers).bencode();
            let answer = get_with(server, &announce_target(0, "port=2&left=1"), &headers).bencode();
            let ips: Vec<_> = peers(&answer).iter().map(|peer| peer.ip()).collect();
            assert_eq!((counts(&answer), ips), ((1, 0, 1), vec![server.ip()]), "{header}");
        }
        for port in [1, 2] {
            get_with(server, &announce_target(0, &format!("port={port}&event=stopped")), "").bencode();
        }
    }
    assert_eq!(get_with(tracker.http(), "/stats", "X-Forwarded-For: 192.0.2.1\r\n").status, 200);
}
