"""What has come of a simulation, in figures."""

from dataclasses import dataclass

from .rules import Scenario, Traffic


@dataclass
class Outcome:
    """The figures of a run."""

    scenario: Scenario
    seconds: float
    announces: int
    radio: Traffic
    line: Traffic
    # Mean and worst shares while things went wrong.
    missing: float
    most_missing: float
    stale: float
    most_stale: float
    # Seconds from the end of what went wrong until all know everybody; None if they never did.
    agree: float | None
    # Of the downloads of peers that have been there, those that the member which counted fewest has counted.
    downloads: float

    def __init__(self, world):
        rough = [sample for sample in world.samples if sample[0] < world.ends]
        after = [sample for sample in world.samples if sample[0] >= world.ends]
        wrong = [sample[0] for sample in after if sample[2] > 0]
        self.scenario, self.seconds, self.announces = world.scenario, world.now, world.announces
        self.radio, self.line = world.radio, world.line
        self.missing = sum(sample[1] for sample in rough) / len(rough)
        self.most_missing = max(sample[2] for sample in rough)
        self.stale = sum(sample[3] for sample in rough) / len(rough)
        self.most_stale = max(sample[4] for sample in rough)
        self.agree = (wrong[-1] + 5 - world.ends if wrong else 0.0) if world.agreed() else None
        counted = [len(node.done & world.completed) for node in world.nodes if node.up]
        self.downloads = min(counted) / len(world.completed)

    def lines(self):
        """What is printed of it."""
        yield f"{self.announces:,} announces in {self.seconds / 3600:.1f} h"
        for name, traffic in (("multicast", self.radio), ("NATS", self.line)):
            if not traffic.messages:
                continue
            yield (
                f"{name}: {traffic.messages:,} messages, {traffic.records:,} records, {traffic.bytes:,} bytes; "
                f"{traffic.copies:,} copies of {traffic.copied_bytes:,} bytes arrived, {traffic.lost:,} were lost"
            )
            if traffic.asks or traffic.republished:
                yield f"  {traffic.gaps:,} gaps, {traffic.asks:,} asks, {traffic.republished:,} records told again"
            if traffic.snapshots:
                yield f"  {traffic.snapshots:,} snapshots of {traffic.snapshot_bytes:,} bytes"
        yield (
            f"peers that a member lacks: {self.missing:.3%} (mean), {self.most_missing:.2%} (the worst member's worst "
            f"minute); that it still has: {self.stale:.3%}, {self.most_stale:.2%}"
        )
        end = "never" if self.agree is None else f"{self.agree:.0f} s after the last fault"
        yield f"all know everybody: {end}"
        yield f"downloads counted by each member: {self.downloads:.2%} at least"


def row(name, what, outcome):
    records = (outcome.radio.records + outcome.line.records) / outcome.announces
    agree = "never" if outcome.agree is None else f"{outcome.agree:.0f} s"
    cells = (
        name, str(outcome.scenario.nodes), what, f"{records:.2f}", f"{outcome.missing:.2%}, {outcome.most_missing:.1%}",
        f"{outcome.stale:.2%}, {outcome.most_stale:.1%}", agree, f"{outcome.downloads:.2%}",
    )
    return f"| {' | '.join(cells)} |"
