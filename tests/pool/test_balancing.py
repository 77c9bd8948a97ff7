"""Logic: what the Pool makes of its load balancer's choices. No thread, no process."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from aplex._common.messages import LANES, VALUE
from aplex._pool.pool import Pool
from aplex._pool.state import Work, WorkerState, WorkState
from aplex.exceptions import LoadBalancerError
from aplex.load_balancers import LoadBalancer, RoundRobin, Worker
from tests.support.pools import DrivenPool, PinningByIndex, choosing


class OneByOne(RoundRobin):
    """Is asked for each work: it is not the `RoundRobin` that the Pool knows."""


class Both:
    """Two pools to which the same happens: one gives out works in one go, the other one by one."""

    def __init__(self, size: int, limit: int) -> None:
        self.pools = [DrivenPool(size, limit, kind) for kind in (RoundRobin, OneByOne)]

    def add(self, count: int, lane: int, cancelled: set[int]) -> None:
        for pool in self.pools:
            works = [Work(lane, "function", "call", None, None) for _ in range(count)]
            for work in works:
                pool.submitted.append(work)
                pool.pool.add(work)
            for number in cancelled:
                if number < count:
                    pool.pool.cancel(works[number])
            pool.pool.dispatch()
            pool.take_effects()

    def end(self, places: set[int]) -> None:
        for pool in self.pools:
            in_flight = [work for work in pool.submitted if work.worker is not None]
            for worker in list(pool.workers):
                ended = [w for i, w in enumerate(in_flight) if i in places and w.worker is worker]
                if ended:
                    pool.report(worker, *((work.id, VALUE, None) for work in ended))

    def pace(self, place: int, seconds: float) -> None:
        for pool in self.pools:
            pool.pace(pool.workers[place % len(pool.workers)], seconds)

    def resize(self, size: int) -> None:
        for pool in self.pools:
            pool.resize(size)
            for worker in list(pool.workers):
                if worker.state is WorkerState.STARTING:
                    pool.ready(worker)

    def sent(self) -> list[dict[int, list[tuple[int, int]]]]:
        """For each pool and worker: ids and numbers of the works, in the order of sending."""
        return [
            {w.id: [(work.id, work.seq) for work in pool.works_of(w)] for w in pool.workers}
            for pool in self.pools
        ]


few, many = st.integers(0, 6), st.integers(0, 40)
STEPS = st.one_of(
    st.tuples(st.just("add"), many, st.sampled_from(LANES), st.sets(many, max_size=4)),
    st.tuples(st.just("end"), st.sets(many)),
    st.tuples(st.just("pace"), few, st.sampled_from([1e-6, 2e-4, 0.1])),
    st.tuples(st.just("resize"), st.integers(1, 4)),
)


@given(size=st.integers(1, 4), limit=st.integers(1, 12), steps=st.lists(STEPS, max_size=12))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_many_works_go_where_they_would_go_one_by_one(
    size: int, limit: int, steps: list[tuple[Any, ...]]
) -> None:
    both = Both(size, limit)
    for name, *arguments in steps:
        getattr(both, name)(*arguments)
        together, alone = both.sent()
        assert together == alone
        for pool in both.pools:
            pool.pool.check()


# -- a choice is a pin ----------------------------------------------------------------------


def test_the_balancer_is_asked_for_each_work_with_its_meta() -> None:
    metas: list[Any] = []

    def choose(balancer: LoadBalancer, meta: Any) -> Worker:
        metas.append(meta)
        return balancer.workers[0]

    pool = DrivenPool(load_balancer=choosing(choose))
    pool.submit(meta="one")
    pool.plain(meta={"two": 2})
    pool.submit()
    assert metas == ["one", {"two": 2}, None]


def test_a_work_waits_for_the_worker_its_balancer_chose() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=PinningByIndex)
    first, second = pool.submit(meta=0), pool.submit(meta=0)
    assert second.state is WorkState.WAITING
    assert pool.workers[1].workload == 0
    pool.end(first)
    assert second.worker is pool.workers[0]


def test_pinned_works_keep_their_order() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=PinningByIndex)
    works = [pool.submit(meta=0) for _ in range(5)]
    for work in works:
        assert work.worker is pool.workers[0]
        pool.end(work)
    assert pool.works_of(pool.workers[0]) == works


def test_pinned_works_of_one_worker_hold_up_no_other() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=PinningByIndex)
    for _ in range(5):
        pool.submit(meta=0)
    assert pool.submit(meta=1).worker is pool.workers[1]


def test_a_choice_may_be_a_worker_that_still_starts() -> None:
    pool = DrivenPool(2, ready=False, load_balancer=PinningByIndex)
    pool.ready(pool.workers[0])
    work = pool.submit(meta=1)
    assert work.state is WorkState.WAITING
    pool.ready(pool.workers[1])
    assert work.worker is pool.workers[1]


def test_a_pinned_work_can_be_cancelled() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=PinningByIndex)
    first, second, third = (pool.submit(meta=0) for _ in range(3))
    pool.cancel(second)
    pool.end(first)
    assert pool.is_cancelled(second)
    assert third.worker is pool.workers[0]


def test_plain_functions_are_pinned_as_well() -> None:
    pool = DrivenPool(2, load_balancer=PinningByIndex)
    first, second = pool.plain(meta=0), pool.plain(meta=0)
    assert pool.workers[1].workload == 0
    pool.end(first)
    assert second.worker is pool.workers[0]


def test_the_balancer_is_asked_anew_about_works_pinned_to_a_lost_worker() -> None:
    choices = [0, 0, 0, 1, 1]
    pool = DrivenPool(
        2, limit=1, load_balancer=choosing(lambda balancer, _: balancer.workers[choices.pop(0)])
    )
    first, second, third = (pool.submit() for _ in range(3))
    pool.lose(pool.workers[0], (1, 0))
    assert first in pool.outcomes
    assert second.worker is pool.workers[1]
    pool.end(second)
    assert third.worker is pool.workers[1]


def test_works_sent_but_not_started_come_before_those_pinned_behind_them() -> None:
    pool = DrivenPool(2, limit=2, load_balancer=PinningByIndex)
    works = [pool.submit(meta=0) for _ in range(4)]
    pool.lose(pool.workers[0])
    heir = pool.workers[0]
    pool.ready(heir)
    pool.end(works[0], works[1])
    assert pool.works_of(heir) == works


# -- a choice that must be available --------------------------------------------------------


class Careless(LoadBalancer):
    """Says that its choices are available, which they are not."""

    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        return self.workers[0]


def test_a_balancer_that_keeps_no_choice_must_choose_an_available_worker() -> None:
    pool = DrivenPool(2, limit=1, load_balancer=Careless)
    first, second = pool.submit(), pool.submit()
    assert first.state is WorkState.IN_FLIGHT
    assert isinstance(pool.error(second), LoadBalancerError)
    assert "no available worker" in str(pool.error(second))


# -- nonsense -------------------------------------------------------------------------------


def _foreign_worker(*_: Any) -> Any:
    return DrivenPool().workers[0]


@pytest.mark.parametrize(
    "choose",
    [
        lambda *_: None,
        lambda *_: 0,
        lambda *_: "worker 1",
        lambda balancer, _: balancer.workers,
        lambda balancer, _: balancer.workers[0].id,
        _foreign_worker,
    ],
)
def test_a_choice_that_is_no_worker_of_the_pool_is_the_works_error(choose: Any) -> None:
    pool = DrivenPool(load_balancer=choosing(choose))
    work = pool.submit()
    assert isinstance(pool.error(work), LoadBalancerError)
    assert "must return one of self.workers" in str(pool.error(work))
    assert pool.pool.idle


def test_a_worker_that_is_gone_is_no_choice() -> None:
    first: list[Worker] = []

    def choose(balancer: LoadBalancer, _: Any) -> Worker:
        first.append(balancer.workers[0])
        return first[0]

    pool = DrivenPool(load_balancer=choosing(choose))
    pool.end(pool.submit())
    pool.lose(pool.workers[0])
    pool.ready(pool.workers[0])
    assert isinstance(pool.error(pool.submit()), LoadBalancerError)


def test_a_balancer_that_raises_fails_only_the_work_it_was_asked_about() -> None:
    def choose(balancer: LoadBalancer, meta: Any) -> Worker:
        if meta == "bad":
            raise LookupError("no idea")
        return balancer.workers[0]

    pool = DrivenPool(limit=1, load_balancer=choosing(choose))
    running = pool.submit()
    bad, good = pool.submit(meta="bad"), pool.submit()
    pool.end(running)
    error = pool.error(bad)
    assert isinstance(error, LoadBalancerError)
    assert "LookupError('no idea')" in str(error)
    assert isinstance(error.__cause__, LookupError)
    assert good.state is WorkState.IN_FLIGHT


@pytest.mark.parametrize(
    "exit_", [SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()]
)
def test_a_balancer_that_exits_leaves_the_pool_in_order(exit_: BaseException) -> None:
    """Whether it is the work's error or goes through: no work is counted that is nowhere."""

    def choose(balancer: LoadBalancer, meta: Any) -> Worker:
        if meta == "bad":
            raise exit_
        return balancer.workers[0]

    pool = DrivenPool(load_balancer=choosing(choose))
    raised: BaseException | None = None
    try:
        pool.submit(meta="bad")
    except BaseException as error:  # noqa: BLE001 - it is one of several kinds, or none
        raised = error
    if raised is not None:  # that may have been Ctrl-C: once more
        assert raised is exit_
        pool.pool.recount()
        pool.take_effects()
    pool.pool.check()
    assert pool.pool.idle
    pool.close()
    assert pool.stopped == pool.workers


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("do not look at me")


