"""Restarts a tracker while clients ask, inside a machine that tests/e2e/systemd has booted.

    restarts.py RESULT RESTARTS

Writes to RESULT what it has to tell, and what is wrong.
"""

import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

TRACKER = ("127.0.0.1", 6969)
UDP_A_SECOND = 1000
# They come to different workers.
UDP_CLIENTS = 16
CONNECT, ANNOUNCE, SCRAPE = 0, 1, 2
MAGIC = 0x41727101980
SEEDERS, LEECHERS = 20, 30
UDP_HASH, HTTP_HASH = b"u" * 20, b"h" * 20
LAST_WAIT = 5


class UdpClients:
    """Announce and scrape one torrent whose peers are known, and count what comes back."""

    def __init__(self):
        self.wrong = []
        self.sent = {}
        self.longest = 0.0
        self.answered = 0
        self.transaction = 0
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.sockets = []
        for _ in range(UDP_CLIENTS):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.connect(TRACKER)
            one.settimeout(LAST_WAIT)
            one.send(struct.pack(">QII", MAGIC, CONNECT, 1))
            self.sockets.append((one, struct.unpack(">IIQ", one.recv(64))[2]))
        for peer in range(SEEDERS + LEECHERS):
            # Whoever completes is counted, once.
            event = 1 if peer < SEEDERS else 0
            if peer < SEEDERS:
                self.exchange(peer, seeder=False)
            self.exchange(peer, seeder=peer < SEEDERS, event=event)

    def announce(self, identity, transaction, peer, seeder, event=0):
        left = 0 if seeder else 1
        head = struct.pack(">QII", identity, ANNOUNCE, transaction)
        return head + UDP_HASH + b"-" * 20 + struct.pack(">QQQIIIiH", 0, left, 0, event, 0, 0, 0, 1000 + peer)

    def exchange(self, peer, seeder, event=0):
        one, identity = self.sockets[0]
        one.send(self.announce(identity, 7, peer, seeder, event))
        assert struct.unpack(">II", one.recv(2048)[:8]) == (ANNOUNCE, 7)

    def send_all(self):
        """So many a second, whatever comes back."""
        begin, number = time.monotonic(), 0
        while not self.stop.is_set():
            due = int((time.monotonic() - begin) * UDP_A_SECOND)
            while number < due:
                one, identity = self.sockets[number % UDP_CLIENTS]
                transaction = 1000 + number
                if number % 5:
                    peer = number % (SEEDERS + LEECHERS)
                    packet = self.announce(identity, transaction, peer, peer < SEEDERS)
                else:
                    packet = struct.pack(">QII", identity, SCRAPE, transaction) + UDP_HASH
                with self.lock:
                    self.sent[transaction] = time.monotonic()
                try:
                    one.send(packet)
                except OSError as error:
                    self.wrong.append(f"UDP: {error}")
                number += 1
            time.sleep(0.0005)

    def receive_all(self, one):
        one.settimeout(0.2)
        while True:
            try:
                reply = one.recv(2048)
            except TimeoutError:
                if self.stop.is_set() and (not self.sent or time.monotonic() > self.stopped + LAST_WAIT):
                    return
                continue
            except OSError as error:
                self.wrong.append(f"UDP: {error}")
                continue
            self.take(reply)

    def take(self, reply):
        action, transaction = struct.unpack(">II", reply[:8])
        with self.lock:
            sent = self.sent.pop(transaction, None)
            if sent is None:
                self.wrong.append(f"UDP: a reply to what nobody has asked: {reply[:32].hex()}")
                return
            self.longest = max(self.longest, time.monotonic() - sent)
            self.answered += 1
        if action == ANNOUNCE:
            leechers, seeders = struct.unpack(">II", reply[12:20])
            found, expected = (seeders, leechers), (SEEDERS, LEECHERS)
        elif action == SCRAPE:
            found, expected = struct.unpack(">III", reply[8:20]), (SEEDERS, SEEDERS, LEECHERS)
        else:
            found, expected = reply[8:], "a reply"
        if found != expected and len(self.wrong) < 20:
            self.wrong.append(f"UDP: {found} instead of {expected}")

    def begin(self):
        self.threads = [threading.Thread(target=self.send_all)]
        self.threads += [threading.Thread(target=self.receive_all, args=(one,)) for one, _ in self.sockets]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.stopped = time.monotonic()
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.sent:
            self.wrong.append(f"UDP: {len(self.sent)} of {self.answered + len(self.sent)} datagrams are not answered")


