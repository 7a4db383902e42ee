"""Starts programs on a core of their own, reads what the kernel says of them, and ends them whatever happens."""

import contextlib
import os
import pathlib
import re
import subprocess
from dataclasses import dataclass

# The last core is the server's, the first one its client's.
CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE, SERVER_CORE = CORES[0], CORES[-1]
TICK = os.sysconf("SC_CLK_TCK")

# Everything that runs.
started = []


class Failed(Exception):
    """A program that does not do what it is for. The message says which, and what it said."""


@contextlib.contextmanager
def all_ended():
    """Ends, at the end, what was started and still runs."""
    try:
        yield
    finally:
        for process in list(started):
            end(process)


def pinned(core, command):
    return ["taskset", "-c", str(core), *map(str, command)]


def start(command, log, cwd=None):
    """Starts a server on its core. What it says goes to the file `log`."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            pinned(SERVER_CORE, command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
        )
    started.append(process)
    return process


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    started.remove(process)


def client(command, seconds):
    """Runs a client on its core to its end, which must come within this time. Gives what it printed."""
    process = subprocess.Popen(
        pinned(CLIENT_CORE, command),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    started.append(process)
    name = pathlib.Path(command[0]).name
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} takes more than {seconds:.0f} s") from None
    finally:
        end(process)
    if process.returncode != 0:
        raise Failed(f"{name} ended with {process.returncode}: {(errors or out).strip()[-300:]}")
    return out


@dataclass
class Cpu:
    """Seconds of processor time."""

    user: float
    system: float

    @property
    def total(self):
        return self.user + self.system


class Meter:
    """The processor time of a process, from here on."""

    def __init__(self, pid):
        self.proc = pathlib.Path(f"/proc/{pid}")
        self.ticks, self.exact = self._ticks(), self._exact()

    def stop(self):
        """The whole is exact, to the nanosecond; its shares are as good as the kernel's sampling."""
        user, system = (now - then for now, then in zip(self._ticks(), self.ticks))
        total = self._exact() - self.exact
        share = user / (user + system) if user + system else 0
        return Cpu(total * share, total * (1 - share))

    def _ticks(self):
        fields = (self.proc / "stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / TICK, int(fields[12]) / TICK

    def _exact(self):
        """Of all threads that run; servers do not end theirs."""
        return sum(int((task / "schedstat").read_text().split()[0]) for task in (self.proc / "task").iterdir()) / 1e9


def resident(pid):
    """Bytes in memory."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024
