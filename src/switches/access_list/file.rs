//! From a file to a list.
//!
//! A line is an info hash of 40 hexadecimal digits in either case, a comment that begins with `#`, or blank. Whatever
//! is neither a letter nor a digit ends the hash, and the rest of the line is not looked at: `mode=statedump` and
//! `format=txtp` of the statistics are lists too. Any other line is bad: it is skipped and counted, and the first few
//! are kept to be shown.
//!
//! A file that somebody is still writing must not become the list in force. It is known by a change while it is read,
//! or by a last line that is cut before its 40th digit. A file that is cut between two lines cannot be told from a
//! whole one: whoever writes a list should write another file and rename it.
//!
//! The file is read through a buffer, into room for as many hashes as it can have: whatever its lines are like, it
//! takes no more memory than that.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use thiserror::Error;

use crate::input::{self, InputError};
use crate::tracker::InfoHash;

use super::list::{self, List, TooMany};

/// Hexadecimal digits of an info hash.
const DIGITS: usize = 2 * InfoHash::LEN;

/// Bytes of a line that are looked at: room for a hash with a good deal of white space before it.
pub(in crate::switches) const MAX_LINE: usize = 256;

/// Bad lines that are kept to be shown: who gives the wrong file must not fill the log.
const MAX_SHOWN: usize = 10;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    /// The torrents.
    pub(super) list: List,
    /// Bytes in the file.
    pub(super) bytes: u64,
    /// Lines with a hash.
    pub(super) good: u64,
    /// Lines that were skipped; comments and blank ones are not among them.
    pub(super) bad: u64,
    /// The first of those.
    pub(super) first_bad: Vec<BadLine>,
}

/// A line that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::switches) struct BadLine {
    /// From 1.
    number: u64,
    /// How it begins, with nothing in it that could harm a log.
    begins: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not an info hash of 40 hexadecimal digits: \"{}\"", self.number, self.begins)
    }
}

/// Why a file is not a list. For the operator.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It cannot be opened or read.
    #[error(transparent)]
    Unreadable(#[from] InputError),
    /// Somebody is writing it.
    #[error("it changed while it was read")]
    Changed,
    /// Its last line is not whole.
    #[error("its last line, {number}, is cut off after {digits} of 40 digits: it is not whole")]
    Cut {
        /// From 1.
        number: u64,
        /// Digits that are there.
        digits: usize,
    },
    /// It is some other file.
    #[error("none of its {bad} lines is an info hash; {first}")]
    NoHash {
        /// How many lines there are that are neither blank nor comments.
        bad: u64,
        /// The first of them.
        first: BadLine,
    },
    /// There is nothing in it. An error only for a list that is to replace another.
    #[error("it is empty, as if somebody were about to write it (for a list of nothing, write a comment: #)")]
    Empty,
    /// There is no memory for so many bytes.
    #[error("its {0} bytes are too many to be held in memory")]
    TooLarge(u64),
}

/// Reads a list.
///
/// # Errors
///
/// The file is not there or cannot be read, is not whole, or has lines but no hashes.
pub(super) fn read(path: &Path) -> Result<Contents, Error> {
    let file = input::open_regular(path)?;
    read_open(&file, BufReader::with_capacity(1 << 16, &file))
}

/// Reads `file` through `reader`, which reads from that very file.
fn read_open(file: &File, reader: impl BufRead) -> Result<Contents, Error> {
    let before = file.metadata()?;
    // One byte more, which is not there unless the file has grown.
    let contents = parse(reader.take(before.len() + 1), before.len());
    if !is_same(&before, &file.metadata()?) {
        return Err(Error::Changed);
    }
    contents
}

/// Returns whether nobody has written to the file between the two looks at it.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let written = |file: &Metadata| (file.len(), file.mtime(), file.mtime_nsec());
    written(one) == written(other)
}

/// Reads what `reader` gives, which is to be `len` bytes.
fn parse(mut reader: impl BufRead, len: u64) -> Result<Contents, Error> {
    let too_large = || Error::TooLarge(len);
    let most = usize::try_from(len / (DIGITS as u64 + 1) + 1).map_err(|_| too_large())?;
    let mut hashes = list::with_room_for(most).map_err(|_| too_large())?;
    let (mut bytes, mut number, mut bad, mut first_bad) = (0, 0, 0, Vec::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        let looked_at = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
        if looked_at == 0 {
            break;
        }
        let ended = line.ends_with(b"\n");
        let skipped = if ended { 0 } else { reader.skip_until(b'\n')? };
        number += 1;
        bytes += (looked_at + skipped) as u64;
        // Some editors write a byte order mark.
        let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        match Line::of(line) {
            Line::Hash(hash) => hashes.push(hash),
            Line::Comment => {}
            Line::Blank if skipped == 0 => {}
            Line::Digits(digits) if !ended && skipped == 0 => return Err(Error::Cut { number, digits }),
            Line::Blank | Line::Digits(_) | Line::Other => {
                bad += 1;
                if first_bad.len() < MAX_SHOWN {
                    first_bad.push(BadLine::new(number, line));
                }
            }
        }
    }
    if bytes != len {
        return Err(Error::Changed);
    }
    let good = hashes.len() as u64;
    if let (0, Some(first)) = (good, first_bad.first()) {
        return Err(Error::NoHash { bad, first: first.clone() });
    }
    let list = List::new(hashes).map_err(|TooMany| too_large())?;
    Ok(Contents { list, bytes, good, bad, first_bad })
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::switches) enum Line {
    Hash(InfoHash),
    Comment,
    Blank,
    /// So many digits, and nothing else: fewer than a hash has.
    Digits(usize),
    Other,
}

impl Line {
    pub(in crate::switches) fn of(line: &[u8]) -> Self {
        let text = line.trim_ascii();
        if let Some((digits, rest)) = text.split_at_checked(DIGITS) {
            let ends = rest.first().is_none_or(|byte| byte.is_ascii_punctuation() || byte.is_ascii_whitespace());
            if let (true, Some(hash)) = (ends, InfoHash::from_hex(digits)) {
                return Self::Hash(hash);
            }
        }
        match text {
            [] => Self::Blank,
            [b'#', ..] => Self::Comment,
            _ if text.len() < DIGITS && text.iter().all(u8::is_ascii_hexdigit) => Self::Digits(text.len()),
            _ => Self::Other,
        }
    }
}

impl BadLine {
    pub(in crate::switches) fn new(number: u64, line: &[u8]) -> Self {
        let text = line.trim_ascii();
        let (begins, rest) = text.split_at_checked(DIGITS + 8).unwrap_or((text, &[]));
        let more = if rest.is_empty() { "" } else { "..." };
        Self { number, begins: format!("{}{more}", begins.escape_ascii()) }
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::switches) mod fuzz;
#[cfg(test)]
mod tests;
