//! `[livesync.cluster]`: the cluster that the tracker belongs to.

use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::ValueType;

pub(super) static SECTION: Section = Section {
    name: "livesync.cluster",
    note: "",
    keys: &[
        KeySpec {
            name: "livesync.cluster.listen",
            original: None,
            takes: ValueType::Interface(|s| &mut s.livesync.listen),
            default: DefaultValue::Absent("none"),
            example: "\"192.0.2.1\"",
            summary: "Address of the interface that live sync uses",
            explanation: "A cluster has one port. A tracker of a cluster needs an address: without one, a build with the \
                          feature warns and stands alone. On the same address and port it gives snapshots over TCP \
                          ([sync]).",
            reload: Reload::NotRead,
            needs: &["sync-live"],
        },
        KeySpec {
            name: "livesync.cluster.node_ip",
            original: None,
            takes: ValueType::Networks(|s| &mut s.livesync.node_ip),
            default: DefaultValue::Absent("none; nobody is believed"),
            example: "[\"192.0.2.0/24\"]",
            summary: "Networks of the other trackers in the cluster",
            explanation: "Packets from elsewhere are ignored, and nobody else is given a snapshot. Without \
                          livesync.cluster.listen it is an error.",
            reload: Reload::NotRead,
            needs: &["sync-live"],
        },
    ],
};
