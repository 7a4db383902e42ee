//! Fields in which clients weigh what they would like, such as `Accept` (RFC 9110, section 12.4.2).

/// What a client names in such a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'f> {
    /// The name, in whatever case the client writes it.
    pub name: &'f [u8],
    /// How much the client would like it, in thousandths; 0: not at all.
    pub weight: u16,
    /// The name has parameters of its own.
    pub has_parameters: bool,
}

impl Choice<'_> {
    /// Returns whether this is the choice of that name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Returns what the client names in all fields of one name, in its order. Malformed members do not count.
pub fn choices<'f>(fields: impl Iterator<Item = &'f [u8]>) -> impl Iterator<Item = Choice<'f>> {
    fields.flat_map(|field| field.split(|&byte| byte == b',')).filter_map(choice)
}

/// Reads one member of a field. The weight may stand anywhere among the parameters (RFC 9110, section 12.5.1), once.
fn choice(member: &[u8]) -> Option<Choice<'_>> {
    let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let (mut weight, mut has_parameters) = (None, false);
    for parameter in parts {
        match parameter {
            [b'q' | b'Q', b'=', value @ ..] if weight.is_none() => weight = Some(thousandths(value)?),
            [b'q' | b'Q', b'=', ..] => return None,
            _ => has_parameters = true,
        }
    }
    Some(Choice { name, weight: weight.unwrap_or(1000), has_parameters })
}

/// Reads a number from 0 to 1 with at most three decimals, in thousandths (RFC 9110, section 12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let three = decimals.iter().chain(b"000").take(3);
    let thousandths = three.fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(field: &str) -> Vec<(String, u16, bool)> {
        let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
        let choices = choices([field.as_bytes()].into_iter());
        choices.map(|choice| (text(choice.name), choice.weight, choice.has_parameters)).collect()
    }

    #[test]
    fn members_have_a_name_a_weight_and_perhaps_parameters() {
        for (field, name, weight, has_parameters) in [
            ("gzip", "gzip", 1000, false),
            (" gzip ;\tQ=0.5 ", "gzip", 500, false),
            ("text/plain;version=0.0.4;q=0.3", "text/plain", 300, true),
            ("text/plain;q=0.25;version=0.0.4", "text/plain", 250, true),
            ("text/plain; version=0.0.4", "text/plain", 1000, true),
            ("gzip;", "gzip", 1000, true),
            ("gzip;q = 1", "gzip", 1000, true),
            ("gzip;q=0.000", "gzip", 0, false),
            ("gzip;q=1.", "gzip", 1000, false),
            ("", "", 1000, false),
        ] {
            assert_eq!(found(field), [(name.to_owned(), weight, has_parameters)], "{field}");
        }
    }

    #[test]
    fn malformed_weights_and_two_of_them_do_not_count() {
        for weight in ["2", "1.001", "0.5000", "-1", "", ".5", "x", "1;q=1", "0.5;level=9;q=0.5"] {
            assert_eq!(found(&format!("a, gzip;q={weight}, b;q=0.1")).len(), 2, "{weight}");
        }
    }

    #[test]
    fn fields_follow_each_other() {
        let fields = [&b"a;q=0.1,b"[..], b"A;q=0.2"];
        let weights: Vec<_> = choices(fields.into_iter()).filter(|choice| choice.is("a")).map(|a| a.weight).collect();
        assert_eq!(weights, [100, 200]);
    }
}
