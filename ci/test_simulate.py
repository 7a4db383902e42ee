"""Tests of ci/cluster/simulate: the rules that it simulates, and what a cluster does by them.

    python3 -B -m unittest discover -s ci
"""

import heapq
import subprocess
import sys
import unittest

from test_combinations import ROOT, script

sys.path.insert(0, str(ROOT / "ci/cluster"))
from simulation import rules
from simulation.rules import Change, Node, Scenario
from simulation.world import World

simulate = script("cluster/simulate")


def run(*arguments, **options):
    return World(Scenario(*arguments, **{"peers": 200, "hours": 0.5, **options})).run()


class WhatAMemberTakesOver(unittest.TestCase):
    def setUp(self):
        self.node = Node(0, 0, remembers=True)

    def test_a_peer_is_told_on_once_in_ten_minutes(self):
        told = [minute for minute in range(100, 140) if self.node.take(Change(1, minute))]
        self.assertEqual(told, [100, 110, 120, 130])

    def test_a_download_counts_once_and_is_told_at_once(self):
        self.assertTrue(self.node.take(Change(1, 100)))
        self.assertTrue(self.node.take(Change(1, 101, completed=True)))
        self.assertFalse(self.node.take(Change(1, 102, completed=True)))
        self.assertEqual(self.node.done, {1})

    def test_a_stop_removes_who_was_not_seen_later(self):
        self.node.take(Change(1, 100))
        self.assertFalse(self.node.take(Change(1, 99, stopped=True)))
        self.assertIn(1, self.node.view)
        self.assertTrue(self.node.take(Change(1, 100, stopped=True)))
        self.assertFalse(self.node.take(Change(1, 100, stopped=True)), "it is not told on for ever")
        self.assertNotIn(1, self.node.view)

    def test_a_late_copy_revives_nobody_but_counts_a_download(self):
        self.node.take(Change(1, 100, stopped=True))
        self.assertFalse(self.node.take(Change(1, 100)))
        self.assertTrue(self.node.take(Change(1, 99, completed=True)))
        self.assertEqual((self.node.view, self.node.done), ({}, {1}))
        self.assertTrue(self.node.take(Change(1, 101)))

    def test_a_client_that_comes_back_counts_at_once(self):
        self.node.take(Change(1, 100, stopped=True))
        self.assertTrue(self.node.announced(Change(1, 100)))
        self.assertIn(1, self.node.view)

    def test_a_plain_multicast_cluster_remembers_no_stops(self):
        node = Node(0, 0, remembers=False)
        node.take(Change(1, 100, stopped=True))
        self.assertTrue(node.take(Change(1, 100)))

    def test_who_is_silent_is_forgotten_after_45_minutes(self):
        self.node.take(Change(1, 100))
        self.node.sweep(144)
        self.assertIn(1, self.node.view)
        self.node.sweep(145)
        self.assertNotIn(1, self.node.view)


