//! `[tracker]`: the process and its answers.

use super::super::settings::{SyslogSocket, SystemCallRule};
use super::super::user::is_user;
use super::spec::{DefaultValue, KeySpec, Reload, Section};
use super::value_type::{PathKind, SeenFrom, ValueType};

pub(super) static SECTION: Section = Section {
    name: "tracker",
    note: "",
    keys: &[
        KeySpec {
            name: "tracker.rootdir",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::Directory,
                // It is entered before it becomes the root.
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.tracker.rootdir,
            },
            default: DefaultValue::Absent("the current directory"),
            example: "\"/var/lib/opentracker\"",
            summary: "Directory to chroot to as root, and to work in otherwise",
            explanation: "Without it, as root, the tracker chroots to the current directory if that is not / and all \
                          files that are configured are in it. If they are not, or the system does not permit it, the \
                          tracker warns and gives up root without a chroot. Relative paths begin in the current \
                          directory then, not in / as in the original.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "tracker.user",
            original: None,
            takes: ValueType::Text {
                expects: "the name of a user, or UID[:GID]",
                accepts: is_user,
                set: |s, name| s.tracker.user = name.to_owned(),
            },
            default: DefaultValue::Value("\"nobody\"", None),
            example: "\"opentracker\"",
            summary: "User to become when started as root",
            explanation: "A UID need be in no list of users, as where a container holds one program. Without GID the \
                          group is the user's own, or that of the same number if no list has the user.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "tracker.redirect_url",
            original: None,
            takes: ValueType::Text {
                expects: "a URL in ASCII that starts with http:// or https://, without white space",
                accepts: is_url,
                set: |s, url| s.tracker.redirect_url = Some(url.to_owned()),
            },
            default: DefaultValue::Absent("none; it is answered 404"),
            example: "\"https://example.org/\"",
            summary: "Where GET / sends a browser",
            explanation: "",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "tracker.interval",
            original: None,
            takes: ValueType::Number {
                min: 300,
                max: 3600,
                set: |s, number| u32::try_from(number).map(|seconds| s.tracker.interval = seconds),
            },
            default: DefaultValue::Value("1800", Some("half an hour")),
            example: "3600",
            summary: "Seconds between two announces of a client",
            explanation: "Each is told up to a tenth more or less, at random. Who is silent for one and a half times \
                          as long is forgotten, but not before 45 minutes. In a cluster (livesync.cluster.listen, \
                          sync.nats.servers) it is at most 1800: the others forget a peer after 45 minutes.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "tracker.min_interval",
            original: None,
            takes: ValueType::Number {
                min: 60,
                max: 3600,
                set: |s, number| u32::try_from(number).map(|seconds| s.tracker.min_interval = Some(seconds)),
            },
            default: DefaultValue::Absent("half of the interval that the client is told"),
            example: "900",
            summary: "Seconds before which a client should not announce again",
            explanation: "At most tracker.interval. Clients over UDP are not told: that protocol has no field for it.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "tracker.statefile",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::File,
                seen: SeenFrom::InsideRoot,
                field: |s| &mut s.tracker.statefile,
            },
            default: DefaultValue::Absent("none"),
            example: "\"statedump.txt\"",
            summary: "State dump to read download counts from at the start",
            explanation: "Such a file is a copy of mode=statedump of the statistics. One that is not there yet is only \
                          warned of.",
            reload: Reload::NotRead,
            needs: &["fullscrape"],
        },
        KeySpec {
            name: "tracker.landlock",
            original: None,
            takes: ValueType::Flag(|s| &mut s.tracker.landlock),
            default: DefaultValue::Value("true", None),
            example: "false",
            summary: "Put files that are not needed out of the tracker's own reach",
            explanation: "Landlock, a part of Linux since 5.13, leaves it what is in the directories of the files that \
                          are configured, and of the targets of links on the way to them, to be read: a list can be \
                          replaced by renaming another one, and has to stay in its directory until the next start. \
                          Where the kernel lacks it, a line of the log says so.",
            reload: Reload::NotRead,
            needs: &[],
        },
        KeySpec {
            name: "tracker.seccomp",
            original: None,
            takes: ValueType::FlagOrWord {
                word: "log",
                set: |s, flag| {
                    s.tracker.seccomp = match flag {
                        Some(true) => SystemCallRule::Refuse,
                        Some(false) => SystemCallRule::Allow,
                        None => SystemCallRule::Log,
                    }
                },
            },
            default: DefaultValue::Value("true", None),
            example: "\"log\"",
            summary: "Have the kernel refuse the system calls that are not needed",
            explanation: "They fail with the error ENOSYS. With \"log\" they are made, and the kernel's own log names \
                          them: to find out what a new C library or a debugger needs. Where the kernel or the \
                          processor lacks it, a line of the log says so.",
            reload: Reload::NotRead,
            needs: &["seccomp"],
        },
        KeySpec {
            name: "tracker.handover",
            original: None,
            takes: ValueType::Path {
                kind: PathKind::Socket,
                // It is opened before the process is jailed, and never again.
                seen: SeenFrom::OutsideRoot,
                field: |s| &mut s.tracker.handover,
            },
            default: DefaultValue::Absent("none"),
            example: "\"/run/opentracker/handover.sock\"",
            summary: "Socket over which a new process takes over from the one that runs",
            explanation: "A tracker that is started while another answers there takes its peers, its ports and its \
                          place, and the other ends: a restart that loses nothing, also without root. Only root and \
                          the tracker's own user can take over. Relative paths begin where the tracker is started. A \
                          socket that nobody answers at is replaced; anything else that has this name is an error.",
            reload: Reload::NotRead,
            needs: &["handover"],
        },
        KeySpec {
            name: "tracker.syslog",
            original: None,
            takes: ValueType::FlagOrSocket {
                flag: |s, flag| s.tracker.syslog = if flag { SyslogSocket::Found } else { SyslogSocket::Unused },
                socket: |s, path| s.tracker.syslog = SyslogSocket::At(path),
            },
            default: DefaultValue::Value("false", None),
            example: "true",
            summary: "Send the log to the journal or to syslog, and not to standard error",
            explanation: "To the journal if it is there (/run/systemd/journal/socket), else to syslog (/dev/log); or \
                          to the socket that is named, which is spoken to as to the journal if it is called \
                          \"socket\". What cannot be sent goes to standard error.",
            reload: Reload::NotRead,
            needs: &["syslog"],
        },
    ],
};

/// Returns whether the text can stand in the `Location` header: a line break in it would end the header.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}
