"""Plots of the results: for each workload, by which factor its first peer is better.

What is drawn is prepared here without matplotlib, which only `draw` needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds import Result
from tables import better_by, label, median, number
from workloads.base import Workload

# No pools, but what the interpreter and the machine charge anyway.
YARDSTICKS = ("asyncio-alone", "asyncio-other-thread", "pipe", "memcpy", "python")
FIRST, PEER, YARDSTICK = "#000000", "#7aa6d6", "#b0b0b0"


@dataclass(frozen=True)
class Bar:
    """One peer: the ratio of the medians, and the smallest and largest one of a round."""

    label: str
    ratio: float
    low: float
    high: float
    colour: str


def bars(workload: Workload, results: Sequence[Result]) -> list[Bar]:
    """A bar for each peer with figures, the first one's (of length 1) first; or none."""
    first, *others = results
    metric = workload.metrics[0]
    compared = [other for other in others if other.figures and not other.trouble]
    if first.trouble or not first.figures or not compared:
        return []
    drawn = [Bar(label(first), 1, 1, 1, FIRST)]
    for other in compared:
        each = [
            better_by(one[metric.name], two[metric.name], metric)
            for one, two in zip(first.figures, other.figures, strict=False)
        ]
        ratio = better_by(median(first, metric), median(other, metric), metric)
        drawn.append(Bar(label(other), ratio, min(each), max(each), colour(other.peer)))
    return drawn


def colour(peer: str) -> str:
    return YARDSTICK if peer.startswith(YARDSTICKS) else PEER


def draw(path: Path, title: str, drawn: Sequence[Bar]) -> None:
    """Write horizontal bars on a logarithmic scale; the same bars give the same file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "aplex", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.5, 0.9 + 0.3 * len(drawn)), layout="constrained")
        axes = figure.subplots()
        draw_bars(axes, drawn)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}x")
        axes.xaxis.set_minor_formatter("")
        axes.set_yticks(range(len(drawn)), [bar.label for bar in drawn])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel(f"{drawn[0].label} is better by (factor, logarithmic)")
        axes.set_title(title, fontsize=9, wrap=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def draw_bars(axes: Any, drawn: Sequence[Bar]) -> None:
    """From 1 to the right where the first peer is better, to the left where it is not."""
    for place, bar in enumerate(drawn):
        error = [[max(0.0, bar.ratio - bar.low)], [max(0.0, bar.high - bar.ratio)]]
        axes.barh(place, bar.ratio - 1, left=1, xerr=error, color=bar.colour, ecolor="#555555")
        axes.annotate(
            "compared with the others" if place == 0 else f"{number(bar.ratio)}x",
            (max(bar.high, 1), place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.axvline(1, color="black", linewidth=0.8)
