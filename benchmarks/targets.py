"""What aplex wants to reach, as data, and how far a run got: one table.

A target is met by the median of all rounds. Its figure is one of four kinds:

* ``RATIO``: aplex's figure divided by that of another peer in the same workload;
* ``DIFFERENCE``: aplex's figure less the other's;
* ``VALUE``: aplex's figure by itself, times ``scale``;
* ``INVERSE``: ``scale`` divided by aplex's figure.

``more`` says in which direction it is good. The range is over the rounds, each compared with the
other peer's turn in the same round.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rounds import Result
from tables import Row, format_rows, number

RATIO, DIFFERENCE, VALUE, INVERSE = "ratio", "difference", "value", "inverse"
Results = Mapping[str, list[Result]]

GOOD, LEAST, NO, UNKNOWN = "good", "least", "**no**", "not measured"


@dataclass(frozen=True)
class Target:
    """One row: what must be reached, and what is aimed at."""

    what: str
    workload: str
    peer: str  # of aplex
    metric: str
    least: float
    good: float | None = None
    against: str = ""  # another peer of the workload
    kind: str = RATIO
    more: bool = False  # whether more is better
    scale: float = 1.0
    unit: str = "x"
    beside: str = ""  # what it is compared with, if that is no peer


@dataclass(frozen=True)
class Outcome:
    """What a run says of a target."""

    target: Target
    value: float | None = None
    low: float = 0.0
    high: float = 0.0
    trouble: str = ""

    @property
    def met(self) -> str:
        if self.value is None:
            return self.trouble or UNKNOWN
        if self.target.good is not None and reaches(self.value, self.target.good, self.target):
            return GOOD
        return LEAST if reaches(self.value, self.target.least, self.target) else NO


def reaches(value: float, bound: float, target: Target) -> bool:
    return value >= bound if target.more else value <= bound


def find(results: Results, workload: str, peer: str) -> Result | None:
    return next((one for one in results.get(workload, []) if one.peer == peer), None)


def judge(target: Target, results: Results) -> Outcome:
    """Compare what was measured with a target."""
    mine = find(results, target.workload, target.peer)
    other = find(results, target.workload, target.against) if target.against else mine
    for result in (mine, other):
        if result is None:
            return Outcome(target)
        if result.trouble:
            return Outcome(target, trouble=f"{result.peer} {result.trouble}")
    assert mine is not None
    assert other is not None
    ours, theirs = figures(mine, target), figures(other, target)
    if not ours or not theirs:
        return Outcome(target)
    whole = figure(target, statistics.median(ours), statistics.median(theirs))
    each = [figure(target, one, two) for one, two in zip(ours, theirs, strict=False)]
    return Outcome(target, whole, min(each), max(each))


def figures(result: Result, target: Target) -> list[float]:
    return [turn[target.metric] for turn in result.figures if target.metric in turn]


def figure(target: Target, ours: float, theirs: float) -> float:
    if target.kind == RATIO:
        return ours / theirs if theirs else float("inf")
    if target.kind == DIFFERENCE:
        return ours - theirs
    if target.kind == INVERSE:
        return target.scale / ours if ours else float("inf")
    return ours * target.scale


def render(targets: Iterable[Target], results: Results, *, all_rows: bool = True) -> str:
    return f"## Targets\n\n{table(targets, results, all_rows=all_rows)}"


def table(targets: Iterable[Target], results: Results, *, all_rows: bool = True) -> str:
    """The table, below a summary; without ``all_rows`` only of what was measured."""
    outcomes = [judge(target, results) for target in targets]
    rows = [["target", "against", "least", "good", "measured", "range", "met"]]
    rows += [row(outcome) for outcome in outcomes if all_rows or outcome.met != UNKNOWN]
    return f"{summary(outcomes)}\n\n{format_rows(rows)}"


def summary(outcomes: list[Outcome]) -> str:
    """How many rows reached what."""
    words = [outcome.met if outcome.value is not None else UNKNOWN for outcome in outcomes]
    good, least = words.count(GOOD), words.count(LEAST)
    return (
        f"Of {len(words)} rows {good + least} reach what they must, {good} of these what is aimed"
        f" at; {words.count(NO)} do not; {words.count(UNKNOWN)} have no figure."
    )


def row(outcome: Outcome) -> Row:
    target = outcome.target
    measured, spread = "", ""
    if outcome.value is not None:
        measured = f"**{number(outcome.value)}{target.unit}**"
        spread = f"{number(outcome.low)} … {number(outcome.high)}"
    aim = "" if target.good is None else bound_text(target, target.good)
    what = f"{target.what} (`{target.workload}`, {target.peer}, {target.metric})"
    return [
        what,
        target.against or target.beside,
        bound_text(target, target.least),
        aim,
        measured,
        spread,
        outcome.met,
    ]


def bound_text(target: Target, value: float) -> str:
    sign = "≥" if target.more else "≤"
    return f"{sign} {value:,.4g}{target.unit}"
