"""Logic: works that are cancelled, whatever has become of them. No thread, no process, no clock."""

from __future__ import annotations

import pytest

from aplex._common.messages import CANCELLED, COROUTINE, DELIVERED, PLAIN, READY
from aplex._common.requests import Cancel
from aplex._pool.pool import Pool
from aplex._pool.state import Work, WorkState
from aplex.load_balancers import RoundRobin
from tests.support.pools import DrivenPool, PinningByIndex


def test_a_waiting_work_is_cancelled_at_once_and_never_sent() -> None:
    pool = DrivenPool(limit=1)
    running, waiting, last = (pool.submit() for _ in range(3))
    pool.cancel(waiting)
    assert pool.is_cancelled(waiting)
    pool.end(running)
    assert pool.works_of(pool.workers[0]) == [running, last]


@pytest.mark.parametrize("lane", [COROUTINE, PLAIN])
def test_a_cancelled_waiting_work_holds_up_nobody(lane: int) -> None:
    """The last of a line is cancelled, the worker becomes idle: the next work is sent."""
    pool = DrivenPool(limit=1)
    running, waiting = pool.submit(lane), pool.submit(lane)
    pool.cancel(waiting)
    pool.end(running)
    assert pool.submit(lane).state is WorkState.IN_FLIGHT


def test_the_worker_of_a_running_work_is_asked_to_cancel_it() -> None:
    pool = DrivenPool()
    work = pool.submit()
    pool.cancel(work)
    assert not pool.is_cancelled(work)
    (cancel,) = pool.cancels_of(pool.workers[0])
    assert (cancel.id, cancel.seq) == (work.id, 0)
    pool.end(work, kind=CANCELLED, data=None)
    assert pool.is_cancelled(work)


def test_the_cancel_of_a_plain_function_tells_its_number() -> None:
    pool = DrivenPool()
    work = pool.plain()
    pool.cancel(work)
    (cancel,) = pool.cancels_of(pool.workers[0])
    assert (cancel.id, cancel.seq) == (work.id, work.seq)


def test_cancels_travel_on_the_lane_that_no_function_blocks() -> None:
    pool = Pool(1, 300, RoundRobin)
    pool.open()
    pool.report(pool.workers[0], [(0, READY, 1)])
    work = Work(PLAIN, None, None, None, None)
    pool.submit(work)
    pool.cancel(work)
    assert pool.workers[0].outboxes == [[], [work]]
    assert pool.workers[0].cancels == [Cancel(work.id, work.seq)]


def test_a_detached_work_is_cancelled_as_a_coroutine() -> None:
    pool = DrivenPool()
    work = pool.plain()
    pool.detach(work)
    pool.cancel(work)
    (cancel,) = pool.cancels_of(pool.workers[0])
    assert cancel.seq == 0


def test_a_worker_tells_that_a_cancel_was_delivered() -> None:
    pool = DrivenPool()
    work = pool.submit()
    worker = work.worker
    assert worker is not None
    pool.cancel(work)
    assert not work.cancel_delivered
    pool.report(worker, (work.id, DELIVERED, None))
    assert work.cancel_delivered
    assert work.state is WorkState.IN_FLIGHT
    pool.end(work, kind=CANCELLED, data=None)
    pool.report(worker, (work.id, DELIVERED, None))  # too late: there is no such work
    assert pool.is_cancelled(work)


def test_a_second_cancel_is_not_sent() -> None:
    pool = DrivenPool()
    work = pool.submit()
    pool.cancel(work)
    pool.cancel(work)
    assert len(pool.cancels_of(pool.workers[0])) == 1


def test_a_work_that_would_not_be_cancelled_ends_with_its_result() -> None:
    pool = DrivenPool()
    work = pool.submit()
    pool.cancel(work)
    pool.end(work, data="done anyway")
    assert pool.value(work) == "done anyway"


def test_cancelling_a_work_that_is_done_changes_nothing() -> None:
    pool = DrivenPool(limit=1)
    done, waiting = pool.submit(), pool.submit()
    pool.cancel(waiting)
    pool.end(done)
    for work in (done, waiting):
        pool.cancel(work)
    assert len(pool.outcomes) == 2
    assert pool.cancels_of(pool.workers[0]) == []


def test_cancel_waiting_spares_what_is_in_flight() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=PinningByIndex)
    in_flight = pool.submit(meta=0)
    pinned = pool.submit(meta=0)
    cancelled = pool.submit(meta=0)
    other = pool.submit(meta=1)
    in_line = pool.submit(meta=1)
    pool.cancel(cancelled)
    pool.cancel_waiting()
    assert all(map(pool.is_cancelled, (pinned, in_line)))
    assert {in_flight.state, other.state} == {WorkState.IN_FLIGHT}
    pool.end(in_flight, other)
    assert pool.submit(meta=0).state is WorkState.IN_FLIGHT
