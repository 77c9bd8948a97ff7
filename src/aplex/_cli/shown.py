"""How numbers, times and tables are written for people. A leaf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_UNITS: Final = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"))
MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400
SPARKS: Final = "▁▂▃▄▅▆▇█"


def duration(seconds: float | None) -> str:
    """Return a time with three digits or so: ``1.25 ms``, ``12.0 s``, ``3 m 05 s``."""
    if seconds is None:
        return ""
    for below, factor, unit in _UNITS:
        if seconds < below:
            return f"{seconds * factor:.3g} {unit}"
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} m {int(seconds % MINUTE):02} s"
    if seconds < DAY:
        return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE):02} m"
    return f"{int(seconds // DAY)} d {int(seconds % DAY // HOUR):02} h"


def size(count: int | None) -> str:
    """Return a number of bytes in MiB, or GiB."""
    if count is None:
        return ""
    return f"{count / 2**20:.0f} M" if count < 2**30 else f"{count / 2**30:.1f} G"


def spark(values: Sequence[float]) -> str:
    """Return a line of bars."""
    top = max(values, default=0.0)
    if top <= 0:
        return SPARKS[0] * len(values)
    return "".join(SPARKS[round(value / top * (len(SPARKS) - 1))] for value in values)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a table as text; these columns are set to the right."""
    lines = [head, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    to_right = set(right)

    def cell(at: int, words: str) -> str:
        return words.rjust(widths[at]) if at in to_right else words.ljust(widths[at])

    return "\n".join(
        "  ".join(cell(at, words) for at, words in enumerate(line)).rstrip() for line in lines
    )
