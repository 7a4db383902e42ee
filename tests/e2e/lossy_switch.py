#!/usr/bin/python3
"""Passes live sync packets between ports, badly: loses, repeats and reorders them.

    lossy_switch.py SEED PORT...

What `netem loss 30% duplicate 20% delay 10ms reorder 25%` does, for kernels without it, and with the
same chances in every run. Nothing else passes. On SIGTERM it says what it has done, and ends.
"""

import heapq
import itertools
import json
import random
import select
import signal
import socket
import struct
import sys
import time

LOST, REPEATED, OVERTAKING = 0.30, 0.20, 0.25
DELAY_SECONDS = 0.010
EVERY_PROTOCOL = 3

GROUP = bytes([224, 0, 23, 5])
PORT = 9696
ETHERNET, IP, UDP = 14, 20, 8


def main(seed, *names):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    chance = random.Random(seed)
    done = dict.fromkeys(("came", "lost", "repeated", "overtook", "passed"), 0)
    ports = []
    for name in names:
        port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
        port.bind((name, 0))
        ports.append(port)
    print("ready", flush=True)
    waiting = []
    order = itertools.count()
    try:
        while True:
            patience = max(0, waiting[0][0] - time.monotonic()) if waiting else None
            for port in select.select(ports, [], [], patience)[0]:
                frame, (*_, kind, _, _) = port.recvfrom(65536)
                if kind == socket.PACKET_OUTGOING or not is_live_sync(frame):
                    continue
                frame = without_checksum(frame)
                for other in ports:
                    if other is port:
                        continue
                    done["came"] += 1
                    if chance.random() < LOST:
                        done["lost"] += 1
                        continue
                    copies = 1 + (chance.random() < REPEATED)
                    done["repeated"] += copies - 1
                    for _ in range(copies):
                        overtakes = chance.random() < OVERTAKING
                        done["overtook"] += overtakes
                        due = time.monotonic() + (0 if overtakes else DELAY_SECONDS)
                        heapq.heappush(waiting, (due, next(order), other, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, port, frame = heapq.heappop(waiting)
                port.send(frame)
                done["passed"] += 1
    finally:
        print(json.dumps(done), flush=True)


def is_live_sync(frame):
    """An IPv4 header without options, UDP, to the group and its port."""
    return (
        frame[12:15] == b"\x08\x00\x45"
        and frame[ETHERNET + 9] == socket.IPPROTO_UDP
        and frame[ETHERNET + 16 : ETHERNET + IP] == GROUP
        and frame[ETHERNET + IP + 2 : ETHERNET + IP + 4] == struct.pack(">H", PORT)
    )


def without_checksum(frame):
    """The kernel leaves the UDP checksum to a network card that is not there. 0 means none (RFC 768)."""
    at = ETHERNET + IP + 6
    return frame[:at] + b"\0\0" + frame[at + 2 :]


if __name__ == "__main__":
    main(*sys.argv[1:])
