"""What one case plays on: hosts, a folder, processes, and a limited patience."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from hosts import Network, owner_prefix

CASE_SECONDS = 60
STEP_SECONDS = 30
TAIL_LINES = 25

# Set once when the run is told to end; every wait looks at it.
interrupted = threading.Event()


class StepFailed(Exception):
    """A step of a case went wrong; the text says which, and what was seen instead."""


class Stage:
    """Use in a `with` block: its end kills, deletes and removes all that the case made."""

    def __init__(self, number, seconds=CASE_SECONDS):
        self._name = f"{owner_prefix()}-{number}"
        self._cleanup = contextlib.ExitStack()
        self._seconds = seconds
        self._deadline = None
        self.processes = []
        # What is worth knowing of a case that passed, for the report.
        self.notes = []

    def __enter__(self):
        self._deadline = time.monotonic() + self._seconds
        with contextlib.ExitStack() as cleanup:
            self.folder = Path(tempfile.gettempdir()) / self._name
            self.folder.mkdir()
            cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.network = cleanup.enter_context(Network(self._name))
            cleanup.callback(self._kill_all)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_):
        self._cleanup.close()

    def _kill_all(self):
        for process in self.processes:
            process.kill()

    def start(self, host, argv, folder, stop_signal=signal.SIGTERM, good_ends=(0,)):
        process = Process(host, argv, folder, stop_signal, good_ends)
        self.processes.append(process)
        return process

    def until(self, step, check, running=(), seconds=STEP_SECONDS):
        """Polls `check` until it is true. It may raise OSError: not yet. `running` must stay alive."""
        end = min(time.monotonic() + seconds, self._deadline)
        seen = None
        while time.monotonic() < end:
            for process in running:
                if process.ended():
                    raise StepFailed(f"{step}: {process.name} ended with {process.exit_code()}")
            try:
                if check():
                    return
            except OSError as error:
                seen = error
            self.pause(0.1)
        raise StepFailed(f"{step}: timed out" + (f", last error: {seen}" if seen else ""))

    def until_equal(self, step, ask, expected, running=()):
        """Polls `ask` until it answers `expected`; a failure shows the last answer."""
        answer = None

        def check():
            nonlocal answer
            answer = ask()
            return answer == expected

        try:
            self.until(step, check, running)
        except StepFailed as failure:
            raise StepFailed(f"{failure}; expected {expected}, last answer {answer}") from None

    def pause(self, seconds):
        if interrupted.wait(seconds):
            raise StepFailed("interrupted")

    def stop(self, processes):
        """Asks all of them to end, at once, and checks their exit codes."""
        for process in processes:
            process.ask_to_stop()
        for process in processes:
            self.until(f"{process.name} stops", process.ended)
            if process.exit_code() not in process.good_ends:
                raise StepFailed(f"{process.name} stops: exit code {process.exit_code()}")

    def logs(self):
        """The last lines of every process, for the report of a failure."""
        return "\n".join(f"--- {process.name}\n{process.log_tail()}" for process in self.processes)


class Process:
    """One program on one host. Its output goes to a file beside its folder."""

    def __init__(self, host, argv, folder, stop_signal, good_ends):
        self.name = folder.name
        self.good_ends = good_ends
        self._stop_signal = stop_signal
        self._asked_to_stop = False
        self._log = folder.with_suffix(".log")
        # Nothing is inherited: a proxy in the environment would answer instead of the tracker.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                host.command(argv),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C is for this run alone, which then stops its processes in order.
                start_new_session=True,
            )

    @property
    def pid(self):
        return self._process.pid

    def exit_code(self):
        """None while it runs."""
        return self._process.poll()

    def ended(self):
        return self.exit_code() is not None

    def ask_to_stop(self):
        # Once: a second signal means "at once, and impolitely" to some clients.
        if not self._asked_to_stop:
            self._asked_to_stop = True
            self.send(self._stop_signal)

    def send(self, number):
        self._process.send_signal(number)

    def kill(self):
        """With all that it started itself: it leads a process group of its own."""
        if not self.ended():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log(self):
        return self._log.read_text(errors="replace")

    def log_tail(self):
        lines = self.log().splitlines()
        return "\n".join(lines[-TAIL_LINES:]) or "(no output)"
