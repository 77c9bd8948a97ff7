"""Logic: workers that are worn: by works, by age, by memory."""

from __future__ import annotations

from typing import Any

import pytest

from aplex._common.messages import COROUTINE, PLAIN, RETURNED
from aplex._common.options import WorkOptions
from aplex._pool.state import WorkerState
from aplex._pool.terms import Terms
from tests.support.pools import ALL_STARTED, DrivenPool

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
