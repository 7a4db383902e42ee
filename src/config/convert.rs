//! From the original's syntax to TOML, which means the same: for operators who move over.

use std::path::Path;

use super::build::BuildFacts;
use super::error::{ConfigError, Fault, Problem};
use super::file::{self, key_of, read_file};
use super::keys::{self, KeySpec, ValueType};
use super::settings::Settings;
use super::value::{Entry, without_comment};
use super::{classic, toml};

/// A file of the original, written as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The same settings, and the comments where they stood, as far as there is a place for them.
    pub toml: String,
    /// What is left out, because it is no key or its value is not what the key takes, in the order of the file. Each
    /// such line is in the text, as a comment.
    pub left_out: Vec<ConfigError>,
}

/// A piece of the text that is written, in the order in which it is.
enum Piece<'a> {
    /// What is none: comments, and lines that nothing stands on.
    Between(Vec<String>),
    Key {
        row: &'static KeySpec,
        /// One, unless the key is a list.
        values: Vec<Given<'a>>,
    },
}

/// A value, and what is said of it.
struct Given<'a> {
    /// The lines right above it.
    above: Vec<String>,
    literal: String,
    /// A comment on its line, with its `#`.
    behind: &'a str,
    /// The line, for a value that another one further down replaces.
    line: &'a str,
}

/// Converts a file in the original's syntax. Keys that this build lacks are converted as well, with a comment.
///
/// # Errors
///
/// A file that cannot be read, that is no text, or that is written in TOML.
pub fn convert_file(path: &Path, build: &BuildFacts<'_>) -> Result<Conversion, ConfigError> {
    let converted = read_file(path).and_then(|bytes| convert(&bytes, build));
    let (toml, faults) = converted.map_err(|fault| fault.in_file(path))?;
    Ok(Conversion { toml, left_out: faults.into_iter().map(|fault| fault.in_file(path)).collect() })
}

/// Does what [`convert_file`] does with a file that was read already.
pub(super) fn convert(bytes: &[u8], build: &BuildFacts<'_>) -> Result<(String, Vec<Fault>), Fault> {
    let text = file::text(bytes)?;
    if !classic::is_written_in(text) {
        // Blanks and comments alone are both.
        toml::entries(text)?;
        return Err(Fault::of_file(Problem::TomlAlready));
    }
    let (pieces, faults) = pieces(text);
    let lines: Vec<_> = pieces.iter().flat_map(|piece| piece.lines(build)).collect();
    Ok((lines.join("\n") + "\n", faults))
}

/// Returns what the lines of a file become.
fn pieces(text: &str) -> (Vec<Piece<'_>>, Vec<Fault>) {
    let (mut pieces, mut faults) = (Vec::new(), Vec::new());
    let mut above = Vec::new();
    let mut entries = classic::entries(text).into_iter().peekable();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let Some(entry) = entries.next_if(|entry| entry.line == number) else {
            above.push(comment(line));
            if line.is_empty() {
                pieces.push(Piece::Between(std::mem::take(&mut above)));
            }
            continue;
        };
        let (_, value) = classic::split(line);
        match read(&entry, value) {
            Ok((row, literal, behind)) => {
                let given = Given { above: std::mem::take(&mut above), literal, behind, line };
                add(&mut pieces, row, given);
            }
            Err(problem) => {
                above.push(comment(&format!("# Left out: {line}")));
                pieces.push(Piece::Between(std::mem::take(&mut above)));
                faults.push(Fault { line: Some(number), key: Some(entry.key), problem });
            }
        }
    }
    pieces.push(Piece::Between(above));
    (pieces, faults)
}

/// Adds a value to those of its list. Any other takes the place of the one before, as where such a file is read.
fn add<'a>(pieces: &mut Vec<Piece<'a>>, row: &'static KeySpec, given: Given<'a>) {
    let is_same = |piece: &&mut Piece<'_>| matches!(piece, Piece::Key { row: other, .. } if other.name == row.name);
    match pieces.iter_mut().find(is_same) {
        Some(Piece::Key { values, .. }) if row.takes.is_list() => return values.push(given),
        Some(before) => before.become_comments(),
        None => {}
    }
    pieces.push(Piece::Key { row, values: vec![given] });
}

