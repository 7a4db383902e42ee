//! Any access list: what is read of it is what the manual says of each of its lines.

use std::collections::BTreeSet;

use super::{Error, InfoHash, MAX_LINE, parse};

/// Reads the bytes as a file.
pub(in crate::switches) fn any_list(bytes: &[u8]) {
    let read = parse(bytes, bytes.len() as u64);
    // A file that grows or shrinks meanwhile is none.
    assert!(!matches!(parse(bytes, bytes.len() as u64 + 1), Ok(_) | Err(Error::Unreadable(_))));
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let ends_cut = !text.ends_with(b"\n");
    let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    // What stands behind the bytes that are looked at has no say; the model is not to know it.
    if lines.iter().any(|line| line.len() + 4 >= MAX_LINE) {
        return;
    }
    let (mut hashes, mut good, mut bad) = (BTreeSet::new(), 0, 0);
    for (n, line) in lines.iter().enumerate() {
        match line.trim_ascii() {
            [] | [b'#', ..] => {}
            line => match hash_of(line) {
                Some(hash) => {
                    hashes.insert(hash);
                    good += 1;
                }
                None => {
                    let digits = line.len() < 40 && line.iter().all(u8::is_ascii_hexdigit);
                    if digits && ends_cut && n + 1 == lines.len() {
                        assert!(matches!(read, Err(Error::Cut { number, digits: there })
                            if number == n as u64 + 1 && there == line.len()));
                        return;
                    }
                    bad += 1;
                }
            },
        }
    }
    match read {
        Ok(contents) => {
            assert_eq!((contents.good, contents.bad, contents.bytes), (good, bad, bytes.len() as u64));
            assert_eq!(contents.list.len(), hashes.len());
            for hash in hashes {
                assert!(contents.list.contains(&hash));
                let mut other = hash;
                other.0[19] ^= 1;
                assert_eq!(contents.list.contains(&other), contents_have(bytes, other));
            }
            assert!(contents.first_bad.iter().all(|line| !line.to_string().contains(char::is_control)));
        }
        Err(Error::NoHash { bad: found, .. }) => assert_eq!((found, good), (bad, 0)),
        Err(error) => panic!("{error}"),
    }
}

/// Returns whether some line names this hash, by its digits alone.
fn contents_have(bytes: &[u8], hash: InfoHash) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.split(|&byte| byte == b'\n').any(|line| hash_of(line.trim_ascii()) == Some(hash))
}

/// Reads 40 digits with no letter or digit behind them, digit by digit.
fn hash_of(line: &[u8]) -> Option<InfoHash> {
    let (digits, rest) = line.split_at_checked(40)?;
    let digits: Option<Vec<_>> = digits.iter().map(|&digit| char::from(digit).to_digit(16)).collect();
    let ends = rest.first().is_none_or(|&byte| {
        byte.is_ascii()
            && !byte.is_ascii_alphanumeric()
            && (byte == 9 || byte == 12 || byte == 13 || (byte >= 32 && byte != 127))
    });
    let digits = digits.filter(|_| ends)?;
    let bytes: Vec<_> = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
    Some(InfoHash(bytes.try_into().ok()?))
}
