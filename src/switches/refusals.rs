//! How those are refused whom a list keeps out, as the operator has chosen: see `access.refusal_minutes`. What
//! `accesslist-white`, `accesslist-black` and `client-ids` share.

use crate::config::{AccessSettings, RefusalOverUdp};
use crate::tracker::{RefusalTerms, Retry};

/// Returns the terms of every such refusal.
pub(super) fn terms(settings: &AccessSettings) -> RefusalTerms {
    RefusalTerms {
        retry: settings.refusal_minutes.map_or(Retry::Never, Retry::InMinutes),
        as_empty: settings.refusal_over_udp == RefusalOverUdp::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    #[test]
    fn the_settings_say_when_to_ask_again_and_how_it_is_said() {
        let terms = |refusal_minutes, refusal_over_udp| {
            terms(&AccessSettings { refusal_minutes, refusal_over_udp, ..AccessSettings::default() })
        };
        let an_hour = NonZeroU16::new(60).unwrap();
        let expected = RefusalTerms { retry: Retry::InMinutes(an_hour), as_empty: false };
        assert_eq!(super::terms(&AccessSettings::default()), expected, "by default");
        assert_eq!(terms(Some(an_hour), RefusalOverUdp::Error), expected);
        assert_eq!(terms(None, RefusalOverUdp::Empty), RefusalTerms { retry: Retry::Never, as_empty: true });
    }
}
