//! Reads bencode (BEP 3) as strictly as the strictest client: keys sorted, no leading zeros, nothing after the end.

use crate::harness::tests;

tests![the_reader_refuses_what_strict_clients_refuse];

/// One bencoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
    Dictionary(Vec<(Vec<u8>, Value)>),
}

impl Value {
    /// The value that `bytes` encode, all of them.
    #[track_caller]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::parse(bytes).unwrap_or_else(|| panic!("no bencode: {}", bytes.escape_ascii()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        read(&mut rest).filter(|_| rest.is_empty())
    }

    /// The value of a key; none if the dictionary lacks it.
    #[track_caller]
    pub(crate) fn find(&self, key: impl AsRef<[u8]>) -> Option<&Self> {
        let Self::Dictionary(entries) = self else { panic!("{self:?} is no dictionary") };
        entries.iter().find(|(name, _)| name == key.as_ref()).map(|(_, value)| value)
    }

    /// The keys of a dictionary.
    #[track_caller]
    pub(crate) fn keys(&self) -> Vec<&[u8]> {
        let Self::Dictionary(entries) = self else { panic!("{self:?} is no dictionary") };
        entries.iter().map(|(name, _)| name.as_slice()).collect()
    }

    #[track_caller]
    pub(crate) fn number(&self, key: &str) -> i64 {
        match self.find(key) {
            Some(Self::Number(number)) => *number,
            other => panic!("{key} is {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> &[u8] {
        match self.find(key) {
            Some(Self::Text(text)) => text,
            other => panic!("{key} is {other:?}"),
        }
    }
}

fn read(rest: &mut &[u8]) -> Option<Value> {
    match take(rest)? {
        b'i' => {
            let digits = take_until(rest, b'e')?;
            let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            (number.to_string().as_bytes() == digits).then_some(Value::Number(number))
        }
        b'l' => {
            let mut list = Vec::new();
            while *rest.first()? != b'e' {
                list.push(read(rest)?);
            }
            take(rest)?;
            Some(Value::List(list))
        }
        b'd' => {
            let mut entries: Vec<(Vec<u8>, Value)> = Vec::new();
            while *rest.first()? != b'e' {
                let Value::Text(key) = read(rest)? else { return None };
                if entries.last().is_some_and(|(before, _)| *before >= key) {
                    return None;
                }
                entries.push((key, read(rest)?));
            }
            take(rest)?;
            Some(Value::Dictionary(entries))
        }
        first @ b'0'..=b'9' => {
            let digits = [&[first], take_until(rest, b':')?].concat();
            let len: usize = std::str::from_utf8(&digits).ok()?.parse().ok()?;
            if len.to_string().as_bytes() != digits {
                return None;
            }
            let (text, behind) = rest.split_at_checked(len)?;
            *rest = behind;
            Some(Value::Text(text.to_vec()))
        }
        _ => None,
    }
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    Some(*first)
}

fn take_until<'a>(rest: &mut &'a [u8], mark: u8) -> Option<&'a [u8]> {
    let at = rest.iter().position(|&byte| byte == mark)?;
    let (before, behind) = (&rest[..at], &rest[at + 1..]);
    *rest = behind;
    Some(before)
}

fn the_reader_refuses_what_strict_clients_refuse() {
    let value = Value::of(b"d1:ai-5e2:bbl0:4:spamee");
    assert_eq!(value.number("a"), -5);
    assert_eq!(value.find("bb"), Some(&Value::List(vec![Value::Text(vec![]), Value::Text(b"spam".to_vec())])));
    for wrong in ["", "i05e", "i-0e", "ie", "05:spam", "5:spam", "d1:bi1e1:ai1ee", "di1ei1ee", "i1ei2e", "l", "d1:a"] {
        assert_eq!(Value::parse(wrong.as_bytes()), None, "{wrong}");
    }
}
