"""Deadlines: what is due comes in its order, and useless entries do not pile up."""

from __future__ import annotations

import math

from aplex._pool.deadlines import KEPT_ENTRIES, Deadlines


def test_what_is_due_comes_in_its_order() -> None:
    deadlines: Deadlines[str] = Deadlines(lambda _thing: False)
    for when, thing in ((3.0, "late"), (1.0, "first"), (1.0, "second")):
        deadlines.set(when, thing)
    assert deadlines.first == 1.0
    assert deadlines.due(0.9) is None
    assert [deadlines.due(1.0), deadlines.due(1.0), deadlines.due(1.0)] == ["first", "second", None]
    assert deadlines.first == 3.0


def test_never_is_never() -> None:
    deadlines: Deadlines[str] = Deadlines(lambda _thing: False)
    deadlines.set(math.inf, "never")
    assert not deadlines
    assert deadlines.first == math.inf


def test_what_is_for_nothing_does_not_pile_up() -> None:
    useful = range(100_000, 100_010)
    deadlines: Deadlines[int] = Deadlines(lambda thing: thing not in useful)
    for thing in [*range(10_000), *useful, *range(10_000)]:
        deadlines.set(float(thing), thing)
    assert len(deadlines) <= 2 * KEPT_ENTRIES
    assert [deadlines.due(math.inf) for _ in useful] == list(useful)
    assert deadlines.due(math.inf) is None
