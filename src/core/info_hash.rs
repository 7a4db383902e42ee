//! The name of a torrent.

use std::fmt;

/// A torrent's SHA-1 info hash, or the first 20 bytes of its SHA-256 one (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct InfoHash(pub [u8; Self::LEN]);

impl InfoHash {
    /// Bytes in an info hash, on every wire.
    pub const LEN: usize = 20;

    /// Reads 40 hexadecimal digits of either case; anything else is `None`.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let digits: &[u8; 2 * Self::LEN] = digits.try_into().ok()?;
        let mut bytes = [0; Self::LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let value = (*high as char).to_digit(16)? << 4 | (*low as char).to_digit(16)?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(Self(bytes))
    }
}

/// 40 uppercase hexadecimal digits, as everywhere in the original's output.
impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_in_either_case_and_written_in_uppercase() {
        let digits = "00112233445566778899aAbBcCdDeEfF01234567";
        let hash = InfoHash::from_hex(digits.as_bytes()).expect("40 digits");
        assert_eq!(hash.0[10], 0xaa);
        assert_eq!(hash.to_string(), digits.to_uppercase());
    }

    #[test]
    fn anything_but_40_hex_digits_is_refused() {
        for text in ["", "00", &"0".repeat(39), &"0".repeat(41), &"g".repeat(40), &" ".repeat(40), &"é".repeat(20)] {
            assert_eq!(InfoHash::from_hex(text.as_bytes()), None, "{text:?}");
        }
    }
}
