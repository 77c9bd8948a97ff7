"""Logic: how many workers there are: restarts, resizing, worn workers, termination."""

from __future__ import annotations

from typing import Any

import pytest

from aplex._common.messages import COROUTINE, PLAIN, RETURNED
from aplex._common.options import WorkOptions
from aplex._pool.failures import sign_of
from aplex._pool.restarts import FIRST_PAUSE, LONGEST_PAUSE, RestartPolicy
from aplex._pool.state import WorkerState, WorkState
from aplex._pool.terms import Terms
from aplex.exceptions import (
    BrokenPoolError,
    RemoteTraceback,
    WorkerLostError,
    WorkerStartError,
)
from tests.support.pools import ALL_STARTED, DrivenPool, PinningByIndex

# -- restarts -------------------------------------------------------------------------------


def test_the_first_restart_is_made_at_once_and_pauses_double() -> None:
    policy = RestartPolicy(max_restarts=4)
    pauses = [policy.restart() for _ in range(5)]
    assert pauses == [0.0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert policy.exhausted
    for _ in range(100):
        pause = policy.restart()
    assert pause == LONGEST_PAUSE


def test_quiet_seconds_end_a_row_of_failures_and_the_time_of_starts_does_not_count() -> None:
    policy = RestartPolicy(window=5.0)
    policy.failed(0.0, 60.0)
    policy.failed(60.0, 120.0)  # it took a minute to fail, but began at once
    assert policy.failures == 2
    policy.failed(130.0, 131.0)
    assert policy.failures == 1


def test_a_failed_start_is_made_good_after_a_pause() -> None:
    pool = DrivenPool(2, ready=False)
    pool.lose(pool.workers[0])
    assert len(pool.started) == 3
    pool.lose(pool.workers[0])
    assert pool.pauses == [FIRST_PAUSE]
    assert (len(pool.workers), len(pool.started)) == (1, 3)
    pool.pass_pause()
    assert (len(pool.workers), len(pool.started)) == (2, 4)


def test_all_restarts_are_used_up_then_the_rest_are_awaited() -> None:
    """A pool is broken when nobody is left who may serve, not before."""
    pool = DrivenPool(4, ready=False, max_restarts=1)
    work = pool.submit()
    for _ in range(4):
        pool.lose(pool.workers[0])
        assert pool.pool.broken is None
    pool.ready(pool.workers[0])
    pool.end(work)
    assert len(pool.workers) == 4, "one that serves fills the gaps"


def test_while_the_cluster_is_away_no_start_has_failed() -> None:
    """Neither of a worker that starts, nor of one that was there for a moment only."""
    pool = DrivenPool(2, ready=False, max_restarts=0)
    work = pool.submit()
    pool.ready(pool.workers[0])
    for _ in range(5):
        for worker in list(pool.workers):
            pool.lose(worker, blameless=True, uptime=0.1)
    assert (len(pool.workers), len(pool.started), pool.pauses) == (2, 12, [])
    pool.ready(pool.workers[0])
    assert work.worker is pool.workers[0]


def failure(number: int = 7, text: str = "no such module") -> WorkerStartError:
    """What is told of a worker process that could not import something."""
    error = WorkerStartError(f"worker process {number} exited")
    error.__cause__ = LookupError(f"{text} at 0x{number:x} in process {number}")
    error.__cause__.__cause__ = RemoteTraceback(f"File {text}, line 1\nLookupError: {text}")
    return error


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_failure_that_comes_a_second_time_is_the_end(size: int) -> None:
    """Those that start meanwhile are stopped, and nobody waits for them."""
    pool = DrivenPool(size, ready=False, max_restarts=100)
    work = pool.submit()
    pool.fail_to_start(pool.workers[0], failure(1))
    assert pool.pool.broken is None
    others = list(pool.workers[1:])
    pool.fail_to_start(pool.workers[0], failure(2))
    assert isinstance(pool.error(work), BrokenPoolError)
    assert str(pool.error(work)).startswith("the pool is broken: 2 workers in a row")
    assert pool.stopped == others
    for worker in others:
        pool.lose(worker, reason=failure(3))
    assert len(pool.started) == size + 1
    assert list(pool.pool.everyone()) == []


def test_a_restart_that_waits_is_given_up_with_the_others() -> None:
    pool = DrivenPool(3, ready=False, max_restarts=100)
    for number in range(3):
        pool.fail_to_start(pool.workers[0], ConnectionError("refused"))
        assert len(pool.pauses) == number
    pool.fail_to_start(pool.workers[0], failure())
    assert pool.pool.broken is None
    pool.pass_pause()
    pool.fail_to_start(pool.workers[0], failure())
    assert isinstance(pool.pool.broken, BrokenPoolError)
    pool.pass_pauses()
    assert pool.workers == []


def test_different_failures_are_tried_again() -> None:
    pool = DrivenPool(1, ready=False, max_restarts=2)
    for text in ("one", "other"):
        pool.fail_to_start(pool.workers[0], failure(text=text))
        pool.pass_pauses()
        assert pool.pool.broken is None
    pool.ready(pool.workers[0])
    pool.end(pool.submit())
    pool.lose(pool.workers[0])
    pool.fail_to_start(pool.workers[0], failure(text="one"))
    assert pool.pool.broken is None, "the row has ended"


def test_a_pool_with_a_worker_that_serves_tries_on() -> None:
    pool = DrivenPool(2, ready=False, max_restarts=1)
    pool.ready(pool.workers[0])
    for _ in range(4):
        pool.fail_to_start(pool.workers[1], failure())
        pool.pass_pauses()
    assert pool.pool.broken is None
    assert pool.policy.gave_up


@pytest.mark.parametrize(
    "passing",
    [
        None,
        WorkerStartError("it did not become ready"),
        WorkerLostError(7, -9, 0),
        ConnectionRefusedError("refused"),
        MemoryError(),
        RuntimeError("can't start new thread"),
        RemoteTraceback("File x\nBlockingIOError: [Errno 11] no more processes\n"),
    ],
)
def test_what_may_pass_is_tried_again(passing: BaseException | None) -> None:
    error = WorkerStartError("it failed")
    error.__cause__ = passing
    assert sign_of(error) is None


def test_the_same_failure_has_one_sign() -> None:
    assert sign_of(None) is None
    assert sign_of(failure(1)) == sign_of(failure(2))
    assert sign_of(failure(1)) != sign_of(failure(1, text="other"))

    def raised(lines: int) -> BaseException:
        try:
            exec(compile("\n" * lines + "raise LookupError('it')", "place", "exec"))
        except LookupError as error:
            return error
        raise AssertionError

    assert sign_of(raised(1)) == sign_of(raised(1))
    assert sign_of(raised(1)) != sign_of(raised(2))

    class Silent(Exception):
        def __str__(self) -> str:
            raise self

    assert sign_of(Silent()) == sign_of(Silent())


def test_no_restart_at_all() -> None:
    pool = DrivenPool(ready=False, max_restarts=0)
    work = pool.submit()
    pool.lose(pool.workers[0])
    assert isinstance(pool.error(work), BrokenPoolError)


def test_while_a_worker_serves_a_pool_stays_open_for_ever() -> None:
    pool = DrivenPool(2, ready=False)
    serving = pool.workers[0]
    pool.ready(serving)
    for _ in range(50):
        assert pool.pool.broken is None
        pool.pass_pauses()
        starting = [w for w in pool.workers if w is not serving]
        assert len(starting) == 1, "it is tried on and on"
        pool.lose(starting[0], uptime=0.1)
    assert pool.submit().worker is serving


@pytest.mark.parametrize(("uptime", "failures"), [(0.1, 1), (5.0, 1), (5.1, 0)])
def test_an_idle_worker_that_was_there_for_long_did_not_fail_to_start(
    uptime: float, failures: int
) -> None:
    pool = DrivenPool()
    pool.lose(pool.workers[0], uptime=uptime)
    assert pool.policy.failures == failures


def test_a_worker_that_started_a_work_did_not_fail_to_start() -> None:
    """Or one poison work could break a pool."""
    pool = DrivenPool()
    for _ in range(20):
        pool.submit()
        pool.lose(pool.workers[0], ALL_STARTED, uptime=0.1)
        pool.ready(pool.workers[0])
    assert pool.pool.broken is None


def test_a_restart_that_is_no_longer_wanted_is_not_made() -> None:
    pool = DrivenPool(ready=False)
    pool.lose(pool.workers[0])
    pool.lose(pool.workers[0])
    assert (pool.workers, len(pool.pauses)) == ([], 1)
    pool.close()
    pool.pass_pause()
    assert pool.workers == []


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


# -- workers that have taken all they may ---------------------------------------------------


@pytest.mark.parametrize("lane", [COROUTINE, PLAIN])
def test_a_worker_takes_as_many_works_as_it_may_and_no_more(lane: int) -> None:
    pool = DrivenPool(max_tasks_per_child=2)
    first = pool.workers[0]
    pool.end(pool.submit(lane))
    (heir,) = pool.pool.spares
    last = pool.submit(lane)
    assert last.worker is first
    assert pool.workers == [heir]
    late = pool.submit(lane)
    assert late.worker is None, "the heir still starts"
    pool.ready(heir)
    if lane == PLAIN:
        assert late.worker is None, "one function at a time"
        pool.end(last)
    assert late.worker is heir
    assert len(pool.works_of(first)) == 2
    assert (heir.index, first.state is WorkerState.STOPPING) == (0, lane == PLAIN)


def test_an_heir_stands_by_until_the_last_work_is_taken() -> None:
    pool = DrivenPool(max_tasks_per_child=2)
    first = pool.workers[0]
    pool.end(pool.submit())
    (heir,) = pool.pool.spares
    pool.ready(heir)
    assert heir.state is WorkerState.STANDBY
    assert pool.workers == [first]
    last = pool.submit()
    assert last.worker is first
    assert pool.workers == [heir]
    assert heir.state is WorkerState.SERVING
    assert pool.submit().worker is heir
    pool.end(last)
    assert pool.stopped == [first]


def test_with_one_work_a_worker_there_is_always_a_spare() -> None:
    pool = DrivenPool(2, max_tasks_per_child=1)
    assert [spare.index for spare in pool.pool.spares] == [0, 1]
    for spare in list(pool.pool.spares):
        pool.ready(spare)
    works = [pool.plain(), pool.plain()]
    waiting = pool.plain()
    assert waiting.worker is None, "no more functions at once than there are workers"
    pool.end(works[0])
    assert waiting.worker is not None
    assert len({work.worker for work in (*works, waiting)} | {works[0].worker}) == 3
    assert len(pool.workers) == 2


def test_coroutines_of_one_place_are_no_more_than_a_worker_may_take() -> None:
    pool = DrivenPool(max_tasks_per_child=3)
    works = [pool.submit() for _ in range(5)]
    pool.ready(pool.workers[0])
    assert [work.worker is not None for work in works] == [True] * 3 + [False] * 2
    pool.end(works[0])
    assert works[3].worker is pool.workers[0]
    assert works[4].worker is None


def test_in_threads_an_heir_takes_what_a_worker_has_room_for() -> None:
    """The work that its worker took last may await it."""
    pool = DrivenPool(limit=10, max_tasks_per_child=1)
    pool.pool.capacity = 10
    for _ in range(4):
        pool.ready(pool.pool.spares[0])
        assert pool.submit().worker is not None
    assert len(pool.pool.leaving) == 4


def test_the_heir_is_started_as_early_as_a_start_takes() -> None:
    pool = DrivenPool(ready=False, max_tasks_per_child=100)
    pool.now = 0.5
    pool.ready(pool.workers[0])
    while not pool.pool.spares:
        pool.now += 0.02
        pool.end(pool.plain())
    assert pool.pool.left_to(pool.workers[0]) == 1 + 2 * 0.5 / 0.02


def test_what_is_given_back_does_not_count() -> None:
    pool = DrivenPool(2, limit=8, max_tasks_per_child=4)
    for worker in list(pool.workers):
        pool.pace(worker, 1e-6)
    works = [pool.plain() for _ in range(8)]
    busy = works[0].worker
    assert busy is not None
    pool.steal()
    given = [work for work in works if work.worker is busy][1:]
    for work in given:
        pool.report(busy, (work.id, RETURNED, work.seq))
    assert busy.taken == 1
    assert busy.works_done == 0


def test_functions_behind_a_long_one_leave_a_worker_that_has_taken_its_last() -> None:
    pool = DrivenPool(2, limit=8, max_tasks_per_child=4)
    for worker in list(pool.workers):
        pool.pace(worker, 1e-6)
    works = [pool.plain() for _ in range(8)]
    (left, other) = pool.pool.leaving
    pool.end(*[work for work in works if work.worker is other])
    pool.ready(next(worker for worker in pool.workers if worker.index == other.index))
    pool.pool.recall_ahead(10.0, lambda worker: (1, 1.0) if worker is left else (0, 0.0))
    pool.take_effects()
    assert [recall.id for recall in pool.recalled[left]] == [
        work.id for work in works if work.worker is left
    ][1:]


def test_a_chunk_counts_as_its_items() -> None:
    pool = DrivenPool(max_tasks_per_child=10)
    first = pool.workers[0]
    chunk = WorkOptions(items=4)
    works = [pool.submit(options=chunk) for _ in range(3)]
    assert [work.worker for work in works] == [first, first, None]
    assert first not in pool.workers, "what is left to it is less than a chunk"
    pool.ready(pool.workers[0])
    pool.end(*works[:2])
    assert works[2].worker is pool.workers[0]


@pytest.mark.parametrize("options", [{"priority": 1}, {"max_concurrency": 2, "limit_key": "one"}])
def test_a_chunk_that_waits_apart_is_not_lost(options: dict[str, Any]) -> None:
    pool = DrivenPool(max_tasks_per_child=4)
    chunk = WorkOptions(items=3, **options)
    works = [pool.submit(options=chunk) for _ in range(4)]
    works += [pool.submit() for _ in range(4)]
    pool.run_to_the_end()
    assert all(pool.value(work) == "result" for work in works)


def test_an_heir_that_fails_to_start_is_tried_again_after_a_pause() -> None:
    pool = DrivenPool(max_tasks_per_child=2)
    pool.end(pool.submit())
    for tries in range(5):
        (heir,) = pool.pool.spares
        pool.lose(heir)
        if tries:
            assert not pool.pool.spares
        if pool.alarms:
            pool.pass_alarm()
    (heir,) = pool.pool.spares
    pool.ready(heir)
    last = pool.submit()
    assert last.worker is not heir
    assert pool.workers == [heir]


def test_a_worker_that_dies_has_its_successor_already() -> None:
    pool = DrivenPool(max_tasks_per_child=2)
    pool.end(pool.submit())
    (heir,) = pool.pool.spares
    pool.ready(heir)
    pool.lose(pool.workers[0], ALL_STARTED)
    assert pool.workers == [heir]
    assert pool.submit().worker is heir
    assert pool.pool.tally.restarts == 1


def test_shrinking_lets_the_heir_go_too() -> None:
    pool = DrivenPool(2, max_tasks_per_child=2)
    pool.end(*[pool.submit() for _ in range(2)])
    heirs = list(pool.pool.spares)
    assert len(heirs) == 2
    pool.resize(1)
    assert len(pool.workers) == len(pool.pool.spares) == 1
    assert pool.stopped[0].index == pool.stopped[1].index


def test_a_closing_pool_renews_no_worker() -> None:
    pool = DrivenPool(max_tasks_per_child=3)
    works = [pool.submit(), pool.submit()]
    pool.close()
    pool.end(works[0])
    pool.end(works[1])
    assert pool.stopped == pool.workers
    assert len(pool.started) == 1


def test_closing_stops_the_spares() -> None:
    pool = DrivenPool(2, max_tasks_per_child=1)
    pool.ready(pool.pool.spares[0])
    pool.close()
    assert set(pool.stopped) == {*pool.workers, *pool.pool.spares}
    for worker in list(pool.pool.everyone()):
        pool.lose(worker)
    assert not list(pool.pool.everyone())


def test_an_heir_does_not_wait_for_a_function_that_does_not_end() -> None:
    pool = DrivenPool(max_tasks_per_child=1)
    stuck, waiting = pool.plain(), pool.plain()
    first = stuck.worker
    assert first is not None
    pool.ready(pool.workers[0])
    assert waiting.worker is None
    pool.pool.retire_for(first, stuck)
    pool.take_effects()
    assert waiting.worker is pool.workers[0] or waiting.worker in pool.pool.leaving
    assert waiting.worker is not first


# -- age and memory -------------------------------------------------------------------------


def test_a_worn_worker_serves_until_its_heir_is_ready() -> None:
    pool = DrivenPool(terms=Terms(max_memory=1))
    first = pool.workers[0]
    work = pool.plain()
    pool.wear(first)
    (heir,) = pool.pool.spares
    assert pool.submit().worker is first
    pool.ready(heir)
    assert pool.workers == [heir]
    assert first.state is WorkerState.RETIRING
    assert pool.submit().worker is heir
    late = pool.plain()
    assert late.worker is None, "one function at a time, in one place"
    pool.end(work)
    assert late.worker is heir


@pytest.mark.parametrize("placed", [False, True])
def test_a_worn_worker_whose_heir_finds_no_place_goes_first(*, placed: bool) -> None:
    pool = DrivenPool(terms=Terms(max_memory=1))
    pool.pool.waits_for_places = True
    first = pool.workers[0]
    work = pool.submit()
    pool.wear(first)
    (heir,) = pool.pool.spares
    heir.placed = placed
    pool.pass_alarm()
    if placed:
        assert pool.workers == [first]
        pool.ready(heir)
    assert pool.workers == [heir]
    assert first.state is WorkerState.RETIRING
    late = pool.submit()
    pool.end(work)
    assert pool.stopped == [first]
    if not placed:
        assert late.worker is None
        pool.lose(first)
        pool.ready(heir)
    assert late.worker is heir


def test_workers_of_one_age_are_replaced_one_after_another() -> None:
    pool = DrivenPool(4, terms=Terms(max_age=60.0))
    for _ in range(4):
        pool.pass_alarm()
    assert pool.now == 60.0
    for index in range(4):
        (heir,) = pool.pool.spares
        assert heir.index == index
        pool.ready(heir)
    assert len(pool.stopped) == 4
    assert {worker.id for worker in pool.workers} == {5, 6, 7, 8}


def test_a_worn_worker_whose_heir_fails_goes_on() -> None:
    pool = DrivenPool(max_restarts=0, terms=Terms(max_age=1.0))
    first = pool.workers[0]
    pool.pass_alarm()
    for _ in range(5):
        pool.lose(pool.pool.spares[0])
        assert pool.submit().worker is first
        pool.pass_alarm()
    assert pool.workers == [first]


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
