//! The two syntaxes: which one a file is in, what each allows, and that both mean the same.

use proptest::prelude::*;

use super::*;

#[test]
fn the_first_meaningful_line_tells_the_syntax() {
    let user = |text: &str| read(text, ALL).unwrap().tracker.user;
    assert_eq!(user("\u{feff}# comment\r\n\r\n  tracker.user \t a \r\n"), "a");
    assert_eq!(user("tracker.redirect_url https://example.org/?a=b\ntracker.user a"), "a");
    assert_eq!(user("tracker.rootdir .\ntracker.user a"), "a");
    assert_eq!(user("tracker.rootdir ./x\ntracker.user a"), "a");
    assert_eq!(user("\n# comment\n[tracker]\nuser = 'a'"), "a");
    assert_eq!(user("tracker . user = 'a'"), "a");
    assert_eq!(user("tracker.user= 'a'"), "a");
    assert_eq!(user("'tracker' . user = 'a'"), "a");
    for empty in ["", "\n\n", "# only\n  # comments", "\u{feff}", "[listen]\n[livesync.cluster]\n"] {
        assert_eq!(read(empty, &[]), Ok(Settings::default()), "{empty:?}");
    }
}

#[test]
fn a_file_of_the_original_is_read_unchanged() {
    let text = "\
# opentracker config file
#

# I)  Address opentracker will listen on
listen.tcp_udp 0.0.0.0
listen.tcp_udp 192.168.0.1:80
listen.tcp_udp 10.0.0.5:6969
listen.udp.workers 4

access.whitelist /path/to/white list
   access.stats 192.168.0.19
access.stats\t10.0.0.0/8   # office
access.stats_path stats
access.proxy 10.0.1.23
livesync.cluster.listen 10.0.23.1
livesync.cluster.node_ip 10.0.23.0/24
tracker.rootdir /usr/local/etc/opentracker
tracker.user    nobody
tracker.redirect_url https://your.tracker.local/
";
    let same = r#"
[listen]
tcp_udp = ["0.0.0.0", "192.168.0.1:80", "10.0.0.5:6969"]
udp_workers = 4
[access]
whitelist = "/path/to/white list"
stats = ["192.168.0.19", "10.0.0.0/8"]
stats_path = "stats"
proxy = "10.0.1.23"
[livesync.cluster]
listen = "10.0.23.1"
node_ip = "10.0.23.0/24"
[tracker]
rootdir = "/usr/local/etc/opentracker"
user = "nobody"
redirect_url = "https://your.tracker.local/"
"#;
    let settings = read(text, ALL).unwrap();
    assert_eq!(Ok(&settings), read(same, ALL).as_ref());
    let addresses: Vec<_> = settings.listen.tcp.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["0.0.0.0:6969", "192.168.0.1:80", "10.0.0.5:6969"]);
    assert_eq!(settings.listen.tcp, settings.listen.udp);
    assert_eq!(settings.access.whitelist.as_deref(), Some("/path/to/white list".as_ref()));
    assert_eq!(settings.access.stats.len(), 2);
}

#[test]
fn both_spellings_are_understood_in_both_syntaxes() {
    for text in [
        "listen.udp_workers 4",
        "listen.udp.workers 4",
        "listen.udp_workers = 4",
        "listen.udp.workers = 4",
        "[listen]\nudp_workers = 4",
        "[listen.udp]\nworkers = 4",
        "listen = { udp = { workers = 4 } }",
    ] {
        assert_eq!(read(text, ALL).unwrap().listen.udp_workers, 4, "{text}");
    }
}

