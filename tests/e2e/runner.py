"""Plays cases, some at a time, and reports: one line a case, and the sum at the end."""

import argparse
import os
import shutil
import signal
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import hosts
import stage

NOT_RUN = 77
TOOLS = (("ip", "iproute2"), ("setpriv", "util-linux"))


def executable(text):
    """The path that the command line names."""
    if not os.access(text, os.X_OK) or not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not an executable file")
    return Path(text).resolve()


def cannot_run(families, programs=()):
    """Why this machine cannot play cases with these address families, or None. `programs` of theirs are missing."""
    tools = [f"{tool} (Debian package {package})" for tool, package in TOOLS if not shutil.which(tool)]
    if missing := [*tools, *programs]:
        return f"missing {', '.join(missing)}"
    try:
        hosts.probe(families)
    except hosts.CannotRun as reason:
        return str(reason)
    return None


def run(cases, play, jobs, seconds=stage.CASE_SECONDS):
    """Plays each case with `play(case, stage)`, in no more than so many seconds; returns the exit code."""
    signals = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: (signals.append(number), stage.interrupted.set()))
    hosts.sweep()
    passed, failed = _play_all(cases, play, jobs, seconds)
    if signals:
        print(f"interrupted by {signal.Signals(signals[0]).name}")
    print(f"{passed} passed, {failed} failed", flush=True)
    if signals:
        return 128 + signals[0]
    return 1 if failed else 0


def _play_all(cases, play, jobs, seconds):
    """Prints each result; returns (passed, failed)."""
    passed = 0
    begin = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        results = [pool.submit(_play, number, case, play, seconds) for number, case in enumerate(cases, 1)]
        for result in as_completed(results):
            ok, text = result.result()
            passed += ok
            print(text, flush=True)
    print(f"{len(cases)} cases in {time.monotonic() - begin:.1f} s")
    return passed, len(cases) - passed


def _play(number, case, play, most):
    """Plays one case; returns (passed, what to print). It never raises: a fault of ours fails the case."""
    begin = time.monotonic()
    if stage.interrupted.is_set():
        return False, f"FAILED  {case.name}: interrupted before its start"
    failure = logs = None
    notes = []
    try:
        with stage.Stage(number, most) as place:
            notes = place.notes
            try:
                play(case, place)
            except Exception:
                logs = place.logs()
                raise
    except stage.StepFailed as reason:
        failure = str(reason)
    except Exception:
        failure = traceback.format_exc()
    seconds = f"{time.monotonic() - begin:5.1f} s"
    if failure is None:
        return True, "\n".join([f"ok      {seconds}  {case.name}", *(f"          {note}" for note in notes)])
    report = [f"FAILED  {seconds}  {case.name}: {failure}"]
    if logs and not stage.interrupted.is_set():
        report.append(logs)
    return False, "\n".join(report)
