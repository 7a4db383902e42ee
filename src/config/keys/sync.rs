//! `[sync]`: what holds for every transport of a cluster.

use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::ValueType;

pub(super) static SECTION: Section = Section {
    name: "sync",
    note: "A tracker that starts asks another one of its cluster for all that it knows: a snapshot.",
    keys: &[
        KeySpec {
            name: "sync.snapshot_wait",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: 600,
                set: |s, seconds| u16::try_from(seconds).map(|seconds| s.sync.snapshot_wait = seconds),
            },
            default: DefaultValue::Value("10", None),
            example: "60",
            summary: "Seconds until a tracker says that it is ready although no snapshot has come",
            explanation: "It answers from the beginning. READY=1 to the service manager and a line of the log say that it \
                          is ready, when the snapshot is in or after this time; after 3 s if nobody is heard. With 0 it \
                          asks for none.",
            reload: Reload::NotRead,
            needs: &["sync-live", "sync-nats"],
        },
        KeySpec {
            name: "sync.snapshot_rate",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u64::MAX,
                set: |s, bytes| {
                    s.sync.snapshot_rate = bytes;
                    Ok(())
                },
            },
            default: DefaultValue::Value("4000000", None),
            example: "1000000",
            summary: "Bytes a second of snapshots that a tracker gives at most",
            explanation: "All snapshots that it gives at a time, two at most, share this. A million IPv4 peers are 8 million \
                          bytes, a torrent is 29; who has announced himself within the last minute comes twice. With 0 \
                          it gives none.",
            reload: Reload::NotRead,
            needs: &["sync-live", "sync-nats"],
        },
        KeySpec {
            name: "sync.snapshot_max",
            original: None,
            takes: ValueType::Number {
                min: 0,
                max: u64::MAX,
                set: |s, bytes| {
                    s.sync.snapshot_max = bytes;
                    Ok(())
                },
            },
            default: DefaultValue::Value("4000000000", None),
            example: "500000000",
            summary: "Bytes that a snapshot which a tracker takes has at most",
            explanation: "What has come until then is kept, and no other is asked for. With 0 it asks for none.",
            reload: Reload::NotRead,
            needs: &["sync-live", "sync-nats"],
        },
    ],
};
