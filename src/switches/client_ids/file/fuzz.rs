//! Any file of client ids: what is read of it is what the manual says of each of its lines.

use super::{Error, MAX_IDS, parse};

/// Reads the bytes as a file.
pub(in crate::switches) fn any_file(bytes: &[u8]) {
    let read = parse(bytes);
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
    let cut = lines.pop().filter(|last| !last.is_empty());
    let meaningful = lines.iter().map(|line| line.trim_ascii()).filter(|line| !matches!(line, [] | [b'#', ..]));
    let (mut ids, mut bad) = (Vec::new(), 0);
    for line in meaningful {
        match bytes_of(line) {
            Some(id) => ids.push(id),
            None => bad += 1,
        }
    }
    match read {
        Ok(contents) => {
            assert!(cut.is_none() && (bad == 0 || !ids.is_empty()) && ids.len() <= MAX_IDS);
            assert_eq!((contents.bad, contents.is_empty), (bad, bytes.is_empty()));
            assert!(contents.ids.iter().map(|id| id.bytes()).eq(ids.iter().map(Vec::as_slice)));
            assert!(contents.first_bad.iter().all(|line| !line.to_string().contains(char::is_control)));
            // As they are shown they are the same.
            let shown: String = contents.ids.iter().map(|id| format!("{id}\n")).collect();
            assert_eq!(parse(shown.as_bytes()).expect("nothing else").ids, contents.ids);
        }
        Err(Error::TooMany) => assert!(ids.len() > MAX_IDS),
        Err(Error::Cut(number)) => assert!(cut.is_some() && number == lines.len() as u64 + 1),
        Err(Error::NoId { bad: found, .. }) => assert!(cut.is_none() && ids.is_empty() && found == bad && bad > 0),
        Err(error) => panic!("{error}"),
    }
}

/// Reads the bytes of a client id, one by one.
fn bytes_of(line: &[u8]) -> Option<Vec<u8>> {
    let mut parts = line.splitn(2, |byte| b" \t\r\x0c".contains(byte));
    let (id, remark) = (parts.next()?, parts.next().unwrap_or_default().trim_ascii_start());
    if !remark.is_empty() && remark[0] != b'#' {
        return None;
    }
    let mut found = Vec::new();
    let mut at = 0;
    while at < id.len() {
        if id[at] == b'%' {
            let digits = std::str::from_utf8(id.get(at + 1..at + 3)?).ok()?;
            found.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?);
            at += 3;
        } else {
            if !matches!(id[at], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') {
                return None;
            }
            found.push(id[at]);
            at += 1;
        }
    }
    (1..=20).contains(&found.len()).then_some(found)
}
