"""Logic: works that change their worker: an idle one takes them, or they are recalled."""

from __future__ import annotations

import math

import pytest

from aplex._common.messages import PLAIN, RETURNED
from aplex._common.options import WorkOptions
from aplex._common.requests import Cancel
from aplex._pool.pacing import LONG_SECONDS
from aplex._pool.state import WorkState
from aplex.load_balancers import (
    Average,
    LeastLag,
    LoadBalancerFactory,
    PowerOfTwoChoices,
    Random,
    RoundRobin,
)
from tests.support.pools import ALL_STARTED, DrivenPool, PinningByIndex

# -- taking over ----------------------------------------------------------------------------


def lined_up(balancer: LoadBalancerFactory = RoundRobin) -> DrivenPool:
    """Two workers, of which the second idles, and the first has a line of plain functions."""
    pool = DrivenPool(2, load_balancer=balancer)
    for worker in pool.workers:
        pool.pace(worker, 1e-6)
    works = [pool.plain() for _ in range(6)]
    pool.end(*[work for work in works if work.worker is pool.workers[1]])
    assert [worker.plain for worker in pool.workers] == [3, 0]
    return pool


def test_an_idle_worker_takes_over_what_another_has_not_started() -> None:
    pool = lined_up()
    busy, idle = pool.workers
    assert pool.pool.has_idle_worker()
    pool.steal()
    running, *lined = pool.works_of(busy)
    assert pool.recalled[busy] == [Cancel(work.id, work.seq) for work in lined]
    for work in lined:
        pool.report(busy, (work.id, RETURNED, work.seq))
    assert running.worker is busy
    assert lined[0].worker is idle
    assert lined[1].state is WorkState.WAITING, "they turned out to be long: one at a time"
    pool.end(lined[0])
    assert lined[1].worker is idle


def test_short_works_that_have_ended_meanwhile_change_nothing() -> None:
    pool = lined_up()
    pool.end(*pool.works_of(pool.workers[0]))
    depths = [worker.depth for worker in pool.workers]
    pool.steal()
    assert [worker.depth for worker in pool.workers] == depths
    assert depths[0] > 1


def test_nothing_is_recalled_from_a_worker_whose_reports_are_on_their_way() -> None:
    """Whoever submits thousands of works reads no reports meanwhile; that holds up nobody."""
    pool = lined_up()
    depths = [worker.depth for worker in pool.workers]
    pool.steal(all_started=True)
    assert not any(pool.recalled.values())
    assert [worker.depth for worker in pool.workers] == depths


def test_nothing_is_recalled_while_no_worker_idles() -> None:
    pool = lined_up()
    pool.plain()
    pool.plain()
    assert all(worker.plain for worker in pool.workers)
    pool.steal()
    assert not any(pool.recalled.values())


def test_a_work_that_was_cancelled_meanwhile_is_not_taken_over() -> None:
    pool = lined_up()
    busy = pool.workers[0]
    work = pool.works_of(busy)[1]
    pool.steal()
    pool.cancel(work)
    pool.report(busy, (work.id, RETURNED, work.seq))
    assert pool.is_cancelled(work)


def test_a_work_that_was_started_meanwhile_stays() -> None:
    pool = lined_up()
    busy = pool.workers[0]
    work = pool.works_of(busy)[1]
    pool.steal()
    pool.end(work)
    pool.report(busy, (work.id, RETURNED, work.seq))
    assert pool.value(work) == "result"


def test_a_load_balancer_that_insists_keeps_its_word() -> None:
    pool = DrivenPool(2, load_balancer=PinningByIndex)
    pool.pace(pool.workers[0], 1e-6)
    for _ in range(3):
        pool.plain(meta=0)
    pool.steal()
    assert not any(pool.recalled.values())


# -- recalling what was sent ahead to functions that have become long -----------------------


def give_back_all(pool: DrivenPool) -> None:
    """Let the workers give back what they were asked for."""
    for worker, recalls in pool.recalled.items():
        pool.report(worker, *((recall.id, RETURNED, recall.seq) for recall in recalls))
        recalls.clear()


def look(pool: DrivenPool) -> None:
    """Look at what was sent ahead while no function runs for long."""
    assert pool.pool.recall_ahead(5.0, lambda _: (0, 0.0)) == LONG_SECONDS
    pool.take_effects()


def many_ahead(count: int = 100, balancer: LoadBalancerFactory = RoundRobin) -> DrivenPool:
    """A worker to which many plain functions were sent, as those before were short."""
    pool = DrivenPool(1, load_balancer=balancer)
    pool.pace(pool.workers[0], 1e-6)
    for _ in range(count):
        pool.plain()
    assert pool.workers[0].plain == count
    return pool


def test_what_would_not_have_been_sent_at_the_new_pace_is_recalled() -> None:
    pool = many_ahead()
    worker = pool.workers[0]
    works = pool.works_of(worker)
    pool.end(works[0])
    pool.pace(worker, 1.0)
    look(pool)
    assert [recall.id for recall in pool.recalled[worker]] == [work.id for work in works[2:]]
    high = pool.submit(PLAIN, options=WorkOptions(priority=1))
    give_back_all(pool)
    assert worker.plain == 1
    pool.end(works[1])
    assert high.worker is worker
    pool.end(high)
    for work in works[2:]:  # in their order again
        assert work.worker is worker
        pool.end(work)


