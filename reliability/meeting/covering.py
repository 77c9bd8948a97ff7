"""Covering arrays: few rows in which each allowed combination of so many values is met.

Greedy: each row begins with a combination that is still missing, and takes for every other
column the value that meets the most of the missing ones. (The library ``allpairspy`` leaves
combinations out where others are forbidden: here 14 of 934 pairs, and a quarter of the triples.)
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

Row = dict[str, str]
Columns = Mapping[str, Sequence[str]]
Allowed = Callable[[Row], bool]
"""Says whether values can meet; columns that are not decided yet are missing."""
Combination = frozenset[tuple[str, str]]
_CANDIDATES = 4
"""Rows that are grown for each that is taken."""


def covering(columns: Columns, strength: int, allowed: Allowed, rng: random.Random) -> list[Row]:
    """Return rows that meet all allowed combinations; the same for the same random numbers."""
    missing = dict.fromkeys(combinations(columns, strength, allowed))  # a set with an order
    rows: list[Row] = []
    while missing:
        starts = rng.choices(list(missing), k=_CANDIDATES)
        grown = [_grown(dict(start), columns, strength, allowed, missing, rng) for start in starts]
        best = max(grown, key=lambda row: sum(one in missing for one in met(row, strength)))
        for combination in met(best, strength):
            missing.pop(combination, None)
        rows.append({name: best[name] for name in columns})
    return rows


def combinations(columns: Columns, strength: int, allowed: Allowed) -> Iterator[Combination]:
    """Yield all that must be met."""
    for names in itertools.combinations(columns, strength):
        for values in itertools.product(*(columns[name] for name in names)):
            if allowed(dict(zip(names, values, strict=True))):
                yield frozenset(zip(names, values, strict=True))


def met(row: Row, strength: int) -> Iterator[Combination]:
    """Yield all that a row meets."""
    return map(frozenset, itertools.combinations(row.items(), strength))


def _grown(
    row: Row,
    columns: Columns,
    strength: int,
    allowed: Allowed,
    missing: Mapping[Combination, None],
    rng: random.Random,
) -> Row:
    """Complete a row."""
    open_columns = [name for name in columns if name not in row]
    for name in rng.sample(open_columns, len(open_columns)):
        beside = list(itertools.combinations(row.items(), strength - 1))
        values = [value for value in columns[name] if allowed({**row, name: value})]
        rng.shuffle(values)  # or the first of equals would come too often
        row[name] = max(
            values,
            key=lambda value: sum(
                frozenset((*others, (name, value))) in missing for others in beside
            ),
        )
    return row
