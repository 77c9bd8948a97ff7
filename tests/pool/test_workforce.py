"""Logic: how many workers there are: resizing, as many as are needed, termination."""

from __future__ import annotations

from aplex._common.messages import COROUTINE
from aplex._common.options import WorkOptions
from aplex._pool.state import WorkerState, WorkState
from aplex._pool.terms import Terms
from tests.support.pools import ALL_STARTED, DrivenPool, PinningByIndex

# -- resize ---------------------------------------------------------------------------------


def test_a_pool_that_grows_starts_workers() -> None:
    pool = DrivenPool(1)
    pool.resize(3)
    assert [worker.state.value for worker in pool.workers] == ["serving", "starting", "starting"]
    assert pool.started == pool.workers


def test_a_pool_that_shrinks_lets_go_those_with_the_least_to_do() -> None:
    pool = DrivenPool(3, load_balancer=PinningByIndex)
    works = [pool.submit(meta=meta) for meta in (0, 0, 1, 2, 2, 2)]
    busy, least, busiest = pool.workers
    pool.resize(2)
    assert pool.workers == [busy, busiest]
    assert least.state is WorkerState.RETIRING
    assert pool.stopped == []
    pool.end(works[2])
    assert pool.stopped == [least]
    pool.lose(least)
    assert len(pool.started) == 3
    assert pool.pool.leaving == []


def test_workers_that_still_start_go_first() -> None:
    pool = DrivenPool(1)
    pool.resize(2)
    starting = pool.workers[1]
    pool.resize(1)
    assert pool.stopped == [starting]
    pool.ready(starting, 7)
    assert starting.state is WorkerState.STOPPING
    assert pool.submit().worker is pool.workers[0]


def test_of_those_that_still_start_the_newest_go_first() -> None:
    """However fast a pool is resized, the oldest becomes ready."""
    pool = DrivenPool(1, ready=False)
    oldest = pool.workers[0]
    for size in (3, 1, 4, 2, 1):
        pool.resize(size)
        assert pool.workers[0] is oldest
    assert oldest not in pool.stopped
    pool.ready(oldest, 7)
    assert pool.submit().worker is oldest


def test_works_pinned_to_a_retiring_worker_go_to_others() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=PinningByIndex)
    first, pinned = pool.submit(meta=1), pool.submit(meta=1)
    other = pool.submit(meta=0)
    retiring = pool.workers[0]
    pool.resize(1)
    assert retiring.state is WorkerState.RETIRING
    assert other.worker is retiring
    assert pinned.state is WorkState.WAITING
    pool.cancel(first)
    pool.end(other)
    assert pinned.state is WorkState.WAITING


def test_a_retiring_worker_that_dies_gives_its_works_to_others() -> None:
    pool = DrivenPool(2)
    works = [pool.submit(), pool.submit()]
    retiring = pool.workers[0]
    pool.resize(1)
    assert retiring.state is WorkerState.RETIRING
    assert pool.lose(retiring, (0, 0)) == []
    assert {work.worker for work in works} == set(pool.workers)
    assert len(pool.started) == 2


def test_growing_again_starts_new_workers() -> None:
    pool = DrivenPool(2)
    pool.submit()
    pool.submit()
    pool.resize(1)
    pool.resize(2)
    assert len(pool.workers) == 2
    assert len(pool.started) == 3


def test_a_closing_pool_waits_for_those_that_are_leaving() -> None:
    pool = DrivenPool(2)
    work, other = pool.submit(), pool.submit()
    pool.resize(1)
    pool.close()
    pool.end(other if other.worker in pool.workers else work)
    assert pool.stopped == []
    last = pool.pool.leaving[0]
    pool.end(*last.works.values())
    assert set(pool.stopped) == {last, *pool.workers}


def test_a_broken_pool_lets_a_leaving_worker_finish() -> None:
    pool = DrivenPool(2, max_restarts=0)
    in_flight = [pool.submit(options=WorkOptions(retries=2)), pool.submit()]
    pool.resize(1)
    (leaving,) = pool.pool.leaving
    pool.lose(pool.workers[0], (0, 0), uptime=0.1)
    broken = pool.pool.broken
    assert broken is not None
    kept = [work for work in in_flight if work.worker is leaving]
    pool.lose(leaving, ALL_STARTED)
    assert all(work in pool.outcomes for work in in_flight)
    assert kept


# -- as many workers as are needed ----------------------------------------------------------


def test_an_elastic_pool_begins_small_and_grows_with_its_works() -> None:
    pool = DrivenPool(4, terms=Terms(min_size=1))
    assert len(pool.workers) == 1
    works = [pool.submit() for _ in range(3)]
    assert len(pool.workers) == 3
    works += [pool.submit() for _ in range(7)]
    assert len(pool.workers) == 4
    for worker in list(pool.workers):
        pool.ready(worker)
    assert all(work.worker is not None for work in works)


def test_it_shrinks_when_workers_were_not_needed_for_a_while() -> None:
    pool = DrivenPool(4, terms=Terms(min_size=1, idle_timeout=60.0))
    works = [pool.submit() for _ in range(4)]
    for worker in list(pool.workers):
        pool.ready(worker)
    pool.end(*works[:2])
    for _ in range(2):
        pool.pass_alarm()
    assert len(pool.workers) == 4, "they were needed less than a minute ago"
    pool.pass_alarm()
    assert pool.now == 90.0
    assert len(pool.workers) == 2
    pool.end(*works[2:])
    for _ in range(3):
        pool.pass_alarm()
    assert len(pool.workers) == 1
    assert not pool.alarms, "nothing wakes a pool that is as small as it may be"
    for _ in range(3):
        pool.submit()
    assert len(pool.workers) == 3


def test_a_worker_that_has_works_is_not_retired() -> None:
    pool = DrivenPool(2, limit=1, terms=Terms(min_size=1))
    works = [pool.submit(), pool.submit()]
    pool.ready(pool.workers[1])
    for _ in range(5):
        pool.pass_alarm()
    assert all(work.worker in pool.workers for work in works)


def test_it_has_as_many_as_are_asked_for() -> None:
    pool = DrivenPool(4, terms=Terms(min_size=1))
    pool.pool.want(3)
    pool.take_effects()
    assert len(pool.workers) == 3


# -- termination ----------------------------------------------------------------------------


def test_termination_cancels_what_was_not_started() -> None:
    pool = DrivenPool(limit=2)
    started, received, waiting = (pool.submit(options=WorkOptions(retries=9)) for _ in range(3))
    pool.terminate()
    assert pool.is_cancelled(waiting)
    error = ConnectionError("killed")
    assert pool.lose(pool.workers[0], (1, 0), error=error) == [started]
    assert pool.error(started) is error
    assert pool.is_cancelled(received)
    assert pool.workers == []
    assert pool.pool.broken is None
    assert len(pool.started) == 1


def test_a_worker_that_has_to_go_finishes_and_another_one_is_started() -> None:
    pool = DrivenPool(1)
    first = pool.workers[0]
    works = [pool.plain(), pool.submit(COROUTINE)]
    pool.pool.let_go(first)
    pool.take_effects()
    assert pool.workers != [first]
    pool.ready(pool.workers[0])
    later = pool.submit(COROUTINE)
    assert later.worker is pool.workers[0]
    assert pool.stopped == []
    pool.end(*works)
    assert pool.stopped == [first]
    pool.pool.let_go(first)  # again: it goes already
    pool.take_effects()
    pool.end(later)