class UnshowableError(Exception):
    __repr__ = Unshowable.__repr__
    __str__ = Unshowable.__repr__


def _raise_unshowable(*_: Any) -> Any:
    raise UnshowableError


@pytest.mark.parametrize("choose", [lambda *_: Unshowable(), _raise_unshowable])
def test_a_choice_that_cannot_be_shown_is_the_works_error_too(choose: Any) -> None:
    pool = DrivenPool(load_balancer=choosing(choose))
    work = pool.submit()
    assert isinstance(pool.error(work), LoadBalancerError)
    assert pool.pool.idle


def test_a_balancer_that_cannot_be_shown_is_named_somehow() -> None:
    class Shy(LoadBalancer):
        __repr__ = Unshowable.__repr__

        def get_proper_worker(self, load_balancing_meta: Any = None) -> Any:
            return None

    pool = DrivenPool(load_balancer=Shy)
    assert "Shy" in str(pool.error(pool.submit()))


# -- how it is made -------------------------------------------------------------------------


def test_a_factory_gets_the_views_and_the_limit() -> None:
    seen: list[Any] = []

    def factory(workers: Any, workloads: Any, limit: int) -> LoadBalancer:
        seen.extend((workers, workloads, limit))
        return RoundRobin(workers, workloads, limit)

    pool = DrivenPool(2, limit=9, load_balancer=factory)
    workers, workloads, limit = seen
    assert list(workers) == pool.workers
    assert dict(workloads) == dict.fromkeys(pool.workers, 0)
    assert limit == 9


