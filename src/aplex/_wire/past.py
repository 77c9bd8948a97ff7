"""What workers that are gone have measured: the sum of their histograms, by function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from aplex._common.histograms import added
from aplex._wire.page import WorkerPage

Timing: TypeAlias = tuple[bytes, bytes]
"""The name of a function; a histogram of waiting, and one of running."""


class Past:
    """A sum for each function."""

    def __init__(self) -> None:
        self._sums: dict[bytes, bytes] = {}

    def add(self, timings: Iterable[Timing]) -> None:
        """Add what a worker has measured, which is gone."""
        for name, pair in timings:
            known = self._sums.get(name)
            self._sums[name] = pair if known is None else added((known, pair))

    def timings(self) -> list[Timing]:
        """Return the sums. Any thread."""
        return list(self._sums.items())


def timings_of(pages: Iterable[WorkerPage], past: Past) -> list[Timing]:
    """Return what the workers of a pool have measured, and those before them."""
    timings = past.timings()
    for page in pages:
        try:
            timings += page.timings()
        except ValueError:  # it was freed just now, and counted before
            continue
    return timings