/// Returns the key of an entry, its value in TOML, and the comment behind it.
fn read<'a>(entry: &Entry<'_>, value: &'a str) -> Result<(&'static KeySpec, String, &'a str), Problem> {
    let row = key_of(entry)?;
    let features: Vec<_> = keys::all().flat_map(|key| key.needs).copied().collect();
    // Whatever the build has: a value is what its key takes, or it is not.
    let any_build = BuildFacts { features: &features, ipv4: true, ipv6: true, check: |_| Ok(()) };
    row.set(&mut Settings::default(), &entry.value, &any_build)?;
    let word = without_comment(value);
    let behind = value.strip_prefix(word).unwrap_or_default().trim();
    let as_number = || word.parse::<u64>().ok().map(|number| number.to_string());
    let as_flag = || word.parse::<bool>().ok().map(|flag| flag.to_string());
    let plain = match row.takes {
        ValueType::Number { .. } | ValueType::NumberOrWord { .. } => as_number(),
        ValueType::Flag(_) | ValueType::FlagOrWord { .. } | ValueType::FlagOrSocket { .. } => as_flag(),
        _ => None,
    };
    Ok(match (plain, &row.takes) {
        (Some(plain), _) => (row, plain, behind),
        // They go to the end of the line.
        (None, ValueType::Path { .. } | ValueType::Text { .. } | ValueType::FlagOrSocket { .. }) => {
            (row, string(value), "")
        }
        (None, _) => (row, string(word), behind),
    })
}

impl Piece<'_> {
    /// Makes comments of it, as a value further down counts.
    fn become_comments(&mut self) {
        let Self::Key { values, .. } = self else { return };
        let lines = std::mem::take(values).into_iter().flat_map(|given| {
            let replaced = comment(&format!("# Given again further down: {}", given.line));
            given.above.into_iter().chain([replaced])
        });
        *self = Self::Between(lines.collect());
    }

    fn lines(&self, build: &BuildFacts<'_>) -> Vec<String> {
        let (row, values) = match self {
            Self::Between(lines) => return lines.clone(),
            Self::Key { row, values } => (row, values),
        };
        let mut lines = values.first().map(|given| given.above.clone()).unwrap_or_default();
        if build.require(row.needs).is_err() {
            lines.push(format!("# Needs a build with the feature {}.", row.needs.join(" or ")));
        }
        match values.as_slice() {
            [one] if row.takes.is_list() => lines.push(one.behind(&format!("{} = [{}]", row.name, one.literal))),
            [one] => lines.push(one.behind(&format!("{} = {}", row.name, one.literal))),
            several => {
                lines.push(format!("{} = [", row.name));
                for (number, given) in several.iter().enumerate() {
                    let above = given.above.iter().filter(|_| number > 0);
                    lines.extend(above.map(|line| format!("    {line}")));
                    lines.push(given.behind(&format!("    {},", given.literal)));
                }
                lines.push("]".into());
            }
        }
        lines
    }
}

impl Given<'_> {
    /// Returns the line of the value, with the comment behind it.
    fn behind(&self, line: &str) -> String {
        if self.behind.is_empty() { line.to_owned() } else { format!("{line} {}", comment(self.behind)) }
    }
}

/// Returns a comment as TOML has it: without control characters.
fn comment(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}")
}

