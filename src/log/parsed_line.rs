//! A line of the log, taken apart by whoever passes it on in another form.

/// How bad it is, as syslog and the journal count (RFC 3164, section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something has failed.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// What an operator may want to know.
    Informational = 6,
    /// What a developer may want to know.
    Debug = 7,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedLine<'a> {
    /// By its level.
    pub severity: Severity,
    /// Without its time and its level.
    pub text: &'a str,
    /// It is no event but what the process ends with.
    pub is_last_word: bool,
}

impl<'a> ParsedLine<'a> {
    /// Takes a line apart, which has no line break.
    pub fn of(line: &'a str) -> Self {
        let event = line.split_once(' ').and_then(|(_time, rest)| {
            let (level, text) = rest.trim_start().split_once(' ')?;
            Some((severity(level)?, text))
        });
        let (severity, text) = event.unwrap_or((Severity::Error, line));
        Self { severity, text, is_last_word: event.is_none() }
    }
}

fn severity(level: &str) -> Option<Severity> {
    Some(match level {
        "ERROR" => Severity::Error,
        "WARN" => Severity::Warning,
        "INFO" => Severity::Informational,
        "DEBUG" | "TRACE" => Severity::Debug,
        _ => return None,
    })
}
