"""Contract: limits of works. Bounds are counted, and starts measured, by the works themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aplex import WorkerLostError
from tests.support import works
from tests.support.callers import DEADLINE, Caller
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines

SPANS = [works.span, works.aspan]


def most_at_once(spans: list[tuple[Any, ...]]) -> int:
    """Return how many of the works ran at the same time, at most."""
    steps = sorted([(span[0], 1) for span in spans] + [(span[1], -1) for span in spans])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


@pytest.mark.parametrize("work", SPANS)
def test_no_more_works_than_the_bound_run_at_once(caller: Caller, work: Callable[..., Any]) -> None:
    bound = 3 if work is works.aspan else 1
    view = caller.through(caller.pool.options(max_concurrency=bound))
    futures = [view.submit(work, 0.005) for _ in range(40)]
    assert most_at_once([view.result(future) for future in futures]) <= bound


@pytest.mark.parametrize("work", [works.held, works.aheld])
def test_as_many_as_the_bound_run_at_once(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate, work: Callable[..., Any]
) -> None:
    """All that may run, do; the next ones start as soon as these have ended."""
    caller = new_caller(pool_size=3)
    view = caller.through(caller.pool.options(max_concurrency=2))
    futures = [view.submit(work, signals.path, gate.path, number) for number in range(4)]
    signals.expect("started 0", "started 1")
    assert caller.call(works.aadd, 1) == 1  # there would have been room
    assert signals.said() == []
    gate.open()
    assert [view.result(future) for future in futures] == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"chunksize": 4}, {"ordered": False}], ids=str)
def test_works_of_a_map_are_bounded(caller: Caller, options: dict[str, Any]) -> None:
    view = caller.through(caller.pool.options(max_concurrency=1))
    spans = list(view.map(works.span, [0.002] * 16, **options))
    assert most_at_once(spans) == 1


@pytest.mark.parametrize("work", SPANS)
def test_starts_are_spaced(caller: Caller, work: Callable[..., Any]) -> None:
    """None starts early. (That none catches up, whatever is late, is a matter of logic.)"""
    rate = 50
    view = caller.through(caller.pool.options(rate=rate))
    began = time.monotonic()
    futures = [view.submit(work, 0.0) for _ in range(20)]
    starts = sorted(view.result(future)[0] for future in futures)
    for number, start in enumerate(starts):
        assert start - began >= number / rate - 1e-6


def test_a_higher_priority_does_not_wait_behind_what_was_sent_ahead(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    """Functions are sent ahead after short ones; those that turn out to be long are recalled."""
    caller = new_caller()
    caller.wait(*[caller.submit(works.nothing) for _ in range(1000)])
    futures = [caller.submit(works.held, signals.path, gate.path, "first")]
    futures += [caller.submit(works.say, signals.path, "low") for _ in range(40)]
    signals.expect("started first")
    high = caller.through(caller.pool.options(priority=1))
    futures.append(high.submit(works.say, signals.path, "high"))
    deadline = time.monotonic() + DEADLINE
    while "41 works waiting, 1 in flight" not in repr(caller.pool):
        assert time.monotonic() < deadline, caller.pool
        time.sleep(0.001)
    gate.open()
    caller.wait(*futures)
    assert signals.said() == ["passed first", "high", *["low"] * 40]


def test_a_higher_priority_goes_first(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(max_works_per_worker=1)
    futures = [caller.submit(works.aheld, signals.path, gate.path, "first")]
    signals.expect("started first")
    for priority in (-1, 0, 2, 1):
        view = caller.through(caller.pool.options(priority=priority))
        futures.append(view.submit(works.span, 0.0))
    gate.open()
    caller.wait(*futures)
    starts = [caller.result(future)[0] for future in futures[1:]]
    assert sorted(range(4), key=starts.__getitem__) == [2, 3, 1, 0]


@pytest.mark.parametrize("limit", [{"max_concurrency": 1}, {"rate": 0.001}], ids=str)
def test_a_work_that_waits_for_a_limit_is_cancelled_at_once(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate, limit: dict[str, Any]
) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(**limit))
    running = view.submit(works.aheld, signals.path, gate.path, 1)
    signals.expect("started 1")
    waiting = view.submit(works.aheld, signals.path, gate.path, 2)
    assert view.cancel(waiting)
    view.wait(waiting)
    assert waiting.cancelled()
    gate.open()
    view.wait(running)
    assert signals.said() == ["passed 1"]


def test_shutdown_cancels_what_waits_for_a_limit(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(max_concurrency=1))
    running = view.submit(works.aheld, signals.path, gate.path, 1)
    signals.expect("started 1")
    waiting = [view.submit(works.aheld, signals.path, gate.path, 2) for _ in range(3)]
    caller.pool.shutdown(wait=False, cancel_futures=True)
    caller.wait(*waiting)
    assert all(future.cancelled() for future in waiting)
    gate.open()
    assert caller.result(running) == 1


def test_shutdown_waits_for_what_waits_for_a_limit(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    view = caller.through(caller.pool.options(rate=50, max_concurrency=1))
    futures = [view.submit(works.aadd, number) for number in range(4)]
    caller.pool.shutdown()
    assert [caller.result(future) for future in futures] == [0, 1, 2, 3]


@pytest.mark.parametrize("engine", ["template"], indirect=True)
def test_a_worker_that_dies_takes_no_places_with_it(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    caller = new_caller(pool_size=2)
    view = caller.through(caller.pool.options(max_concurrency=1, limit_key="deadly"))
    deaths = [view.submit(works.adie, "exit") for _ in range(2)]
    retried = caller.through(caller.pool.options(max_concurrency=1, limit_key="deadly", retries=1))
    again = retried.submit(works.adie_at_first, str(tmp_path / "died"))
    after = [view.submit(works.aadd, number) for number in range(3)]
    assert all(isinstance(caller.error(future), WorkerLostError) for future in deaths)
    assert caller.result(again)
    assert [caller.result(future) for future in after] == [0, 1, 2]


def test_other_works_do_not_wait_for_limits_of_some(caller: Caller) -> None:
    view = caller.through(caller.pool.options(rate=0.01, limit_key=object()))
    view.call(works.add, 1)
    waiting = view.submit(works.add, 1)
    began = time.monotonic()
    assert caller.call(works.add, 2) == 2
    assert time.monotonic() - began < 5
    view.cancel(waiting)
    view.wait(waiting)


@pytest.mark.parent_only
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_concurrency": 0}, ValueError, "max_concurrency must be at least 1, got 0"),
        ({"max_concurrency": 1.5}, TypeError, "max_concurrency must be an int"),
        ({"rate": 0}, ValueError, "rate must be positive and finite"),
        ({"rate": float("nan")}, ValueError, "rate must be positive and finite"),
        ({"rate": "5/s"}, TypeError, "rate must be a number per second"),
        ({"priority": 0.5}, TypeError, "priority must be an int"),
        ({"limit_key": []}, TypeError, r"limit_key must be hashable, \[\] is not"),
    ],
    ids=str,
)
def test_nonsense_limits_are_refused_at_once(
    caller: Caller, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        caller.pool.options(**options)


class Unhashable(works.Callee):
    """A work that can be no key."""

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parent_only
def test_a_work_that_can_be_no_key_is_refused_with_the_cure(caller: Caller) -> None:
    view = caller.pool.options(max_concurrency=1)
    with pytest.raises(TypeError, match=r"options\(limit_key=…\)"):
        caller.through(view).submit(Unhashable(1), 2)
    assert caller.through(view.options(limit_key="adders")).call(Unhashable(1), 2) == 3
