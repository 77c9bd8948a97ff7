"""Lanes: spans that overlap are laid side by side, each in the first lane that is free."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


def lanes_of(spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return the lane of each span; they come in the order of their begins."""
    free: list[int] = []  # lanes, the lowest first
    busy: list[tuple[int, int]] = []  # ends, and lanes
    lanes: list[int] = []
    for begin, end in spans:
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        lanes.append(lane)
    return lanes
