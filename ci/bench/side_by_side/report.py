"""The table: figures of all sides, what was to be reached, and whether it was."""

import os
import platform
import re
import statistics
import time

from . import builds, processes

# Others' work on this machine when it began.
LOAD_BEFORE = os.getloadavg()[0]

# The columns, and the sides whose figures stand in each.
COLUMNS = [
    ("opentracker", ["ours", "gzip"]),
    ("the original", ["original"]),
    ("aquatic", ["aquatic", "aquatic_http"]),
    ("aquatic, io_uring", ["uring"]),
    ("floor", ["floor"]),
    ("floor, one by one", ["single"]),
]


class Results:
    """What was measured: for each row and side, the figures of all rounds."""

    def __init__(self, options, built):
        self.options, self.built = options, built
        self.values, self.facts, self.notes, self.commands = {}, {}, [], {}

    def add(self, row, side, value):
        self.values.setdefault(row, {}).setdefault(side, []).append(value)

    def set(self, name, value):
        self.facts[name] = value

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def command(self, what, command):
        self.commands[what] = command

    def present(self, keys, sides):
        """Those that can be measured; of the others the report says why not."""
        for key in keys:
            if sides[key].missing:
                self.note(f"{sides[key].name} {sides[key].missing}")
        return [key for key in keys if not sides[key].missing]

    def median(self, row, side):
        values = self.values.get(row, {}).get(side)
        return statistics.median(values) if values else None

    def ratio(self, row, side, other, other_row=None):
        """The median of the ratios within a round."""
        ours, theirs = self.values.get(row, {}).get(side), self.values.get(other_row or row, {}).get(other)
        if not ours or not theirs:
            return None
        return statistics.median(a / b if b else float("inf") for a, b in zip(ours, theirs))


def rows(results):
    """Rows of the table: what, the row's name, digits after the point, the goal, and what stands in the last column."""
    # A quick run is too small to judge by.
    judged = figure if results.options.quick else verdict
    times = lambda row, side, least: judged(results.ratio(row, "ours", side), least, "times")
    most = lambda row, bound, unit: judged(results.median(row, "ours"), bound, unit, at_most=True)
    rate = results.facts.get("latency_rate", 0)
    pages = results.facts.get("pages_torrents", 0)
    same = "&nbsp;&nbsp;"
    yield "UDP responses per CPU second", "udp", 0, (
        "1.30 times the original, 1.30 times aquatic_udp, 0.88 of the floor",
        [("the original", times("udp", "original", 1.30)), ("aquatic", times("udp", "aquatic", 1.30)),
         ("io_uring", figure(results.ratio("udp", "ours", "uring"), None, "times")),
         ("floor", times("udp", "floor", 0.88))])
    yield f"{same}user time for each, us", "udp_user", 2, (
        "at most half the original's",
        [("", judged(results.ratio("udp_user", "ours", "original"), 0.5, "times", at_most=True))])
    yield f"{same}system time, % of the whole", "udp_system", 0, None
    yield f"{same}responses per second", "udp_second", 0, None
    yield f"{same}peers in an announce's reply", "udp_peers", 1, None
    yield "UDP responses per second, aquatic_udp_load_test", "aquatic_load", 0, (
        "1.05 times the original and aquatic_udp",
        [("the original", times("aquatic_load", "original", 1.05)),
         ("aquatic", times("aquatic_load", "aquatic", 1.05))])
    yield f"{same}per CPU second", "aquatic_load_cpu", 0, None
    yield f"latency at {rate:,} requests per second, us: median", "latency_p50", 0, None
    yield f"{same}99 %", "latency_p99", 0, None
    yield f"{same}99.9 %", "latency_p999", 0, None
    yield f"{same}requests lost", "latency_lost", 0, None
    yield "HTTP announces per CPU second, a connection each", "http", 0, (
        "1.0 times the original", [("", times("http", "original", 1.0))])
    yield f"{same}asked by wrk", "http_wrk", 0, None
    yield "HTTP announces per CPU second, kept alive where the tracker does", "http_kept", 0, (
        "3 times the original", [("", times("http_kept", "original", 3.0))])
    yield f"{same}asked by wrk", "http_kept_wrk", 0, None
    yield "bytes per torrent with one peer", "memory_1", 1, ("at most 80", [("", most("memory_1", 80, "bytes"))])
    yield "bytes per peer, ten to a torrent", "memory_10", 1, ("at most 18", [("", most("memory_10", 18, "bytes"))])
    yield "bytes per peer, 2,000 to a torrent", "memory_2000", 1, (
        "at most 10", [("", most("memory_2000", 10, "bytes"))])
    yield "idle, MB", "memory_idle", 1, ("at most 4", [("", most("memory_idle", 4, "MB"))])
    yield "2,000,000 torrents that come and leave, MB", "memory_come", 1, None
    yield f"{same}kept of it two minutes later, MB", "memory_kept", 1, (
        "at most 8", [("", most("memory_kept", 8, "MB"))])
    for coding, title in (("identity", "plain"), ("gzip", "compressed")):
        yield f"full scrape of {pages:,} torrents (feature `gzip`), {title}: seconds", f"pages_{coding}", 2, None
        yield f"{same}CPU seconds", f"pages_{coding}_cpu", 2, None
        yield f"{same}MB sent", f"pages_{coding}_bytes", 1, None
    for peers in sorted(int(row[1]) for row in map(re.compile(r"growth_(\d+)$").match, results.values) if row):
        row, goal = f"growth_{peers}", None
        if peers == 10**7:
            share = results.ratio(row, "ours", "ours", "growth_10000")
            goal = ("0.6 of 10,000 peers", [("", judged(share, 0.6, "times"))])
        yield f"announces per CPU second, {peers:,} peers in tens", row, 0, goal
    for row in ("swarm_small", "swarm_large"):
        goal = None
        if row == "swarm_large":
            cost = results.ratio("swarm_small", "ours", "ours", row)
            goal = (
                "an announce costs at most twice one in a small swarm",
                [("", judged(cost, 2, "times", at_most=True))])
        yield f"announces per CPU second, in swarms of {results.facts.get(row, 0):,} peers", row, 0, goal


