//! `[limits]`: bounds on what strangers can make the tracker hold.

use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::ValueType;

pub(super) static SECTION: Section = Section {
    name: "limits",
    note: "The memory is the machine's, or what the process's control group and its parents may use, whichever is least.",
    keys: &[
        KeySpec {
            name: "limits.torrents",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u64::MAX,
                set: |s, number| {
                    s.limits.torrents = number;
                    Ok(())
                },
            },
            default: DefaultValue::Value("0", Some("as many as fit a quarter of the memory")),
            example: "1_000_000",
            summary: "Torrents held at most",
            explanation: "When 95 % are held, room is made: torrents go whose peers are all of one \
                          network (IPv4 /24, IPv6 /48) that holds more than a sixty-fourth of the limit (16 at least), \
                          then those without peers that were downloaded least. Nothing else goes; a torrent that there \
                          is no room for is refused.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "limits.peers",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u64::MAX,
                set: |s, number| {
                    s.limits.peers = number;
                    Ok(())
                },
            },
            default: DefaultValue::Value("0", Some("as many as fit a quarter of the memory")),
            example: "10_000_000",
            summary: "Peers held at most, over all torrents",
            explanation: "When 95 % are held, room is made: the longest silent peers go of a network \
                          that holds more than a sixty-fourth of the limit (16 at least). A client that comes when \
                          there is no room is handed peers, but not remembered.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "limits.peers_per_address",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u32::MAX as u64,
                set: |s, number| {
                    s.limits.peers_per_address = number.try_into()?;
                    Ok(())
                },
            },
            default: DefaultValue::Value("16", None),
            example: "4",
            summary: "Peers of one address in a torrent at most, or a sixteenth of the torrent's, whichever is more",
            explanation: "A network /64 of IPv6 counts as one address, and each family of addresses for itself. Who \
                          comes from an address that has so many takes the place of the one of them that has been \
                          silent for longest. Behind one address can be many clients: shared seedboxes, exits of \
                          VPNs, carriers, and an HTTP proxy that access.proxy does not name. 0 is no limit.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "limits.connections",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u64::MAX,
                set: |s, number| {
                    s.limits.connections = number;
                    Ok(())
                },
            },
            default: DefaultValue::Value(
                "0",
                Some("as many as fit an eighth of the memory and the limit of open files"),
            ),
            example: "10_000",
            summary: "TCP connections held open at most",
            explanation: "When all are in use, the one that says least makes room, first of the address that holds most.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "limits.connections_per_address",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u64::MAX,
                set: |s, number| {
                    s.limits.connections_per_address = number;
                    Ok(())
                },
            },
            default: DefaultValue::Value("0", Some("no limit but limits.connections")),
            example: "100",
            summary: "TCP connections held open for one address (IPv6: /64) at most",
            explanation: "For one more, the one that says least makes room. A proxy's count for the clients it names.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "limits.udp_errors_per_address",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u32::MAX as u64,
                set: |s, number| {
                    s.limits.udp_errors_per_address = number.try_into()?;
                    Ok(())
                },
            },
            default: DefaultValue::Value("1000", None),
            example: "100",
            summary: "Errors a second to an IPv4 address or IPv6 /64 that sends wrong connection ids",
            explanation: "0 is no limit. Clients behind one address all need that error after a restart of the tracker.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "limits.full_log",
            original: None,
            takes: ValueType::Number {
                min: 65_536,
                max: 1 << 28,
                set: |s, number| {
                    s.limits.full_log = number;
                    Ok(())
                },
            },
            default: DefaultValue::Value("1_048_576", None),
            example: "16_777_216",
            summary: "Bytes that the requests take at most which access.log_networks has kept",
            explanation: "The oldest make room.",
            reload: Reload::NotRead,
            needs: &["fulllog-networks"],
        },
        KeySpec {
            name: "limits.full_scrape_interval",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: 86_400,
                set: |s, number| {
                    s.limits.full_scrape_interval = number.try_into()?;
                    Ok(())
                },
            },
            default: DefaultValue::Value("300", None),
            example: "3600",
            summary: "Seconds after which an IPv4 address or IPv6 /64 gets another full scrape",
            explanation: "Who comes before is answered 402, and told when to come again. mode=tpbs and mode=statedump \
                          count too. 0 is no limit.",
            reload: Reload::NotRead,
            needs: &["modest-fullscrapes"],
        },
    ],
};
