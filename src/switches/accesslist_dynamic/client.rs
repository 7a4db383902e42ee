//! `opentracker --control SOCKET COMMAND...`: says a command to a tracker that runs, and prints its answer.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::tracker::InfoHash;

use super::super::access_list::file::{BadLine, Line};
use super::command::{Command, MAX_COMMAND, hash};

/// What stands for the hashes of the standard input, one a line.
const STANDARD_INPUT: &str = "-";

/// Hashes that are said in one command.
const CHUNK: usize = (MAX_COMMAND - "delete".len()) / (2 * InfoHash::LEN + 1);

/// How long the tracker may take to answer: longer than to read a long list again.
const PATIENCE: Duration = Duration::from_secs(90);

/// The tracker refuses, or cannot be asked.
const FAILED: u8 = 1;
/// There is no such command.
const WRONG_CALL: u8 = 2;

/// Why there is no answer to be printed.
#[derive(Debug)]
struct Failure {
    text: String,
    code: u8,
}

fn failed(text: impl ToString) -> Failure {
    Failure { text: text.to_string(), code: FAILED }
}

/// Says these words to the tracker whose socket this is. Returns the exit code.
pub(in crate::switches) fn say(socket: &Path, words: &[OsString]) -> u8 {
    let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
    match ask(socket, &words) {
        Ok(answer) => {
            // Whoever reads may have enough.
            let _ = writeln!(io::stdout(), "{answer}");
            0
        }
        Err(Failure { text, code }) => {
            let _ = writeln!(io::stderr(), "opentracker: --control: {text}");
            code
        }
    }
}

fn ask(socket: &Path, words: &[&[u8]]) -> Result<String, Failure> {
    let (name, hashes) = words.split_first().ok_or_else(|| wrong("there is no command".into()))?;
    let is_change = [&b"add"[..], b"delete"].contains(name);
    let reads_input = hashes.contains(&STANDARD_INPUT.as_bytes());
    if reads_input && (!is_change || hashes.len() > 1) {
        return Err(wrong("- is what add or delete take instead of info hashes".into()));
    }
    if !reads_input {
        Command::parse(&words.join(&b' ')).map_err(wrong)?;
    }
    let mut tracker = Tracker::connect(socket)?;
    if !is_change {
        return tracker.ask(&words.join(&b' '));
    }
    let mut changes = Changes { tracker, name: name.to_vec(), waiting: Vec::new(), changed: 0 };
    if reads_input {
        for (number, line) in (1..).zip(io::stdin().lock().split(b'\n')) {
            let line = line.map_err(|error| changes.failed(&format!("cannot read the standard input: {error}")))?;
            match Line::of(&line) {
                Line::Hash(hash) => changes.add(hash)?,
                Line::Comment | Line::Blank => {}
                Line::Digits(_) | Line::Other => return Err(changes.failed(&BadLine::new(number, &line).to_string())),
            }
        }
    } else {
        for word in hashes {
            changes.add(hash(word).map_err(wrong)?)?;
        }
    }
    changes.say()?;
    Ok(changes.changed.to_string())
}

fn wrong(text: String) -> Failure {
    Failure { text, code: WRONG_CALL }
}

/// Changes that are said some at a time.
struct Changes {
    tracker: Tracker,
    name: Vec<u8>,
    waiting: Vec<InfoHash>,
    /// How many torrents have changed so far.
    changed: u64,
}

impl Changes {
    fn add(&mut self, hash: InfoHash) -> Result<(), Failure> {
        self.waiting.push(hash);
        if self.waiting.len() < CHUNK { Ok(()) } else { self.say() }
    }

    fn say(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut line = self.name.clone();
        for hash in self.waiting.drain(..) {
            let _ = write!(line, " {hash}");
        }
        let answer = self.tracker.ask(&line).map_err(|failure| self.failed(&failure.text))?;
        self.changed += answer.parse::<u64>().map_err(|_| self.failed("the answer makes no sense"))?;
        Ok(())
    }

    /// Returns a failure that also says what has been done before.
    fn failed(&self, text: &str) -> Failure {
        match self.changed {
            0 => failed(text),
            changed => failed(format!("{text} (before that, {changed} were changed)")),
        }
    }
}

struct Tracker {
    socket: BufReader<UnixStream>,
}

impl Tracker {
    fn connect(path: &Path) -> Result<Self, Failure> {
        let connected = UnixStream::connect(path).and_then(|socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        let socket = connected.map_err(|error| failed(format!("cannot connect to {}: {error}", path.display())))?;
        Ok(Self { socket: BufReader::new(socket) })
    }

    /// Says a command. Returns what `ok` says after that.
    fn ask(&mut self, command: &[u8]) -> Result<String, Failure> {
        let mut answer = String::new();
        let said = self.socket.get_ref().write_all(&[command, b"\n"].concat());
        said.and_then(|()| self.socket.read_line(&mut answer)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => failed(format!("no answer within {} s", PATIENCE.as_secs())),
            _ => failed(format!("no answer: {error}")),
        })?;
        match answer.trim_end().split_once(' ') {
            Some(("ok", value)) => Ok(value.to_owned()),
            Some(("error", text)) => Err(failed(text)),
            _ => Err(failed("the tracker has closed the connection; what was said last may have been done")),
        }
    }
}