#[test]
fn addresses_keep_the_order_of_the_file() {
    let text = "listen.udp = '192.0.2.3'\nlisten.tcp_udp = ['192.0.2.2', '192.0.2.1']\nlisten.tcp = '192.0.2.0'";
    let listen = read(text, ALL).unwrap().listen;
    let ips = |addresses: &[std::net::SocketAddr]| addresses.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>();
    assert_eq!(ips(&listen.udp), ["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
    assert_eq!(ips(&listen.tcp), ["192.0.2.2", "192.0.2.1", "192.0.2.0"]);
}

/// A value as the original writes it, and as TOML does.
fn value_of(key: &'static str) -> BoxedStrategy<(String, String)> {
    let quoted = |text: String| (text.clone(), format!("'{text}'"));
    match key {
        "listen.tcp_udp" | "listen.tcp" | "listen.udp" => {
            prop_oneof![
                any::<std::net::SocketAddr>().prop_map(|address| address.to_string()),
                any::<std::net::IpAddr>().prop_map(|ip| ip.to_string()),
            ]
            // The flow label and the scope are random too; no file names them.
            .prop_filter("scope", |address| !address.contains('%'))
            .prop_map(quoted)
            .boxed()
        }
        "access.stats" | "access.log_networks" | "access.proxy" | "livesync.cluster.node_ip" => {
            (any::<std::net::IpAddr>(), 0..=32_u8)
                .prop_map(|(ip, bits)| format!("{ip}/{bits}"))
                .prop_map(quoted)
                .boxed()
        }
        "livesync.cluster.listen" => any::<std::net::Ipv4Addr>().prop_map(move |ip| quoted(ip.to_string())).boxed(),
        "listen.udp_workers" | "listen.tcp_workers" => number(0..=1024),
        "listen.udp_connection_id_minutes" => number(1..=1440),
        "access.refusal_minutes" => prop_oneof![number(1..=1440), Just("never".to_owned()).prop_map(quoted)].boxed(),
        "access.refusal_over_udp" => {
            prop::sample::select(vec!["error", "empty"]).prop_map(str::to_owned).prop_map(quoted).boxed()
        }
        "sync.snapshot_wait" => number(0..=600),
        "sync.snapshot_rate" | "sync.snapshot_max" => number(0..=i64::MAX.unsigned_abs()),
        "tracker.interval" => number(300..=3600),
        "tracker.min_interval" => number(60..=3600),
        "limits.torrents" | "limits.peers" | "limits.connections" | "limits.connections_per_address" => {
            number(0..=i64::MAX.unsigned_abs())
        }
        "limits.full_log" => number(65_536..=1 << 28),
        "limits.peers_per_address" | "limits.udp_errors_per_address" => number(0..=u32::MAX.into()),
        "limits.full_scrape_interval" => number(0..=86_400),
        "access.dynamic_max" => number(1..=100_000_000),
        "access.proxy_protocol" | "tracker.landlock" => {
            any::<bool>().prop_map(|flag| (flag.to_string(), flag.to_string())).boxed()
        }
        "tracker.seccomp" => {
            let flag = |flag: &str| (flag.to_owned(), flag.to_owned());
            prop::sample::select(vec![flag("true"), flag("false"), quoted("log".into())]).boxed()
        }
        "tracker.syslog" => {
            let flag = |flag: bool| (flag.to_string(), flag.to_string());
            prop_oneof![any::<bool>().prop_map(flag), "/[/a-z #=.é]{0,20}[/a-z.]".prop_map(quoted)].boxed()
        }
        "tracker.redirect_url" => "https?://[!-&(-~]{1,20}".prop_map(quoted).boxed(),
        "access.client_ids_denied" | "access.client_ids_allowed" => {
            "([a-zA-Z0-9._~-]|%[0-9a-fA-F]{2}){1,20}".prop_map(quoted).boxed()
        }
        "access.whitelist"
        | "access.blacklist"
        | "access.fifo_add"
        | "access.fifo_delete"
        | "access.control"
        | "tracker.rootdir"
        | "tracker.statefile"
        | "tracker.handover"
        | "access.client_ids_denied_file"
        | "access.client_ids_allowed_file" => {
            // What begins with `=` is TOML, and what begins with `#` a comment.
            prop_oneof!["[/a-z.][/a-z #.é]{0,20}[/a-z.]", "[/a-z][/a-z #=é]{0,20}[/a-z]"].prop_map(quoted).boxed()
        }
        _ => "[a-z]{1,6}-[a-z]{1,6}".prop_map(quoted).boxed(),
    }
}

fn number(range: std::ops::RangeInclusive<u64>) -> BoxedStrategy<(String, String)> {
    range.prop_map(|number| (number.to_string(), number.to_string())).boxed()
}

/// Some keys in any order, each with its values: one, or several for lists.
fn configuration() -> impl Strategy<Value = Vec<(&'static str, Vec<(String, String)>)>> {
    // Each with whether it is a list.
    let keys: Vec<_> = keys::all().map(|key| (key.name, key.takes.is_list())).collect();
    let count = keys.len();
    prop::sample::subsequence(keys, 0..=count).prop_shuffle().prop_flat_map(|keys| {
        let with_values = |(name, is_list)| {
            let values = prop::collection::vec(value_of(name), 1..=if is_list { 4 } else { 1 });
            (Just(name), values)
        };
        keys.into_iter().map(with_values).collect::<Vec<_>>()
    })
}

proptest! {
    #[test]
    fn both_syntaxes_mean_the_same(keys in configuration()) {
        let (mut classic, mut toml) = (String::new(), String::new());
        for (key, values) in &keys {
            for (bare, _) in values {
                classic.push_str(&format!("{key}  {bare}\n"));
            }
            match values.as_slice() {
                [(_, value)] => toml.push_str(&format!("{key} = {value}\n")),
                values => {
                    let values: Vec<_> = values.iter().map(|(_, value)| value.as_str()).collect();
                    toml.push_str(&format!("{key} = [{}]\n", values.join(", ")));
                }
            }
        }
        let classic = read(&classic, ALL);
        prop_assert!(classic.is_ok(), "{classic:?}");
        prop_assert_eq!(classic, read(&toml, ALL));
    }
}
