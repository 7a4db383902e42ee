//! `ip-from-query`: the address in the announce is believed.

use std::net::IpAddr;

use crate::clients::bencode::Value;
use crate::flavour::has;
use crate::http::{announce, counts, peers};
use crate::tracker::Tracker;

#[test]
fn without_it_the_address_in_the_query_is_ignored() {
    if has("ip-from-query") {
        return;
    }
    let tracker = Tracker::start(&[]);
    for &server in tracker.https() {
        let ips = |answer: &Value| peers(answer).iter().map(|peer| peer.ip()).collect::<Vec<IpAddr>>();
        for ip in ["192.0.2.1", "2001:db8::1", "127.0.0.9", "nonsense", "", "%zz"] {
            announce(server, 0, &format!("port=1&left=0&ip={ip}"));
            let answer = announce(server, 0, &format!("ip={ip}&port=2&left=1"));
            assert_eq!((counts(&answer), ips(&answer)), ((1, 0, 1), vec![server.ip()]), "{ip}");
        }
        announce(server, 0, "port=1&event=stopped");
        announce(server, 0, "port=2&event=stopped");
    }
}
