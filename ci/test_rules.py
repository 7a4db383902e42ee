"""Tests that the constants of the tracker which scripts repeat, and what is said of them, are those of src.

    python3 -B -m unittest discover -s ci
"""

import re
import sys
import unittest

from test_combinations import ROOT, script

sys.path.insert(0, str(ROOT / "ci/cluster"))
from simulation import rules
from simulation.rules import Scenario

sizing, traffic = script("cluster/sizing"), script("cluster/traffic")
CHAPTER = " ".join((ROOT / "ci/cluster/README.md").read_text().split())
# How values are written in Rust: the times in seconds.
UNITS = {"from_secs": 1, "from_millis": 1000}


def constant(file, name, **known):
    """The value of a constant in a file of src: a number, or seconds. `known` are the constants that it is made of."""
    text = (ROOT / "src" / file).read_text()
    (value,) = re.findall(rf"^ *(?:pub(?:\([^)]*\))? )?const {name}: [^=]+ = ([^;]+);", text, re.MULTILINE)
    unit = 1
    if time := re.fullmatch(r"Duration::(\w+)\((.*)\)", value):
        unit, value = UNITS[time[1]], time[2]
    for word, number in known.items():
        value = re.sub(rf"(?:\w+::)?\b{word}\b", str(number), value)
    if not re.fullmatch(r"[\d_ +*<>()]+", value):
        raise ValueError(f"{file}: {name} is {value}")
    return eval(value) / unit if unit > 1 else eval(value)


