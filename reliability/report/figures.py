"""What a program has found: figures, some with a bound, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aplex


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    figure: str
    wanted: str = ""
    kept: bool = True


@dataclass
class Report:
    """The figures of one part of a program, in their order."""

    title: str
    rows: list[Row] = field(default_factory=list)
    details: list[str] = field(default_factory=list)  # of what went wrong

    @property
    def kept(self) -> bool:
        """Whether all bounds were kept."""
        return all(row.kept for row in self.rows)

    def tell(self, name: str, figure: Any) -> None:
        """Note a figure that has no bound."""
        self.rows.append(Row(name, _shown(figure)))

    def exactly(self, name: str, figure: Any, wanted: Any = 0) -> None:
        """Note a figure that must be so."""
        self.rows.append(Row(name, _shown(figure), _shown(wanted), figure == wanted))

    def at_most(self, name: str, figure: float, wanted: float, unit: str = "") -> None:
        """Note a figure that must not be larger."""
        bound = f"≤ {_shown(wanted)}{unit}"
        self.rows.append(Row(name, _shown(figure) + unit, bound, figure <= wanted))

    def none_of(self, name: str, found: list[str]) -> None:
        """Note how many of something were found: there must be none. Tells of the first few."""
        self.exactly(name, len(found))
        self.details += [f"{name}: {one}" for one in found[:5]]

    def table(self) -> str:
        """Return a Markdown table, and the details below it."""
        lines = [f"**{self.title}**", "", "| figure | measured | wanted | |", "|---|---|---|---|"]
        for row in self.rows:
            mark = "" if not row.wanted else "ok" if row.kept else "**FAILED**"
            lines.append(f"| {row.name} | {row.figure} | {row.wanted} | {mark} |")
        return "\n".join([*lines, "", *self.details])


def save(path: Path, reports: list[Report]) -> None:
    """Write all figures to a file."""
    content = {"circumstances": circumstances(), "reports": [asdict(one) for one in reports]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def circumstances() -> dict[str, str]:
    """Return when, on what and of what the figures are."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "aplex": aplex.__version__,
        "Python": f"{platform.python_version()} ({sys.implementation.name})",
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.system()}",
    }


def _shown(figure: Any) -> str:
    if isinstance(figure, float):
        return f"{figure:,.2f}"
    return f"{figure:,}" if type(figure) is int else str(figure)  # True is an int, too