class HowChangesAreSent(unittest.TestCase):
    def world(self, transport, **options):
        return World(Scenario(transport, nodes=options.pop("nodes", 2), **options))

    def until(self, world, time):
        while world.events and world.events[0][0] <= time:
            world.now, _, what, arguments = heapq.heappop(world.events)
            what(*arguments)
        world.now = time

    def tell(self, world, node, peers):
        for peer in peers:
            world.announce(world.nodes[node], Change(peer, world.minute()))

    def test_the_first_packet_goes_out_at_once_and_the_next_15_seconds_later_or_when_it_is_full(self):
        world = self.world("multicast")
        self.tell(world, 0, range(1))
        self.until(world, 0)
        self.assertEqual(world.radio.messages, 1)
        self.tell(world, 0, range(1, 11))
        self.until(world, 14.9)
        self.assertEqual(world.radio.messages, 1)
        self.until(world, 15)
        self.assertEqual((world.radio.messages, world.radio.records), (2, 11))
        self.tell(world, 0, range(100, 100 + 2 * 52))
        self.assertEqual((world.radio.messages, world.radio.bytes), (4, 28 + 8 + 28 + 28 + 8 + 280 + 2 * (28 + 1464)))
        self.assertEqual(world.nodes[1].view.keys(), world.nodes[0].view.keys())

    def test_a_batch_goes_out_a_second_after_the_one_before_or_when_it_is_full(self):
        world = self.world("nats")
        self.tell(world, 0, range(1))
        self.until(world, 0)
        self.assertEqual(world.line.messages, 2, "a batch and its echo")
        self.tell(world, 0, range(1, 11))
        self.until(world, 0.9)
        self.assertEqual(world.line.messages, 2)
        self.until(world, 1)
        self.assertEqual((world.line.messages, world.line.records), (4, 11))
        self.tell(world, 0, range(100, 100 + rules.BATCH_RECORDS))
        self.assertEqual(world.line.messages, 6)
        self.assertEqual(world.nodes[1].view.keys(), world.nodes[0].view.keys())

    def test_what_a_cut_kept_from_others_is_sent_again_stops_too(self):
        world = self.world("nats", nodes=3)
        for node in range(3):
            self.tell(world, node, [node])
        self.until(world, 30)
        world.nodes[0].line.cut()
        self.tell(world, 0, range(10, 20))
        self.tell(world, 1, range(20, 30))
        world.announce(world.nodes[1], Change(0, world.minute(), stopped=True))
        world.announce(world.nodes[0], Change(1, world.minute(), stopped=True))
        self.until(world, 30 + rules.CUT - 1)
        self.assertEqual([len(node.view) for node in world.nodes], [12, 12, 12])
        self.until(world, 30 + rules.CUT + 15)
        self.assertEqual([len(node.view) for node in world.nodes], [21, 21, 21])
        # Once by each, and what the first has missed once more.
        self.assertEqual(world.line.records, 3 + 11 + 11 + 11)

    def test_what_a_sender_told_that_is_gone_another_tells(self):
        world = self.world("nats", nodes=3)
        for node in range(3):
            self.tell(world, node, [node])
        self.until(world, 30)
        world.nodes[0].line.cut()
        self.tell(world, 1, range(10, 20))
        self.until(world, 80)
        # As `restart` does, but for good.
        world.die(world.nodes[1])
        self.until(world, 30 + rules.CUT + rules.GONE_AFTER - 1)
        self.assertEqual([len(node.view) for node in world.nodes], [3, 13, 13])
        self.until(world, 30 + rules.CUT + rules.GONE_AFTER + 5)
        self.assertEqual([len(node.view) for node in world.nodes], [13, 13, 13])

    def test_one_bridge_forwards_at_a_time_and_another_tells_what_it_has_kept(self):
        world = self.world("sites", nodes=8, sites=2)
        self.tell(world, 4, range(10))
        self.until(world, 20)
        self.assertTrue(all(len(node.view) == 10 for node in world.nodes))
        self.assertEqual(world.line.records, 10, "by one bridge alone")
        # The elected bridge of the first site dies.
        world.die(world.nodes[0])
        self.tell(world, 4, range(10, 20))
        self.until(world, 20 + rules.SILENCE + rules.RELEASE_DELAY - 0.1)
        self.assertEqual(len(world.nodes[1].view), 10)
        self.until(world, 20 + rules.SILENCE + rules.RELEASE_DELAY)
        self.assertEqual(len(world.nodes[1].view), 20)
        self.until(world, 40)
        self.tell(world, 4, range(20, 30))
        self.until(world, 60)
        self.assertTrue(all(len(node.view) == 30 for node in world.nodes if node.up))


    def test_a_new_bridge_listens_for_longer_where_another_forwards(self):
        world = self.world("sites", nodes=4, sites=2)
        one, other = world.nodes[0], world.nodes[2]
        self.assertFalse(world.forwards(one))
        self.until(world, rules.SILENCE)
        self.assertTrue(world.forwards(one))
        self.assertFalse(world.forwards(other))
        world.die(one)
        self.until(world, 2 * rules.SILENCE + rules.BRIDGE_SAYS)
        self.assertTrue(world.forwards(other))
        world.come_back(one)
        able = world.now + rules.LONG_LISTENING
        self.until(world, able - 0.1)
        self.assertEqual((world.forwards(one), world.forwards(other)), (False, True))
        self.until(world, able)
        self.assertEqual((world.forwards(one), world.forwards(other)), (False, False), "it says so first")
        self.until(world, able + rules.BRIDGE_SAYS)
        self.assertEqual((world.forwards(one), world.forwards(other)), (True, False))
        # It says at once that it can no longer.
        one.line.cut()
        self.until(world, world.now + rules.BRIDGE_SAYS)
        self.assertEqual((world.forwards(one), world.forwards(other)), (False, True))

    def test_a_bridge_keeps_so_many_changes_for_so_long(self):
        held = rules.Held()
        for peer in range(rules.MAX_HELD + 10):
            held.changes.append((0.0, Change(peer, 0)))
        held.keep(Change(-1, 0), 1.0)
        self.assertEqual((len(held.changes), held.changes[0][1].peer), (rules.MAX_HELD, 11))
        held.forget([Change(11, 7), Change(12, 0, stopped=True)])
        self.assertEqual([change.peer for _, change in held.changes[:2]], [12, 13], "told by others, whenever")
        self.assertEqual([change.peer for change in held.take(rules.HELD)], [-1])
        self.assertEqual(held.changes, [])


