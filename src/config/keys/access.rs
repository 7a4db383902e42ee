//! `[access]`: who may use the tracker, for which torrents, and who may see its statistics.

use std::num::NonZeroU16;

use super::super::client_id::ClientId;
use super::super::settings::{RefusalOverUdp, Settings};
use super::super::user::is_group;
use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::{PathKind, SeenFrom, ValueType};

const DYNAMIC: &[&str] = &["accesslist-dynamic"];

pub(super) static SECTION: Section = Section {
    name: "access",
    note: "",
    keys: &[
        KeySpec {
            name: "access.whitelist",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::InsideRoot,
                field: |s| &mut s.access.whitelist,
            },
            default: DefaultValue::Absent("none"),
            example: "\"whitelist.txt\"",
            summary: "List of the only torrents that are served",
            explanation: "One info hash in hex a line. A build with the feature does not start without it.",
            reload: Reload::ReadAgain,
            needs: &["accesslist-white"],
        },
        KeySpec {
            name: "access.blacklist",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::InsideRoot,
                field: |s| &mut s.access.blacklist,
            },
            default: DefaultValue::Absent("none"),
            example: "\"blacklist.txt\"",
            summary: "List of the torrents that are not served",
            explanation: "One info hash in hex a line. Without it every torrent is served.",
            reload: Reload::ReadAgain,
            needs: &["accesslist-black"],
        },
        KeySpec {
            name: "access.refusal_minutes",
            original: None,
            takes: ValueType::NumberOrWord {
                min: 1,
                max: 1440,
                word: "never",
                set: |s, number| {
                    let minutes = number.map(|number| u16::try_from(number).and_then(NonZeroU16::try_from)).transpose();
                    minutes.map(|minutes| s.access.refusal_minutes = minutes)
                },
            },
            default: DefaultValue::Value("60", None),
            example: "\"never\"",
            summary: "Minutes after which a client may ask again that a list refuses, or whose torrent it refuses",
            explanation: "Many clients come back at once from an error that does not say it. Over HTTP it is said in \
                          minutes (BEP 31) and as the interval, which is a day for never.",
            reload: Reload::NotRead,
            needs: &["accesslist-black", "accesslist-white", "client-ids"],
        },
        KeySpec {
            name: "access.refusal_over_udp",
            original: None,
            takes: ValueType::Word(&[
                ("error", |s| s.access.refusal_over_udp = RefusalOverUdp::Error),
                ("empty", |s| s.access.refusal_over_udp = RefusalOverUdp::Empty),
            ]),
            default: DefaultValue::Value("\"error\"", Some("the reason, which users see")),
            example: "\"empty\"",
            summary: "How that is refused over UDP, where an error cannot say after how long",
            explanation: "\"empty\" is a reply without peers whose interval says it.",
            reload: Reload::NotRead,
            needs: &["accesslist-black", "accesslist-white", "client-ids"],
        },
        KeySpec {
            name: "access.fifo_add",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::Fifo,
                // It is opened before the process is jailed, and never again.
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.access.fifo_add,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/run/opentracker/add\"",
            summary: "FIFO for info hashes that are put on the list at once",
            explanation: "Each is in hex on a line of its own. When the list is read again it is assumed to have what \
                          was said before. A FIFO that is not there is made, for tracker.user and \
                          access.control_group; the path is one outside tracker.rootdir, and a relative one begins \
                          where the tracker is started.",
            reload: Reload::NotRead,
            needs: DYNAMIC,
        },
        KeySpec {
            name: "access.fifo_delete",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::Fifo,
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.access.fifo_delete,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/run/opentracker/delete\"",
            summary: "FIFO for info hashes that are taken off the list at once",
            explanation: "As access.fifo_add. Nothing says which of the two is read first.",
            reload: Reload::NotRead,
            needs: DYNAMIC,
        },
        KeySpec {
            name: "access.dynamic_max",
            original: None,
            takes: ValueType::Number {
                min: 1,
                max: 100_000_000,
                set: |s, number| u32::try_from(number).map(|max| s.access.dynamic_max = max),
            },
            default: DefaultValue::Value("1_000_000", None),
            example: "10_000",
            summary: "Torrents at most in which the list in force differs from its file",
            explanation: "What goes beyond is not taken, counted, and complained of once. They take 20 bytes each, \
                          twice that where they are added, some 50 while the file is read, and the list as much \
                          again for a moment.",
            reload: Reload::NotRead,
            needs: DYNAMIC,
        },
        KeySpec {
            name: "access.control",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::Socket,
                // As access.fifo_add.
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.access.control,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/run/opentracker/control.sock\"",
            summary: "Unix socket for commands that change the list, and say what has come of it",
            explanation: "opentracker --control is a client. Root, tracker.user and access.control_group can connect. \
                          The path is as that of access.fifo_add. A socket that nobody answers at is replaced; \
                          anything else that has this name is an error.",
            reload: Reload::NotRead,
            needs: DYNAMIC,
        },
        KeySpec {
            name: "access.control_group",
            original: None,
            takes: ValueType::Text {
                expects: "the name of a group, or its GID",
                accepts: is_group,
                set: |s, name| s.access.control_group = Some(name.to_owned()),
            },
            default: DefaultValue::Absent("none"),
            example: "\"opentracker-admin\"",
            summary: "Group whose members can write to access.control and to FIFOs that the tracker makes",
            explanation: "",
            reload: Reload::NotRead,
            needs: DYNAMIC,
        },
        KeySpec {
            name: "access.stats",
            original: None,
            takes: ValueType::Networks(|s| &mut s.access.stats),
            default: DefaultValue::Absent("none; nobody may"),
            example: "[\"127.0.0.1\", \"192.0.2.0/24\"]",
            summary: "Networks that may read the statistics",
            explanation: "Others are answered 403. In a build without the feature everybody may. GET /scrape is for \
                          everybody.",
            reload: Reload::NotRead,
            needs: &["restrict-stats"],
        },
        KeySpec {
            name: "access.stats_path",
            original: None,
            takes: ValueType::Text {
                expects: "a path without white space, ? or #, other than announce and scrape",
                accepts: is_stats_path,
                set: |s, path| s.access.stats_path = path.trim_matches('/').to_owned(),
            },
            default: DefaultValue::Value("\"stats\"", None),
            example: "\"secret/stats\"",
            summary: "Path of the statistics",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "access.log_networks",
            original: None,
            takes: ValueType::Networks(|s| &mut s.access.log_networks),
            default: DefaultValue::Absent("none; nothing is kept"),
            example: "[\"192.0.2.0/24\", \"2001:db8::/32\"]",
            summary: "Networks whose whole requests over HTTP are kept, for mode=fulllog",
            explanation: "It stores what people do. The page gives them out once, to who may read the statistics.",
            reload: Reload::NotRead,
            needs: &["fulllog-networks"],
        },
        KeySpec {
            name: "access.proxy",
            original: None,
            takes: ValueType::Networks(|s| &mut s.access.proxy),
            default: DefaultValue::Absent("none; nobody is believed"),
            example: "[\"127.0.0.1\"]",
            summary: "Proxies that are believed when they name a client's address",
            explanation: "The rightmost address that is not a proxy's own counts. What a proxy asks without naming \
                          any it asks for itself: it is shown pages, an announce is answered 400. A proxy has to name \
                          one whenever it asks for others.",
            reload: Reload::NotRead,
            needs: &["ip-from-proxy"],
        },
        KeySpec {
            name: "access.proxy_header",
            original: None,
            takes: ValueType::Text {
                expects: "the name of a header",
                accepts: is_header,
                set: |s, name| s.access.proxy_header = name.to_owned(),
            },
            default: DefaultValue::Value("\"X-Forwarded-For\"", None),
            example: "\"X-Real-IP\"",
            summary: "Header in which those proxies name it",
            explanation: "",
            reload: Reload::NotRead,
            needs: &["ip-from-proxy"],
        },
        KeySpec {
            name: "access.proxy_protocol",
            original: None,
            takes: ValueType::Flag(|s| &mut s.access.proxy_protocol),
            default: DefaultValue::Value("false", None),
            example: "true",
            summary: "Whether connections of those proxies begin with a PROXY protocol header, version 1 or 2",
            explanation: "With true, one that does not is closed, and the address in it is that of the connection: \
                          access.proxy_header is read only if that address is a proxy's too.",
            reload: Reload::NotRead,
            needs: &["ip-from-proxy"],
        },
        KeySpec {
            name: "access.client_ids_denied",
            original: None,
            takes: ValueType::Texts {
                expects: CLIENT_ID,
                accepts: |text| ClientId::parse(text).is_some(),
                add: |s, text| s.access.client_ids_denied.extend(ClientId::parse(text)),
                none: None,
            },
            default: DefaultValue::Absent("none"),
            example: "[\"-XL\", \"-TR3\"]",
            summary: "Clients that are not served: what their peer ids begin with",
            explanation: "An announce is refused, unless it says that the client leaves. Scrapes are not.",
            reload: Reload::NotRead,
            needs: &["client-ids"],
        },
        KeySpec {
            name: "access.client_ids_denied_file",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::InsideRoot,
                field: |s| &mut s.access.client_ids_denied_file,
            },
            default: DefaultValue::Absent("none"),
            example: "\"denied-clients.txt\"",
            summary: "List of more such clients",
            explanation: "One a line, written as in access.client_ids_denied; behind a # there may be a remark.",
            reload: Reload::ReadAgain,
            needs: &["client-ids"],
        },
        KeySpec {
            name: "access.client_ids_allowed",
            original: None,
            takes: ValueType::Texts {
                expects: CLIENT_ID,
                accepts: |text| ClientId::parse(text).is_some(),
                add: |s, text| allowed_clients(s).extend(ClientId::parse(text)),
                none: Some(|s| {
                    let _ = allowed_clients(s);
                }),
            },
            default: DefaultValue::Absent("none; all that are not denied"),
            example: "[\"-qB\", \"-TR4\"]",
            summary: "The only clients that are served: what their peer ids begin with",
            explanation: "With this key or its file, a client without a peer id is not served either: an empty list lets nobody in. One that is denied is not served in any case.",
            reload: Reload::NotRead,
            needs: &["client-ids"],
        },
        KeySpec {
            name: "access.client_ids_allowed_file",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::InsideRoot,
                field: |s| &mut s.access.client_ids_allowed_file,
            },
            default: DefaultValue::Absent("none"),
            example: "\"allowed-clients.txt\"",
            summary: "List of more such clients",
            explanation: "One a line, written as in access.client_ids_allowed; behind a # there may be a remark.",
            reload: Reload::ReadAgain,
            needs: &["client-ids"],
        },
    ],
};

/// Returns the list of allowed clients, which is there from now on.
fn allowed_clients(settings: &mut Settings) -> &mut Vec<ClientId> {
    settings.access.client_ids_allowed.get_or_insert_with(Vec::new)
}

/// What a client id is, in words.
const CLIENT_ID: &str = "1 to 20 bytes such as -XL: letters, digits and any of -._~ as they are, others as %XX";

/// Returns whether a request can name the path, and it does not hide what the tracker is there for.
fn is_stats_path(text: &str) -> bool {
    let path = text.trim_matches('/');
    !matches!(path, "" | "announce" | "scrape")
        && !path.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#'))
}

/// Returns whether the text is a token (RFC 9110, section 5.6.2).
fn is_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
