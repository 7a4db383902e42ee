//! A set of client ids that is asked whether a peer id begins with one of them.

use crate::config::ClientId;

/// Client ids in order, without those that begin with another of them: what begins with the longer one begins with the
/// shorter one too. So all that lies, in this order, between a client id and a peer id that begins with it would begin
/// with it as well, and is not there: a search finds at once the only one that it can be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beginnings(Vec<ClientId>);

impl FromIterator<ClientId> for Beginnings {
    fn from_iter<I: IntoIterator<Item = ClientId>>(ids: I) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        // The first one that begins with another stands right behind it.
        ids.dedup_by(|id, kept| id.bytes().starts_with(kept.bytes()));
        ids.shrink_to_fit();
        Self(ids)
    }
}

impl Beginnings {
    /// Returns whether the peer id begins with one of the client ids, or is one. No peer id begins with anything.
    pub(super) fn has_one_of(&self, peer_id: &[u8]) -> bool {
        let behind = self.0.partition_point(|id| id.bytes() <= peer_id);
        let id = behind.checked_sub(1).and_then(|at| self.0.get(at));
        id.is_some_and(|id| peer_id.starts_with(id.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(texts: &[&str]) -> Vec<ClientId> {
        texts.iter().map(|text| ClientId::parse(text).expect("a client id")).collect()
    }

    fn beginnings(texts: &[&str]) -> Beginnings {
        ids(texts).into_iter().collect()
    }

    #[test]
    fn a_peer_id_is_found_by_its_beginning_or_as_a_whole() {
        let whole = "-AZ5770-abcdefghijkl";
        let set = beginnings(&["-XL", "-TR3", "exbc%00", whole]);
        for peer_id in [&b"-XL0012-abcdefghijkl"[..], b"-TR3000-abcdefghijkl", b"-XL", b"exbc\x008", whole.as_bytes()] {
            assert!(set.has_one_of(peer_id), "{}", peer_id.escape_ascii());
        }
        for peer_id in [
            &b""[..],
            b"-",
            b"-X",
            b"-TR4",
            b"XL",
            b"-xL0012",
            b"exbc8",
            b"-AZ5770-abcdefghijkm",
            b"-AZ5770-",
            &[0; 20],
        ] {
            assert!(!set.has_one_of(peer_id), "{}", peer_id.escape_ascii());
        }
    }

    #[test]
    fn what_begins_with_another_is_not_kept() {
        let set = beginnings(&["-TR3", "-TR", "-TR3000", "-TR", "-TR300", "-TS", "-T%00"]);
        assert_eq!(set, beginnings(&["-T%00", "-TR", "-TS"]));
        assert_eq!(set.0, ids(&["-T%00", "-TR", "-TS"]));
    }

    #[test]
    fn no_client_id_is_found_in_an_empty_set() {
        assert!(!beginnings(&[]).has_one_of(b"-XL0012") && !Beginnings::default().has_one_of(b""));
    }

    /// Short texts of few letters, so that many begin alike.
    fn text(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), len)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_answers_as_if_each_was_looked_at(
            texts in prop::collection::vec(text(1..=6), 0..40),
            asked in prop::collection::vec(text(0..=8), 0..100),
        ) {
            let escape = |text: &Vec<u8>| text.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let set: Beginnings = texts.iter().map(|text| ClientId::parse(&escape(text)).unwrap()).collect();
            for peer_id in texts.iter().chain(&asked) {
                let expected = texts.iter().any(|text| peer_id.starts_with(text));
                prop_assert_eq!(set.has_one_of(peer_id), expected);
            }
        }
    }
}