def verdict(value, bound, unit, at_most=False):
    """The figure, and whether it is good enough."""
    if value is None:
        return "not measured"
    met = value <= bound if at_most else value >= bound
    return f"{figure(value, bound, unit)}: {'met' if met else '**not met**'}"


def figure(value, _bound, unit, at_most=False):
    """The figure alone."""
    return "not measured" if value is None else f"{value:.2f} {unit}"


def markdown(results, sides):
    lines = [*head(results), "", *table(results), ""]
    if dual := dual_stack(results):
        lines += [dual, ""]
    if results.notes:
        lines += ["Not measured:", "", *(f"- {note}" for note in results.notes), ""]
    lines += ["How:", "", f"- builds: {'; '.join(f'`{command}`' for command in results.built.commands)}"]
    for key, side in sides.items():
        if not side.missing and side.protocols:
            lines.append(f"- {side.name}: `{side.shown}`" + configured(side))
    lines += [f"- {what}: `{command}`" for what, command in results.commands.items()]
    lines += ["", *spread(results, sides)]
    return "\n".join(lines) + "\n"


def head(results):
    options = results.options
    versions = "; ".join(f"{name} {version}" for name, version in results.built.versions.items())
    command = "ci/bench/run" + " --quick" * options.quick
    command += f" --rounds {options.rounds} --seconds {options.seconds:g} --only {','.join(options.only)}"
    return [
        f"Measured with `{command}` on {time.strftime('%Y-%m-%d')}: {machine()}.",
        f"Versions: {versions}.",
        f"The server has core {processes.SERVER_CORE} and its client core {processes.CLIENT_CORE}, over loopback;"
        " one worker. Figures are medians of the rounds, ratios medians of the ratios within a round."
        f" Load average before: {LOAD_BEFORE:.1f}.",
        *["**A quick run:** a tenth of the torrents and peers, one short round: it shows that all works, not how well."]
        * options.quick,
    ]


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = cpu[1] if cpu else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"


def table(results):
    measured = [row for row in rows(results) if row[1] in results.values]
    used = [(title, keys) for title, keys in COLUMNS
            if any(key in results.values[row] for _, row, _, _ in measured for key in keys)]
    yield "| | " + " | ".join(title for title, _ in used) + " | goal | reached |"
    yield "| --- |" + " ---: |" * len(used) + " --- | --- |"
    for what, row, digits, goal in measured:
        cells = [next((f"{results.median(row, key):,.{digits}f}" for key in keys if key in results.values[row]), "-")
                 for _, keys in used]
        aim, reached = goal or ("", [])
        told = "; ".join(f"{side} {figure}".strip() for side, figure in reached)
        yield f"| {what} | {' | '.join(cells)} | {aim} | {told} |"


def dual_stack(results):
    """A dual-stack build stands beside the table: it has figures for memory alone."""
    cost = [results.median(row, "dual") for row in ("memory_1", "memory_10", "memory_2000", "memory_idle")]
    if None in cost:
        return None
    one, ten, many, idle = cost
    judged = figure if results.options.quick else verdict
    more = judged(one - results.median("memory_1", "ours"), 8, "bytes more than the default build", at_most=True)
    return (f"A dual-stack build takes {one:.1f} bytes per torrent with one IPv4 peer (goal: at most 8 more; {more}),"
            f" {ten:.1f} and {many:.1f} bytes per peer at ten and 2,000 a torrent, and {idle:.1f} MB idle.")


def configured(side):
    settings = " / ".join(line for line in side.config.splitlines() if line)
    return f" with `{settings}`" if settings else ""


def spread(results, sides):
    """Every figure, to see how far rounds differ."""
    yield "<details><summary>All rounds: least, median, most</summary>"
    yield ""
    yield "| | | least | median | most | rounds |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for row, figures in results.values.items():
        for key, values in figures.items():
            low, middle, high = (f"{f(values):,.2f}" for f in (min, statistics.median, max))
            yield f"| {row} | {sides[key].name} | {low} | {middle} | {high} | {len(values)} |"
    yield ""
    yield "</details>"
