use super::*;
use crate::config::AccessSettings;

fn check(access: AccessSettings) -> Result<(), String> {
    Dynamic::check(&Settings { access, ..Settings::default() }).map_err(|error| error.to_string())
}

#[test]
fn what_changes_a_list_needs_one() {
    let none = AccessSettings::default;
    assert_eq!(check(none()), Ok(()));
    let fifo = AccessSettings { fifo_add: Some("add".into()), ..none() };
    let control = AccessSettings { control: Some("control".into()), ..none() };
    for access in [&fifo, &control] {
        let error = check(access.clone()).unwrap_err();
        assert!(error.ends_with("does nothing without access.blacklist: set both or neither"), "{error}");
        assert_eq!(check(AccessSettings { blacklist: Some("list".into()), ..access.clone() }), Ok(()));
        assert_eq!(check(AccessSettings { whitelist: Some("list".into()), ..access.clone() }), Ok(()));
    }
    let group = check(AccessSettings { control_group: Some("adm".into()), ..none() }).unwrap_err();
    assert!(group.contains("access.control_group does nothing"), "{group}");
}
