//! From a file to client ids.
//!
//! A line has one, perhaps with a remark behind it that begins with `#`, or is a comment that begins so, or is blank.
//! Any other line is bad: it is skipped and counted, and the first few are kept to be shown.
//!
//! A file that somebody is still writing must not come into force: half a client id stands for more clients than the
//! whole one. It is known by a change while it is read, or by a last line without an end. A file that is cut between
//! two lines cannot be told from a whole one: whoever writes one should write another file and rename it.

use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str;

use thiserror::Error;

use crate::config::ClientId;
use crate::input::{self, InputError};

/// Most client ids in a file: there are some hundred clients.
const MAX_IDS: usize = 10_000;

/// Most bytes in a file.
const MAX_BYTES: usize = 1 << 20;

/// Bad lines that are kept to be shown: who gives the wrong file must not fill the log.
const MAX_SHOWN: usize = 10;

/// Bytes of a bad line that are shown: more than a client id has if all of it is escaped.
const MAX_BEGIN: usize = 64;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    /// The client ids, in the order of the file.
    pub(super) ids: Vec<ClientId>,
    /// There is nothing in it, not even a comment.
    pub(super) is_empty: bool,
    /// Lines that were skipped; comments and blank ones are not among them.
    pub(super) bad: u64,
    /// The first of those.
    pub(super) first_bad: Vec<BadLine>,
}

/// A line that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadLine {
    /// From 1.
    number: u64,
    /// How it begins, with nothing in it that could harm a log.
    begins: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not how a peer id begins, 1 to 20 bytes: \"{}\"", self.number, self.begins)
    }
}

/// Why a file is not read as client ids. For the operator.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It cannot be opened or read.
    #[error(transparent)]
    Unreadable(#[from] InputError),
    /// Somebody is writing it.
    #[error("it changed while it was read")]
    Changed,
    /// Its last line is not whole.
    #[error("its last line, {0}, does not end, as if somebody were still writing it")]
    Cut(u64),
    /// It is some other file.
    #[error("none of its {bad} lines is a client id; {first}")]
    NoId {
        /// How many lines there are that are neither blank nor comments.
        bad: u64,
        /// The first of them.
        first: BadLine,
    },
    /// It has more than [`MAX_IDS`].
    #[error("it has more than {MAX_IDS} client ids")]
    TooMany,
    /// There is nothing in it. An error only for a file that is read again.
    #[error("it is empty, as if somebody were about to write it (for a list of nothing, write a comment: #)")]
    Empty,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// Reads a file.
///
/// # Errors
///
/// The file is not there or cannot be read, is too large, is not whole, or has lines but no client ids.
pub(super) fn read(path: &Path) -> Result<Contents, Error> {
    let file = input::open_regular(path)?;
    let written = |file: &Metadata| (file.len(), file.mtime(), file.mtime_nsec());
    let before = written(&file.metadata()?);
    let mut bytes = Vec::new();
    (&file).take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(InputError::TooLarge(MAX_BYTES).into());
    }
    if written(&file.metadata()?) != before || bytes.len() as u64 != before.0 {
        return Err(Error::Changed);
    }
    parse(&bytes)
}

/// Reads the bytes of a whole file.
fn parse(bytes: &[u8]) -> Result<Contents, Error> {
    // Some editors write a byte order mark.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut contents = Contents { ids: Vec::new(), is_empty: bytes.is_empty(), bad: 0, first_bad: Vec::new() };
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        if !line.ends_with(b"\n") {
            return Err(Error::Cut(number));
        }
        match line.trim_ascii() {
            [] | [b'#', ..] => {}
            line => match client_id(line) {
                Some(_) if contents.ids.len() == MAX_IDS => return Err(Error::TooMany),
                Some(id) => contents.ids.push(id),
                None => {
                    contents.bad += 1;
                    if contents.first_bad.len() < MAX_SHOWN {
                        contents.first_bad.push(BadLine::new(number, line));
                    }
                }
            },
        }
    }
    match contents.first_bad.first() {
        Some(first) if contents.ids.is_empty() => Err(Error::NoId { bad: contents.bad, first: first.clone() }),
        _ => Ok(contents),
    }
}

