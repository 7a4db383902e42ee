//! What a row of the table says about its key. Parser, `--help` and the sample file all read it here.

use super::super::build::BuildFacts;
use super::super::error::{More, Problem};
use super::super::settings::Settings;
use super::super::value::{Value, ValueError, ValueReader};
use super::value_type::ValueType;

/// The keys of one TOML table, in the order of the documents.
pub(crate) struct Section {
    /// The name of the table, with dots.
    pub(crate) name: &'static str,
    /// What holds for all of its keys, in whole sentences; may be empty.
    pub(crate) note: &'static str,
    pub(crate) keys: &'static [KeySpec],
}

/// One row: every fact about a key. Nothing here may be said again elsewhere.
pub(crate) struct KeySpec {
    /// The whole name, with dots; it begins with that of the section.
    pub(crate) name: &'static str,
    /// The original's spelling where it differs; both spellings are understood everywhere.
    pub(crate) original: Option<&'static str>,
    /// The type of the value, and where it goes.
    pub(crate) takes: ValueType,
    pub(crate) default: DefaultValue,
    /// A value other than the default, as TOML writes it.
    pub(crate) example: &'static str,
    /// A phrase without a full stop; the help of an option that sets the key consists of it.
    pub(crate) summary: &'static str,
    /// What is to be known besides the other columns, in whole sentences; may be empty.
    pub(crate) explanation: &'static str,
    pub(crate) reload: Reload,
    /// Features of which any one brings the key; empty: every build has it.
    pub(crate) needs: &'static [&'static str],
}

/// What holds while a key is not given.
pub(crate) enum DefaultValue {
    /// This value, as TOML writes it, and what it means unless that is plain.
    Value(&'static str, Option<&'static str>),
    /// No value; these words tell what holds then. The default of a list is the empty list, unless that means
    /// something else ([`ValueType::empty_list`]).
    Absent(&'static str),
}

/// What SIGHUP does with a key. The configuration itself is read at the start only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    /// Nothing: a changed value takes a restart.
    NotRead,
    /// The file that the value names is read again.
    ReadAgain,
}

impl KeySpec {
    /// Puts one value into the settings, if this build has the key. A list grows by the value.
    pub(in super::super) fn set(
        &self,
        settings: &mut Settings,
        value: &Value<'_>,
        build: &BuildFacts<'_>,
    ) -> Result<(), Problem> {
        build.require(self.needs)?;
        if matches!(value, Value::Nothing) {
            return Err(Problem::NoValue { expected: self.takes.expects() });
        }
        self.takes.put(settings, ValueReader { value, build }).map_err(|error| match error {
            ValueError::Malformed => self.malformed(value, build),
            ValueError::NotInThisBuild(problem) => problem,
        })
    }

    /// Returns what is wrong with a value that the key does not take: its form, or that there are several of them.
    fn malformed(&self, value: &Value<'_>, build: &BuildFacts<'_>) -> Problem {
        let (expected, found) = (self.takes.expects(), value.in_words());
        let takes = |value: &Value<'_>| {
            let taken = self.takes.put(&mut Settings::default(), ValueReader { value, build });
            !matches!(taken, Err(ValueError::Malformed))
        };
        if !value.first_of_several().is_some_and(|first| takes(&first)) {
            return Problem::Unexpected { expected, found };
        }
        let more = match value {
            _ if !self.takes.is_list() => More::Never,
            Value::Text(_) => More::List,
            _ => More::Again,
        };
        Problem::Several { expected, found, more }
    }

    /// Returns the name and the original's spelling.
    pub(super) fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.name), self.original].into_iter().flatten()
    }
}

impl DefaultValue {
    /// Returns the words for "[default: ...]".
    pub(crate) fn in_words(&self) -> String {
        match *self {
            Self::Value(value, meaning) => {
                let value = value.trim_matches('"');
                meaning.map_or_else(|| value.to_owned(), |meaning| format!("{value} ({meaning})"))
            }
            Self::Absent(words) => words.to_owned(),
        }
    }
}
