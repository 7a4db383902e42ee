//! Numbers as text, without an allocation and without the machinery of `format!`, which costs more than the rest of a
//! short reply.

/// Maximum number of digits.
const MAX_DIGITS: usize = 20;

/// A number in decimal digits, without leading zeros.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    digits: [u8; MAX_DIGITS],
    start: usize,
}

impl Decimal {
    /// Returns the digits of `number`.
    pub fn new(number: impl Into<u64>) -> Self {
        let (mut digits, mut start, mut rest) = ([b'0'; MAX_DIGITS], MAX_DIGITS, number.into());
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
            start -= 1;
            if rest == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    /// Returns the digits as ASCII.
    pub fn bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: u64) -> String {
        String::from_utf8(Decimal::new(number).bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_of_any_size_fit() {
        for number in [0, 9, 10, 99, 100, 1_000_000, u64::MAX - 1, u64::MAX] {
            assert_eq!(text(number), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn digits_are_those_of_std(number in any::<u64>(), shift in 0_u32..64) {
            prop_assert_eq!(text(number >> shift), (number >> shift).to_string());
        }
    }
}
