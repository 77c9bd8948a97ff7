"""Alarms: what is due is told in its order, and what is for nothing does not pile up."""

from __future__ import annotations

import math

from aplex._pool.deadlines import FEW, Alarms


def test_what_is_due_comes_in_its_order() -> None:
    alarms: Alarms[str] = Alarms(lambda _thing: False)
    for when, thing in ((3.0, "late"), (1.0, "first"), (1.0, "second")):
        alarms.set(when, thing)
    assert alarms.first == 1.0
    assert alarms.due(0.9) is None
    assert [alarms.due(1.0), alarms.due(1.0), alarms.due(1.0)] == ["first", "second", None]
    assert alarms.first == 3.0


def test_never_is_never() -> None:
    alarms: Alarms[str] = Alarms(lambda _thing: False)
    alarms.set(math.inf, "never")
    assert not alarms
    assert alarms.first == math.inf


def test_what_is_for_nothing_does_not_pile_up() -> None:
    useful = range(100_000, 100_010)
    alarms: Alarms[int] = Alarms(lambda thing: thing not in useful)
    for thing in [*range(10_000), *useful, *range(10_000)]:
        alarms.set(float(thing), thing)
    assert len(alarms) <= 2 * FEW
    assert [alarms.due(math.inf) for _ in useful] == list(useful)
    assert alarms.due(math.inf) is None
