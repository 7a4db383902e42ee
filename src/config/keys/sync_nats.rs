//! `[sync.nats]`: the cluster whose members tell each other their peers over NATS.

use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::{PathKind, SeenFrom, ValueType};
use crate::config::nats_server::NatsServer;

pub(super) static SECTION: Section = Section {
    name: "sync.nats",
    note: "Files are read at the start, with the rights that the process is started with. A file with a secret that others \
           than its owner and its group can read is refused.",
    keys: &[
        KeySpec {
            name: "sync.nats.servers",
            original: None,
            takes: ValueType::Texts {
                expects: "a server such as nats.example.org, nats://192.0.2.1:4222 or tls://nats.example.org:4222",
                accepts: |text| NatsServer::parse(text).is_some(),
                add: |s, server| s.sync.nats.servers.extend(NatsServer::parse(server)),
                none: None,
            },
            default: DefaultValue::Absent("none"),
            example: "[\"tls://nats.example.org\"]",
            summary: "NATS servers over which the tracker tells a cluster its peers",
            explanation: "Port 4222 if none is named. With tls:// the server has to speak TLS (1.3), and its certificate has \
                          to be for the name. Without a server, a build with the feature warns and is in no such \
                          cluster. Names are looked up at the start only.",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
        KeySpec {
            name: "sync.nats.subject",
            original: None,
            takes: ValueType::Text {
                expects: "a subject of NATS: words of letters, digits, - and _ with dots between them, 64 bytes at most",
                accepts: is_subject,
                set: |s, subject| s.sync.nats.subject = subject.to_owned(),
            },
            default: DefaultValue::Value("\"opentracker\"", None),
            example: "\"trackers.europe\"",
            summary: "What the subjects of the cluster begin with: the same for all of its trackers, and no other cluster's",
            explanation: "Whoever may publish there is believed.",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
        KeySpec {
            name: "sync.nats.credentials",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.sync.nats.credentials,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/etc/opentracker/nats.creds\"",
            summary: "File with the credentials of the tracker, as nsc makes them",
            explanation: "A secret. Instead of a user or a token.",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
        KeySpec {
            name: "sync.nats.tls_ca",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.sync.nats.tls_ca,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/etc/opentracker/ca.pem\"",
            summary: "File with the certificates that a server's has to be signed by",
            explanation: "In PEM. With it, every server has to speak TLS. Without it, the system's certificates.",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
        KeySpec {
            name: "sync.nats.user",
            original: None,
            takes: ValueType::Text {
                expects: "the name of a user",
                accepts: |name| !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace()),
                set: |s, name| s.sync.nats.user = Some(name.to_owned()),
            },
            default: DefaultValue::Absent("none"),
            example: "\"tracker\"",
            summary: "User that the tracker is for the server, with sync.nats.password_file",
            explanation: "",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
        KeySpec {
            name: "sync.nats.password_file",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.sync.nats.password_file,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/etc/opentracker/nats.password\"",
            summary: "File with the password of sync.nats.user",
            explanation: "A secret. Line breaks at the end are no part of it.",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
        KeySpec {
            name: "sync.nats.token_file",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.sync.nats.token_file,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/etc/opentracker/nats.token\"",
            summary: "File with a token, instead of a user",
            explanation: "A secret. Line breaks at the end are no part of it.",
            reload: Reload::NotRead,
            needs: &["sync-nats"],
        },
    ],
};

/// Returns whether the text can be the beginning of subjects.
fn is_subject(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    text.len() <= 64 && text.split('.').all(is_word)
}
