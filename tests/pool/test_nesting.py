"""Logic: which functions may wait for works of their own pool, and what works may submit."""

from __future__ import annotations

from typing import Any

import pytest

from aplex._common.messages import COROUTINE, LANES, PLAIN
from aplex._common.options import DEFAULTS, WorkOptions
from aplex._pool.nesting import Nesting
from aplex._pool.state import Work
from tests.support.pools import DrivenPool

STARVES = "if they may wait for each other"
LIMITED = WorkOptions(max_concurrency=1, limit_key="k")


class Nested:
    """A pool in which works submit works. Functions run as soon as they are in flight, one each."""

    def __init__(self, size: int = 1, **kwargs: Any) -> None:
        self.pool = DrivenPool(size, **kwargs)
        self.nesting = Nesting(self.pool.pool, lambda worker, seq: seq <= self.first(worker))

    @staticmethod
    def first(worker: Any) -> int:
        return min((work.seq for work in worker.works.values() if work.lane == PLAIN), default=0)

    def submit(self, lane: int, options: WorkOptions = DEFAULTS) -> Work:
        """Have a work submit one."""
        new = Work(lane, "function", "call", None, None)
        new.options, new.target = options, print
        self.nesting.submit(new)
        self.pool.pool.submit(new)
        return new

    def wait(self, function: Work, work: Work) -> None:
        assert function.worker is not None
        self.nesting.wait(function.worker, function.seq, work)


def test_functions_wait_for_coroutines_and_for_no_functions() -> None:
    nested = Nested()
    function = nested.pool.plain()
    nested.wait(function, nested.submit(COROUTINE))
    nested.wait(function, nested.submit(COROUTINE))
    with pytest.raises(RuntimeError, match="must not block until another work of its own pool"):
        nested.wait(function, nested.pool.plain())


def test_the_last_thread_is_not_held_while_a_work_of_a_work_needs_it() -> None:
    nested = Nested(2)
    first, second = nested.pool.plain(), nested.pool.plain()
    coroutine = nested.submit(COROUTINE)
    nested.wait(first, coroutine)
    new = nested.submit(PLAIN)
    with pytest.raises(RuntimeError, match=STARVES):
        nested.wait(second, nested.submit(COROUTINE))
    nested.pool.end(second)
    assert new.worker is not None
    assert new.worker is not first.worker


@pytest.mark.parametrize("end", ["what is waited for", "the function"])
def test_no_work_submits_a_function_while_all_threads_are_held(end: str) -> None:
    nested = Nested()
    function, coroutine = nested.pool.plain(), nested.pool.submit()
    nested.wait(function, coroutine)
    nested.submit(COROUTINE)
    with pytest.raises(RuntimeError, match=STARVES):
        nested.submit(PLAIN)
    nested.pool.end(coroutine if end == "what is waited for" else function)
    nested.submit(PLAIN)


def test_a_function_waits_until_all_is_done_that_it_has_waited_for() -> None:
    nested = Nested()
    function = nested.pool.plain()
    works = [nested.pool.submit() for _ in range(3)]
    for work in works:
        nested.wait(function, work)
    for work in works:
        with pytest.raises(RuntimeError, match=STARVES):
            nested.submit(PLAIN)
        nested.pool.end(work)
    nested.submit(PLAIN)


def test_a_work_that_was_not_submitted_after_all_is_forgotten() -> None:
    nested = Nested()
    function = nested.pool.plain()
    refused = Work(PLAIN, "function", "call", None, None)
    nested.nesting.submit(refused)
    with pytest.raises(RuntimeError, match=STARVES):
        nested.wait(function, nested.pool.submit())
    nested.nesting.forget(refused)
    nested.wait(function, nested.pool.submit())


@pytest.mark.parametrize("lane", LANES)
def test_the_place_of_a_key_is_not_held_while_a_work_of_a_work_needs_it(lane: int) -> None:
    nested = Nested(2)
    function = nested.pool.submit(PLAIN, options=LIMITED)
    new = nested.submit(lane, LIMITED)
    other = nested.pool.submit()
    with pytest.raises(RuntimeError, match=STARVES):
        nested.wait(function, other)
    nested.pool.cancel(new)
    nested.wait(function, other)
    with pytest.raises(RuntimeError, match=STARVES):
        nested.submit(lane, LIMITED)
    nested.submit(lane, WorkOptions(max_concurrency=2, limit_key="k"))
    nested.submit(lane, WorkOptions(max_concurrency=1, limit_key="other"))


def test_the_last_place_is_not_held_while_a_work_of_a_work_needs_it() -> None:
    nested = Nested(2, limit=1)
    first, second = nested.pool.plain(), nested.pool.plain()
    nested.wait(first, nested.submit(COROUTINE))
    with pytest.raises(RuntimeError, match=STARVES):
        nested.wait(second, nested.submit(COROUTINE))


def test_fewer_workers_may_leave_none_for_what_waits() -> None:
    nested = Nested(2)
    first, second = nested.pool.plain(), nested.pool.plain()
    coroutine = nested.pool.submit()
    while coroutine.worker is not first.worker:
        coroutine = nested.pool.submit()  # the other worker is the one that is retired
    nested.pool.submit(meta=None)
    nested.wait(first, coroutine)
    new = nested.submit(PLAIN)
    assert nested.nesting.starved() == []
    nested.pool.pool._retire(second.worker)  # type: ignore[arg-type]
    assert nested.nesting.starved() == [new]
