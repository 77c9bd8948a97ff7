"""Covering arrays: few of all combinations, such that each two values that can meet still meet.

A bug hangs on one value mostly, or on two that meet; seldom on three. So a test with engines,
event loops, faces and parameters of its own need not run with each of their combinations.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

Row = Mapping[str, Hashable]
"""A value for each name."""


def covering(rows: Sequence[Row], first: int = 0, strength: int = 2) -> list[int]:
    """Choose rows in which every pair of values occurs that occurs in any; return their indices.

    With a ``strength`` of 1: in which every value occurs.

    Greedy: the next is always the one that brings the most new pairs. Of equals it is the one
    soonest after ``first``, so that tests with the same combinations can choose different ones.
    """
    order = [(first + index) % len(rows) for index in range(len(rows))]
    pairs = {index: frozenset(_meeting(rows[index], strength)) for index in order}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(order, key=lambda index: len(pairs[index] & missing))
        missing -= pairs[best]
        chosen.append(best)
    return sorted(chosen)


def _meeting(row: Row, strength: int) -> Iterator[tuple[object, ...]]:
    """Yield what meets in a row; if it has one value only, that."""
    values = sorted(row.items(), key=lambda item: item[0])
    return itertools.combinations(values, min(strength, len(row)))
