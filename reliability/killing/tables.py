"""Shows results: a table of points x actions, for terminals and for pages."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from reliability.killing.cases import METHODS
from reliability.killing.faults import ACTIONS
from reliability.killing.runner import Result
from reliability.points import POINTS


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Return the head and a row for each point: cases passed per action, and the seconds."""
    head = ["", "side", "point", *ACTIONS, "median s", "p99 s"]
    found = [head]
    for number, point in enumerate(POINTS, 1):
        mine = [result for result in results if result.case.point == number]
        if mine:
            cells = [_passed([r for r in mine if r.case.action == action]) for action in ACTIONS]
            found.append([str(number), point.side, point.title, *cells, *_seconds(mine)])
    cells = [_passed([r for r in results if r.case.action == action]) for action in ACTIONS]
    found.append(["", "", "all", *cells, *_seconds(results)])
    by_action = [[r for r in results if r.case.action == action] for action in ACTIONS]
    for title, index in ("median s", 0), ("p99 s", 1):
        figures = [_seconds(mine)[index] for mine in by_action]
        found.append(["", "", title, *figures, "", ""])
    return found


def text(table: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table for a page."""
    head, *body = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures that the promise is about."""
    return {
        "cases": len(results),
        "passed": sum(result.passed for result in results),
        "median_seconds": round(statistics.median(r.seconds for r in results), 3),
        "p99_seconds": round(p99([r.seconds for r in results]), 3),
        "longest_seconds": round(max(r.seconds for r in results), 3),
        **{f"p99_seconds, {method}": _p99_of(results, method) for method in METHODS},
    }


def p99(values: Sequence[float]) -> float:
    """Return the smallest value that 99 of 100 do not exceed."""
    return sorted(values)[-(-99 * len(values) // 100) - 1]


def _p99_of(results: Sequence[Result], method: str) -> float | None:
    """The start of a new interpreter is a part of it, unless the method is fork."""
    values = [result.seconds for result in results if result.case.method == method]
    return round(p99(values), 3) if values else None


def _passed(results: Sequence[Result]) -> str:
    return f"{sum(r.passed for r in results)}/{len(results)}" if results else "-"


def _seconds(results: Sequence[Result]) -> list[str]:
    if not results:
        return ["-", "-"]
    values = [result.seconds for result in results]
    return [f"{statistics.median(values):.2f}", f"{p99(values):.2f}"]
