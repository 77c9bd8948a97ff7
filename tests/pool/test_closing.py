"""Logic: how a pool closes. No thread, no process, no clock."""

from __future__ import annotations

import pytest

from aplex._pool.state import WorkerState
from tests.support.pools import ALL_STARTED, DrivenPool


def test_closing_an_idle_pool_stops_its_workers() -> None:
    pool = DrivenPool(2)
    pool.close()
    assert pool.stopped == pool.workers
    assert {worker.state for worker in pool.workers} == {WorkerState.STOPPING}
    assert "closing" in repr(pool.pool)


def test_closing_lets_the_works_finish_first() -> None:
    pool = DrivenPool(limit=1)
    running, waiting = pool.submit(), pool.submit()
    pool.close()
    assert pool.stopped == []
    pool.end(running)
    assert pool.stopped == []
    pool.end(waiting)
    assert pool.stopped == pool.workers


def test_closing_can_cancel_what_waits() -> None:
    pool = DrivenPool(limit=1)
    running, waiting = pool.submit(), pool.submit()
    pool.close(cancel_waiting=True)
    assert pool.is_cancelled(waiting)
    pool.end(running)
    assert pool.stopped == pool.workers


def test_cancelling_the_last_waiting_work_ends_a_closing_pool() -> None:
    pool = DrivenPool(ready=False)
    work = pool.submit()
    pool.close()
    pool.cancel(work)
    assert pool.stopped == pool.workers


def test_workers_that_still_start_are_stopped_too() -> None:
    pool = DrivenPool(2, ready=False)
    pool.close()
    assert pool.stopped == pool.workers
    pool.ready(pool.workers[0], 7)
    assert pool.workers[0].state is WorkerState.STOPPING
    assert pool.workers[0].pid == 7


def test_closing_twice_stops_once() -> None:
    pool = DrivenPool(2)
    pool.close()
    pool.close(cancel_waiting=True)
    assert len(pool.stopped) == 2


def test_a_stopped_worker_is_not_replaced() -> None:
    pool = DrivenPool(2)
    pool.close()
    for worker in list(pool.workers):
        pool.lose(worker)
    assert pool.workers == []
    assert len(pool.started) == 2
    assert pool.pool.broken is None


def test_a_closing_pool_still_replaces_a_worker_that_it_needs() -> None:
    pool = DrivenPool()
    work = pool.submit()
    pool.close()
    pool.lose(pool.workers[0])
    pool.ready(pool.workers[0])
    pool.end(work)
    assert pool.value(work) == "result"
    assert pool.stopped == pool.workers


def test_a_closing_pool_whose_last_work_dies_with_its_worker_starts_nobody() -> None:
    pool = DrivenPool()
    work = pool.submit()
    pool.close()
    pool.lose(pool.workers[0], ALL_STARTED)
    assert work in pool.outcomes
    assert pool.workers == []
    assert len(pool.started) == 1


def test_a_closing_pool_takes_no_work() -> None:
    pool = DrivenPool()
    pool.close()
    with pytest.raises(AssertionError):
        pool.submit()
