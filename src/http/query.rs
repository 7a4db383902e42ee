//! What stands behind the `?` of a target, read where it stands: nothing is copied, nothing allocated.

use crate::tracker::InfoHash;
use crate::tracker::info_hash::hex_value;

/// A query: `key=value` pairs with `&` between them, encoded as web forms are (the URL standard of WHATWG, section 5):
/// percent-encoded, with a `+` for a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(&'a [u8]);

/// A key or a value, still encoded. A `+` is a space, and a plus sign is `%2B`: so write the libraries that build
/// queries as forms do, and no client was found that leaves a plus sign in an info hash as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded<'a>(&'a [u8]);

/// A `%` without two hexadecimal digits behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEscape;

/// Length, in bytes, that no word exceeds by which a page is chosen, such as a mode or a format.
pub const MAX_WORD: usize = 16;

/// A whole number. One that is too large for 64 bits counts as the largest that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// A number with a minus sign, however large.
    Negative,
    /// A number without one.
    Natural(u64),
}

impl<'a> Query<'a> {
    /// A query with nothing in it.
    pub const EMPTY: Query<'static> = Query(b"");

    /// Takes `raw`, which stands behind the `?`, for a query.
    pub fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Returns keys and values in their order. A key without `=` has an empty value.
    pub fn pairs(self) -> impl Iterator<Item = (Encoded<'a>, Encoded<'a>)> {
        let mut rest = Some(self.0);
        let pairs = std::iter::from_fn(move || {
            let (pair, after) = match split_once(rest?, b'&') {
                Some((pair, after)) => (pair, Some(after)),
                None => (rest?, None),
            };
            rest = after;
            Some(pair)
        });
        pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = split_once(pair, b'=').unwrap_or((pair, b""));
            (Encoded(key), Encoded(value))
        })
    }

    /// Returns the value of a parameter; the last one if there are several.
    pub fn last(self, name: &str) -> Option<Encoded<'a>> {
        self.pairs().filter(|(key, _)| key.is(name.as_bytes())).last().map(|(_, value)| value)
    }

    /// Returns the word that is the value of a parameter, or `default` where there is no such parameter. `None` if the
    /// value is no text, or longer than any word that matters.
    pub fn word<'r>(self, name: &str, default: &'r str, buffer: &'r mut [u8; MAX_WORD]) -> Option<&'r str>
    where
        'a: 'r,
    {
        match self.last(name) {
            Some(value) => std::str::from_utf8(value.decode(buffer).ok()??).ok(),
            None => Some(default),
        }
    }
}

impl<'a> Encoded<'a> {
    /// Takes `raw` for a key or a value.
    pub fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Decodes the text byte by byte. Ends after the first bad escape.
    pub fn bytes(self) -> impl Iterator<Item = Result<u8, BadEscape>> {
        decoded(self.0, b' ')
    }

    /// Returns whether the decoded text is `text`.
    pub fn is(self, text: &[u8]) -> bool {
        if self.is_plain() { self.0 == text } else { self.bytes().eq(text.iter().map(|&byte| Ok(byte))) }
    }

    /// Returns whether the text stands for itself. Both `%` and `+` are looked for at once, together with some
    /// punctuation that looks alike: false does not say that anything is encoded.
    fn is_plain(self) -> bool {
        const MASK: u8 = !(b'%' ^ b'+');
        masked_position(self.0, MASK, b'%' & MASK).is_none()
    }

