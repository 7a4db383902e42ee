"""A tracker of a cluster over NATS, over multicast, or over both, that can be killed and started again."""

import os
import re
import shutil
import socket
from pathlib import Path

from cluster import PORT, Client
from stage import StepFailed
from tracker import Tracker

FAKETIME = "/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1"
NOBODY = 65534


def over_nats(*servers, **settings):
    """The configuration of a member of a cluster over NATS; `settings` are further keys of sync.nats."""
    urls = ", ".join(f'"{getattr(server, "url", server)}"' for server in servers)
    lines = [f"sync.nats.servers = [{urls}]"]
    lines += [f'sync.nats.{name} = "{value}"' for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def over_multicast(address, addresses):
    """The configuration of a member whose address on the link is the first, and that believes the others."""
    believed = ", ".join(f'"{other}"' for other in addresses if other != address)
    return f'livesync.cluster.listen = "{address}:{PORT}"\nlivesync.cluster.node_ip = [{believed}]\n'


def clock(seconds):
    """What makes a process live so many seconds later than the others; nothing else of it changes."""
    library = next(filter(os.path.exists, map(FAKETIME.format, ("x86_64", "aarch64"))), None)
    if library is None:
        raise StepFailed("a clock of its own needs the Debian package libfaketime")
    real = ["FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"]
    return ["env", f"LD_PRELOAD={library}", f"FAKETIME={seconds:+d}s", *real]


# A user that is not root, from the start.
AS_A_USER = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def copy_of(stage, binary):
    """The same program where every user can run it."""
    copy = stage.folder / "program"
    shutil.copy(binary, copy)
    copy.chmod(0o755)
    return copy


def with_hosts(stage, names):
    """What makes a process find these names, a dict of addresses."""
    file = stage.folder / "etc-hosts"
    file.write_text("".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **names}.items()))
    # Each process of a host has mounts of its own.
    return ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', file]


def secret(stage, name, text, mode=0o600, owner=0):
    """A file with a secret."""
    file = stage.folder / name
    file.write_text(text)
    file.chmod(mode)
    os.chown(file, owner, owner)
    return file


class Member:
    """Runs on its host from the constructor on, and from `start` on after a `kill`."""

    def __init__(self, stage, host, binary, configuration="", before=(), options=()):
        self.stage = stage
        self.host = host
        self.name = host.name
        self._command = binary, tuple(options), tuple(before), configuration
        self._starts = 0
        self.start()

    def start(self, more=""):
        """With a folder of its own, whatever has been there before; `more` is configuration for this start."""
        self._starts += 1
        binary, options, before, configuration = self._command
        folder = self.stage.folder / f"{self.name}-{self._starts}"
        self.tracker = Tracker(
            self.stage, self.host, binary, folder, options=options, configuration=configuration + more, before=before
        )
        self.process = self.tracker.process
        self.udp_port = self.tracker.udp_port
        self._scraper = None
        # That is the last thing that it says at its start.
        self.until_it_says("it answers", "features:")

    def kill(self):
        self.process.kill()

    def proc(self, name):
        """What the kernel knows of the process."""
        return Path(f"/proc/{self.process.pid}/{name}")

    def counts(self, info_hashes):
        """(complete, incomplete, downloaded) of each."""
        if self._scraper is None:
            family = next(iter(self.host.addresses))
            self._scraper = Client(self.host, self, family)
        counts = []
        for at in range(0, len(info_hashes), 70):
            counts += self._scraper.scrape(info_hashes[at : at + 70])
        return [(complete, incomplete, downloaded) for complete, downloaded, incomplete in counts]

    def says(self, pattern):
        """What its log says that matches, or None."""
        return re.search(pattern, self.process.log())

    def until_it_says(self, what, pattern, seconds=30):
        try:
            self.stage.until(what, lambda: self.says(pattern), [self.process], seconds)
        except StepFailed as failure:
            raise StepFailed(f"{failure}: {self.name} does not say {pattern!r}") from None
        return self.says(pattern)


class Notified:
    """A service manager's socket: what a tracker says to it."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        Path(path).chmod(0o666)
        self._socket.setblocking(False)
        self._said = []

    def before(self):
        """What makes a process say it here."""
        return ["env", f"NOTIFY_SOCKET={self.path}"]

    def is_ready(self):
        while True:
            try:
                self._said += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return "READY=1" in self._said
