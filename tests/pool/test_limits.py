"""Logic: works that wait for the limits of their key, and for their turn by priority.

`DrivenPool` checks the Pool's invariants after every event.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from aplex._common.messages import COROUTINE, ITEMS, LANES, PLAIN, RAISED, RETURNED, VALUE
from aplex._common.options import WorkOptions
from aplex._pool.inflow import Inflow
from aplex._pool.limits import KEPT_GROUPS
from aplex._pool.state import Work, WorkState
from aplex.exceptions import WorkerLostError
from tests.support.pools import ALL_STARTED, DrivenPool, choosing


def in_flight(*works: Work) -> list[bool]:
    return [work.state is WorkState.IN_FLIGHT for work in works]


def submit(pool: DrivenPool, count: int = 1, lane: int = COROUTINE, **options: Any) -> list[Work]:
    return [pool.submit(lane, options=WorkOptions(**options)) for _ in range(count)]


# -- max_concurrency ------------------------------------------------------------------------


@pytest.mark.parametrize("lane", LANES)
def test_no_more_works_of_a_key_than_its_bound_are_in_flight(lane: int) -> None:
    pool = DrivenPool(4)
    works = submit(pool, 4, lane, max_concurrency=2)
    assert in_flight(*works) == [True, True, False, False]
    pool.end(works[1])
    assert in_flight(*works) == [True, False, True, False]
    pool.end(works[0], kind=RAISED, data=ValueError())
    assert in_flight(*works) == [False, False, True, True]


def test_other_works_pass_those_that_wait_for_their_limit() -> None:
    pool = DrivenPool()
    works = submit(pool, 2, max_concurrency=1)
    assert in_flight(*works, pool.submit()) == [True, False, True]


@pytest.mark.parametrize("lane", LANES)
def test_a_stream_keeps_its_place_until_it_ends(lane: int) -> None:
    """Also when an item of it is in one frame with the result of another work."""
    pool = DrivenPool()
    streams = submit(pool, 3, lane, max_concurrency=1)
    for work in streams:
        work.future, work.is_stream = Inflow(16, None, (1, None)), True
    other = pool.submit()
    worker = pool.workers[0]
    pool.report(worker, (streams[0].id, ITEMS, (0, [(False, "item")])), (other.id, VALUE, "result"))
    assert in_flight(*streams) == [True, False, False]
    pool.end(streams[0])
    assert in_flight(*streams) == [False, True, False]


def test_a_function_that_outlives_its_time_keeps_its_place() -> None:
    """Its future has failed, but it runs."""
    pool = DrivenPool(2)
    late, waiting = submit(pool, 2, PLAIN, max_concurrency=1)
    other = pool.plain()
    pool.pool.fail_early(late, TimeoutError())
    assert other.worker is not None
    pool.pool.take_in(other.worker, (0.0, [], [other.id], ["result"], [], []))
    pool.pool.dispatch()
    assert in_flight(late, waiting) == [True, False]


def test_both_lanes_and_several_bounds_of_a_key_count_together() -> None:
    pool = DrivenPool(4)
    first, second = submit(pool, 2, max_concurrency=2, limit_key="api")
    (third,) = submit(pool, 1, PLAIN, max_concurrency=3, limit_key="api")
    (other,) = submit(pool, 1, max_concurrency=1, limit_key="other")
    (fourth,) = submit(pool, 1, PLAIN, max_concurrency=3, limit_key="api")
    assert in_flight(first, second, third, other, fourth) == [True, True, True, True, False]
    pool.end(first)
    assert in_flight(fourth) == [True]


def test_a_work_that_is_cancelled_gives_its_turn_away() -> None:
    pool = DrivenPool()
    first, second, third = submit(pool, 3, max_concurrency=1)
    pool.cancel(second)
    assert pool.is_cancelled(second)
    pool.end(first)
    assert in_flight(third) == [True]


def test_a_place_is_not_lost_with_a_lane_that_was_changed() -> None:
    """A function returns a coroutine, and its worker dies: it is wanted on its first lane again."""
    pool = DrivenPool(2, 1, ready=False)
    pool.ready(pool.workers[0])
    pool.end(pool.submit())
    works = submit(pool, 2, PLAIN, max_concurrency=1, retries=1)
    pool.detach(works[0])
    pool.ready(pool.workers[1])
    pool.lose(pool.workers[0], ALL_STARTED, error=WorkerLostError(1, -9, 1))
    assert in_flight(*works) == [True, False]
    pool.end(works[0])
    assert in_flight(*works) == [False, True]


def test_a_place_is_not_lost_with_a_choice_that_failed() -> None:
    pool = DrivenPool(load_balancer=choosing(lambda balancer, meta: meta or balancer.workers[0]))
    bad = pool.submit(meta="nonsense", options=WorkOptions(max_concurrency=1))
    assert pool.error(bad)
    assert in_flight(*submit(pool, 2, max_concurrency=1)) == [True, False]


@pytest.mark.parametrize("started", [(0, 0), ALL_STARTED])
def test_a_place_is_not_lost_with_its_worker(started: tuple[int, int]) -> None:
    pool = DrivenPool(2, max_restarts=9)
    works = submit(pool, 3, max_concurrency=1)
    assert works[0].worker is not None
    pool.lose(works[0].worker, started)
    expected = [True, False] if started == (0, 0) else [False, True]
    assert in_flight(works[0], works[1]) == expected
    pool.run_to_the_end()


def test_a_work_that_runs_again_waits_for_a_place_again() -> None:
    pool = DrivenPool(2)
    first, second, third = submit(pool, 3, max_concurrency=2, retries=1)
    assert first.worker is not None
    pool.lose(first.worker, ALL_STARTED)
    assert in_flight(first, second, third) == [True, True, False]


def test_works_wait_for_no_limit_when_the_pool_is_closed_or_broken() -> None:
    pool = DrivenPool()
    works = submit(pool, 3, max_concurrency=1)
    pool.close(cancel_waiting=True)
    assert [pool.is_cancelled(work) for work in works] == [False, True, True]
    pool = DrivenPool(ready=False, max_restarts=0)
    works = submit(pool, 2, max_concurrency=1)
    pool.fail_to_start(pool.workers[0])
    assert {pool.error(work) for work in works} == {pool.pool.broken}


def test_groups_are_forgotten_when_nobody_needs_them() -> None:
    pool = DrivenPool()
    for key in range(10 * KEPT_GROUPS):
        pool.end(*submit(pool, 1, max_concurrency=1, limit_key=key))
    assert len(pool.pool._limits._groups) <= KEPT_GROUPS


# -- rate -----------------------------------------------------------------------------------


def test_starts_are_spaced() -> None:
    pool = DrivenPool(2)
    works = submit(pool, 3, rate=4)
    assert in_flight(*works) == [True, False, False]
    pool.pass_alarm()
    assert (pool.now, in_flight(*works)) == (0.25, [True, True, False])
    pool.pass_alarm(late=0.05)
    assert in_flight(*works) == [True, True, True]
    pool.end(*works)
    pool.now += 0.19
    later = submit(pool, 2, rate=4)
    assert in_flight(*later) == [False, False], "what a timer was late is made good, no more"
    pool.pass_alarm()
    assert (pool.now, in_flight(*later)) == (pytest.approx(0.75), [True, False])


def test_a_spaced_function_goes_only_to_an_idle_worker() -> None:
    pool = DrivenPool(1)
    pool.pace(pool.workers[0], 0.0001)
    busy = pool.plain()
    assert in_flight(pool.plain()) == [True], "others are sent ahead"
    (spaced,) = submit(pool, 1, PLAIN, rate=1)
    assert in_flight(spaced) == [False]
    pool.end(busy, *[work for work in pool.workers[0].works.values() if work is not busy])
    assert in_flight(spaced) == [True]


def test_a_spaced_work_that_is_given_back_is_spaced_again() -> None:
    pool = DrivenPool(1)
    (work,) = submit(pool, 1, PLAIN, rate=1)
    pool.report(pool.workers[0], (work.id, RETURNED, work.seq))
    assert in_flight(work) == [False]
    pool.pass_alarm()
    assert in_flight(work) == [True]


# -- priority -------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", LANES)
def test_the_highest_priority_goes_first_and_equals_in_their_order(lane: int) -> None:
    pool = DrivenPool(limit=1)
    first = pool.submit(lane)
    works = {(p, n): submit(pool, 1, lane, priority=p)[0] for n in (0, 1) for p in (-1, 0, 5, 1)}
    pool.run_to_the_end()
    order = pool.works_of(pool.workers[0])
    ranks = [(5, 0), (5, 1), (1, 0), (1, 1), (0, 0), (0, 1), (-1, 0), (-1, 1)]
    assert order == [first, *(works[rank] for rank in ranks)]


def test_priorities_order_the_works_of_a_key() -> None:
    pool = DrivenPool()
    running, low, high = (
        *submit(pool, 2, max_concurrency=1),
        *submit(pool, 1, max_concurrency=1, priority=1),
    )
    pool.end(running)
    assert in_flight(low, high) == [False, True]


# -- anything at once -----------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 1), st.integers(0, 2), st.integers(-1, 1)),
        st.tuples(st.sampled_from(["end", "cancel", "lose", "recount"]), st.integers(0, 99)),
        st.tuples(st.just("time"), st.floats(0, 1)),
    ),
    max_size=60,
)

A_WITHDRAWN_WORK_MAKES_ANOTHER_READY = [
    ("submit", 1, 0, 0),
    ("time", 1.0),
    ("submit", 0, 2, 0),
    ("submit", 1, 1, 0),
    ("end", 1),
    ("submit", 0, 1, 0),
    ("submit", 1, 0, 0),
    ("submit", 0, 0, 0),
    ("time", 1.0),
    ("end", 1),
]
"""One of the other lane, after that lane has been looked at: it waited on, for its alarm."""


@settings(max_examples=200, deadline=None)
@example(A_WITHDRAWN_WORK_MAKES_ANOTHER_READY, 3, 3, 2.0)
@given(EVENTS, st.integers(1, 3), st.integers(1, 3), st.sampled_from([None, 0.5, 2.0, 10.0]))
def test_bounds_hold_whatever_happens(
    events: list[Any], workers: int, bound: int, rate: float | None
) -> None:
    pool = DrivenPool(workers, max_restarts=9999)
    starts: dict[int, list[float]] = {0: [], 1: [], 2: []}

    def look() -> None:
        for key, times in starts.items():
            works = [work for work in pool.submitted if work.options.limit_key == key]
            running = [work for work in works if work.state is WorkState.IN_FLIGHT]
            assert len(running) <= bound
            begun = sum(w in works for worker in pool.sent for w in pool.works_of(worker))
            assert begun - len(times) <= (1 if rate else bound)
            times.extend([pool.now] * (begun - len(times)))

    for event in events:
        _take(pool, event, bound, rate)
        look()
    if rate:
        for times in starts.values():
            for i, first in enumerate(times):
                for j, later in enumerate(times[i + 1 :], 1):
                    assert later - first >= (j - 0.5) / rate - 1e-9
    pool.run_to_the_end()
    assert len(pool.outcomes) == len(pool.submitted)


def _take(pool: DrivenPool, event: Any, bound: int, rate: float | None) -> None:
    """Let something happen to a pool."""
    running = [work for work in pool.submitted if work.state is WorkState.IN_FLIGHT]
    match event:
        case "submit", lane, key, priority:
            options = {"limit_key": key, "priority": priority, "retries": 1}
            submit(pool, 1, lane, max_concurrency=bound, rate=rate, **options)
        case "end", index if running:
            pool.end(running[index % len(running)])
        case "cancel", index if pool.submitted:
            pool.cancel(pool.submitted[index % len(pool.submitted)])
        case "lose", index:
            worker = pool.workers[index % len(pool.workers)]
            pool.lose(worker, ALL_STARTED if index % 2 else (0, 0))
            pool.pass_pauses()
            pool.ready(pool.workers[index % len(pool.workers)])
        case "recount", _:
            pool.pool.recount()
            pool.take_effects()
        case "time", seconds:
            pool.now += seconds
            while pool.alarms and min(alarm[0] for alarm in pool.alarms) <= pool.now:
                pool.pass_alarm()
                return