    /// Decodes the text, into `buffer` unless nothing in it is encoded. Returns `None` if it is longer than `buffer`.
    ///
    /// # Errors
    ///
    /// The text has a bad escape.
    pub fn decode<'r>(self, buffer: &'r mut [u8]) -> Result<Option<&'r [u8]>, BadEscape>
    where
        'a: 'r,
    {
        if self.is_plain() {
            return Ok((self.0.len() <= buffer.len()).then_some(self.0));
        }
        let mut rest = self.0;
        let mut len = 0;
        while let Some((&first, after)) = rest.split_first() {
            let (byte, after) = match (first, after) {
                (b'%', [high, low, after @ ..]) => (escaped(*high, *low)?, after),
                (b'%', _) => return Err(BadEscape),
                (b'+', _) => (b' ', after),
                _ => (first, after),
            };
            let Some(place) = buffer.get_mut(len) else { return Ok(None) };
            *place = byte;
            len += 1;
            rest = after;
        }
        Ok(buffer.get(..len))
    }

    /// Decodes the text into `buffer`, as far as there is room.
    ///
    /// # Errors
    ///
    /// There is a bad escape in what would be decoded.
    pub fn beginning(self, buffer: &mut [u8]) -> Result<&[u8], BadEscape> {
        let mut len = 0;
        for (place, byte) in buffer.iter_mut().zip(self.bytes()) {
            *place = byte?;
            len += 1;
        }
        Ok(buffer.get(..len).unwrap_or_default())
    }

    /// Decodes an info hash. Returns `None` if the text is not [`InfoHash::LEN`] bytes long.
    ///
    /// # Errors
    ///
    /// The text has a bad escape.
    pub fn info_hash(self) -> Result<Option<InfoHash>, BadEscape> {
        let mut bytes = [0; InfoHash::LEN];
        Ok(self.decode(&mut bytes)?.and_then(|bytes| bytes.try_into().ok()).map(InfoHash))
    }

    /// Decodes a whole number. Returns `None` if the text is none.
    ///
    /// # Errors
    ///
    /// The text has a bad escape.
    pub fn number(self) -> Result<Option<Number>, BadEscape> {
        // In what is a number as it stands nothing is encoded.
        match number(self.0.iter().map(|&byte| Ok(byte))) {
            Ok(None) => number(self.bytes()),
            found => found,
        }
    }
}

fn number(text: impl Iterator<Item = Result<u8, BadEscape>>) -> Result<Option<Number>, BadEscape> {
    let (mut negative, mut natural) = (false, None);
    for (at, byte) in text.enumerate() {
        match byte? {
            b'-' if at == 0 => negative = true,
            digit @ b'0'..=b'9' => {
                let before = natural.unwrap_or(0_u64);
                natural = Some(before.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
            }
            _ => return Ok(None),
        }
    }
    Ok(natural.map(|natural| if negative { Number::Negative } else { Number::Natural(natural) }))
}

/// Decodes text that is no part of a query byte by byte: a `+` is a plus sign (RFC 3986, section 2.1). Ends after the
/// first bad escape.
pub(super) fn percent_decoded(text: &[u8]) -> impl Iterator<Item = Result<u8, BadEscape>> {
    decoded(text, b'+')
}

/// Decodes `text` byte by byte, and each `+` to `plus`. Ends after the first bad escape.
fn decoded(text: &[u8], plus: u8) -> impl Iterator<Item = Result<u8, BadEscape>> {
    let mut rest = text.iter();
    std::iter::from_fn(move || {
        match *rest.next()? {
            b'%' => (),
            b'+' => return Some(Ok(plus)),
            byte => return Some(Ok(byte)),
        }
        let digits = rest.next().zip(rest.next());
        let escaped = digits.ok_or(BadEscape).and_then(|(high, low)| escaped(*high, *low));
        if escaped.is_err() {
            rest = [].iter();
        }
        Some(escaped)
    })
}

/// Splits `bytes` at the first `mark`, which is in neither part.
pub(super) fn split_once(bytes: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at_checked(position(bytes, mark)?)?;
    Some((before, rest.get(1..)?))
}

/// Returns where the first `mark` stands.
pub(super) fn position(bytes: &[u8], mark: u8) -> Option<usize> {
    masked_position(bytes, 0xff, mark)
}

/// Returns where the first byte stands that is `mark` as far as `mask` shows it. Looks at eight bytes at a time: a head
/// is searched several times, and byte by byte that would be the greater part of the work of an announce.
#[inline(always)]
fn masked_position(bytes: &[u8], mask: u8, mark: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; WORD]);
    const WORD: usize = 8;
    let words = bytes.chunks_exact(WORD);
    let tail = words.remainder();
    for (n, word) in words.enumerate() {
        let word = u64::from_le_bytes(word.try_into().ok()?);
        let differing = word & (ONES * u64::from(mask)) ^ (ONES * u64::from(mark));
        // The high bit of each byte that does not differ, and perhaps of some behind the first of those.
        let equal = differing.wrapping_sub(ONES) & !differing & (ONES << 7);
        if equal != 0 {
            return Some(n * WORD + equal.trailing_zeros() as usize / 8);
        }
    }
    Some(bytes.len() - tail.len() + tail.iter().position(|&byte| byte & mask == mark)?)
}

