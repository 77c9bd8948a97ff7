"""The regression gate: a few ratios to a reference measured in the same run, with bounds.

A bound without a reference is for a figure that is a ratio by itself: it names the metric.

The reference does the same on the same machine at the same time, without aplex, so a slow or
busy machine moves both. The bounds in gate.toml are tolerant all the same: what breaks one is a
change for the worse that a user would notice, not noise.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds import Plan
from tables import Row, format_rows, number
from targets import RATIO, VALUE, Outcome, Results, Target, bound_text, judge, reaches
from workloads import WORKLOADS

FILE = Path(__file__).with_name("gate.toml")
PLAN = Plan(rounds=3, quick=True, workers=2, seconds=20)


class BoundError(Exception):
    """The file of bounds says what cannot be; the text says where."""


@dataclass(frozen=True)
class Verdict:
    """Whether one bound holds."""

    outcome: Outcome

    @property
    def holds(self) -> bool:
        value = self.outcome.value
        return value is not None and reaches(value, self.outcome.target.least, self.outcome.target)

    @property
    def word(self) -> str:
        if self.outcome.value is None:
            return self.outcome.met
        return "holds" if self.holds else "**broken**"


def load(text: str) -> list[Target]:
    """Read bounds. Each has `at-least` or `at-most`, by the metric's direction."""
    return [as_target(bound) for bound in tomllib.loads(text).get("bound", [])]


def as_target(bound: dict[str, Any]) -> Target:
    try:
        workload = WORKLOADS[bound["workload"]]
        metrics = {metric.name: metric for metric in workload.metrics}
        metric = metrics[bound["metric"]] if "metric" in bound else workload.metrics[0]
        reference = "" if "metric" in bound else bound["reference"]
        limit = bound["at-least" if metric.more_is_better else "at-most"]
        target = Target(
            workload.title,
            workload.name,
            bound["peer"],
            metric.name,
            limit,
            against=reference,
            kind=RATIO if reference else VALUE,
            more=metric.more_is_better,
        )
    except KeyError as error:
        raise BoundError(f"gate.toml: {bound}: no {error}") from None
    if unknown := {target.peer, target.against or target.peer} - set(workload.peers):
        raise BoundError(f"gate.toml: {workload.name} has no {', '.join(sorted(unknown))}")
    return target


def chosen(bounds: Iterable[Target]) -> dict[str, list[str]]:
    """What to run: workloads, each with its peers in their order."""
    wanted: dict[str, set[str]] = {}
    for bound in bounds:
        wanted.setdefault(bound.workload, set()).update({bound.peer, bound.against} - {""})
    return {
        name: [peer for peer in WORKLOADS[name].peers if peer in peers]
        for name, peers in wanted.items()
    }


def decide(bounds: Iterable[Target], results: Results) -> list[Verdict]:
    return [Verdict(judge(bound, results)) for bound in bounds]


def render(verdicts: list[Verdict]) -> str:
    broken = sum(1 for verdict in verdicts if not verdict.holds)
    rows = [["workload", "peer", "reference", "metric", "bound", "measured", "range", ""]]
    rows += [row(verdict) for verdict in verdicts]
    words = f"{broken} of {len(verdicts)} bounds broken" if broken else "all bounds hold"
    return f"## Regression gate: {words}\n\n{format_rows(rows)}"


def row(verdict: Verdict) -> Row:
    outcome, target = verdict.outcome, verdict.outcome.target
    measured, spread = "", ""
    if outcome.value is not None:
        measured = f"{number(outcome.value)}x"
        spread = f"{number(outcome.low)} … {number(outcome.high)}"
    return [
        target.workload,
        target.peer,
        target.against,
        target.metric,
        bound_text(target, target.least),
        measured,
        spread,
        verdict.word,
    ]