def test_a_factory_that_raises_is_heard_of_at_once() -> None:
    def factory(*_: Any) -> LoadBalancer:
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        Pool(1, 1, factory)


def test_a_factory_must_make_a_load_balancer() -> None:
    """What only looks like one lacks what the pool asks of it later."""
    with pytest.raises(TypeError, match=r"must make a LoadBalancer, not .*object.*derive"):
        Pool(1, 1, lambda *_: object())  # type: ignore[arg-type, return-value]


# -- the views ------------------------------------------------------------------------------


@pytest.fixture
def views() -> tuple[DrivenPool, Any, Any]:
    made: list[Any] = []

    class Watching(RoundRobin):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    pool = DrivenPool(3, limit=2, load_balancer=Watching)
    return pool, made[0].workers, made[0].workloads


def test_the_view_of_the_workers_follows_the_pool(views: Any) -> None:
    pool, workers, _ = views
    assert list(workers) == pool.workers
    assert len(workers) == 3
    assert workers[1] is pool.workers[1]
    assert workers[-1] is pool.workers[2]
    assert workers[:2] == pool.workers[:2]
    assert pool.workers[2] in workers
    assert workers.index(pool.workers[1]) == 1
    assert repr(workers) == repr(tuple(pool.workers))
    lost = pool.workers[1]
    pool.lose(lost)
    assert lost not in workers
    assert workers[1] is pool.workers[1]


def test_the_view_of_the_workloads_follows_the_pool(views: Any) -> None:
    pool, _, workloads = views
    pool.submit()
    assert dict(workloads) == {worker: worker.workload for worker in pool.workers}
    assert sum(workloads.values()) == 1
    assert len(workloads) == 3
    assert repr(workloads) == repr(dict(workloads))
    lost = pool.workers[0]
    pool.lose(lost)
    with pytest.raises(KeyError):
        workloads[lost]
    assert workloads.get(lost) is None


def test_the_views_cannot_be_changed(views: Any) -> None:
    _, workers, workloads = views
    with pytest.raises(TypeError):
        workers[0] = None
    with pytest.raises(TypeError):
        del workers[0]
    with pytest.raises(TypeError):
        workloads[workers[0]] = 7
    for view in (workers, workloads):
        assert not hasattr(view, "clear")
        assert not hasattr(view, "__dict__")


def test_a_slice_of_the_workers_is_a_copy(views: Any) -> None:
    pool, workers, _ = views
    workers[:].clear()
    assert len(pool.workers) == 3


def test_available_is_about_the_lane_of_the_work_asked_about() -> None:
    seen: list[list[bool]] = []

    def choose(balancer: LoadBalancer, _: Any) -> Worker:
        seen.append([balancer.is_available(worker) for worker in balancer.workers])
        return balancer.get_available_workers()[0]

    pool = DrivenPool(2, load_balancer=choosing(choose))
    pool.plain()
    pool.plain()
    pool.submit()
    assert seen == [[True, True], [False, True], [True, True]]
