//! Users and groups as they are written: by name, or by number where no list has them.

/// Returns the ids in `UID[:GID]`; `None` if the text is not of this form.
pub fn user_ids(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Some((id(uid)?, Some(id(gid)?))),
        None => Some((id(text)?, None)),
    }
}

/// Returns the id of a group, if the text is one.
pub fn group_id(text: &str) -> Option<u32> {
    id(text)
}

/// Returns whether the text can be a user; whether there is one of this name is looked up at the start.
pub(super) fn is_user(text: &str) -> bool {
    user_ids(text).is_some() || is_name(text)
}

/// Returns whether the text can be a group; whether there is one of this name is looked up at the start.
pub(super) fn is_group(text: &str) -> bool {
    group_id(text).is_some() || is_name(text)
}

/// Reads an id. The highest number is none: to the system it means "as it was".
fn id(text: &str) -> Option<u32> {
    if is_number(text) { text.parse().ok().filter(|id| *id != u32::MAX) } else { None }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name is not all digits, and has no colon.
fn is_name(text: &str) -> bool {
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && c != ':';
    !text.is_empty() && !is_number(text) && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_or_a_group_is_a_name_or_ids() {
        assert_eq!(user_ids("0"), Some((0, None)));
        assert_eq!(user_ids("6969:70"), Some((6969, Some(70))));
        assert_eq!(user_ids("4294967294:4294967294"), Some((4_294_967_294, Some(4_294_967_294))));
        for text in ["nobody", "-1", "+1", "1.1", ""] {
            assert_eq!(user_ids(text), None, "{text}");
        }
        assert!(["nobody", "_opentracker", "a.b", "-", "7up", "6969", "6969:6969"].into_iter().all(is_user));
        let neither = ["", "a b", "a\n", "nobody:nogroup", "1:", ":1", "1:a", "1:2:3", "4294967295", "1:4294967295"];
        assert!(!neither.into_iter().any(is_user));
        assert_eq!((group_id("0"), group_id("70"), group_id("daemon")), (Some(0), Some(70), None));
        assert!(["daemon", "70", "opentracker-admin"].into_iter().all(is_group));
        assert!(!["", "a b", "1:2", "a:b", "4294967295"].into_iter().any(is_group));
    }
}
