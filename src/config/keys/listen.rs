//! `[listen]`: where to listen, and with how many workers.

use std::num::NonZeroU16;

use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::{PathKind, SeenFrom, ValueType};

pub(super) static SECTION: Section = Section {
    name: "listen",
    note: "Listening on IPv6 needs the feature v6 (IPv6 only) or dual-stack (both). In a dual-stack build [::] opens \
           0.0.0.0 too, unless an IPv4 address is configured on the same port. Port 0 means any free port.",
    keys: &[
        KeySpec {
            name: "listen.tcp_udp",
            original: None,
            takes: ValueType::ListenAddresses(|s, address| {
                s.listen.tcp.push(address);
                s.listen.udp.push(address);
            }),
            default: DefaultValue::Absent(
                "none; while this key and the next two are empty, every address of the families that the build serves",
            ),
            example: "[\"0.0.0.0\", \"192.0.2.1:80\"]",
            summary: "Addresses that answer HTTP and UDP",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "listen.tcp",
            original: None,
            takes: ValueType::ListenAddresses(|s, address| s.listen.tcp.push(address)),
            default: DefaultValue::Absent("none"),
            example: "[\"192.0.2.1:80\"]",
            summary: "Addresses that answer HTTP alone",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "listen.udp",
            original: None,
            takes: ValueType::ListenAddresses(|s, address| s.listen.udp.push(address)),
            default: DefaultValue::Absent("none"),
            example: "[\"192.0.2.1\"]",
            summary: "Addresses that answer UDP alone",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "listen.udp_workers",
            original: Some("listen.udp.workers"),
            takes: ValueType::Number {
                min: 0,
                max: 1024,
                set: |s, number| u16::try_from(number).map(|number| s.listen.udp_workers = number),
            },
            default: DefaultValue::Value("0", Some("one for each CPU")),
            example: "4",
            summary: "Threads that answer UDP",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "listen.tcp_workers",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: 1024,
                set: |s, number| u16::try_from(number).map(|number| s.listen.tcp_workers = number),
            },
            default: DefaultValue::Value("0", Some("one for each CPU")),
            example: "4",
            summary: "Threads that answer HTTP",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "listen.udp_connection_id_minutes",
            original: None,
            takes: ValueType::Number {
                min: 1,
                max: 1440,
                set: |s, number| {
                    let minutes = u16::try_from(number).and_then(NonZeroU16::try_from);
                    minutes.map(|minutes| s.listen.udp_connection_id_minutes = minutes)
                },
            },
            default: DefaultValue::Value("60", None),
            example: "10",
            summary: "Minutes for which a UDP connection id is sure to be accepted",
            explanation: "It is refused after twice that time. BEP 15 asks for 2 minutes or more, but some clients keep \
                          an id for an hour.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "listen.udp_connection_id_key_file",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.listen.udp_connection_id_key_file,
            },
            default: DefaultValue::Absent("none: no other tracker accepts an id"),
            example: "\"/etc/opentracker/connection-id.key\"",
            summary: "The key of UDP connection ids, for several trackers behind one name or address",
            explanation: "Trackers with the same key, and the same listen.udp_connection_id_minutes, accept each other's \
                          ids. opentracker --new-key FILE makes one; any 32 to 4,096 random bytes will do. Who knows it \
                          can announce addresses that are not his: a file that others than its owner and its group can \
                          use is refused. It is read at the start, with the rights that the process is started with. \
                          Slots of time are those of the wall clock, which has to be right to less than \
                          listen.udp_connection_id_minutes; to retire a key, give every tracker another.",
            reload: Reload::NotRead,
            needs: &[],
        },
    ],
};
