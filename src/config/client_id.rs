//! How the peer ids of a client begin, as `access.client_ids_denied` and its like name it.

use std::fmt;

/// Bytes of a whole peer id (BEP 3).
const MAX_LEN: usize = 20;

/// What the peer ids of a client begin with: 1 to 20 bytes, of which 20 are a whole peer id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(Box<[u8]>);

impl ClientId {
    /// Reads bytes that stand for themselves, if they are letters, digits or one of `-._~`, or are written as `%XX`:
    /// so logs of HTTP servers have them. Returns none where that is no client id. All other punctuation is left to
    /// those who want to say more than a beginning, in vain: `-XL*`, or `-XL,-TR`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, behind)) = rest.split_first() {
            let byte;
            (byte, rest) = match (first, behind) {
                (b'%', [high, low, behind @ ..]) => (digit(*high)? << 4 | digit(*low)?, behind),
                (byte, behind) if stands_for_itself(*byte) => (*byte, behind),
                _ => return None,
            };
            if bytes.len() == MAX_LEN {
                return None;
            }
            bytes.push(byte);
        }
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As it is written.
impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            byte if stands_for_itself(*byte) => write!(f, "{}", char::from(*byte)),
            byte => write!(f, "%{byte:02X}"),
        })
    }
}

/// Returns whether the byte is one that URLs never escape (RFC 3986, section 2.3).
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn letters_and_digits_stand_for_themselves_and_other_bytes_are_escaped() {
        let read = |text: &str| ClientId::parse(text).map(|id| id.bytes().to_vec());
        assert_eq!(read("-TR3"), Some(b"-TR3".to_vec()));
        assert_eq!(read("exbc%008%fF%20%23%2a"), Some(b"exbc\x008\xff #*".to_vec()));
        assert_eq!(read("a._~"), Some(b"a._~".to_vec()));
        assert_eq!(read(&"%00".repeat(20)), Some(vec![0; 20]), "a whole peer id");
        for text in [
            "", "-XL*", "-XL,-TR", "-XL -TR", "#-XL", "é", "%", "%4", "%4z", "%+4", "a%", "a\n", "[a]", "^-XL", "\"a\"",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"a".repeat(21)), None, "longer than any peer id");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 1..=20)) {
            let id = ClientId(bytes.into());
            prop_assert_eq!(ClientId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn no_text_is_too_strange(text: String) {
            if let Some(id) = ClientId::parse(&text) {
                prop_assert!((1..=20).contains(&id.bytes().len()));
            }
        }
    }
}