class HttpClient:
    """Announces and scrapes, one connection after the other."""

    def __init__(self):
        self.wrong = []
        self.longest = 0.0
        self.answered = 0
        self.stop = threading.Event()
        for peer in range(SEEDERS + LEECHERS):
            self.announce(peer)

    def ask(self, target):
        begin = time.monotonic()
        with socket.create_connection(TRACKER, timeout=60) as connection:
            connection.sendall(f"GET {target} HTTP/1.0\r\nHost: tracker\r\n\r\n".encode())
            reply = b""
            while piece := connection.recv(65536):
                reply += piece
        self.longest = max(self.longest, time.monotonic() - begin)
        self.answered += 1
        if not reply.startswith(b"HTTP/1.") or b" 200 " not in reply.split(b"\r\n")[0]:
            raise OSError(f"{reply[:80]!r}")
        return reply

    def announce(self, peer):
        left = 0 if peer < SEEDERS else 1
        return self.ask(f"/announce?info_hash={HTTP_HASH.decode()}&port={1000 + peer}&left={left}&numwant=0")

    def ask_all(self):
        number = 0
        while not self.stop.is_set():
            try:
                if number % 5:
                    reply = self.announce(number % (SEEDERS + LEECHERS))
                else:
                    reply = self.ask(f"/scrape?info_hash={HTTP_HASH.decode()}")
                found = tuple(int(re.search(rb"%bi(\d+)e" % key, reply)[1]) for key in (b"8:complete", b"10:incomplete"))
                if found != (SEEDERS, LEECHERS):
                    self.wrong.append(f"HTTP: {found} instead of {(SEEDERS, LEECHERS)}")
            except (OSError, TypeError) as error:
                self.wrong.append(f"HTTP: {error}")
                time.sleep(0.1)
            if len(self.wrong) > 20:
                return
            number += 1

    def begin(self):
        self.thread = threading.Thread(target=self.ask_all)
        self.thread.start()

    def end(self):
        self.stop.set()
        self.thread.join()


def systemctl(*words):
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout.strip()


def kept():
    """How many descriptors the store has."""
    return int(systemctl("show", "opentracker", "--property=NFileDescriptorStore", "--value"))


def restart_all(restarts, told, wrong):
    before = kept()
    version = systemctl("--version").splitlines()[0]
    told.append(f"{version} keeps {before} sockets")
    clients = [UdpClients(), HttpClient()]
    for client in clients:
        client.begin()
    waits = {"udp": [], "http": []}
    for _ in range(restarts):
        for client in clients:
            client.longest = 0.0
        pid = systemctl("show", "opentracker", "--property=MainPID", "--value")
        systemctl("restart", "opentracker")
        time.sleep(1)
        for name, client in zip(waits, clients):
            waits[name].append(round(client.longest * 1000))
        if systemctl("show", "opentracker", "--property=MainPID", "--value") == pid:
            wrong.append("it was not restarted")
        if (now := kept()) != before:
            wrong.append(f"systemd keeps {now} descriptors, and {before} before")
    for client in clients:
        client.end()
        wrong += client.wrong
    udp, http = clients
    told.append(f"{restarts} restarts, {udp.answered} answers over UDP, {http.answered} over HTTP")
    for name, milliseconds in waits.items():
        told.append(f"longest wait for an answer over {name} at each restart, in ms: {milliseconds}")


def main():
    told, wrong = [], []
    try:
        restart_all(int(sys.argv[2]), told, wrong)
    except Exception as error:
        wrong.append(f"{type(error).__name__}: {error}")
    journal = subprocess.run(["journalctl", "-o", "cat", "-u", "opentracker"], capture_output=True, text=True).stdout
    Path(sys.argv[1]).with_name("journal").write_text(journal)
    if journal.count("taken over from the process before") < int(sys.argv[2]):
        wrong.append("the journal does not tell that swarms were taken over each time")
    wrong = [text if number == 1 else f"{text} ({number} times)" for text, number in Counter(wrong).items()]
    Path(sys.argv[1]).write_text(json.dumps({"told": told, "wrong": wrong[:20]}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
