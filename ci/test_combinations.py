"""Tests of ci/combinations: what it prints is held against every combination that there could be.

    python3 -B -m unittest discover -s ci

Which combinations are legal is found out here by trying all of them, from what Cargo says and without the program's
own rules. Features that no rule names can be on or off whatever the others are, so that they need not be tried.
"""

import importlib.machinery
import importlib.util
import itertools
import math
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def script(name):
    """A script of ci/ as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "ci" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


combinations = script("combinations")

# One of everything: a chain of what implies what, a group that excludes itself, needs with and without a choice.
SMALL = {
    "features": {
        "default": ["plain"],
        "plain": [],
        "free": ["dep:some-crate"],
        "packed": ["plain", "dep:flate", "some-crate?/std"],
        "packed-better": ["packed"],
        "red": [],
        "green": [],
        "blue": [],
        "shade": [],
        "contrast": [],
    },
    "metadata": {
        "switches": {
            "original": ["red", "green", "blue", "plain", "packed"],
            "excludes": [["red", "green", "blue"], ["free", "packed-better"]],
            "needs": {"shade": ["red", "green"], "contrast": ["shade"]},
        }
    },
}


def features_of(package):
    return sorted(set(package["features"]) - {"default"})


def is_legal(package, on):
    """Does a combination keep to every rule?"""
    switches = package["metadata"]["switches"]
    implied = {other for name in on for other in package["features"][name] if other in package["features"]}
    return (
        implied <= on
        and all(len(on & set(group)) <= 1 for group in switches["excludes"])
        and all(on & set(others) for name, others in switches["needs"].items() if name in on)
    )


def bound(package):
    """The features that a rule names."""
    switches = package["metadata"]["switches"]
    names = {name for name, others in package["features"].items() if set(others) & set(package["features"])}
    names |= {other for name in names for other in package["features"][name]}
    names.update(switches["needs"], *switches["needs"].values(), *switches["excludes"])
    return names & set(features_of(package))


def subsets(names):
    return (set(some) for size in range(len(names) + 1) for some in itertools.combinations(sorted(names), size))


def legal_triples(package):
    """Every legal choice for three features, each as a set of names with whether they are on."""
    tried = bound(package)
    seen = set()
    for on in filter(lambda on: is_legal(package, on), subsets(tried)):
        decided = [(name, name in on) for name in sorted(tried)]
        seen |= {frozenset(some) for size in range(4) for some in itertools.combinations(decided, size)}
    triples = set()
    for names in itertools.combinations(features_of(package), 3):
        for values in itertools.product((False, True), repeat=3):
            triple = frozenset(zip(names, values))
            if frozenset((name, value) for name, value in triple if name in tried) in seen:
                triples.add(triple)
    return triples


def uncovered(package, chosen):
    """The legal triples that stand in none of the combinations."""
    triples = legal_triples(package)
    for on in chosen:
        decided = [(name, name in on) for name in features_of(package)]
        triples -= {frozenset(triple) for triple in itertools.combinations(decided, 3)}
    return triples


class EveryPackage:
    """What holds for any package; the classes below say for which it is tried."""

    def setUp(self):
        self.rules = combinations.Rules(self.package)

    def test_no_legal_triple_is_uncovered(self):
        self.assertEqual(uncovered(self.package, self.rules.triples()), set())

    def test_without_any_one_combination_triples_are_uncovered(self):
        chosen = self.rules.triples()
        for dropped in range(len(chosen)):
            others = chosen[:dropped] + chosen[dropped + 1 :]
            self.assertNotEqual(uncovered(self.package, others), set(), chosen[dropped])

    def test_the_triples_are_few_and_the_same_each_time(self):
        chosen = self.rules.triples()
        self.assertEqual(chosen, combinations.Rules(self.package).triples())
        self.assertLess(len(chosen), math.comb(len(self.rules.features), 2), "fewer than there are pairs")

    def test_what_stands_in_others_is_not_covered_again_and_nothing_else_is_left_out(self):
        others = self.rules.singles()
        chosen = self.rules.triples(others)
        self.assertLess(len(chosen), len(self.rules.triples()))
        self.assertEqual(uncovered(self.package, others + chosen), set())
        for dropped in range(len(chosen)):
            left = others + chosen[:dropped] + chosen[dropped + 1 :]
            self.assertNotEqual(uncovered(self.package, left), set(), chosen[dropped])

    def test_what_is_printed_is_legal_and_printed_once(self):
        for chosen in (self.rules.all(), self.rules.singles(), self.rules.triples()):
            self.assertEqual([on for on in chosen if not is_legal(self.package, set(on))], [])
            self.assertEqual(len(chosen), len({frozenset(on) for on in chosen}))

    def test_every_single_has_its_feature(self):
        first, *others = self.rules.singles()
        self.assertEqual(first, [])
        for name, on in zip(self.rules.features, others, strict=True):
            self.assertIn(name, on)

    def test_what_is_refused_is_illegal(self):
        refused = self.rules.refused()
        switches = self.package["metadata"]["switches"]
        pairs = sum(len(group) * (len(group) - 1) // 2 for group in switches["excludes"])
        self.assertEqual(len(refused), pairs + len(switches["needs"]))
        self.assertEqual([on for on in refused if is_legal(self.package, set(on))], [])


class SmallPackage(EveryPackage, unittest.TestCase):
    package = SMALL

    def test_the_free_feature_is_not_tried_and_no_legal_triple_is_missed_by_that(self):
        package = {**SMALL, "features": {**SMALL["features"], "freer": []}}
        self.assertNotIn("freer", bound(package))
        found = set()
        for on in filter(lambda on: is_legal(package, on), subsets(features_of(package))):
            decided = [(name, name in on) for name in features_of(package)]
            found |= {frozenset(triple) for triple in itertools.combinations(decided, 3)}
        self.assertEqual(found, legal_triples(package))

    def test_all_has_every_legal_combination_of_the_original_alone(self):
        original = SMALL["metadata"]["switches"]["original"]
        expected = [on for on in subsets(original) if is_legal(SMALL, on)]
        self.assertCountEqual([set(on) for on in self.rules.all()], expected)

    def test_singles_have_what_is_implied_and_needed_and_no_more(self):
        singles = dict(zip(self.rules.features, self.rules.singles()[1:]))
        self.assertEqual(set(singles["packed-better"]), {"packed-better", "packed", "plain"})
        self.assertEqual(len(singles["contrast"]), 3)
        self.assertLess({"contrast", "shade"}, set(singles["contrast"]))
        self.assertEqual(singles["free"], ["free"])

    def test_refused_has_each_pair_and_each_need_with_what_cargo_adds(self):
        expected = [{"red", "green"}, {"red", "blue"}, {"green", "blue"}, {"shade"}, {"contrast"}]
        expected.append({"free", "packed-better", "packed", "plain"})
        self.assertCountEqual([set(on) for on in self.rules.refused()], expected)

    def test_flavours_have_what_they_imply(self):
        lines = ["# nothing but a comment", "", "smallest  -", "better  packed-better,red  # in red"]
        expected = [set(), {"packed-better", "packed", "plain", "red"}]
        self.assertEqual([set(on) for on in self.rules.flavours(lines)], expected)
        named = [(name, set(on)) for name, on in self.rules.named(lines)]
        self.assertEqual(named, list(zip(["smallest", "better"], expected)))

    def test_the_rest_is_what_singles_and_flavours_leave(self):
        lines = ["better packed-better,red"]
        others = [*self.rules.singles(), *self.rules.flavours(lines)]
        rest = self.rules.rest(lines)
        self.assertNotEqual(uncovered(self.package, others), set())
        self.assertNotEqual(uncovered(self.package, rest), set())
        self.assertEqual(uncovered(self.package, others + rest), set())

    def test_a_flavour_that_cargo_could_not_build_is_an_error(self):
        for features in ("red,green", "shade", "contrast,red", "purple"):
            with self.assertRaises(SystemExit, msg=features):
                list(self.rules.flavours([f"wrong {features}"]))

    def test_a_rule_for_a_feature_that_there_is_not_is_an_error(self):
        for rule in ({"original": ["purple"]}, {"excludes": [["red", "purple"]]}, {"needs": {"red": ["purple"]}}):
            with self.assertRaises(SystemExit, msg=rule):
                combinations.Rules({**SMALL, "metadata": {"switches": rule}})


class WithMoreFeatures(EveryPackage, unittest.TestCase):
    """New features are covered with no rule for them, and nothing else changed."""

    package = {**SMALL, "features": {**SMALL["features"], "new": [], "newer": ["blue"]}}


class ThisPackage(EveryPackage, unittest.TestCase):
    package = combinations.package(ROOT)

    def test_the_original_has_ten_switches_and_576_legal_combinations_of_them(self):
        original = self.package["metadata"]["switches"]["original"]
        self.assertEqual(len(original), 10)
        legal = [on for on in subsets(original) if is_legal(self.package, on)]
        self.assertEqual(len(legal), 576)
        self.assertCountEqual([set(on) for on in self.rules.all()], legal)

    def test_every_flavour_is_legal(self):
        lines = (ROOT / "ci/flavours").read_text().splitlines()
        self.assertGreater(len([on for on in self.rules.flavours(lines) if is_legal(self.package, set(on))]), 10)


if __name__ == "__main__":
    unittest.main()
