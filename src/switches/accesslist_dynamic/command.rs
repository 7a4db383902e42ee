//! The commands at the socket: one a line, and an answer to each on one line.

use std::rc::Rc;

use crate::tracker::InfoHash;

use super::desk::Desk;

/// Maximum number of bytes of a command, without the end of its line.
pub(super) const MAX_COMMAND: usize = 64 << 10;

/// Bytes of a word that an error repeats.
const MAX_QUOTE: usize = 48;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Whether these are to be on the list.
    Change(Vec<InfoHash>, bool),
    Has(InfoHash),
    Reload,
    Count,
    Stats,
}

impl Command {
    /// Reads a line, without its end.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let name = words.next().ok_or("there is no command")?;
        let hashes: Vec<_> = words.map(hash).collect::<Result<_, _>>()?;
        match (name, &hashes[..]) {
            (b"add" | b"delete", []) | (b"has", []) => Err("there is no info hash".into()),
            (b"add", _) => Ok(Self::Change(hashes, true)),
            (b"delete", _) => Ok(Self::Change(hashes, false)),
            (b"has", [hash]) => Ok(Self::Has(*hash)),
            (b"has", _) => Err("has takes one info hash".into()),
            (b"reload" | b"count" | b"stats", [_, ..]) => Err(format!("{} takes no info hash", quoted(name))),
            (b"reload", []) => Ok(Self::Reload),
            (b"count", []) => Ok(Self::Count),
            (b"stats", []) => Ok(Self::Stats),
            _ => Err(format!("there is no command \"{}\": add, delete, has, reload, count, stats", quoted(name))),
        }
    }

    /// Does it, and returns what `ok` says after that.
    ///
    /// # Errors
    ///
    /// What has happened instead.
    pub(super) async fn run(self, desk: &Rc<Desk>) -> Result<String, String> {
        match self {
            Self::Change(hashes, are_to_be_listed) => {
                let asked = hashes.len();
                let outcome = desk.change(hashes.into_iter().map(|hash| (hash, are_to_be_listed)));
                let changed = outcome.changed;
                match outcome.refused {
                    0 => Ok(changed.to_string()),
                    refused => Err(format!(
                        "access.dynamic_max: no room for {refused} of {asked}, {changed} were changed; the list may \
                         differ from its file in {} torrents",
                        desk.max()
                    )),
                }
            }
            Self::Has(hash) => Ok(if desk.has(&hash) { "yes" } else { "no" }.into()),
            Self::Reload => desk.reload().await.map(|torrents| torrents.to_string()),
            Self::Count => Ok(desk.count().to_string()),
            Self::Stats => Ok(desk.stats()),
        }
    }
}

/// Reads one info hash.
///
/// # Errors
///
/// It is none; the text says so.
pub(super) fn hash(word: &[u8]) -> Result<InfoHash, String> {
    InfoHash::from_hex(word).ok_or_else(|| format!("\"{}\" is not an info hash of 40 hexadecimal digits", quoted(word)))
}

fn quoted(word: &[u8]) -> String {
    let (begins, rest) = word.split_at_checked(MAX_QUOTE).unwrap_or((word, &[]));
    format!("{}{}", begins.escape_ascii(), if rest.is_empty() { "" } else { "..." })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_what_is_none_is_named() {
        let one = InfoHash([0xab; 20]);
        let hex = "aB".repeat(20);
        let parse = |text: &str| Command::parse(text.as_bytes());
        assert_eq!(parse(&format!("add {hex}")), Ok(Command::Change(vec![one], true)));
        assert_eq!(parse(&format!(" delete\t{hex}  {hex}\r")), Ok(Command::Change(vec![one, one], false)));
        assert_eq!(parse(&format!("has {hex}")), Ok(Command::Has(one)));
        let plain = ["reload", "count", "stats"].map(parse);
        assert_eq!(plain, [Ok(Command::Reload), Ok(Command::Count), Ok(Command::Stats)]);
        for (text, said) in [
            ("", "there is no command"),
            ("   ", "there is no command"),
            ("add", "there is no info hash"),
            ("has", "there is no info hash"),
            (&format!("has {hex} {hex}"), "has takes one"),
            (&format!("count {hex}"), "count takes no info hash"),
            ("add 00", "\"00\" is not an info hash"),
            (&format!("add {hex}0"), "is not an info hash"),
            ("ADD", "there is no command \"ADD\""),
            ("\u{1b}[2J", "\"\\x1b[2J\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said) && !error.contains(char::is_control), "{text}: {error}");
        }
        assert!(parse(&"x".repeat(MAX_COMMAND)).unwrap_err().len() < 200);
    }
}