/// Returns the client id in a line. What stands behind it has to be a remark.
fn client_id(line: &[u8]) -> Option<ClientId> {
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (id, rest) = line.split_at_checked(end)?;
    let has_remark = matches!(rest.trim_ascii(), [] | [b'#', ..]);
    str::from_utf8(id).ok().filter(|_| has_remark).and_then(ClientId::parse)
}

impl BadLine {
    fn new(number: u64, line: &[u8]) -> Self {
        let (begins, rest) = line.split_at_checked(MAX_BEGIN).unwrap_or((line, &[]));
        let more = if rest.is_empty() { "" } else { "..." };
        Self { number, begins: format!("{}{more}", begins.escape_ascii()) }
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::switches) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(text: &str) -> Vec<String> {
        parse(text.as_bytes()).expect(text).ids.iter().map(ToString::to_string).collect()
    }

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn a_line_has_a_client_id_and_perhaps_a_remark() {
        let text = "\u{feff}-XL\n\n# Xunlei\n  -SD\t# Xunlei too\r\n-TR3 #\nexbc%00\n%23\n";
        assert_eq!(ids(text), ["-XL", "-SD", "-TR3", "exbc%00", "%23"]);
        assert_eq!((ids(""), ids("#\n"), ids("\u{feff}\n")), (vec![], vec![], vec![]));
        assert!(parse(b"").unwrap().is_empty && !parse(b"#\n").unwrap().is_empty);
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_ones_shown() {
        let bad = ["-XL*", "-XL -SD", "-XL, -SD", "-XL#", "%zz", "aaaaaaaaaaaaaaaaaaaaa", "\u{1b}[2J", "\"-XL\""];
        let text: String = bad.iter().map(|line| format!("{line}\n-TR3\n")).collect();
        let contents = parse(text.as_bytes()).unwrap();
        assert_eq!((contents.ids.len(), contents.bad), (bad.len(), bad.len() as u64));
        let shown: Vec<_> = contents.first_bad.iter().map(ToString::to_string).collect();
        assert_eq!(shown[1], "line 3 is not how a peer id begins, 1 to 20 bytes: \"-XL -SD\"");
        assert!(shown[6].ends_with("\"\\x1b[2J\""), "{}", shown[6]);

        let many = "a".repeat(100) + "\n";
        let contents = parse(format!("-XL\n{}", many.repeat(50)).as_bytes()).unwrap();
        assert_eq!((contents.bad, contents.first_bad.len()), (50, 10));
        assert!(contents.first_bad[0].to_string().ends_with(&format!("\"{}...\"", "a".repeat(64))));
    }

    #[test]
    fn what_is_no_list_or_not_whole_is_refused() {
        assert_eq!(refusal("-XL\n-S"), "its last line, 2, does not end, as if somebody were still writing it");
        assert!(refusal("# -").contains("its last line, 1,"));
        assert!(refusal("#\n%\n*\n").starts_with("none of its 2 lines is a client id; line 2 is not how"));
        assert_eq!(ids(&"-XL\n".repeat(MAX_IDS)).len(), MAX_IDS);
        assert_eq!(refusal(&"-XL\n".repeat(MAX_IDS + 1)), "it has more than 10000 client ids");
    }

    proptest! {
        /// Bytes that mean something, so that many lines nearly have a client id.
        #[test]
        fn any_bytes_are_read_as_the_manual_says(
            bytes in prop::collection::vec(prop::sample::select(&b"-aX%04Fg# \t\r\n\n\x0b\x0c+*\xff"[..]), 0..80),
        ) {
            fuzz::any_file(&bytes);
        }
    }
}
