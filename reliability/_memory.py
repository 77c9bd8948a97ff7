"""How much memory processes use, and whether that grows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")  # bytes


def resident(pids: Sequence[int | str]) -> int:
    """Return how much is resident in these processes together, in bytes."""
    return PAGE * sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)


def slope(values: Sequence[float]) -> float:
    """Return by how much values grow from one to the next.

    It is the median of all pairs that are half of the values apart. So one step does not count:
    an allocator takes a whole arena of a MiB when it needs one more page. A leak is a slope.
    """
    half = len(values) // 2
    return statistics.median(
        (late - early) / half for early, late in zip(values, values[half:], strict=False)
    )
