"""Logic: which works run again after the death of a worker, and which are quarantined."""

from __future__ import annotations

import pytest

from aplex._common.messages import COROUTINE, PLAIN
from aplex._common.options import WorkOptions
from aplex._pool.retries import Fate, verdict
from aplex._pool.state import Work, WorkState
from aplex.exceptions import WorkerLostError, WorkQuarantinedError
from tests.support.pools import ALL_STARTED, DrivenPool


def retried(times: int, quarantine_after: int = 3) -> WorkOptions:
    return WorkOptions(retries=times, quarantine_after=quarantine_after)


def kill(pool: DrivenPool, work: Work) -> WorkerLostError:
    """Let the worker of a work die that had started everything; the next one is ready."""
    assert work.worker is not None
    worker = work.worker
    error = WorkerLostError(worker.id, -9, worker.workload)
    pool.lose(worker, ALL_STARTED, error=error)
    pool.pass_pauses()
    for other in pool.workers:
        pool.ready(other)
    return error


def test_without_retries_a_started_work_never_runs_twice() -> None:
    pool = DrivenPool()
    work = pool.submit()
    error = kill(pool, work)
    assert pool.error(work) is error
    assert len(pool.works_of(pool.workers[0])) == 0


@pytest.mark.parametrize("lane", [COROUTINE, PLAIN])
def test_a_retried_work_runs_again_on_another_worker(lane: int) -> None:
    pool = DrivenPool()
    work = pool.submit(lane, options=retried(1))
    first = work.worker
    kill(pool, work)
    assert work.state is WorkState.IN_FLIGHT
    assert work.worker is not first
    pool.end(work, data="in the end")
    assert pool.value(work) == "in the end"


def test_a_retried_work_waits_in_front() -> None:
    pool = DrivenPool(limit=2)
    works = [pool.submit(options=retried(1)) for _ in range(3)]
    kill(pool, works[0])
    assert pool.works_of(pool.workers[0]) == works[:2]


def test_used_up_retries_end_in_quarantine_with_all_certificates() -> None:
    pool = DrivenPool()
    work = pool.submit(options=retried(1))
    deaths = (kill(pool, work), kill(pool, work))
    error = pool.error(work)
    assert isinstance(error, WorkQuarantinedError)
    assert error.deaths == deaths
    assert error.work == "builtins.print"
    assert error.pid == deaths[1].pid


@pytest.mark.parametrize("quarantine_after", [1, 2, 3, 5])
def test_a_work_that_has_killed_so_many_workers_never_runs_again(quarantine_after: int) -> None:
    pool = DrivenPool()
    work = pool.submit(options=retried(100, quarantine_after))
    for _ in range(quarantine_after):
        assert work not in pool.outcomes
        kill(pool, work)
    assert isinstance(pool.error(work), WorkerLostError)
    assert isinstance(pool.error(work), WorkQuarantinedError) is (quarantine_after > 1)
    assert pool.pool.broken is None
    assert pool.submit().state is WorkState.IN_FLIGHT


def test_works_that_were_not_started_see_no_death() -> None:
    pool = DrivenPool()
    started, behind = pool.submit(options=retried(9)), pool.submit()
    assert started.worker is not None
    pool.lose(started.worker, (1, 0), error=WorkerLostError(1, -9, 2))
    assert (len(started.deaths), len(behind.deaths)) == (1, 0)


def test_a_cancelled_work_does_not_run_again() -> None:
    pool = DrivenPool()
    work = pool.submit(options=retried(2))
    pool.cancel(work)
    kill(pool, work)
    assert pool.is_cancelled(work)


def test_a_retried_work_can_be_cancelled_while_it_waits() -> None:
    pool = DrivenPool()
    work = pool.submit(options=retried(2))
    pool.lose(pool.workers[0], ALL_STARTED)
    pool.cancel(work)
    assert pool.is_cancelled(work)


def test_a_detached_work_begins_anew_as_the_plain_function_it_was() -> None:
    pool = DrivenPool()
    work = pool.submit(PLAIN, options=retried(1))
    pool.detach(work)
    kill(pool, work)
    assert (work.lane, work.seq) == (PLAIN, 1)


def test_a_closing_pool_lets_retried_works_finish() -> None:
    pool = DrivenPool()
    work = pool.submit(options=retried(1))
    pool.close()
    kill(pool, work)
    pool.end(work)
    assert pool.value(work) == "result"
    assert pool.stopped == pool.workers


# -- suspects -------------------------------------------------------------------------------


