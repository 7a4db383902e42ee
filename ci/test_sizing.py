"""Tests of ci/cluster/sizing and of what the chapter says of traffic: the figures are the project's own, and add up.

    python3 -B -m unittest discover -s ci
"""

import math
import re
import socket
import struct
import sys
import unittest

from test_combinations import ROOT, script

sys.path.insert(0, str(ROOT / "ci/cluster"))
from simulation import rules

sizing, traffic = script("cluster/sizing"), script("cluster/traffic")
CHAPTER = (ROOT / "ci/cluster/README.md").read_text()
MILLION_A_MINUTE = 1_000_000 / 60


def figure(text):
    return float(text.replace(",", ""))


class WhatTheChapterNames(unittest.TestCase):
    def test_its_files_and_headings_are_there(self):
        links = re.findall(r"\]\(([^)]*)\)", CHAPTER)
        near = [link for link in links if "://" not in link]
        self.assertGreater(len(near), 10)
        for link in near:
            path, _, heading = link.partition("#")
            text = (ROOT / "ci/cluster" / path).read_text() if path else CHAPTER
            if heading:
                headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
                names = [re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings]
                self.assertIn(heading, names)


class WhatIsMeasured(unittest.TestCase):
    def test_the_figures_are_those_of_the_readme(self):
        readme = (ROOT / "README.md").read_text().split("\n## Performance\n")[1].split("\n## ")[0]
        rows = dict(line.strip("| ").split(" | ", 2)[:2] for line in readme.splitlines() if line.count(" | ") > 1)
        for name, value in sizing.MEASURED.items():
            self.assertEqual(figure(rows[name]), value, name)
            said = next(line for line in CHAPTER.splitlines() if line.startswith(f"| {name} | "))
            self.assertEqual(figure(said.split(" | ")[1]), value, name)


class WhatIsCalculated(unittest.TestCase):
    def test_the_tables_of_the_chapter_are_what_is_printed(self):
        said = set(CHAPTER.splitlines())
        for line in [*sizing.alone(sizing.SIZES), *sizing.clusters(sizing.SIZES, sizing.NODES)]:
            self.assertIn(line, said)

    def test_bytes_follow_from_both_measured_kinds_of_torrents(self):
        self.assertAlmostEqual(sizing.Size(1, 1).bytes_per_peer, 60.3)
        self.assertAlmostEqual(sizing.Size(1, 10).bytes_per_peer, 16.7)
        self.assertAlmostEqual(sizing.Size(1).bytes_per_peer, 19.3, places=1)

    def test_one_machine_by_hand(self):
        size = sizing.Size(1.8e6)
        self.assertEqual(size.announces, 1000)
        self.assertAlmostEqual(size.udp_cores(), 2000 / 309_493)
        self.assertEqual(size.bits_in, 8 * 1000 * (28 + 16 + 28 + 98))
        self.assertEqual(size.bits_out(200), 8 * 1000 * (28 + 16 + 28 + 1220))

    def test_a_cluster_by_hand(self):
        size = sizing.Size(1.8e6)
        self.assertEqual(size.memory, sizing.Size(1.8e6).memory)
        self.assertAlmostEqual(size.udp_cores(10), (200 + 900) / 309_493)
        self.assertEqual(size.nats_bits(10), 8 * 1000 * 28 * 10)
        self.assertAlmostEqual(size.multicast_bits, 8 * 1000 / 52 * 1492)
        self.assertAlmostEqual(sizing.Size(1e6, 5).snapshot_seconds, (8e6 + 29 * 2e5) / 4e6)

    def test_a_million_announces_a_minute(self):
        packets = MILLION_A_MINUTE / 52
        self.assertIn(f"packets of 1,492 bytes | {packets:,.0f} | {packets * 1492:,.0f} | ", CHAPTER)
        batches, line = MILLION_A_MINUTE / traffic.BATCH_RECORDS, len("MSG opentracker.changes 1 63922\r\n\r\n")
        size = 28 * traffic.BATCH_RECORDS + traffic.BATCH_HEAD + line
        self.assertIn(f"16,667 / {traffic.BATCH_RECORDS:,} batches of {size:,} bytes", CHAPTER)
        self.assertIn(f" | {batches:.1f} | {batches * size:,.0f} | {8 * batches * size / 1e6:.2f} |", CHAPTER)
        of_ten = (28 * MILLION_A_MINUTE / 10 + traffic.BATCH_HEAD) / 1000
        self.assertIn(f"10 nodes send 10 a second of {of_ten:.0f} kB each", CHAPTER)

    def test_simulation_sizing_and_traffic_mean_the_same_wire(self):
        self.assertEqual(rules.RECORD, sizing.RECORD)
        self.assertEqual(rules.BATCH_RECORDS, traffic.BATCH_RECORDS)
        self.assertEqual(rules.BATCH_HEAD, traffic.BATCH_HEAD)
        self.assertEqual(rules.PACKET_RECORDS, math.floor((1480 - rules.PACKET_HEAD) / rules.RECORD))
        self.assertEqual(rules.UDP_HEAD + rules.PACKET_HEAD, sizing.PACKET_HEADERS)


class WhatIsCounted(unittest.TestCase):
    def test_packets_of_peers_are_counted_with_their_headers_and_others_are_not(self):
        group = traffic.Group()
        self.addCleanup(group.close)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            for kind, records in ((0, 52), (16, 1), (0, 1)):
                packet = struct.pack(">II", 1, kind) + bytes(28 * records)
                mouth.sendto(packet, (traffic.GROUP, group.port))
        group.hear(5)
        self.assertEqual((group.messages, group.records, group.bytes), (2, 53, 2 * 36 + 53 * 28))

    def test_batches_are_counted_with_the_line_before_each_wherever_the_stream_is_cut(self):
        batch = bytes(traffic.BATCH_HEAD + 2 * 28)
        number = bytes(traffic.BATCH_HEAD)
        stream = b"PING\r\n"
        for subject, payload in (("changes", batch), ("ask", b"x" * 200), ("changes", number), ("changes", batch)):
            stream += b"MSG opentracker.%s 1 %d\r\n%s\r\n" % (subject.encode(), len(payload), payload)
        line = len(f"MSG opentracker.changes 1 {len(batch)}\r\n\r\n")
        for cut in range(1, len(stream)):
            ear = traffic.Subscriber.__new__(traffic.Subscriber)
            traffic.Ear.__init__(ear)
            ear.bytes_read, ear.socket = b"", Stream([stream[:cut], stream[cut:]])
            ear.take(), ear.take()
            ear.selector.close()
            self.assertEqual((ear.messages, ear.records, ear.bytes), (2, 4, 2 * (len(batch) + line)), cut)
            self.assertEqual(ear.socket.sent, b"PONG\r\n")


class Stream:
    """A socket from which these pieces come."""

    def __init__(self, pieces):
        self.pieces, self.sent = pieces, b""

    def recv(self, _):
        return self.pieces.pop(0)

    def sendall(self, data):
        self.sent += data


if __name__ == "__main__":
    unittest.main()