def test_what_is_asked_for_is_asked_for_once() -> None:
    pool = many_ahead()
    worker = pool.workers[0]
    pool.pace(worker, 1.0)
    look(pool)
    look(pool)
    assert len(pool.recalled[worker]) == 99


def test_what_is_over_soon_is_not_recalled() -> None:
    """Others had the CPU for a moment, perhaps."""
    pool = many_ahead()
    pool.pace(pool.workers[0], 1e-4)
    look(pool)
    assert pool.workers[0].depth == 16
    assert not any(pool.recalled.values())


def test_what_waits_behind_a_long_function_is_recalled_before_that_one_ends() -> None:
    """Nothing is reported meanwhile: the parent sees since when it runs."""
    pool = many_ahead()
    worker = pool.workers[0]
    works = pool.works_of(worker)
    high = pool.submit(PLAIN, options=WorkOptions(priority=1))  # it is sent behind all of them
    now, ran = 5.0, works[4]
    assert high.worker is worker
    soon = pool.pool.recall_ahead(now, lambda _: (ran.seq, now - 0.005))
    assert soon == pytest.approx(LONG_SECONDS - 0.005)
    assert not any(pool.recalled.values())
    assert pool.pool.recall_ahead(now, lambda _: (ran.seq, now - 0.1)) == math.inf
    pool.take_effects()
    assert {recall.id for recall in pool.recalled[worker]} == {w.id for w in [*works[5:], high]}
    give_back_all(pool)
    pool.end(*works[:5])
    assert high.worker is worker
    assert works[5].worker is None


def test_nothing_is_looked_at_when_nothing_was_sent_ahead() -> None:
    pool = many_ahead(1)
    assert pool.pool.recall_ahead(5.0, lambda _: (1, 0.0)) == math.inf


def test_what_a_load_balancer_insists_on_is_not_recalled() -> None:
    pool = many_ahead(balancer=PinningByIndex)
    pool.pace(pool.workers[0], 1.0)
    assert pool.pool.recall_ahead(5.0, lambda _: (1, 0.0)) == math.inf
    pool.take_effects()
    assert not any(pool.recalled.values())


def test_a_suspect_that_is_recalled_stays_one() -> None:
    """It waits apart from other works, see `_pool.ledger.SUSPECT_DEATHS`."""
    pool = DrivenPool(1)
    options = WorkOptions(retries=9, quarantine_after=9)
    suspect = pool.submit(PLAIN, options=options)
    for _ in range(2):
        pool.lose(pool.workers[0], ALL_STARTED)
        pool.pass_pauses()
        pool.ready(pool.workers[0])
    other = pool.submit(PLAIN, options=options)
    pool.pace(pool.workers[0], 1e-6)
    pool.plain()
    suspect.recalled = 0
    worker = pool.workers[0]
    assert suspect.worker is worker
    pool.report(worker, (suspect.id, RETURNED, suspect.seq))
    assert suspect.id == worker.suspect
    pool.end(suspect, other)


# -- workers whose loops are blocked --------------------------------------------------------


@pytest.mark.parametrize("kind", [RoundRobin, Random, Average, LeastLag, PowerOfTwoChoices])
def test_a_worker_whose_loop_is_blocked_gets_no_coroutines_while_others_are_free(
    kind: LoadBalancerFactory,
) -> None:
    pool = DrivenPool(3, limit=64, load_balancer=kind)
    while not all(worker.works for worker in pool.workers):
        pool.submit()
    stalled = pool.workers[1]
    before = stalled.workload
    pool.lags[stalled] = 5.0
    pool.now = 1.0
    for _ in range(sum(64 - worker.workload for worker in pool.workers if worker is not stalled)):
        pool.submit()
        assert stalled.workload == before
    last = pool.submit()
    assert last.worker is stalled, "nobody else is free"
    assert stalled.available, "it has room for more, hidden while others have some"


def test_it_gets_plain_functions_all_the_same() -> None:
    pool = DrivenPool(2)
    for _ in range(2):
        pool.submit()
    pool.lags[pool.workers[0]] = 5.0
    pool.now = 1.0
    assert {pool.plain().worker for _ in range(2)} == set(pool.workers)


def test_it_gets_coroutines_again_when_its_loop_goes_on() -> None:
    pool = DrivenPool(2)
    works = [pool.submit() for _ in range(2)]
    stalled = works[0].worker
    assert stalled is not None
    pool.lags[stalled] = 5.0
    pool.now = 1.0
    assert all(pool.submit().worker is not stalled for _ in range(4))
    pool.lags.clear()
    assert pool.submit().worker is not stalled, "loops are not looked at for each work"
    pool.now = 1.1
    assert {pool.submit().worker for _ in range(2)} == set(pool.workers)


def test_who_insists_on_a_worker_gets_it() -> None:
    pool = DrivenPool(2, load_balancer=PinningByIndex)
    pool.submit(meta=0)
    pool.lags[pool.workers[0]] = 5.0
    pool.now = 1.0
    assert pool.submit(meta=0).worker is pool.workers[0]


def test_works_that_wait_apart_avoid_it_too() -> None:
    pool = DrivenPool(2)
    for _ in range(2):
        pool.submit()
    pool.lags[pool.workers[0]] = 5.0
    pool.now = 1.0
    urgent = [pool.submit(options=WorkOptions(priority=1)) for _ in range(4)]
    assert {work.worker for work in urgent} == {pool.workers[1]}