def test_one_poison_work_does_not_take_its_neighbours_with_it() -> None:
    """They were in flight with it twice. The third time each suspect is on its own."""
    pool = DrivenPool(2)
    works = [pool.submit(options=retried(9)) for _ in range(10)]
    poison = works[4]
    for _ in range(100):
        if poison in pool.outcomes:
            break
        if poison.worker is not None:
            kill(pool, poison)
            continue
        for worker in list(pool.workers):
            pool.end(*worker.works.values())
    for worker in list(pool.workers):
        pool.end(*worker.works.values())
    pool.run_to_the_end()
    assert isinstance(pool.error(poison), WorkQuarantinedError)
    assert [pool.value(work) for work in works if work is not poison] == ["result"] * 9


def test_a_worker_has_one_suspect_at_a_time_and_other_works_beside_it() -> None:
    pool = DrivenPool()
    works = [pool.submit(options=retried(9)) for _ in range(3)]
    kill(pool, works[0])
    kill(pool, works[0])
    assert [work.state for work in works].count(WorkState.IN_FLIGHT) == 1
    other = pool.submit()
    assert other.state is WorkState.IN_FLIGHT
    for _ in range(3):
        worker = pool.workers[0]
        pool.end(worker.works[worker.suspect])
    assert [pool.value(work) for work in works] == ["result"] * 3


def test_a_suspect_goes_to_a_worker_that_had_no_room_for_the_one_before() -> None:
    pool = DrivenPool(3)
    _, function, _ = (pool.submit(PLAIN, options=retried(9)) for _ in range(3))
    *others, coroutine = (pool.submit(options=retried(9)) for _ in range(3))
    pool.end(*others)
    first, second, third = pool.workers
    error = WorkerLostError(1, -9, 1)
    function.deaths = coroutine.deaths = (error,)
    pool.lose(second, (0, 1), error=error)
    pool.lose(third, (1, 0), error=error)
    assert [function.worker, coroutine.worker] == [None, None]
    pool.ready(pool.workers[-1])
    assert [function.worker, coroutine.worker] == [pool.workers[-1], first]


def test_suspects_are_held_cancelled_and_failed_as_others_are() -> None:
    pool = DrivenPool()
    works = [pool.submit(options=retried(9)) for _ in range(3)]
    kill(pool, works[0])
    kill(pool, works[0])
    assert set(pool.pool.held(COROUTINE)) == set(works)
    waiting = [work for work in works if work.state is WorkState.WAITING]
    pool.cancel(waiting[0])
    pool.cancel_waiting()
    assert all(map(pool.is_cancelled, waiting))
    assert [work.id for work in pool.pool.held(COROUTINE)] == [pool.workers[0].suspect]


# -- the verdict, without a pool ------------------------------------------------------------


def lost_work(retries: int = 0, deaths: int = 1, **notes: bool) -> Work:
    """Return a work whose worker has died, and that many before."""
    work = Work(PLAIN, None, None, None, None)
    work.options = WorkOptions(retries=retries)
    work.deaths = tuple(ConnectionError(str(number)) for number in range(deaths))
    for name, value in notes.items():
        setattr(work, name, value)
    return work


def judge(
    work: Work, *, started: bool = True, terminating: bool = False, broken: Exception | None = None
) -> Fate | BaseException:
    return verdict(work, started=started, terminating=terminating, broken=broken)


def test_a_work_that_was_not_started_runs_again_or_ends_with_the_pool() -> None:
    broken = RuntimeError()
    work = lost_work(deaths=0)
    assert judge(work, started=False) is Fate.AGAIN
    assert judge(work, started=False, broken=broken) is broken
    assert judge(work, started=False, terminating=True) is Fate.CANCELLED


def test_a_work_that_was_started_runs_again_only_if_it_may() -> None:
    assert judge(lost_work(retries=1)) is Fate.AGAIN
    for work in lost_work(), lost_work(retries=1, yielded=True):
        assert judge(work) is work.deaths[0]
    for again in ({"terminating": True}, {"broken": RuntimeError()}):
        work = lost_work(retries=1)
        assert judge(work, **again) is work.deaths[0]  # type: ignore[arg-type]


def test_a_work_that_several_workers_died_of_is_quarantined() -> None:
    assert isinstance(judge(lost_work(retries=1, deaths=2)), WorkQuarantinedError)


@pytest.mark.parametrize("started", [True, False])
def test_a_work_that_was_to_be_cancelled_is_cancelled(started: bool) -> None:
    assert judge(lost_work(cancel_asked=True), started=started) is Fate.CANCELLED