class WhatTheScriptsRepeat(unittest.TestCase):
    def agree(self, found, *arguments, **known):
        self.assertEqual(found, constant(*arguments, **known), arguments)

    def test_intervals_and_lifetimes_are_those_of_the_tracker(self):
        for interval in (rules.INTERVAL, sizing.INTERVAL):
            self.agree(interval, "tracker/intervals.rs", "DEFAULT")
        self.agree(rules.LIFETIME, "tracker/intervals.rs", "MIN_PEER_LIFETIME")
        self.agree(rules.TOLD_AGAIN, "tracker/peer.rs", "REPUBLISH_AFTER")
        self.agree(sizing.LIMIT_BYTES, "server/limits.rs", "IPV4_PEER")
        self.agree(sizing.MOST_PEERS, "udp/service.rs", "MAX_PEERS_IPV4")
        self.agree(sizing.MOST_PEERS, "http/announce_query.rs", "MAX_WANTED")

    def test_packets_are_those_of_live_sync(self):
        for head in (rules.PACKET_HEAD, traffic.PACKET_HEAD):
            self.agree(head, "switches/sync_live/packet.rs", "HEADER_LEN")
        longest = constant("switches/sync_live/packet.rs", "MAX_PACKET")
        for module in (rules, sizing, traffic):
            self.assertEqual(module.PACKET_RECORDS, (longest - rules.PACKET_HEAD) // module.RECORD)
        self.agree(rules.PACKET_DELAY, "switches/sync_live/mod.rs", "DELAY")
        self.agree(rules.BRIDGE_DELAY, "switches/sync_live/mod.rs", "DELAY_OF_BRIDGE")
        self.agree(rules.BRIDGE_DELAY, "cluster/outbox.rs", "MAX_FORWARD_DELAY")
        group = re.escape(traffic.GROUP.replace(".", ", "))
        self.assertRegex((ROOT / "src/switches/sync_live/link.rs").read_text(), rf"const GROUP: .*\({group}\);")

    def test_batches_are_those_of_nats(self):
        batch, name = "switches/sync_nats/batch.rs", constant("switches/sync_nats/batch.rs", "MAX_NAME")
        self.agree(rules.BATCH_MAX, batch, "MAX_BATCH")
        self.agree(rules.BATCH_ROOM, batch, "MAX_HEADER", MAX_NAME=name)
        self.assertEqual(rules.BATCH_HEAD, rules.BATCH_ROOM - name + len(traffic.SUBJECT))
        self.agree(rules.BATCH_DELAY, "switches/sync_nats/member.rs", "DELAY")
        machine, senders = "switches/sync_nats/machine.rs", "switches/sync_nats/senders.rs"
        self.agree(rules.KEEP_ALIVE, machine, "KEEP_ALIVE")
        self.agree(rules.WALK_PAUSE, machine, "WALK_PAUSE")
        self.agree(rules.STARTS, machine, "STARTS")
        self.agree(rules.GONE_AFTER, machine, "GONE_AFTER")
        self.agree(rules.JITTER, senders, "MAX_JITTER")
        self.agree(rules.FIRST_PAUSE, senders, "FIRST_PAUSE")
        self.agree(rules.LAST_PAUSE, senders, "MAX_PAUSE")
        self.agree(rules.REPEAT_AFTER, "switches/sync_nats/journal.rs", "REPEAT_AFTER")
        self.agree(Scenario().journal, "switches/sync_nats/journal.rs", "MAX_BATCHES")

    def test_bridges_elect_as_in_the_tracker(self):
        for name, found in (
            ("MAX_SILENCE", rules.SILENCE), ("LONG_LISTENING", rules.LONG_LISTENING), ("KEEP_ALIVE", rules.BRIDGE_SAYS),
        ):
            self.agree(found, "cluster/election.rs", name)
        self.agree(rules.HELD, "cluster/outbox/held.rs", "MAX_HELD_TIME")
        self.agree(rules.MAX_HELD, "cluster/outbox/held.rs", "MAX_HELD")
        self.agree(rules.RELEASE_DELAY, "cluster/outbox.rs", "RELEASE_DELAY")
        # The end-to-end test waits for whoever is new, and some seconds more.
        case = (ROOT / "tests/e2e/bridge_cases.py").read_text()
        (listens,) = re.findall(r"^LISTEN_SECONDS = (\d+)$", case, re.MULTILINE)
        self.assertGreater(int(listens), rules.LONG_LISTENING + rules.BRIDGE_SAYS)

    def test_snapshots_are_those_of_the_tracker(self):
        known = {"LEN": constant("tracker/info_hash.rs", "LEN")}
        for module in (rules, sizing):
            self.agree(module.SNAPSHOT_PEER, "swarms/format.rs", "PEER_V4_LEN")
            # With the byte that says what it is.
            self.assertEqual(module.SNAPSHOT_TORRENT - 1, constant("swarms/format.rs", "TORRENT_LEN", **known))
        keys = (ROOT / "src/config/keys/sync.rs").read_text()
        rate = keys.split('"sync.snapshot_rate"')[1].split('DefaultValue::Value("')[1].split('"')[0]
        self.assertEqual(int(rate), sizing.SNAPSHOT_RATE)
        self.assertAlmostEqual(sizing.PUBLIC_PEERS / sizing.PUBLIC_TORRENTS, rules.PER_TORRENT, places=1)

    def test_a_constant_that_is_not_there_or_no_number_is_an_error(self):
        for name in ("NONE", "ALL"):
            with self.assertRaises(ValueError):
                constant("cluster/election.rs", name)


class WhatTheChapterSays(unittest.TestCase):
    def test_its_bounds_are_those_of_the_tracker(self):
        held = constant("cluster/outbox/held.rs", "MAX_HELD")
        seconds = rules.SILENCE + rules.RELEASE_DELAY
        rate, millions = held // seconds, held // seconds * rules.INTERVAL / 1e6
        self.assertIn(f"{held:,} changes, enough for the {seconds} s until then up to {rate:,} a second", CHAPTER)
        self.assertIn(f"then for {seconds} s. Above {rate:,} changes a second ({millions:.1f} million peers", CHAPTER)
        waiting = constant("switches/sync_live/packet.rs", "MAX_WAITING")
        each = rules.PACKET_RECORDS
        self.assertIn(f"{waiting * each:,} changes ({waiting} packets of {each}) by multicast", CHAPTER)
        kept = constant("switches/sync_nats/journal.rs", "MAX_BYTES")
        self.assertIn(f"({kept >> 20} MiB: some {round(kept / rules.RECORD, -5):,.0f} records)", CHAPTER)


if __name__ == "__main__":
    unittest.main()
