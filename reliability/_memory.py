"""How much memory processes use, and whether that grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")  # bytes


def resident(pids: Sequence[int | str]) -> int:
    """Return how much is resident in these processes together, in bytes."""
    return PAGE * sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return by how much ys grow for each x, by least squares."""
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x_mean) ** 2 for x in xs)
