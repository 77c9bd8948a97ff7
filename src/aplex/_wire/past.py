"""What workers that are gone have measured: the sum of their histograms, by function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeAlias

from aplex._common.histograms import Timing, added
from aplex._wire.page import WorkerPage

Part: TypeAlias = Callable[[], list[Timing]]
"""Returns what a worker has measured until it was made, or several of them."""


LOOKS: Final = 20
"""How often to look for a moment in which no worker goes."""


class Past:
    """A sum for each function.

    Attributes:
        sums: Replaced as a whole, when a worker has gone.
    """

    def __init__(self) -> None:
        self.sums: dict[bytes, bytes] = {}

    def add(self, page: WorkerPage) -> None:
        """Add what a worker has measured, which is gone; its page is not to be looked at again."""
        if page.is_counted:
            return
        sums = self.sums.copy()
        for name, pair in page.timings()():
            known = sums.get(name)
            sums[name] = pair if known is None else added((known, pair))
        # No call between these two: no other thread gets in.
        self.sums = sums
        page.is_counted = True


def timings_of(pages: Callable[[], Iterable[WorkerPage]], past: Past) -> list[Part]:
    """Return what the workers of a pool have measured, and those before them. Any thread."""
    parts: list[Part] = []
    for _ in range(LOOKS):
        sums = past.sums
        parts = [partial(list, list(sums.items()))]
        for page in pages():
            if not page.is_counted:
                with contextlib.suppress(ValueError):  # it was freed just now, and counted before
                    parts.append(page.timings())
        if past.sums is sums:
            break
    return parts
