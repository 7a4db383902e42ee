//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// Whatever an attack is to send, it ends after so long.
const AT_MOST: Duration = Duration::from_secs(1800);

#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) binary: PathBuf,
    /// 1: what is promised; less: a part of it.
    pub(crate) scale: f64,
    pub(crate) at_most: Duration,
    /// The cases to run, by parts of their names; all, if there are none.
    only: Vec<String>,
    /// Whether to run in a control group: both ways if it is not said.
    in_group: Option<bool>,
}

impl Arguments {
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let (binary, at_most) = (PathBuf::new(), AT_MOST);
        let mut arguments = Self { binary, scale: 1.0, at_most, only: Vec::new(), in_group: None };
        while let Some(name) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{name} has no value"));
            match name.as_str() {
                "--binary" => arguments.binary = value()?.into(),
                "--scale" => arguments.scale = number(&value()?, 0.0001, 10.0)?,
                "--seconds" => arguments.at_most = Duration::from_secs_f64(number(&value()?, 1.0, 86_400.0)?),
                "--only" => arguments.only = value()?.split(',').map(Into::into).collect(),
                "--in-group" => arguments.in_group = Some(true),
                "--no-group" => arguments.in_group = Some(false),
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        if arguments.binary.as_os_str().is_empty() { Err("--binary is missing".into()) } else { Ok(arguments) }
    }

    pub(crate) fn wants(&self, case: &str, in_group: bool) -> bool {
        let named = self.only.is_empty() || self.only.iter().any(|part| case.contains(part.as_str()));
        named && self.in_group.is_none_or(|wanted| wanted == in_group)
    }
}

fn number(text: &str, min: f64, max: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("{text} is no number from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn cases_are_chosen_by_parts_of_their_names() {
        let arguments = parse("--binary x --only silent,peers --no-group").unwrap();
        assert!(arguments.wants("silent connections", false) && arguments.wants("peers", false));
        assert!(!arguments.wants("peers", true) && !arguments.wants("torrents", false));
        assert!(parse("--binary x").unwrap().wants("peers", true));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, error) in
            [("", "--binary"), ("--binary x --scale 11", "11"), ("--what", "--what"), ("--only", "--only")]
        {
            assert!(parse(line).unwrap_err().contains(error), "{line}");
        }
    }
}