/// Returns a string as TOML writes it.
fn string(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.into(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::apply_bytes;

    fn converted(text: &str, features: &[&str]) -> (String, Vec<String>) {
        let (toml, faults) = convert(text.as_bytes(), &BuildFacts::with_features(features)).unwrap();
        let path = Path::new("old");
        (toml, faults.into_iter().map(|fault| fault.in_file(path).to_string()).collect())
    }

    #[test]
    fn comments_and_order_stay() {
        let old = "# opentracker config file
#

# I)   Address opentracker will listen on
#      (two of them)
listen.tcp_udp 0.0.0.0
# the other one
listen.tcp_udp 192.0.2.1:1337   # for v4

# II)  Lists
access.whitelist /etc/opentracker/white \"list\" # 1
# access.blacklist ./blacklist
listen.udp.workers 04 # threads
access.stats 192.0.2.19
tracker.redirect_url https://example.org/#top
# the end
";
        let expected = "# opentracker config file
#

# I)   Address opentracker will listen on
#      (two of them)
listen.tcp_udp = [
    \"0.0.0.0\",
    # the other one
    \"192.0.2.1:1337\", # for v4
]

# II)  Lists
# Needs a build with the feature accesslist-white.
access.whitelist = \"/etc/opentracker/white \\\"list\\\" # 1\"
# access.blacklist ./blacklist
listen.udp_workers = 4 # threads
access.stats = [\"192.0.2.19\"]
tracker.redirect_url = \"https://example.org/#top\"
# the end
";
        assert_eq!(converted(old, &["restrict-stats"]), (expected.into(), Vec::new()));
    }

    #[test]
    fn what_is_given_again_counts_where_it_stands_last() {
        let old = "# first\ntracker.user a\ntracker.rootdir /x\n# second\ntracker.user b\n";
        let expected = "# first\n# Given again further down: tracker.user a\ntracker.rootdir = \"/x\"\n# second\ntracker.user = \"b\"\n";
        assert_eq!(converted(old, &[]), (expected.into(), Vec::new()));
    }

    #[test]
    fn what_has_no_counterpart_is_named_and_stays_as_a_comment() {
        let old = "tracker.user a\n# who\nbatchsync.cluster.admin_ip 192.0.2.1\nlisten.tcp here\nnonsense\ntracker.rootdir\n\
             tracker.rootdir = '/x'\n[tracker]\n";
        let (toml, faults) = converted(old, &[]);
        let expected = "tracker.user = \"a\"
# who
# Left out: batchsync.cluster.admin_ip 192.0.2.1
# Left out: listen.tcp here
# Left out: nonsense
# Left out: tracker.rootdir
# Left out: tracker.rootdir = '/x'
# Left out: [tracker]
";
        assert_eq!(toml, expected);
        let [batch, listen, nonsense, rootdir, toml, table] = &*faults else { panic!("{faults:?}") };
        assert!(batch.contains("batchsync.cluster.admin_ip (line 3) is known to this build, which does not offer it"));
        assert!(listen.contains("listen.tcp (line 4) takes an address"), "{listen}");
        assert!(nonsense.contains("nonsense (line 5) is not a key"), "{nonsense}");
        assert!(rootdir.contains("tracker.rootdir (line 6) has no value"), "{rootdir}");
        assert!(toml.contains("tracker.rootdir (line 7) is written as in TOML"), "{toml}");
        assert!(table.contains("[tracker] (line 8) is written as in TOML"), "{table}");
    }

    #[test]
    fn toml_is_not_converted() {
        for text in ["tracker.user = 'a'", "[tracker]\nuser = 'a'", "# nothing", ""] {
            let fault = convert(text.as_bytes(), &BuildFacts::with_features(&[])).unwrap_err();
            assert_eq!(fault.in_file(Path::new("f")).to_string(), "f is written in TOML already");
        }
        let fault = convert(b"user 'a' = [", &BuildFacts::with_features(&[])).map(|(toml, _)| toml);
        assert_eq!(fault.unwrap(), "# Left out: user 'a' = [\n");
    }

    #[test]
    fn every_key_is_converted() {
        for key in keys::all() {
            let example = key.example.trim_matches(['[', ']', '"', '\'']);
            let mut first = example.split(',').next().unwrap_or_default().trim_matches(['"', '\'']).to_owned();
            if first.starts_with(|c: char| c.is_ascii_digit()) {
                // Between digits, which only TOML has.
                first = first.replace('_', "");
            }
            for name in [Some(key.name), key.original].into_iter().flatten() {
                crate::config::fuzz::any_file(format!("{name} {first} # why\n").as_bytes());
                let (toml, faults) = converted(&format!("{name} {first}"), &[]);
                assert!(faults.is_empty() && toml.contains(&format!("{} = ", key.name)), "{faults:?}\n{toml}");
            }
        }
    }

    #[test]
    fn what_is_written_means_the_same() {
        let old = "\u{feff}tracker.user a\r\n\tlisten.tcp [::1]:80\r\n# \u{7}\u{b}bell\r\naccess.stats ::ffff:192.0.2.1\r\n\
                   tracker.rootdir /a\tb\\c\u{1}\"\r\n listen.tcp 1.2.3.4\r\naccess.stats 10.0.0.0/8 # all\r\n";
        let build = BuildFacts::with_features(&["dual-stack", "restrict-stats"]);
        let read = |text: &str| {
            let mut settings = Settings::default();
            apply_bytes(&mut settings, Path::new("f"), text.as_bytes(), &build).unwrap();
            settings
        };
        let (toml, faults) = convert(old.as_bytes(), &build).unwrap();
        assert!(faults.is_empty() && !toml.contains('\r') && toml.contains("# \u{fffd}\u{fffd}bell"), "{toml}");
        assert_eq!(read(&toml), read(old));
    }
}
