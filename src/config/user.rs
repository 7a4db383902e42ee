//! Whom a tracker becomes, as it is written.

/// Returns the ids in `UID[:GID]`; `None` if the text is not of this form. The highest number is no id: to the system it
/// means "as it was".
pub fn user_ids(text: &str) -> Option<(u32, Option<u32>)> {
    let id = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok().filter(|id| *id != u32::MAX)).flatten()
    };
    match text.split_once(':') {
        Some((uid, gid)) => Some((id(uid)?, Some(id(gid)?))),
        None => Some((id(text)?, None)),
    }
}

/// Returns whether the text can name a user; whether there is one is looked up at the start. A name is not all digits,
/// and has no colon.
pub(super) fn is_user(text: &str) -> bool {
    let is_name = || !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':');
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    user_ids(text).is_some() || (!is_number && is_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_ids() {
        assert_eq!(user_ids("0"), Some((0, None)));
        assert_eq!(user_ids("6969:70"), Some((6969, Some(70))));
        assert_eq!(user_ids("4294967294:4294967294"), Some((4_294_967_294, Some(4_294_967_294))));
        for text in ["nobody", "-1", "+1", "1.1", ""] {
            assert_eq!(user_ids(text), None, "{text}");
        }
        assert!(["nobody", "_opentracker", "a.b", "-", "7up", "6969", "6969:6969"].into_iter().all(is_user));
        let neither = ["", "a b", "a\n", "nobody:nogroup", "1:", ":1", "1:a", "1:2:3", "4294967295", "1:4294967295"];
        assert!(!neither.into_iter().any(is_user));
    }
}