/// Returns the byte that `%` and these digits stand for.
fn escaped(high: u8, low: u8) -> Result<u8, BadEscape> {
    let (high, low) = (hex_value(high), hex_value(low));
    if high | low <= 0xf { Ok((high << 4) | low) } else { Err(BadEscape) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn pairs(query: &str) -> Vec<(String, Vec<u8>)> {
        let decode = |text: Encoded<'_>| text.bytes().collect::<Result<Vec<u8>, _>>().unwrap();
        let pairs = Query::new(query.as_bytes()).pairs();
        pairs.map(|(key, value)| (String::from_utf8(decode(key)).unwrap(), decode(value))).collect()
    }

    fn number(text: &str) -> Result<Option<Number>, BadEscape> {
        Encoded::new(text.as_bytes()).number()
    }

    #[test]
    fn pairs_stand_between_ampersands_and_may_lack_anything() {
        let expected = [("a", "1"), ("b", ""), ("c", ""), ("", "d"), ("e", "f=g"), ("h i", "  +")];
        let expected: Vec<_> = expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_owned())).into();
        assert_eq!(pairs("a=1&b=&c&&=d&e=f=g&h+i=+%20%2B&"), expected);
        assert!(pairs("").is_empty() && pairs("&&").is_empty());
    }

    #[test]
    fn the_last_value_of_a_name_counts_however_the_name_is_written() {
        let query = Query::new(b"ip=1&port=2&%69%70=3&ipx=4&%zz=5");
        assert_eq!(query.last("ip"), Some(Encoded::new(b"3")));
        assert_eq!(query.last("ipv6"), None);
        assert_eq!(Query::EMPTY.last("ip"), None);
    }

    #[test]
    fn a_word_is_short_text() {
        let word = |query: &'static [u8]| Query::new(query).word("a", "x", &mut [0; MAX_WORD]).map(str::to_owned);
        assert_eq!(word(b"b=1").as_deref(), Some("x"));
        assert_eq!(word(b"a=1&a=%7a").as_deref(), Some("z"));
        assert_eq!(word(b"a").as_deref(), Some(""));
        assert_eq!(word(b"a=0123456789abcdef").as_deref(), Some("0123456789abcdef"));
        for query in [&b"a=0123456789abcdefg"[..], b"a=%ff", b"a=%zz"] {
            assert_eq!(word(query), None, "{}", query.escape_ascii());
        }
    }

    #[test]
    fn a_plus_is_a_space_unless_it_is_encoded() {
        for (text, expected) in [("+", " "), ("a+b", "a b"), ("%2b", "+"), ("+%2B+", " + "), ("abcdefgh+", "abcdefgh ")]
        {
            let (text, expected) = (Encoded::new(text.as_bytes()), expected.as_bytes());
            assert_eq!(text.decode(&mut [0; 9]), Ok(Some(expected)), "{text:?}");
            assert!(text.is(expected), "{text:?}");
            assert_eq!(text.bytes().collect::<Result<Vec<_>, _>>().as_deref(), Ok(expected));
        }
        assert!(!Encoded::new(b"a+b").is(b"a+b"));
        assert_eq!(Encoded::new(b"+").decode(&mut []), Ok(None));
        assert_eq!(percent_decoded(b"a+b%2b").collect::<Result<Vec<_>, _>>().as_deref(), Ok(&b"a+b+"[..]));
        let info_hash = Encoded::new(b"++++++++++aaaaaaaaa%20").info_hash();
        assert_eq!(info_hash, Ok(Some(InfoHash(*b"          aaaaaaaaa "))));
    }

    #[test]
    fn a_bad_escape_is_told_from_bytes() {
        for text in ["%", "%4", "%zz", "%4z", "%z4", "ab%", "%%20", "%é"] {
            assert_eq!(Encoded::new(text.as_bytes()).decode(&mut [0; 9]), Err(BadEscape), "{text}");
            assert!(!Encoded::new(text.as_bytes()).is(text.as_bytes()), "{text}");
        }
        assert_eq!(Encoded::new(b"a%zzb").bytes().collect::<Vec<_>>(), [Ok(b'a'), Err(BadEscape)]);
    }

    #[test]
    fn decoding_stops_at_the_end_of_the_buffer() {
        assert_eq!(Encoded::new(b"%41bc").decode(&mut [0; 3]), Ok(Some(&b"Abc"[..])));
        assert_eq!(Encoded::new(b"%41bcd").decode(&mut [0; 3]), Ok(None));
        assert_eq!(Encoded::new(b"").decode(&mut []), Ok(Some(&b""[..])));
    }

    #[test]
    fn the_beginning_of_a_text_is_as_much_as_there_is_room_for() {
        for (text, beginning) in [("%41bc", "Abc"), ("%41bcd", "Abc"), ("+%2b", " +"), ("abc%zz", "abc"), ("", "")] {
            assert_eq!(Encoded::new(text.as_bytes()).beginning(&mut [0; 3]), Ok(beginning.as_bytes()), "{text}");
        }
        assert_eq!(Encoded::new(b"ab%zz").beginning(&mut [0; 3]), Err(BadEscape));
        assert_eq!(Encoded::new(b"a").beginning(&mut []), Ok(&b""[..]));
    }

    #[test]
    fn numbers_are_read_whole() {
        assert_eq!(number("4294967296"), Ok(Some(Number::Natural(4_294_967_296))));
        assert_eq!(number("00"), Ok(Some(Number::Natural(0))));
        assert_eq!(number("%31%30"), Ok(Some(Number::Natural(10))));
        assert_eq!(number("99999999999999999999"), Ok(Some(Number::Natural(u64::MAX))));
        assert_eq!(number("-99999999999999999999"), Ok(Some(Number::Negative)));
        for text in ["", "-", "--1", "1-", "+1", " 1", "1 ", "1.0", "0x1", "a"] {
            assert_eq!(number(text), Ok(None), "{text:?}");
        }
        assert_eq!(number("1%4"), Err(BadEscape));
    }

    proptest! {
        #[test]
        fn the_first_mark_is_found(bytes in vec(b'@'..=b'B', 0..40), other: u8) {
            for mark in [b'@', b'A', b'B', 0, 0xc0, 0xc1, other] {
                prop_assert_eq!(position(&bytes, mark), bytes.iter().position(|&byte| byte == mark));
                let masked = bytes.iter().position(|&byte| byte & other == mark & other);
                prop_assert_eq!(masked_position(&bytes, other, mark & other), masked);
            }
            let any: Vec<_> = bytes.iter().map(|&byte| byte.wrapping_mul(other)).collect();
            for &mark in &any {
                prop_assert_eq!(position(&any, mark), any.iter().position(|&byte| byte == mark));
                let masked = any.iter().position(|&byte| byte & 0xf1 == mark & 0xf1);
                prop_assert_eq!(masked_position(&any, 0xf1, mark & 0xf1), masked);
            }
        }

        #[test]
        fn what_is_encoded_is_decoded(
            bytes in vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'+')], 0..100), plain: Vec<bool>,
        ) {
            let mut text = String::new();
            for (byte, plain) in bytes.iter().zip(plain.iter().chain(std::iter::repeat(&false))) {
                match byte {
                    b'a'..=b'z' | b'~' if *plain => text.push(char::from(*byte)),
                    b' ' if *plain => text.push('+'),
                    _ if *plain => text.push_str(&format!("%{byte:02x}")),
                    _ => text.push_str(&format!("%{byte:02X}")),
                }
            }
            let query = format!("x=1&key={text}&y=2");
            let value = Query::new(query.as_bytes()).last("key").unwrap();
            prop_assert!(value.is(&bytes));
            let mut buffer = vec![0; bytes.len()];
            prop_assert_eq!(value.decode(&mut buffer), Ok(Some(&bytes[..])));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            for (key, value) in Query::new(&bytes).pairs() {
                let _ = (key.decode(&mut [0; 4]), value.number(), value.is(b"completed"));
            }
        }
    }
}
