"""Tests of ci/arrows: small trees of sources with what it is to find in them, and with what it is not to.

    python3 -B -m unittest discover -s ci
"""

import tempfile
import unittest
from pathlib import Path

from test_combinations import script

arrows = script("arrows")


def check(files):
    """What ci/arrows says of a tree: what is wrong, and the arrows as pairs."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        wrong, found = arrows.check(Path(folder))
    return wrong, set(found)


# Two files of one room, and room for a test's own lines in them.
def tracker(store="", peer="", mod="mod peer; mod store;"):
    return {
        "lib.rs": "pub mod tracker;",
        "tracker/mod.rs": mod,
        "tracker/store.rs": "pub struct Store; pub enum Kind { A }\n" + store,
        "tracker/peer.rs": "pub struct Peer; pub fn new() {}\n" + peer,
    }


STORE_TO_PEER = ("tracker/store.rs", "tracker/peer.rs")
PEER_TO_STORE = ("tracker/peer.rs", "tracker/store.rs")


class WhatAnArrowIs(unittest.TestCase):
    def assert_arrows(self, files, *expected):
        wrong, found = check(files)
        self.assertEqual((wrong, found), ([], set(expected)))

    def test_a_use_line_is_one_however_it_is_written(self):
        for line in (
            "use super::peer::Peer;",
            "use crate::tracker::peer::Peer as Other;",
            "use crate::{tracker::{peer::{self, new}, store}};",
            "pub(crate) use super::peer::Peer; type Used = Peer;",
            "fn inner() { use super::peer::*; let _ = Peer; }",
            "mod inside { use super::super::peer::Peer; }",
            "#[cfg(feature = \"some\")] use super::peer::Peer;",
        ):
            with self.subTest(line):
                self.assert_arrows(tracker(store=line), STORE_TO_PEER)

    def test_a_path_is_one(self):
        for line in (
            "fn f() { crate::tracker::peer::new(); }",
            "fn f(_: &super::peer::Peer) {}",
            "use super::peer; fn f() { peer::new(); }",
            "use crate::tracker as room; fn f() { room::peer::new(); }",
            "impl<T> From<T> for super::peer::Peer {}",
            "fn f() -> impl Sized + use<> { super::peer::new() }",
            "const C: char = '\"'; const L: &'static str = \"\"; fn f() { super::peer::new(); } const D: char = '\"';",
        ):
            with self.subTest(line):
                self.assert_arrows(tracker(store=line), STORE_TO_PEER)

    def test_what_only_looks_like_one_is_none(self):
        for line in (
            "// use super::peer::Peer;",
            "/// See [`super::peer::Peer`].\nfn f() {}",
            "/* use super::peer::Peer; */",
            "const TEXT: &str = \"use super::peer::Peer;\";",
            "const TEXT: &str = r#\"\"use super::peer::Peer;\"#;",
            "use super::peer;",
            "use std::collections::HashMap; fn f() { HashMap::new(); peer::new(); }",
            "use self::Kind::A; fn f() { Kind::A; self::Kind::A; }",
            "pub use super::peer::Peer;",
        ):
            with self.subTest(line):
                self.assert_arrows(tracker(store=line))

    def test_tests_do_not_count(self):
        for line in (
            "#[cfg(test)] use super::peer::Peer;",
            "#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests { use super::super::peer::Peer; }",
            "#[cfg(test)] mod tests;",
            "#[cfg(all(test, feature = \"some\"))] fn f() { super::peer::new(); }",
            "#[cfg(any(test, fuzzing))] pub mod tests;",
            "#[cfg(test)] const MANY: [super::peer::Peer; 2] = [super::peer::Peer, super::peer::Peer];",
        ):
            with self.subTest(line):
                files = tracker(store=line) | {"tracker/store/tests.rs": "use super::super::peer::Peer;"}
                self.assert_arrows(files)

    def test_what_follows_a_test_counts(self):
        files = tracker(store="#[cfg(test)] mod tests { fn f() {} }\nuse super::peer::Peer;")
        self.assert_arrows(files, STORE_TO_PEER)

    def test_a_name_that_is_handed_on_counts_for_the_file_that_defines_it(self):
        renamed = "pub use peer::{Peer as Inner}; pub use Inner as Peer;"
        for handed_on in ("pub use peer::Peer;", "pub use peer::*;", renamed):
            for line in ("use super::Peer;", "use crate::tracker::{Peer};", "use super::*; type Used = Peer;"):
                with self.subTest(handed_on + line):
                    files = tracker(store=line, mod=f"mod peer; mod store; {handed_on}")
                    self.assert_arrows(files, STORE_TO_PEER)

    def test_a_parent_that_uses_its_child_points_to_it(self):
        for line in (
            "use peer::Peer; struct Room(Peer);",
            "struct Room(peer::Peer);",
            "pub use peer::Peer; struct Room(Peer);",
        ):
            with self.subTest(line):
                files = tracker(mod=f"mod peer; mod store; {line}")
                self.assert_arrows(files, ("tracker/mod.rs", "tracker/peer.rs"))

    def test_a_child_that_uses_its_parent_points_to_it(self):
        files = tracker(store="use super::Room;", mod="mod peer; mod store; pub struct Room;")
        self.assert_arrows(files, ("tracker/store.rs", "tracker/mod.rs"))

    def test_a_macro_counts_for_the_file_that_defines_it(self):
        peer = "macro_rules! make { () => { Peer }; } pub(crate) use make;"
        self.assert_arrows(tracker(store="fn f() { super::peer::make!(); }", peer=peer), STORE_TO_PEER)

    def test_what_a_macro_is_given_may_define_a_name(self):
        peer = "made! { /// Such a thing.\n pub struct Made { inner: Peer, } } fn after() { const IN: u8 = 0; }"
        self.assert_arrows(tracker(store="use super::peer::{Made, after};", peer=peer), STORE_TO_PEER)
        wrong, _ = check(tracker(store="use super::peer::IN;", peer=peer))
        self.assertEqual(len(wrong), 1)

    def test_main_uses_the_library_by_its_name(self):
        files = tracker() | {"main.rs": "use opentracker::tracker; fn main() { tracker::peer::new(); }"}
        self.assert_arrows(files, ("main.rs", "tracker/peer.rs"))


class WhatIsWrong(unittest.TestCase):
    def test_a_circle_of_two_is_found_with_its_names(self):
        wrong, found = check(tracker(store="use super::peer::Peer;", peer="fn f(_: super::store::Store) {}"))
        self.assertEqual(found, {STORE_TO_PEER, PEER_TO_STORE})
        self.assertEqual(
            wrong,
            [
                "circle: tracker/peer.rs, tracker/store.rs",
                "    tracker/peer.rs -> tracker/store.rs: super::store::Store (line 2)",
                "    tracker/store.rs -> tracker/peer.rs: super::peer::Peer (line 2)",
            ],
        )

    def test_a_circle_through_a_parent_is_found(self):
        parent = "mod peer; mod store; pub struct Room(peer::Peer);"
        wrong, _ = check(tracker(store="use super::Room;", peer="use super::store::Store;", mod=parent))
        self.assertEqual(wrong[0], "circle: tracker/mod.rs, tracker/peer.rs, tracker/store.rs")

    def test_circles_that_do_not_touch_are_told_apart(self):
        names = "abcd"
        files = {"lib.rs": "mod tracker;", "tracker/mod.rs": "".join(f"mod {name};" for name in names)}
        for name, other in zip(names, "badc"):
            files[f"tracker/{name}.rs"] = f"pub struct T; type U = super::{other}::T;"
        wrong, _ = check(files)
        circles = [line for line in wrong if line.startswith("circle")]
        self.assertEqual(circles, ["circle: tracker/a.rs, tracker/b.rs", "circle: tracker/c.rs, tracker/d.rs"])

    def one_arrow(self, source, target):
        """What is said of one arrow between two rooms."""
        files = {"lib.rs": f"pub mod {source}; pub mod {target};"}
        files |= {f"{source}.rs": f"use crate::{target}::Thing;", f"{target}.rs": "pub struct Thing;"}
        if source == "main":
            files |= {"lib.rs": f"pub mod {target};", "main.rs": f"use opentracker::{target}::Thing;"}
        wrong, found = check(files)
        self.assertEqual(found, {(f"{source}.rs", f"{target}.rs")})
        return wrong

    def test_arrows_downwards_are_allowed(self):
        order = ("main", "switches", "server", "http", "stats", "cluster", "tracker")
        for at, source in enumerate(order):
            for target in order[at + 1 :]:
                self.assertEqual(self.one_arrow(source, target), [], f"{source} {target}")
        pairs = [("udp", "stats"), ("server", "udp"), ("cli", "config"), ("server", "config"), ("main", "cli")]
        for source, target in pairs:
            self.assertEqual(self.one_arrow(source, target), [], f"{source} {target}")

    def test_arrows_upwards_sideways_and_from_values_are_not(self):
        order = ("switches", "server", "http", "stats", "cluster", "tracker")
        pairs = [(source, target) for at, target in enumerate(order) for source in order[at + 1 :]]
        pairs += [("udp", "http"), ("http", "udp"), ("http", "config"), ("tracker", "cli")]
        pairs += [("config", "tracker"), ("cli", "server")]
        for source, target in pairs:
            (wrong,) = self.one_arrow(source, target)
            expected = f"wrong way: {source}.rs -> {target}.rs: crate::{target}::Thing (line 1)"
            self.assertTrue(wrong.startswith(expected), wrong)

    def test_a_room_without_a_floor_is_wrong(self):
        self.assertIn("cellar has no floor", self.one_arrow("cellar", "tracker")[0])

    def test_a_map_that_does_more_than_declare_is_wrong(self):
        wrong, _ = check({"lib.rs": "mod tracker; pub use tracker::T;", "tracker.rs": "pub struct T;"})
        self.assertEqual(len(wrong), 1)

    def test_a_path_that_leads_nowhere_is_wrong(self):
        wrong, _ = check(tracker(store="use super::peer::Gone;"))
        self.assertEqual(wrong, ["tracker/store.rs:2: super::peer::Gone was not found"])


if __name__ == "__main__":
    unittest.main()
