//! The page, in one piece: what it shows, how it looks, and its program. It asks nobody but the tracker for anything.

/// The page. The program and the style are parts of it, so that nothing else has to be loaded.
pub(super) const HTML: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>opentracker</title>\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    // Browsers ask for a picture of every page that names none, and would be told that there is none.
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'%3E",
    "%3Cpath d='M1 8V5h2v3zm3 0V1h2v7zm3 0V3h2v5z' fill='%230b5fc0'/%3E%3C/svg%3E\">\n",
    "<style>",
    include_str!("style.css"),
    "</style>\n</head>\n<body>\n",
    include_str!("page.html"),
    "<script>",
    include_str!("page.js"),
    "</script>\n</body>\n</html>\n",
);

/// What the page may do: run its own program and no other, have its own style, and ask its own tracker. The two are
/// known by their SHA-256; a test says what it has to be.
const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-IRzrOo7or4gS/+UFR4anv3r8TwA0f++yb/tZOHBL4iU='; \
    style-src 'sha256-YGPO8NBngXoeb6DC1HH5VL3w1VxIhJV6RGFqouRiGQ0='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Numbers that are shown later are wrong.
pub(super) const NOT_STORED: (&str, &str) = ("Cache-Control", "no-store");
/// A browser takes nothing for something else than it is said to be.
pub(super) const NOT_GUESSED: (&str, &str) = ("X-Content-Type-Options", "nosniff");

/// What the head of its reply says beside the type.
pub(super) const FIELDS: [(&str, &str); 5] = [
    NOT_STORED,
    NOT_GUESSED,
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, in as few words as possible: it only has to be right for two files.
    fn sha256(bytes: &[u8]) -> [u8; 32] {
        let is_prime = |n: &u32| (2..*n).all(|d| n % d != 0);
        let fraction = |root: f64| (root.fract() * 2_f64.powi(32)) as u32;
        let primes: Vec<f64> = (2..312).filter(is_prime).map(f64::from).collect();
        let constants: Vec<u32> = primes.iter().map(|prime| fraction(prime.cbrt())).collect();
        let mut hash: Vec<u32> = primes.iter().take(8).map(|prime| fraction(prime.sqrt())).collect();
        let mut message = bytes.to_vec();
        message.push(0x80);
        message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
        message.extend((8 * bytes.len() as u64).to_be_bytes());
        for block in message.chunks(64) {
            let mut w: Vec<u32> = block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
            for i in 16..64 {
                let (a, b) = (w[i - 15], w[i - 2]);
                let one = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
                let two = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
                w.push(w[i - 16].wrapping_add(one).wrapping_add(w[i - 7]).wrapping_add(two));
            }
            let mut v = hash.clone();
            for i in 0..64 {
                let (a, e) = (v[0], v[4]);
                let choice = e & v[5] ^ !e & v[6];
                let high = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
                let first = [v[7], high, choice, constants[i], w[i]].into_iter().fold(0, u32::wrapping_add);
                let majority = a & v[1] ^ a & v[2] ^ v[1] & v[2];
                let low = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
                v.rotate_right(1);
                v[0] = first.wrapping_add(low).wrapping_add(majority);
                v[4] = v[4].wrapping_add(first);
            }
            hash.iter_mut().zip(v).for_each(|(sum, part)| *sum = sum.wrapping_add(part));
        }
        let bytes: Vec<u8> = hash.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.try_into().unwrap()
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = bytes.chunks(3).flat_map(|chunk| {
            let number = (0..3).fold(0, |number, i| number << 8 | usize::from(*chunk.get(i).unwrap_or(&0)));
            (0..4).map(move |i| if i <= chunk.len() { DIGITS[number >> (18 - 6 * i) & 63] } else { b'=' })
        });
        String::from_utf8(digits.collect()).unwrap()
    }

    /// What stands between these two, which are there once.
    fn between(begin: &str, end: &str) -> &'static str {
        assert_eq!((HTML.matches(begin).count(), HTML.matches(end).count()), (1, 1), "{begin}, {end}");
        HTML.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).unwrap().0
    }

    #[test]
    fn the_policy_names_the_program_and_the_style_of_the_page_and_no_other() {
        assert_eq!(base64(&sha256(b"abc")), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        for (directive, part) in
            [("script-src", between("<script>", "</script>")), ("style-src", between("<style>", "</style>"))]
        {
            let expected = format!("{directive} 'sha256-{}';", base64(&sha256(part.as_bytes())));
            assert!(POLICY.contains(&expected), "the policy lacks: {expected}");
        }
        assert_eq!(POLICY.matches("sha256-").count(), 2);
        assert!(!POLICY.contains("unsafe") && POLICY.is_ascii());
    }

    #[test]
    fn the_page_names_no_other_host_and_has_no_program_in_attributes() {
        let without_names_of_svg = HTML.replace("http://www.w3.org/2000/svg", "");
        for absent in [
            "http://",
            "https://",
            "//\"",
            "//'",
            " src=",
            "url(",
            "@import",
            " onclick",
            " onload",
            " style=\"",
            "innerHTML",
        ] {
            assert!(!without_names_of_svg.contains(absent), "{absent}");
        }
    }

    #[test]
    fn the_page_is_small() {
        // Compressed it is about a third of this: the browser test measures that.
        assert!(HTML.len() < 36 << 10, "{}", HTML.len());
    }
}
