//! Standard error, as whoever reads it wants lines.

use std::env;
use std::fs::File;
use std::io::{self, Stderr, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use super::delivery::Delivery;
use super::destination::Destination;
use super::parsed_line::ParsedLine;

/// What systemd sets where standard output or standard error is a stream to the journal: the device and the inode of
/// that (systemd.exec(5)). A child whose standard error goes elsewhere has it, too.
const VARIABLE: &str = "JOURNAL_STREAM";

/// Returns standard error. If the journal reads it, lines have a priority and no time there, as the journal knows that.
#[must_use]
pub fn standard_error() -> Box<dyn Destination> {
    let is_journal = env::var(VARIABLE).is_ok_and(|named| inode().is_ok_and(|own| own == named));
    if is_journal { Box::new(JournalStream::new(io::stderr())) } else { Box::new(io::stderr()) }
}

/// Returns device and inode of standard error, as the variable has them.
fn inode() -> io::Result<String> {
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let own = file.metadata()?;
    Ok(format!("{}:{}", own.dev(), own.ino()))
}

/// Puts the priority of each line in front of it, `<6>` and so on (sd-daemon(3)), in place of its time and level.
#[derive(Debug)]
struct JournalStream<W = Stderr>(Delivery<W>);

impl<W: Write> JournalStream<W> {
    fn new(stream: W) -> Self {
        Self(Delivery::to(stream))
    }
}

impl<W: Write> Write for JournalStream<W> {
    /// Takes one line. What the journal does not take is counted, and no error.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let len = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        let line = String::from_utf8_lossy(lines.get(..len).unwrap_or_default());
        let ParsedLine { severity, text, .. } = ParsedLine::of(line.trim_end_matches('\n'));
        self.0.write(format!("<{}>{text}\n", severity as u8).as_bytes());
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for JournalStream {
    fn may_wait(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority_and_no_time() {
        let lines = "2026-11-27T07:00:00.5Z  INFO listening on udp 127.0.0.1:6969\n2026-11-27T07:00:00.5Z  WARN  a\n\
                     2026-11-27T07:00:00.5Z ERROR b\n2026-11-27T07:00:00.5Z DEBUG c\n2026-11-27T07:00:00.5Z TRACE d\n\
                     opentracker: cannot start\n  in two lines\n";
        let mut stream = JournalStream::new(Vec::new());
        stream.write_all(lines.as_bytes()).unwrap();
        stream.write_all(b"2026-11-27T07:00:00.5Z  INFO no end").unwrap();
        let written = String::from_utf8(stream.0.into_sink()).unwrap();
        let expected = "<6>listening on udp 127.0.0.1:6969\n<4> a\n<3>b\n<7>c\n<7>d\n<3>opentracker: cannot start\n\
                        <3>  in two lines\n<6>no end\n";
        assert_eq!(written, expected);
    }
}
