//! A line of the log becomes a datagram: the journal's own (`KEY=VALUE` lines), or that of syslog over a local socket
//! (RFC 3164 without the host and the time, which the daemon knows).

use std::fmt::Write as _;

use crate::log::ParsedLine;

/// Stands in front of what a line is described by, and behind each part of it. Escaped where it is in a text.
pub(super) const MARK: char = '\u{1f}';

/// Who says it.
const NAME: &str = "opentracker";
/// Daemons (RFC 3164, section 4.1.1).
const FACILITY: u8 = 3;

/// How a daemon is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Journal,
    Syslog,
}

/// A line of the log, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// `KEY=VALUE`, each with a mark behind it.
    fields: &'a str,
    /// The line as standard error gets it.
    pub(super) line: &'a str,
    said: ParsedLine<'a>,
}

impl<'a> Message<'a> {
    /// Takes a line apart, which has no line break.
    pub(super) fn of(described: &'a str) -> Self {
        let (fields, line) =
            described.strip_prefix(MARK).and_then(|rest| rest.rsplit_once(MARK)).unwrap_or(("", described));
        Self { fields, line, said: ParsedLine::of(line) }
    }

    /// Returns whether it is no event but what the process ends with.
    pub(super) fn is_last_word(&self) -> bool {
        self.said.is_last_word
    }

    /// Makes the datagram, which replaces what is in `datagram`.
    pub(super) fn write(&self, protocol: Protocol, process: u32, datagram: &mut String) {
        let (severity, text) = (self.said.severity as u8, self.said.text);
        datagram.clear();
        // Nothing fails that writes to memory.
        let _ = match protocol {
            Protocol::Syslog => write!(datagram, "<{}>{NAME}[{process}]: {text}", FACILITY << 3 | severity),
            Protocol::Journal => {
                let begun = write!(
                    datagram,
                    "MESSAGE={text}\nPRIORITY={severity}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER={NAME}\n"
                );
                self.fields.split_terminator(MARK).for_each(|field| datagram.extend([field, "\n"]));
                begun
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(line: &str, protocol: Protocol) -> String {
        let mut datagram = "what was there before".to_owned();
        Message::of(line).write(protocol, 7, &mut datagram);
        datagram
    }

    #[test]
    fn the_journal_gets_fields_and_syslog_a_line() {
        let line = "\u{1f}TARGET=completed\u{1f}EVENT=completed\u{1f}PORT=1\u{1f}2026-11-27T07:00:00.5Z  INFO event=completed port=1";
        assert_eq!(
            written(line, Protocol::Journal),
            "MESSAGE=event=completed port=1\nPRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=opentracker\n\
             TARGET=completed\nEVENT=completed\nPORT=1\n"
        );
        assert_eq!(written(line, Protocol::Syslog), "<30>opentracker[7]: event=completed port=1");
        assert_eq!(Message::of(line).line, "2026-11-27T07:00:00.5Z  INFO event=completed port=1");
    }

    #[test]
    fn each_level_has_its_severity() {
        for (level, number) in [("ERROR", 27), ("WARN", 28), ("INFO", 30), ("DEBUG", 31), ("TRACE", 31)] {
            let line = format!("2026-11-27T07:00:00Z {level:>5} a  b");
            assert_eq!(written(&line, Protocol::Syslog), format!("<{number}>opentracker[7]: a  b"));
            assert!(!Message::of(&line).is_last_word());
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for line in ["opentracker: cannot start", "", " ", "a INFOX b", "2026-11-27T07:00:00Z  INFO"] {
            assert_eq!(written(line, Protocol::Syslog), format!("<27>opentracker[7]: {line}"));
            assert!(Message::of(line).is_last_word());
        }
    }

    proptest! {
        #[test]
        fn every_field_arrives_as_it_was_and_nothing_else_becomes_one(
            fields in prop::collection::vec(("[A-Z][A-Z_]{0,9}", "[^\n\u{1f}]{0,20}"), 0..4),
            level in prop::sample::select(vec!["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]),
            text in "[^\n\u{1f}]{0,40}",
        ) {
            let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let described: String = fields.iter().map(|field| format!("{field}{MARK}")).collect();
            let line = format!("2026-11-27T07:00:00Z {level:>5} {text}");
            let datagram = written(&format!("{MARK}{described}{line}"), Protocol::Journal);
            let mut lines = datagram.split_terminator('\n');
            prop_assert_eq!(lines.next().unwrap(), format!("MESSAGE={text}"));
            prop_assert_eq!(lines.skip(3).collect::<Vec<_>>(), fields);
        }

        #[test]
        fn any_line_is_a_message(line in "[^\n]*") {
            let journal = written(&line, Protocol::Journal);
            prop_assert!(journal.starts_with("MESSAGE=") && journal.ends_with('\n'));
            prop_assert!(written(&line, Protocol::Syslog).starts_with('<'));
        }
    }
}
