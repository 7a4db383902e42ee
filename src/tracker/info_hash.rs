//! Info hashes, the names of torrents.

use std::fmt;

/// A torrent's SHA-1 info hash, or the first 20 bytes of its SHA-256 one (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct InfoHash(pub [u8; Self::LEN]);

impl InfoHash {
    /// Bytes in an info hash, on every wire.
    pub const LEN: usize = 20;

    /// Reads 40 hexadecimal digits of either case. Returns `None` for anything else.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let digits: &[u8; 2 * Self::LEN] = digits.try_into().ok()?;
        let mut bytes = [0; Self::LEN];
        // Whether all are digits is checked once, at the end: this reads lists of millions.
        let mut all = 0;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let (high, low) = (hex_value(*high), hex_value(*low));
            all |= high | low;
            *byte = (high << 4) | low & 0xf;
        }
        (all <= 0xf).then_some(Self(bytes))
    }
}

/// Returns the value of a hexadecimal digit of either case; for any other byte, a number above 15.
#[expect(clippy::indexing_slicing, reason = "a byte indexes 256 values, and the table is made when this is compiled")]
pub fn hex_value(digit: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let mut values = [u8::MAX; 256];
        let mut value = 0;
        while value < 16 {
            let digit = b"0123456789abcdef"[value as usize];
            values[digit as usize] = value;
            values[digit.to_ascii_uppercase() as usize] = value;
            value += 1;
        }
        values
    };
    VALUES[usize::from(digit)]
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
