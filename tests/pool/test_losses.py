"""Logic: workers that die, and those that do not start. No thread, no process, no clock."""

from __future__ import annotations

import pytest

from aplex._common.messages import COROUTINE, READY, VALUE
from aplex._pool.pool import Pool
from aplex._pool.state import Death, Work, WorkerState, WorkState
from aplex.load_balancers import RoundRobin
from tests.support.pools import ALL_STARTED, DrivenPool

# -- a worker that dies ---------------------------------------------------------------------


def test_the_works_a_lost_worker_had_started_fail() -> None:
    pool = DrivenPool()
    error = ConnectionError("gone")
    works = [pool.submit(), pool.submit()]
    assert pool.lose(pool.workers[0], (2, 0), error=error) == works
    assert [pool.error(work) for work in works] == [error, error]


def test_the_works_it_had_not_started_move_on_in_their_order() -> None:
    pool = DrivenPool(limit=3)
    works = [pool.submit() for _ in range(5)]
    assert pool.lose(pool.workers[0], (1, 0)) == works[:1]
    heir = pool.workers[0]
    pool.ready(heir)
    assert pool.works_of(heir) == works[1:4]
    assert [work.seq for work in works[1:4]] == [1, 2, 3]


def test_rerouted_works_go_in_front_of_those_that_waited() -> None:
    pool = DrivenPool(2, limit=1)
    first, second, third = (pool.submit() for _ in range(3))
    pool.lose(pool.workers[0])
    pool.end(second)
    assert first.worker is pool.workers[1]
    assert third.state is WorkState.WAITING


def test_works_of_both_lanes_are_judged_by_their_own_lane() -> None:
    pool = DrivenPool()
    coroutine, plain = pool.submit(), pool.plain()
    assert pool.lose(pool.workers[0], (0, 1)) == [plain]
    assert coroutine.state is WorkState.WAITING


def test_a_detached_work_had_been_started() -> None:
    pool = DrivenPool()
    work = pool.plain()
    pool.detach(work)
    assert pool.lose(pool.workers[0], (0, 1)) == [work]


@pytest.mark.parametrize("started", [(0, 0), (1, 0)])
def test_a_work_whose_cancel_was_asked_is_cancelled_when_its_worker_dies(
    started: tuple[int, int],
) -> None:
    """Started or not: nobody wants it any more, so it is neither failed nor run elsewhere."""
    pool = DrivenPool()
    work = pool.submit()
    pool.cancel(work)
    pool.lose(pool.workers[0], started)
    assert pool.is_cancelled(work)


def test_a_rerouted_work_can_be_cancelled_while_it_waits_again() -> None:
    pool = DrivenPool()
    work = pool.submit()
    pool.lose(pool.workers[0])
    pool.cancel(work)
    assert pool.is_cancelled(work)
    pool.ready(pool.workers[0])
    assert pool.works_of(pool.workers[0]) == []


def test_a_lost_worker_is_replaced_in_its_place_by_one_with_a_new_number() -> None:
    pool = DrivenPool(3)
    pool.lose(pool.workers[1])
    assert [worker.id for worker in pool.workers] == [1, 4, 3]
    assert pool.started[-1] is pool.workers[1]


def test_a_worker_lost_twice_counts_once() -> None:
    pool = DrivenPool()
    lost = pool.workers[0]
    pool.lose(lost)
    assert pool.lose(lost, ALL_STARTED) == []
    assert len(pool.started) == 2


def test_late_reports_of_a_lost_worker_change_nothing() -> None:
    """Its work runs elsewhere by now: a result of the dead one must not settle it."""
    pool = DrivenPool()
    lost, work = pool.workers[0], pool.submit()
    pool.lose(lost)
    pool.report(lost, (work.id, VALUE, "too late"))
    assert pool.outcomes == {}
    pool.ready(pool.workers[0])
    pool.end(work, data="in time")
    assert pool.value(work) == "in time"


def test_the_readiness_of_a_lost_worker_is_not_believed() -> None:
    pool = DrivenPool(ready=False)
    lost = pool.workers[0]
    pool.lose(lost)
    pool.ready(lost)
    assert lost.state is WorkerState.GONE
    assert pool.submit().state is WorkState.WAITING


def test_what_was_to_be_sent_to_a_lost_worker_is_not_sent() -> None:
    pool = Pool(1, 300, RoundRobin)
    pool.open()
    worker = pool.workers[0]
    pool.report(worker, [(0, READY, 1)])
    pool.submit(Work(COROUTINE, None, None, None, None))
    assert pool.outbound == {worker}
    pool.lost(worker, Death((0, 0), None, None), 0.0)
    assert pool.outbound == set()


# -- workers that do not start --------------------------------------------------------------


def test_a_failed_start_is_tried_again() -> None:
    pool = DrivenPool(ready=False)
    work = pool.submit()
    pool.fail_to_start(pool.workers[0])
    pool.ready(pool.workers[0])
    assert work.state is WorkState.IN_FLIGHT


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_pool_breaks_when_workers_fail_again_and_again(size: int) -> None:
    pool = DrivenPool(size, ready=False)
    works = [pool.submit(), pool.plain()]
    cancelled = pool.submit()
    pool.cancel(cancelled)
    failures = 0
    while not pool.pool.broken:
        pool.pass_pauses()
        reason = ValueError(f"no such module {failures}")
        pool.fail_to_start(pool.workers[0], reason)
        failures += 1
    assert failures == size + 3
    assert pool.workers == []
    for work in works:
        assert pool.error(work) is pool.pool.broken
    assert "no such module" in str(pool.pool.broken)
    assert str(failures) in str(pool.pool.broken)
    assert pool.pool.broken.__cause__ is reason
    assert "broken" in repr(pool.pool)


def test_a_pool_breaks_without_a_reason_too() -> None:
    pool = DrivenPool(ready=False)
    while not pool.pool.broken:
        pool.pass_pauses()
        pool.lose(pool.workers[0])
    assert str(pool.pool.broken).endswith("before they served")


def test_a_pool_does_not_break_while_one_worker_serves() -> None:
    pool = DrivenPool(3, ready=False)
    served = pool.workers[2]
    pool.ready(served)
    for _ in range(20):
        starting = [w for w in pool.workers if w.state is WorkerState.STARTING]
        if not starting:
            break
        pool.lose(starting[0])
    assert pool.pool.broken is None
    assert pool.submit().worker is served


def test_one_that_serves_ends_the_count_of_failures() -> None:
    pool = DrivenPool(ready=False)
    for _ in range(10):
        pool.lose(pool.workers[0])
        pool.lose(pool.workers[0])
        pool.pass_pauses()
        pool.ready(pool.workers[0])
        pool.end(pool.submit())
        pool.lose(pool.workers[0])
    assert pool.pool.broken is None


def test_a_closing_pool_whose_workers_fail_breaks_for_those_who_wait() -> None:
    pool = DrivenPool(ready=False)
    work = pool.submit()
    pool.close()
    while not pool.pool.broken:
        pool.pass_pauses()
        pool.lose(pool.workers[0])
    assert pool.error(work) is pool.pool.broken
    assert pool.workers == []
