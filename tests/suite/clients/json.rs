//! A reader of JSON (RFC 8259) that takes nothing else.

use std::collections::BTreeMap;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads a whole document.
    #[track_caller]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        let mut rest = text.trim_ascii();
        let value = read(&mut rest).unwrap_or_else(|| panic!("no JSON before {rest:?} in {text}"));
        assert_eq!(rest, "", "behind the document {text}");
        value
    }

    /// What stands at this path of names, with dots between them.
    #[track_caller]
    pub(crate) fn at(&self, path: &str) -> &Self {
        path.split('.').fold(self, |value, name| match value {
            Self::Object(members) => members.get(name).unwrap_or_else(|| panic!("no {name} of {path} in {value:?}")),
            other => panic!("{name} of {path} in {other:?}"),
        })
    }

    #[track_caller]
    pub(crate) fn number(&self, path: &str) -> f64 {
        let Self::Number(number) = self.at(path) else { panic!("{path} in {self:?}") };
        *number
    }

    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> &str {
        let Self::Text(text) = self.at(path) else { panic!("{path} in {self:?}") };
        text
    }

    #[track_caller]
    pub(crate) fn list(&self, path: &str) -> &[Self] {
        let Self::List(list) = self.at(path) else { panic!("{path} in {self:?}") };
        list
    }

    /// The names at this path, sorted.
    #[track_caller]
    pub(crate) fn names(&self, path: &str) -> Vec<&str> {
        let Self::Object(members) = self.at(path) else { panic!("{path} in {self:?}") };
        members.keys().map(String::as_str).collect()
    }
}

/// Reads a value, and takes it off the rest; none if it is no JSON.
fn read(rest: &mut &str) -> Option<Json> {
    *rest = rest.trim_ascii_start();
    for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
        if take(rest, word) {
            return Some(value);
        }
    }
    match rest.chars().next()? {
        '"' => text(rest).map(Json::Text),
        '[' => {
            let mut list = Vec::new();
            members(rest, "[", "]", |rest| read(rest).map(|value| list.push(value)))?;
            Some(Json::List(list))
        }
        '{' => {
            let mut object = BTreeMap::new();
            members(rest, "{", "}", |rest| {
                *rest = rest.trim_ascii_start();
                let name = text(rest)?;
                *rest = rest.trim_ascii_start();
                let value = take(rest, ":").then(|| read(rest))??;
                object.insert(name, value).is_none().then_some(())
            })?;
            Some(Json::Object(object))
        }
        _ => {
            let len = rest.find(|char: char| !char.is_ascii_digit() && !"-.eE+".contains(char)).unwrap_or(rest.len());
            let (number, behind) = rest.split_at(len);
            let unsigned = number.strip_prefix('-').unwrap_or(number);
            let is_plain = unsigned.starts_with(|char: char| char.is_ascii_digit())
                && (!unsigned.starts_with('0') || unsigned == "0" || unsigned.starts_with("0."))
                && !number.ends_with('.');
            *rest = behind;
            number.parse().ok().filter(|_| is_plain).map(Json::Number)
        }
    }
}

fn take(rest: &mut &str, word: &str) -> bool {
    let behind = rest.strip_prefix(word);
    *rest = behind.unwrap_or(rest);
    behind.is_some()
}

/// Reads what stands between two brackets, with commas between.
fn members(rest: &mut &str, begin: &str, end: &str, mut one: impl FnMut(&mut &str) -> Option<()>) -> Option<()> {
    take(rest, begin).then_some(())?;
    *rest = rest.trim_ascii_start();
    if take(rest, end) {
        return Some(());
    }
    loop {
        one(rest)?;
        *rest = rest.trim_ascii_start();
        if take(rest, end) {
            return Some(());
        }
        take(rest, ",").then_some(())?;
    }
}

fn text(rest: &mut &str) -> Option<String> {
    take(rest, "\"").then_some(())?;
    let mut text = String::new();
    loop {
        let char = rest.chars().next()?;
        *rest = &rest[char.len_utf8()..];
        match char {
            '"' => return Some(text),
            '\\' => {
                let escape = rest.chars().next()?;
                *rest = &rest[escape.len_utf8()..];
                text.push(match escape {
                    'u' => {
                        let code = u32::from_str_radix(rest.get(..4)?, 16).ok()?;
                        *rest = &rest[4..];
                        char::from_u32(code)?
                    }
                    'n' => '\n',
                    't' => '\t',
                    '"' | '\\' | '/' => escape,
                    _ => return None,
                });
            }
            '\0'..='\x1f' => return None,
            other => text.push(other),
        }
    }
}
