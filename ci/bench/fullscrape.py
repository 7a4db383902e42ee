#!/usr/bin/env python3
"""What a full scrape costs a tracker that is full, and what announces notice of it.

    cargo build --release --features gzip
    ci/bench/fullscrape.py [--binary target/release/opentracker] [--torrents 1000000] [--stalled 50] [--at-once 8]
                           [--state-file]

Fills a tracker over UDP, or with a state file, which is faster and leaves the torrents without peers. Fetches
GET /scrape plain and compressed, again and again, while another process announces, one announce at a time; reads a page
as strictly as the strictest reader; fetches several at once; and then opens connections that ask for the page and do not
read it. Needs Linux and nothing beside Python. Takes about two minutes for a million torrents. The clients take
processor time too: on a small machine, what an announce waits for is often not the tracker.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

# Announces on their way at a time while the tracker is filled: few enough for its socket's buffer.
WINDOW = 100
# Seconds in which anything is answered.
PATIENCE = 10
# Seconds for which a row of the first table is measured.
ROW = 5
# Seconds after which a tracker that has cut a stalled reader off must have done so.
CUT_OFF = 45


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        state_file = pathlib.Path(directory, "dump") if arguments.state_file else None
        if state_file:
            write_state(state_file, arguments.torrents)
        tracker = Tracker(arguments.binary, directory, *(["-l", "dump"] if state_file else []))
        try:
            measure(tracker, arguments)
        finally:
            tracker.end()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/opentracker", type=pathlib.Path)
    parser.add_argument("--torrents", default=1_000_000, type=int)
    parser.add_argument("--stalled", default=50, type=int, help="connections that do not read, of each kind")
    parser.add_argument("--at-once", default=8, type=int, help="pages that are fetched at once")
    parser.add_argument("--state-file", action="store_true", help="fill the tracker with a state file")
    return parser.parse_args()


def measure(tracker, arguments):
    begun = time.monotonic()
    if not arguments.state_file:
        fill(tracker, arguments.torrents)
    check_filled(tracker, arguments.torrents)
    print(f"{arguments.torrents} torrents in {time.monotonic() - begun:.0f} s, {tracker.rss() / 1e6:.1f} MB resident\n")

    print(f"{'':24}{'s/page':>8}{'CPU s':>8}{'MB sent':>9}{'MB page':>9}{'MB growth':>11}   announce, ms: {'median':>6}{'99 %':>8}{'worst':>8}")
    for protocol in (announce_udp, announce_http):
        name = protocol.__name__.removeprefix("announce_")
        row(f"{name}, no full scrape", tracker, protocol, lambda: time.sleep(ROW) or (0, 0))
        for coding in ("identity", "gzip"):
            row(f"{name}, {coding}", tracker, protocol, lambda: fetch(tracker, coding))

    print()
    row("udp, strictly read", tracker, announce_udp, lambda: read_strictly(tracker, arguments.torrents))
    for coding in ("identity", "gzip"):
        at_once(tracker, coding, arguments.at_once)

    print(f"\n{'':24}{'connections':>12}{'MB growth':>11}{'cut off after':>15}{'MB growth then':>16}")
    for coding in ("identity", "gzip"):
        stall(tracker, coding, arguments.stalled)


def row(name, tracker, protocol, work):
    """Measures `work` while another process announces."""
    stop = multiprocessing.Event()
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=probe, args=(protocol, tracker, stop, theirs))
    prober.start()
    ours.recv()
    before = tracker.reset_peak()
    begun, processor = time.monotonic(), tracker.processor_time()
    rounds = 0
    while time.monotonic() - begun < ROW:
        sent, page = work()
        rounds += 1
    seconds, processor = (time.monotonic() - begun) / rounds, (tracker.processor_time() - processor) / rounds
    growth = tracker.peak() - before
    stop.set()
    times = sorted(ours.recv())
    prober.join()
    median, most = times[len(times) // 2], times[len(times) * 99 // 100]
    print(
        f"{name:<24}{seconds:8.2f}{processor:8.2f}{sent / 1e6:9.1f}{page / 1e6:9.1f}{growth / 1e6:11.2f}   "
        f"{len(times):6} times {median * 1e3:7.2f}{most * 1e3:8.2f}{times[-1] * 1e3:8.2f}"
    )


def fetch(tracker, coding):
    """Reads a full scrape. Gives the bytes sent, chunks not counted, and those of the page."""
    connection = http.client.HTTPConnection(*tracker.tcp, timeout=PATIENCE)
    connection.request("GET", "/scrape", headers={"Accept-Encoding": coding})
    response = connection.getresponse()
    encoded = response.getheader("Content-Encoding") == "gzip"
    if encoded != (coding == "gzip"):
        sys.exit(f"asked for {coding}, got {response.getheaders()}")
    unzip = zlib.decompressobj(31) if encoded else None
    sent = page = 0
    end = b""
    while piece := response.read1(1 << 16):
        sent += len(piece)
        plain = unzip.decompress(piece) if unzip else piece
        page += len(plain)
        end = (end + plain)[-3:]
    if end != b"eee":
        sys.exit(f"the page ends with {end}")
    return sent, page


def read_strictly(tracker, torrents):
    """Reads a full scrape as the strictest reader of bencode: keys sorted, each once, nothing between or behind."""
    torrent = re.compile(rb"20:(.{20})d8:completei(0|[1-9]\d*)e10:downloadedi(0|[1-9]\d*)e10:incompletei(0|[1-9]\d*)ee", re.S)
    with socket.create_connection(tracker.tcp, PATIENCE) as client:
        client.sendall(b"GET /scrape HTTP/1.0\r\n\r\n")
        rest = client.makefile("rb")
        while rest.readline() != b"\r\n":
            pass
        if (start := rest.read(9)) != b"d5:filesd":
            sys.exit(f"the page begins with {start}")
        size, named, before, buffer = len(start), 0, b"", b""
        while piece := rest.read(1 << 20):
            size += len(piece)
            buffer += piece
            end = 0
            while match := torrent.match(buffer, end):
                if match[1] <= before:
                    sys.exit(f"{match[1].hex()} stands behind {before.hex()}")
                before, end = match[1], match.end()
                named += 1
            buffer = buffer[end:]
    if buffer != b"ee" or named != torrents:
        sys.exit(f"the page names {named} torrents, and ends with {buffer[-100:]}")
    return size, size


def at_once(tracker, coding, pages):
    """Fetches several pages at once."""
    before = tracker.reset_peak()
    begun, processor = time.monotonic(), tracker.processor_time()
    refused = []
    readers = [threading.Thread(target=drain, args=(tracker, coding, refused)) for _ in range(pages)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    seconds, processor = time.monotonic() - begun, tracker.processor_time() - processor
    growth = tracker.peak() - before
    print(f"{pages} at once, {coding:<12} {seconds:8.2f} s, {processor:.2f} s of CPU, {growth / 1e6:.2f} MB growth, {len(refused)} refused")


def drain(tracker, coding, refused):
    """Reads a page to its end, and looks only at whether it is one: the tracker refuses more than it sorts at a time."""
    buffer = bytearray(1 << 18)
    with socket.create_connection(tracker.tcp) as client:
        client.sendall(b"GET /scrape HTTP/1.0\r\nAccept-Encoding: %b\r\n\r\n" % coding.encode())
        status = client.recv(12, socket.MSG_WAITALL)
        if not status.endswith(b" 200"):
            refused.append(status)
        while client.recv_into(buffer):
            pass


def stall(tracker, coding, connections):
    """Opens connections that ask for everything and read nothing, and waits until they are cut off."""
    files = tracker.open_files()
    before = tracker.reset_peak()
    begun = time.monotonic()
    stalled = []
    for _ in range(connections):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(tracker.tcp)
        client.sendall(b"GET /scrape HTTP/1.1\r\nAccept-Encoding: %b\r\n\r\n" % coding.encode())
        stalled.append(client)
    time.sleep(2)
    if tracker.open_files() < files + connections:
        print("  (some were not held open: the page is too small, it went into the system's buffers)")
    growth = tracker.peak() - before
    while tracker.open_files() > files:
        if time.monotonic() - begun > CUT_OFF:
            sys.exit(f"{tracker.open_files() - files} connections are still open after {CUT_OFF} s")
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    then = tracker.rss() - before
    print(f"{coding + ', stalled':<24}{connections:12}{growth / 1e6:11.2f}{seconds:13.1f} s{then / 1e6:16.2f}")


def fill(tracker, torrents):
    """One torrent in ten has four peers, the others have one. Every fourth peer is a seeder."""
    client = UdpClient(tracker)
    batch = []
    for n in range(torrents):
        for port in range(1, 5 if n % 10 == 0 else 2):
            batch.append(client.announce(info_hash(n), n % 4 == 0, port))
        if len(batch) >= WINDOW or n + 1 == torrents:
            client.exchange(batch)
            batch.clear()
        if n % 100_000 == 0:
            client.connect()


def write_state(path, torrents):
    """Writes a state file in which each torrent has been heard of now."""
    minute = int(time.time()) // 60
    with path.open("w") as file:
        for n in range(torrents):
            file.write(f"{info_hash(n).hex()}:{minute}:{1 + n % 50}\n")


def check_filled(tracker, torrents):
    serving = tracker.get("/stats?mode=torr").split(b"\n")[0]
    if int(serving) != torrents:
        sys.exit(f"the tracker has {serving.decode()} torrents, not {torrents}")


def probe(protocol, tracker, stop, pipe):
    """Announces again and again for torrents that are there, until told to stop. Sends back the seconds that each
    announce took."""
    client = UdpClient(tracker)
    times = []
    protocol(tracker, client, 0)
    pipe.send("ready")
    while not stop.is_set():
        begun = time.perf_counter()
        protocol(tracker, client, len(times) * 10)
        times.append(time.perf_counter() - begun)
        if len(times) % 10_000 == 0:
            client.connect()
        time.sleep(0.0005)
    pipe.send(times)


def announce_udp(_, client, n):
    client.exchange([client.announce(info_hash(n % 1000), False, 1)])


def announce_http(tracker, _, n):
    escaped = "".join(f"%{byte:02x}" for byte in info_hash(n % 1000))
    tracker.get(f"/announce?info_hash={escaped}&port=1&left=1")


def info_hash(n):
    return hashlib.sha1(b"%d" % n).digest()


class UdpClient:
    """BEP 15."""

    def __init__(self, tracker):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(tracker.udp)
        self.connect()

    def connect(self):
        self.socket.settimeout(PATIENCE)
        self.socket.send(struct.pack(">QII", 0x41727101980, 0, 1))
        self.id = self.socket.recv(64)[8:16]

    def announce(self, info_hash, seeder, port):
        left = 0 if seeder else 1
        tail = struct.pack(">QQQIIIiH", 0, left, 0, 0, 0, 0, 50, port)
        return b"\0\0\0\1\0\0\0\2" + info_hash + b"-BENCH0-abcdefghijkl" + tail

    def exchange(self, announces):
        """Sends announces, and waits until all are answered. What is lost is sent again: that changes nothing."""
        for _ in range(10):
            for announce in announces:
                self.socket.send(self.id + announce)
            self.socket.settimeout(0.5)
            try:
                for _ in announces:
                    reply = self.socket.recv(2048)
                    if reply[:4] != b"\0\0\0\1":
                        sys.exit(f"an announce is answered with {reply}")
                return
            except TimeoutError:
                continue
        sys.exit("announces are not answered")


class Tracker:
    """The tracker, on free ports of 127.0.0.1."""

    def __init__(self, binary, directory, *options):
        log = pathlib.Path(directory, "log")
        command = [str(binary.resolve()), "-d", directory, "-i", "127.0.0.1", "-p", "0", "-P", "0", *options]
        self.process = subprocess.Popen(command, stderr=log.open("w"))
        deadline = time.monotonic() + PATIENCE
        while "features: " not in log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the tracker does not start:\n{log.read_text()}")
            time.sleep(0.01)
        port = lambda protocol: int(re.search(rf"listening on {protocol} \S+:(\d+)", log.read_text())[1])
        self.tcp, self.udp = ("127.0.0.1", port("tcp")), ("127.0.0.1", port("udp"))
        self.proc = pathlib.Path(f"/proc/{self.process.pid}")

    def end(self):
        self.process.terminate()
        if self.process.wait(PATIENCE) != 0:
            sys.exit(f"the tracker ended with {self.process.returncode}")

    def get(self, target):
        with socket.create_connection(self.tcp, PATIENCE) as client:
            client.sendall(b"GET %b HTTP/1.0\r\n\r\n" % target.encode())
            reply = b""
            while piece := client.recv(1 << 16):
                reply += piece
        head, _, body = reply.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            sys.exit(f"{target} is answered with {reply}")
        return body

    def memory(self, row):
        return int(re.search(rf"{row}:\s+(\d+) kB", (self.proc / "status").read_text())[1]) * 1024

    def rss(self):
        return self.memory("VmRSS")

    def peak(self):
        return self.memory("VmHWM")

    def reset_peak(self):
        """From here on, the peak is that of what comes. Gives what is resident now."""
        (self.proc / "clear_refs").write_text("5")
        return self.rss()

    def processor_time(self):
        """In seconds, over all threads: those for announces too."""
        fields = (self.proc / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def open_files(self):
        return len(list((self.proc / "fd").iterdir()))


if __name__ == "__main__":
    main()
