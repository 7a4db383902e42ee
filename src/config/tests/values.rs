//! Values: addresses, networks, numbers and texts; the checks on the whole, and what depends on the build.

use super::super::{ConfigError, Location, Problem, RefusalOverUdp, SyslogSocket, SystemCallRule};
use super::*;

const V6_ONLY: &[&str] = &["v6"];
const DUAL: &[&str] = &["v6", "dual-stack"];

fn tcp(address: &str, features: &[&str]) -> Result<String, String> {
    let settings = read(&format!("listen.tcp {address}"), features)?;
    assert!(settings.listen.udp.is_empty());
    Ok(settings.listen.tcp.iter().map(ToString::to_string).collect())
}

fn network(text: &str) -> Option<String> {
    let settings = read(&format!("access.stats {text}"), ALL).ok()?;
    Some(settings.access.stats.iter().map(ToString::to_string).collect())
}

#[test]
fn addresses_have_a_default_port_and_ipv4_in_ipv6_is_ipv4() {
    for (text, expected) in [
        ("0.0.0.0", "0.0.0.0:6969"),
        ("192.0.2.1:80", "192.0.2.1:80"),
        ("192.0.2.1:0", "192.0.2.1:0"),
        ("192.0.2.1:65535", "192.0.2.1:65535"),
        ("::", "[::]:6969"),
        ("[::1]", "[::1]:6969"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("2001:db8::1:80", "[2001:db8::1:80]:6969"),
        ("::ffff:192.0.2.1", "192.0.2.1:6969"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
        ("192.0.2.1:80 # home", "192.0.2.1:80"),
    ] {
        assert_eq!(tcp(text, DUAL).as_deref(), Ok(expected), "{text}");
    }
    for text in [
        "localhost",
        "192.0.2",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:+80",
        "192.0.2.1:-1",
        "192.0.2.1:80:80",
        ":80",
        "80",
        "[192.0.2.1]:80",
        "[::1",
        "::1]",
        "[::1]80",
        "[::1]:",
        "[]:80",
        "192.0.2.1/24",
        "192.0.2.1#home",
        "fe80::1%eth0",
        "# home",
        "192.0.2.1 80",
    ] {
        assert!(tcp(text, DUAL).is_err(), "{text}");
    }
}

#[test]
fn a_build_listens_on_the_families_it_serves() {
    assert!(tcp("192.0.2.1", DEFAULT_BUILD).is_ok());
    assert!(tcp("::1", V6_ONLY).is_ok());
    assert!(tcp("::1", DUAL).is_ok());
    assert!(tcp("192.0.2.1", DUAL).is_ok());
    assert_eq!(
        tcp("[::1]:80", DEFAULT_BUILD).unwrap_err(),
        "opentracker.conf: listen.tcp (line 1) names ::1, but an IPv6 address needs a build with the feature v6 \
         or dual-stack; this build has: fullscrape, handover"
    );
    assert_eq!(
        tcp("192.0.2.1", V6_ONLY).unwrap_err(),
        "opentracker.conf: listen.tcp (line 1) names 192.0.2.1, but this build has the feature v6 and serves \
         IPv6 only; dual-stack serves both"
    );
}

#[test]
fn live_sync_listens_on_ipv4_in_every_build() {
    for features in [&["sync-live"][..], &["sync-live", "v6"], &["sync-live", "v6", "dual-stack"]] {
        let settings = read("livesync.cluster.listen 192.0.2.1", features).unwrap();
        assert_eq!(settings.livesync.listen, Some("192.0.2.1:9696".parse().unwrap()));
        assert_eq!(
            read("livesync.cluster.listen ::1", features).unwrap_err(),
            "opentracker.conf: livesync.cluster.listen (line 1) takes an IPv4 address of this machine, such as \
             192.0.2.1 or 192.0.2.1:9696, not \"::1\""
        );
    }
}

#[test]
fn networks_lose_their_host_bits() {
    for (text, expected) in [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:192.0.2.77", "192.0.2.77/32"),
        ("::ffff:192.0.2.77/120", "192.0.2.0/24"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.77/90", "::ffc0:0:0/90"),
        ("192.0.2.77/24 # office", "192.0.2.0/24"),
    ] {
        assert_eq!(network(text).as_deref(), Some(expected), "{text}");
    }
    for text in ["192.0.2.1/33", "::/129", "192.0.2.1/", "192.0.2.1/-1", "192.0.2.1/+8", "/24", "192.0.2.1:80", "any"] {
        assert_eq!(network(text), None, "{text}");
    }
}

#[test]
fn numbers_have_bounds() {
    assert_eq!(read("listen.udp.workers 1024", ALL).unwrap().listen.udp_workers, 1024);
    assert_eq!(read("listen.udp_workers = 0x10", ALL).unwrap().listen.udp_workers, 16);
    assert_eq!(read("limits.peers 18446744073709551615", ALL).unwrap().limits.peers, u64::MAX);
    for text in [
        "listen.udp.workers 1025",
        "listen.udp.workers -1",
        "listen.udp.workers +1",
        "listen.udp.workers 1.0",
        "listen.udp.workers 99999999999999999999999999",
        "listen.udp_workers = -1",
        "listen.udp_workers = 1025",
        "limits.peers = 18446744073709551616",
        "limits.peers = 9999999999999999999999999999999999999999",
        "listen.udp_connection_id_minutes 0",
        "listen.udp_connection_id_minutes 1441",
        "tracker.interval 299",
        "tracker.interval 3601",
        "tracker.min_interval 59",
        "tracker.min_interval 3601",
    ] {
        assert!(read(text, ALL).is_err(), "{text}");
    }
}

#[test]
fn a_flag_is_true_or_false() {
    for (text, expected) in [
        ("access.proxy_protocol true", Some(true)),
        ("access.proxy_protocol false", Some(false)),
        ("access.proxy_protocol true # they greet", Some(true)),
        ("access.proxy_protocol = true", Some(true)),
        ("[access]\nproxy_protocol = false", Some(false)),
        ("access.proxy_protocol True", None),
        ("access.proxy_protocol yes", None),
        ("access.proxy_protocol 1", None),
        ("access.proxy_protocol = 1", None),
        ("access.proxy_protocol = 'true'", None),
        ("access.proxy_protocol = [true]", None),
        ("access.proxy_protocol =", None),
    ] {
        let found = read(text, ALL).ok().map(|settings| settings.access.proxy_protocol);
        assert_eq!(found, expected, "{text}");
    }
    assert!(!Settings::default().access.proxy_protocol);
}

#[test]
fn a_flag_may_be_a_word() {
    for (text, expected) in [
        ("tracker.seccomp true", Some(SystemCallRule::Refuse)),
        ("tracker.seccomp false # for now", Some(SystemCallRule::Allow)),
        ("tracker.seccomp log", Some(SystemCallRule::Log)),
        ("tracker.seccomp = true", Some(SystemCallRule::Refuse)),
        ("tracker.seccomp = false", Some(SystemCallRule::Allow)),
        ("tracker.seccomp = \"log\"", Some(SystemCallRule::Log)),
        ("tracker.seccomp Log", None),
        ("tracker.seccomp = \"true\"", None),
        ("tracker.seccomp = log", None),
        ("tracker.seccomp = 1", None),
        ("tracker.seccomp =", None),
    ] {
        let found = read(text, ALL).ok().map(|settings| settings.tracker.seccomp);
        assert_eq!(found, expected, "{text}");
    }
    let error = read("tracker.seccomp maybe", ALL).unwrap_err();
    assert!(error.contains("takes true, false or \"log\", not \"maybe\""), "{error}");
    assert_eq!(Settings::default().tracker.seccomp, SystemCallRule::Refuse);
}

#[test]
fn a_flag_may_be_the_path_of_a_socket_that_cannot_be_a_mistyped_word() {
    let at = |path: &str| Some(SyslogSocket::At(path.into()));
    for (text, expected) in [
        ("tracker.syslog true", Some(SyslogSocket::Found)),
        ("tracker.syslog = true", Some(SyslogSocket::Found)),
        ("tracker.syslog false # for now", Some(SyslogSocket::Unused)),
        ("tracker.syslog = false", Some(SyslogSocket::Unused)),
        ("tracker.syslog /dev/log", at("/dev/log")),
        ("tracker.syslog = '/run/systemd/journal/socket'", at("/run/systemd/journal/socket")),
        ("tracker.syslog yes", None),
        ("tracker.syslog = 'true'", None),
        ("tracker.syslog = 'dev/log'", None),
        ("tracker.syslog = ''", None),
        ("tracker.syslog = 1", None),
        ("tracker.syslog =", None),
    ] {
        let found = read(text, ALL).ok().map(|settings| settings.tracker.syslog);
        assert_eq!(found, expected, "{text}");
    }
    let error = read("tracker.syslog ture", ALL).unwrap_err();
    assert!(
        error.contains("takes true, false or the path of a Unix socket that begins with /, not \"ture\""),
        "{error}"
    );
    assert_eq!(Settings::default().tracker.syslog, SyslogSocket::Unused);
}

#[test]
fn texts_that_end_up_in_headers_and_routes_are_checked() {
    let taken = |key: &str, value: &str| read(&format!("[{key}]\n{value}"), ALL).is_ok();
    for (value, expected) in [
        ("redirect_url = 'https://example.org/a?b=c#d'", true),
        ("redirect_url = 'http://[2001:db8::1]:80/'", true),
        ("redirect_url = 'ftp://example.org/'", false),
        ("redirect_url = 'https://'", false),
        ("redirect_url = ''", false),
        ("redirect_url = 'https://example.org/ x'", false),
        ("redirect_url = \"https://example.org/\\r\\nSet-Cookie:a=b\"", false),
        ("redirect_url = 'https://exämple.org/'", false),
        ("user = 'tracker'", true),
        ("user = ''", false),
        ("user = \"a\\u0000b\"", false),
        ("rootdir = ''", false),
        ("rootdir = \"a\\u0000b\"", false),
    ] {
        assert_eq!(taken("tracker", value), expected, "{value}");
    }
    for (value, expected) in [
        ("stats_path = 'announce'", false),
        ("stats_path = '/scrape'", false),
        ("stats_path = ''", false),
        ("stats_path = '/'", false),
        ("stats_path = 'a b'", false),
        ("stats_path = 'a?b'", false),
        ("stats_path = 'a#b'", false),
        ("stats_path = \"a\\u0007\"", false),
        ("proxy_header = 'X-Real-IP'", true),
        ("proxy_header = 'X Real IP'", false),
        ("proxy_header = 'X-Real-IP:'", false),
        ("proxy_header = ''", false),
    ] {
        assert_eq!(taken("access", value), expected, "{value}");
    }
    assert_eq!(read("access.stats_path /secret/stats", ALL).unwrap().access.stats_path, "secret/stats");
}

#[test]
fn without_addresses_both_protocols_listen_on_the_default_port() {
    for (features, default_ip, expected) in [
        (DEFAULT_BUILD, None, vec!["0.0.0.0:6969"]),
        (V6_ONLY, None, vec!["[::]:6969"]),
        (DUAL, None, vec!["0.0.0.0:6969", "[::]:6969"]),
        (DEFAULT_BUILD, Some("192.0.2.1"), vec!["192.0.2.1:6969"]),
    ] {
        let mut settings = Settings::default();
        settings.listen.default_ip = default_ip.map(|ip| ip.parse().unwrap());
        let build = BuildFacts::with_features(features);
        let resolved = settings.resolved(&build);
        let expected: Vec<_> = expected.into_iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!((&resolved.listen.tcp, &resolved.listen.udp), (&expected, &expected));
        assert_eq!(resolved.resolved(&build), resolved);
        assert_eq!(resolved.check(&build), Ok(()));
    }
    let udp_only = read("listen.udp 192.0.2.1", DEFAULT_BUILD).unwrap();
    assert_eq!(udp_only.resolved(&BuildFacts::with_features(DEFAULT_BUILD)), udp_only);
}

#[test]
fn a_build_does_not_start_without_what_its_switches_require() {
    let check = |settings: &Settings| match settings.access.whitelist {
        Some(_) => Ok(()),
        None => Err(ConfigError::missing("access.whitelist", "accesslist-white")),
    };
    let build = BuildFacts { check, ..BuildFacts::with_features(&["accesslist-white"]) };
    let mut settings = read("listen.tcp 0.0.0.0\nlisten.tcp 0.0.0.0", &[]).unwrap();
    // It comes before everything else that is wrong.
    assert_eq!(
        settings.check(&build).unwrap_err().to_string(),
        "access.whitelist is missing: a build with the feature accesslist-white does not start without it"
    );
    settings.access.whitelist = Some("list".into());
    assert_eq!(settings.check(&build).unwrap_err().to_string(), "listen.tcp names 0.0.0.0:6969 twice");
}

#[test]
fn a_number_or_a_word_is_either_in_both_syntaxes() {
    use std::num::NonZeroU16;
    let minutes = |text: &str| read(&format!("access.refusal_minutes {text}"), ALL).map(|s| s.access.refusal_minutes);
    for (text, expected) in [
        ("1", NonZeroU16::new(1)),
        ("= 1440", NonZeroU16::new(1440)),
        ("60 # an hour", NonZeroU16::new(60)),
        ("never", None),
        ("= 'never'", None),
        ("never # again", None),
    ] {
        assert_eq!(minutes(text), Ok(expected), "{text}");
    }
    for (text, found) in [
        ("0", "\"0\""),
        ("= 1441", "1441"),
        ("= '60'", "\"60\""),
        ("Never", "\"Never\""),
        ("= ''", "\"\""),
        ("= ['never']", "a list"),
        ("= false", "false"),
        ("-1", "\"-1\""),
    ] {
        let said = format!("(line 1) takes a whole number from 1 to 1440, or \"never\", not {found}");
        assert_eq!(minutes(text), Err(format!("opentracker.conf: access.refusal_minutes {said}")), "{text}");
    }
}

#[test]
fn one_of_several_words_is_taken_and_no_other() {
    let over_udp =
        |text: &str| read(&format!("access.refusal_over_udp {text}"), ALL).map(|s| s.access.refusal_over_udp);
    for text in ["empty", "= 'empty'", "empty # please"] {
        assert_eq!(over_udp(text), Ok(RefusalOverUdp::Empty), "{text}");
    }
    assert_eq!(over_udp("error"), Ok(RefusalOverUdp::Error));
    for (text, found) in [("nothing", "\"nothing\""), ("= 1", "1"), ("= ''", "\"\""), ("= ['error']", "a list")] {
        let said = format!("(line 1) takes \"error\" or \"empty\", not {found}");
        assert_eq!(over_udp(text), Err(format!("opentracker.conf: access.refusal_over_udp {said}")), "{text}");
    }
}

#[test]
fn the_minimal_interval_is_not_above_the_interval() {
    let check = |text: &str| read(text, DEFAULT_BUILD).unwrap().check(&BuildFacts::with_features(DEFAULT_BUILD));
    for text in ["tracker.min_interval 1800", "tracker.interval 300\ntracker.min_interval 300", "tracker.interval 300"]
    {
        assert_eq!(check(text), Ok(()), "{text}");
    }
    for (text, expected) in [
        ("tracker.min_interval 1801", "is 1801, but may be at most 1800: that is tracker.interval"),
        ("tracker.interval 300\ntracker.min_interval 900", "is 900, but may be at most 300: that is tracker.interval"),
        ("tracker.min_interval 900\ntracker.interval 300", "is 900, but may be at most 300: that is tracker.interval"),
    ] {
        assert_eq!(check(text).unwrap_err().to_string(), format!("tracker.min_interval {expected}"));
    }
}

#[test]
fn an_interval_in_a_cluster_is_at_most_half_an_hour() {
    for interval in [300, 1800, 1801, 3600] {
        let settings = read(&format!("tracker.interval {interval}"), DEFAULT_BUILD).unwrap();
        assert_eq!(settings.check(&BuildFacts::with_features(DEFAULT_BUILD)), Ok(()), "nobody else has to know");
        let expected = (interval > 1800).then(|| {
            let reason =
                "in a cluster (livesync.cluster.listen, sync.nats.servers) the others forget a peer after 45 minutes";
            let problem = Problem::TooGreat { number: interval, max: 1800, reason };
            ConfigError { location: Location::Whole, key: Some("tracker.interval".to_owned()), problem }
        });
        assert_eq!(settings.check_interval_in_cluster().err(), expected);
    }
}

#[test]
fn an_address_is_opened_once() {
    let check = |text: &str| read(text, DEFAULT_BUILD).unwrap().check(&BuildFacts::with_features(DEFAULT_BUILD));
    let error = check("listen.tcp_udp 0.0.0.0\nlisten.tcp 127.0.0.1\nlisten.udp 0.0.0.0:6969").unwrap_err();
    assert_eq!(error.to_string(), "listen.udp names 0.0.0.0:6969 twice");
    assert_eq!(
        error,
        ConfigError {
            location: Location::Whole,
            key: Some("listen.udp".into()),
            problem: Problem::SameAddress { address: ([0, 0, 0, 0], 6969).into() }
        }
    );
    assert_eq!(check("listen.tcp_udp 0.0.0.0:0\nlisten.tcp 0.0.0.0:0"), Ok(()));
    assert_eq!(check("listen.tcp 0.0.0.0\nlisten.udp 0.0.0.0"), Ok(()));
}