class WhatBecomesOfACluster(unittest.TestCase):
    def test_where_nothing_goes_wrong_all_know_everybody_and_count_every_download(self):
        for transport in ("multicast", "nats", "sites"):
            with self.subTest(transport):
                outcome = run(transport, nodes=12)
                self.assertEqual((outcome.missing, outcome.most_missing, outcome.agree), (0, 0, 0))
                self.assertEqual(outcome.downloads, 1)
                self.assertLess(outcome.stale, 0.005)
                for traffic in (outcome.radio, outcome.line):
                    self.assertEqual((traffic.lost, traffic.gaps, traffic.asks, traffic.republished), (0, 0, 0, 0))

    def test_each_packet_reaches_every_other_member(self):
        outcome = run("multicast", nodes=100)
        self.assertEqual(outcome.radio.copies, 99 * outcome.radio.messages)
        # All but those that are told before: a few.
        self.assertGreater(outcome.radio.records, 0.95 * outcome.announces)
        self.assertLessEqual(outcome.radio.records, outcome.announces)

    def test_what_multicast_loses_is_told_with_the_next_announce(self):
        outcome = run("multicast", nodes=10, loss=0.05)
        self.assertGreater(outcome.most_missing, 0)
        self.assertIsNotNone(outcome.agree)
        self.assertLess(outcome.agree, 1.1 * 1800 + 15 + 40)

    def test_what_nats_drops_is_asked_for_and_comes_within_a_minute(self):
        outcome = run("nats", nodes=20, drops=0.01)
        self.assertGreater(outcome.line.gaps, 0)
        self.assertGreater(outcome.line.republished, 0)
        self.assertLess(outcome.agree, 60)
        self.assertLess(outcome.missing, 0.01)

    def test_cuts_are_made_up_for_within_a_minute(self):
        outcome = run("nats", nodes=20, cuts=20)
        self.assertGreater(outcome.line.republished, 0)
        self.assertLess(outcome.agree, 60)
        self.assertEqual(outcome.downloads, 1, "what was kept for a tracker is all that it has missed")

    def test_what_is_not_kept_any_more_is_made_up_for_by_a_walk(self):
        whole, walked = (run("nats", nodes=20, cuts=20, journal=journal) for journal in (4096, 1))
        self.assertGreater(walked.line.republished, whole.line.republished)
        self.assertLess(walked.agree, 60)
        # Who has stopped is in no walk.
        self.assertGreater(walked.stale, whole.stale)

    def test_100_members_with_loss_cuts_and_restarts_agree_in_the_end(self):
        for options in (
            {"transport": "multicast", "loss": 0.01, "restarts": 20},
            {"transport": "nats", "cuts": 20, "restarts": 20},
            {"transport": "sites", "loss": 0.01, "cuts": 20, "restarts": 20},
        ):
            with self.subTest(**options):
                outcome = run(nodes=100, **{**options, "peers": 100})
                self.assertIsNotNone(outcome.agree)
                self.assertLess(outcome.missing, 0.03)

    def test_a_snapshot_spares_half_an_hour_of_emptiness(self):
        with_it, without = (run("multicast", nodes=5, restarts=4, snapshots=each) for each in (True, False))
        self.assertLess(with_it.most_missing, 0.05)
        self.assertGreater(without.most_missing, 0.5)
        self.assertEqual((with_it.radio.snapshots, without.radio.snapshots), (2, 0))

    def test_a_seed_makes_a_run_and_another_one_another(self):
        lines = [list(run("sites", nodes=6, loss=0.02, cuts=6, seed=seed).lines()) for seed in (1, 1, 2)]
        self.assertEqual(lines[0], lines[1])
        self.assertNotEqual(lines[0], lines[2])


class WhatTheScriptTakes(unittest.TestCase):
    def simulate(self, *arguments):
        command = [sys.executable, ROOT / "ci/cluster/simulate", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_each_transport_is_simulated_from_the_command_line(self):
        small = ["--nodes", "4", "--peers", "50", "--hours", "0.2", "--loss", "1", "--drops", "1", "--cuts", "10"]
        for arguments in (["multicast"], ["nats", "--journal", "10"], ["sites", "--sites", "2", "--no-snapshots"]):
            code, said = self.simulate("--transport", *arguments, *small)
            self.assertEqual((code, "all know everybody: " in said), (0, True), said)

    def test_what_makes_no_sense_is_refused(self):
        for arguments in (
            ["--nodes", "1"], ["--nodes", "1001"], ["--peers", "0"], ["--loss", "100"], ["--drops", "-1"],
            ["--hours", "0"], ["--journal", "0"], ["--transport", "sites", "--sites", "6"], ["--transport", "pigeons"],
        ):
            self.assertEqual(self.simulate(*arguments)[0], 2, arguments)


class WhatTheChapterSays(unittest.TestCase):
    def test_its_table_is_what_is_simulated(self):
        chapter = (ROOT / "ci/cluster/README.md").read_text().splitlines()
        said = set(chapter)
        for name, what, scenario in simulate.ROWS:
            beginning = f"| {name} | {scenario.nodes} | {what} | "
            self.assertEqual(sum(line.startswith(beginning) for line in chapter), 1, beginning)
        # Two of them are quick.
        for line in simulate.table([row for row in simulate.ROWS if row[1] == "nothing goes wrong"]):
            self.assertIn(line, said)


if __name__ == "__main__":
    unittest.main()
