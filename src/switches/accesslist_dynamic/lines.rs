//! What comes through a FIFO: bytes that somebody else has cut into pieces, and lines.
//!
//! A line means what it means in the file of a list. However long it is, a bounded number of its bytes is kept.

use crate::tracker::InfoHash;

use super::super::access_list::file::{BadLine, Line, MAX_LINE};

/// Bytes of a line that are looked at.
const MAX_KEPT: usize = MAX_LINE;

/// The lines of a stream.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// Whether more of it has come than is kept.
    is_long: bool,
    /// How many lines have ended.
    number: u64,
}

/// What came in a piece of the stream.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// The hashes, in their order.
    pub(super) hashes: Vec<InfoHash>,
    /// Lines that are neither hashes nor comments nor blank.
    pub(super) bad: u64,
    /// The first of those.
    pub(super) first_bad: Option<BadLine>,
}

impl Lines {
    /// Takes the next bytes. Returns what is in the lines that end in them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Piece {
        let mut piece = Piece::default();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_KEPT.saturating_sub(self.begun.len());
            let (kept, dropped) = part.split_at_checked(room).unwrap_or((part, &[]));
            self.begun.extend_from_slice(kept);
            self.is_long |= !dropped.is_empty();
            if part.ends_with(b"\n") {
                self.number += 1;
                self.end_line(&mut piece);
                self.begun.clear();
                self.is_long = false;
            }
        }
        piece
    }

    fn end_line(&self, piece: &mut Piece) {
        match Line::of(&self.begun) {
            Line::Hash(hash) => piece.hashes.push(hash),
            Line::Comment => {}
            Line::Blank if !self.is_long => {}
            Line::Blank | Line::Digits(_) | Line::Other => {
                piece.bad += 1;
                piece.first_bad.get_or_insert_with(|| BadLine::new(self.number, &self.begun));
            }
        }
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::switches) mod fuzz {
    //! Any stream, in any pieces.

    use super::*;

    /// Takes pieces whose lengths the first bytes say, and then the same at once: both give the same. The lines are
    /// those of a file.
    pub(in crate::switches) fn any_lines(bytes: &[u8]) {
        let (lengths, stream) = bytes.split_at(bytes.len().min(8));
        let (mut hashes, mut bad, mut first_bad) = (Vec::new(), 0, None);
        let (mut lines, mut rest, mut turn) = (Lines::default(), stream, 0);
        while !rest.is_empty() {
            let len = lengths.get(turn % 8).map_or(1, |len| usize::from(*len) + 1);
            let (piece, tail) = rest.split_at(len.min(rest.len()));
            let taken = lines.take(piece);
            assert!(lines.begun.len() <= MAX_KEPT && !lines.begun.contains(&b'\n'));
            hashes.extend(taken.hashes);
            bad += taken.bad;
            first_bad = first_bad.or(taken.first_bad);
            (rest, turn) = (tail, turn + 1);
        }
        let whole = Lines::default().take(stream);
        assert_eq!((&hashes, bad, &first_bad), (&whole.hashes, whole.bad, &whole.first_bad));
        assert!(first_bad.iter().all(|line| !line.to_string().contains(char::is_control)));

        let ended = stream.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |last| &stream[..last]);
        let mut expected = (Vec::new(), 0);
        for line in ended.split(|byte| *byte == b'\n').filter(|_| stream.contains(&b'\n')) {
            let line = line.get(..MAX_KEPT).unwrap_or(line);
            let trimmed = line.trim_ascii();
            match Line::of(line) {
                Line::Hash(hash) => {
                    assert_eq!(trimmed[..40].to_ascii_uppercase(), hash.to_string().into_bytes());
                    expected.0.push(hash);
                }
                Line::Comment => assert!(trimmed.starts_with(b"#")),
                // One of nothing but white space is good if it ends.
                Line::Blank if line.len() < MAX_KEPT => {}
                Line::Blank => return,
                Line::Digits(_) | Line::Other => expected.1 += 1,
            }
        }
        assert_eq!((hashes, bad), expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(n: u8) -> String {
        format!("{}\n", InfoHash([n; 20]))
    }

    #[test]
    fn lines_are_whole_wherever_the_stream_is_cut() {
        let text = format!("{}# a comment\n\n nonsense\n  {}{}", hex(1), hex(0xab).to_lowercase(), hex(3));
        for len in 1..text.len() {
            let mut lines = Lines::default();
            let (mut hashes, mut bad) = (Vec::new(), 0);
            for piece in text.as_bytes().chunks(len) {
                let piece = lines.take(piece);
                hashes.extend(piece.hashes);
                bad += piece.bad;
                if let Some(line) = piece.first_bad {
                    assert!(
                        line.to_string().starts_with("line 4 is not") && line.to_string().ends_with("\"nonsense\"")
                    );
                }
            }
            assert_eq!((hashes, bad), (vec![InfoHash([1; 20]), InfoHash([0xab; 20]), InfoHash([3; 20])], 1), "{len}");
        }
    }

    #[test]
    fn half_a_line_waits_and_an_endless_one_takes_no_memory() {
        let mut lines = Lines::default();
        let (half, rest) = (&hex(7)[..20], &hex(7)[20..]);
        assert!(lines.take(half.as_bytes()).hashes.is_empty());
        assert_eq!(lines.take(rest.as_bytes()).hashes, [InfoHash([7; 20])]);
        for _ in 0..1000 {
            assert_eq!(lines.take(&[b'a'; 1000]).bad, 0);
        }
        assert!(lines.begun.capacity() <= 2 * MAX_KEPT);
        let piece = lines.take(format!("\n{}", hex(8)).as_bytes());
        assert_eq!((piece.bad, piece.hashes), (1, vec![InfoHash([8; 20])]));
        assert_eq!(lines.take(format!("{}\n", " ".repeat(300)).as_bytes()).bad, 1, "what is behind is not known");
    }
}
