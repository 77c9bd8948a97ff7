"""Logic: random histories of a Pool against its invariants, and against what users are promised.

Every step is followed by ``Pool.check``; at the end every work must have been settled exactly
once, and as it should. The normal run is short. A long one:

    python3 dev.py reliability histories --count 100000
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    DELIVERED,
    LANES,
    PLAIN,
    RAISED,
    RETURNED,
    VALUE,
)
from aplex._common.options import WorkOptions
from aplex._pool.state import PoolWorker, Work, WorkerState, WorkState
from aplex._pool.terms import UNBOUND, Terms
from aplex.exceptions import (
    BrokenPoolError,
    LoadBalancerError,
    WorkerLostError,
    WorkQuarantinedError,
)
from aplex.load_balancers import Average, LoadBalancer, Random, RoundRobin, Worker
from tests.support.pools import ALL_STARTED, DrivenPool

COUNT = 200
STEPS = 50


class Whimsical(LoadBalancer):
    """Pins works to any worker, starting ones too; sometimes raises or chooses nonsense."""

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        if load_balancing_meta == "raise":
            raise ValueError(load_balancing_meta)
        if load_balancing_meta == "nonsense":
            return None  # type: ignore[return-value]
        return self.workers[(load_balancing_meta or 0) % len(self.workers)]


class WhimsicalSkipping(Whimsical):
    """Takes the first worker with room, if the wish has none."""

    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        worker = super().get_proper_worker(load_balancing_meta)
        return worker if worker is None or worker.available else self.get_available_workers()[0]


BALANCERS = (RoundRobin, Random, Average, Whimsical, WhimsicalSkipping)
LIMITS = st.sampled_from(
    [
        *[{}] * 4,
        {"max_concurrency": 1, "limit_key": "one"},
        {"max_concurrency": 2, "limit_key": "one", "priority": 1},
        {"rate": 1.0, "limit_key": "two"},
        {"priority": 1},
        {"priority": -1},
    ]
)
METAS = st.one_of(st.none(), st.integers(0, 5), st.sampled_from(["raise", "nonsense"]))


class Histories(RuleBasedStateMachine):
    """What can happen to a pool, in any order."""

    @initialize(
        size=st.integers(1, 4),
        limit=st.sampled_from([1, 2, 3, 300]),
        balancer=st.sampled_from(BALANCERS),
        restarts=st.integers(0, 3),
        terms=st.sampled_from(
            [
                *[UNBOUND] * 3,
                *(Terms(1), Terms(3), Terms(3), Terms(7, max_age=1.0, min_size=1)),
                *(Terms(max_memory=1), Terms(min_size=1), Terms(4, min_size=2)),
            ]
        ),
        threads=st.booleans(),
    )
    def open(
        self,
        size: int,
        limit: int,
        balancer: type[LoadBalancer],
        restarts: int,
        terms: Terms,
        threads: bool,
    ) -> None:
        self.driven = DrivenPool(
            size, limit, balancer, ready=False, max_restarts=restarts, terms=terms
        )
        if threads:
            self.driven.pool.capacity = limit
        self.returns: Counter[PoolWorker] = Counter()  # items of works that were given back
        self.whimsical = issubclass(balancer, Whimsical)
        self.pins = balancer is Whimsical
        self.asked: set[Work] = set()  # works whose cancel was asked while they were in flight
        self.dead: list[PoolWorker] = []
        self.begun: dict[PoolWorker, int] = {}  # number of a plain function that has run
        self.returned = False

    # -- what can be picked -----------------------------------------------------

    @property
    def takes_works(self) -> bool:
        return not self.driven.pool.closing and not self.driven.pool.broken

    def everyone(self) -> list[PoolWorker]:
        return list(self.driven.pool.everyone())

    def workers(self, *states: WorkerState) -> list[PoolWorker]:
        return [worker for worker in self.everyone() if worker.state in states]

    def in_flight(self) -> list[Work]:
        return [work for worker in self.everyone() for work in worker.works.values()]

    # -- events -----------------------------------------------------------------

    @precondition(lambda self: self.takes_works)
    @rule(
        lane=st.sampled_from(LANES),
        meta=METAS,
        count=st.integers(1, 4),
        retries=st.sampled_from([0, 0, 1, 2, 9]),
        limits=LIMITS,
        items=st.sampled_from([1, 1, 2, 3]),
        alone=st.booleans(),
    )
    def submit(
        self,
        lane: int,
        meta: Any,
        count: int,
        retries: int,
        limits: dict[str, Any],
        items: int,
        alone: bool,
    ) -> None:
        most = self.driven.pool.terms.max_tasks or items
        for _ in range(count):
            options = WorkOptions(retries=retries, items=min(items, most), **limits)
            self.driven.submit(lane, meta, options, alone=alone)

    @precondition(lambda self: self.driven.alarms)
    @rule()
    def alarm(self) -> None:
        self.driven.pass_alarm()

    @precondition(lambda self: self.driven.submitted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        work = data.draw(st.sampled_from(self.driven.submitted))
        was = work.state
        self.driven.cancel(work)
        if was is WorkState.WAITING:
            assert self.driven.is_cancelled(work), "a waiting work is cancelled at once"
        elif was is WorkState.IN_FLIGHT:
            self.asked.add(work)

    @precondition(lambda self: self.workers(WorkerState.STARTING, WorkerState.STOPPING))
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        workers = self.workers(WorkerState.STARTING, WorkerState.STOPPING)
        self.driven.ready(data.draw(st.sampled_from(workers)))

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data(), kind=st.sampled_from([VALUE, RAISED, CANCELLED]), alone=st.booleans())
    def done(self, data: st.DataObject, kind: int, alone: bool) -> None:
        """One frame of reports: any of the works in flight a worker, in any order."""
        worker = data.draw(st.sampled_from(self.in_flight())).worker
        assert worker is not None
        works = data.draw(st.lists(st.sampled_from(list(worker.works.values())), unique=True))
        self.driven.report(worker, *[(work.id, kind, "data") for work in works], alone=alone)
        for work in works:
            assert self.driven.outcomes[work] == (kind, "data")

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data())
    def delivered(self, data: st.DataObject) -> None:
        work = data.draw(st.sampled_from(self.in_flight()))
        assert work.worker is not None
        self.driven.report(work.worker, (work.id, DELIVERED, None))
        assert work.state is WorkState.IN_FLIGHT

    @precondition(lambda self: any(work.lane == PLAIN for work in self.in_flight()))
    @rule(data=st.data())
    def detached(self, data: st.DataObject) -> None:
        plain = [work for work in self.in_flight() if work.lane == PLAIN]
        work = data.draw(st.sampled_from(plain))
        assert work.worker is not None
        self.begun[work.worker] = max(work.seq, self.begun.get(work.worker, 0))
        self.driven.detach(work)
        assert work.lane == COROUTINE
        assert work.state is WorkState.IN_FLIGHT

    @precondition(lambda self: self.workers(WorkerState.SERVING, WorkerState.STOPPING))
    @rule(
        data=st.data(),
        seconds=st.sampled_from([0.0, 1e-9, 1e-5, 5e-4, 0.01, 10.0]),
        count=st.integers(1, 64),
    )
    def paced(self, data: st.DataObject, seconds: float, count: int) -> None:
        workers = self.workers(WorkerState.SERVING, WorkerState.STOPPING)
        self.driven.pace(data.draw(st.sampled_from(workers)), seconds, count)

    @rule()
    def steal(self) -> None:
        self.driven.steal()

    @precondition(lambda self: any(self.driven.recalled.values()))
    @rule(data=st.data())
    def given_back(self, data: st.DataObject) -> None:
        """A worker gives back what it was asked for: it may be done, or elsewhere, by then."""
        workers = [worker for worker, works in self.driven.recalled.items() if works]
        worker = data.draw(st.sampled_from(workers))
        recalled = self.driven.recalled[worker]
        recall = recalled.pop(data.draw(st.integers(0, len(recalled) - 1)))
        work = worker.works.get(recall.id)
        if work is not None and work.lane == PLAIN and work.seq == recall.seq:
            self.returned = True
            self.returns[worker] += work.options.items
            self.driven.report(worker, (recall.id, RETURNED, recall.seq))
            assert work.worker is not worker or work.seq != recall.seq

    @precondition(lambda self: self.everyone())
    @rule(data=st.data(), uptime=st.sampled_from([None, 0.1, 100.0]))
    def lost(self, data: st.DataObject, uptime: float | None) -> None:
        """A worker dies: a prefix of what it was sent, in each lane, had been started."""
        worker = data.draw(st.sampled_from(self.everyone()))
        was_serving = worker.state in (WorkerState.SERVING, WorkerState.RETIRING)
        begun = (0, self.begun.get(worker, 0))  # a function that has detached had been started
        started = tuple(
            data.draw(st.integers(least, seq)) if was_serving else 0
            for least, seq in zip(begun, worker.seqs, strict=True)
        )
        works = list(worker.works.values())
        detached = [work for work in works if work.seq == 0]
        doomed = {work for work in works if work.seq <= started[work.lane]}
        before = {work: len(work.deaths) for work in works}
        error = WorkerLostError(worker.pid, -9, len(works))
        self.driven.lose(worker, (started[0], started[1]), error=error, uptime=uptime)
        self.dead.append(worker)
        for work in works:
            if work in self.asked:
                assert self.driven.is_cancelled(work)
            elif work in doomed or work in detached:
                self.counted(work, before[work] + 1, error)
            elif self.driven.pool.terminating:
                assert self.driven.is_cancelled(work)
            elif not self.whimsical and not self.driven.pool.broken:
                assert work not in self.driven.outcomes, "what was not started runs elsewhere"

    def counted(self, work: Work, deaths: int, error: WorkerLostError) -> None:
        """A work that had been started has seen so many deaths: it runs again, or has failed."""
        assert len(work.deaths) == deaths
        allowed = deaths <= work.options.retries and deaths < work.options.quarantine_after
        pool = self.driven.pool
        if allowed and not pool.terminating and not pool.broken:
            kind, failure = self.driven.outcomes.get(work, (None, None))
            assert kind is None or isinstance(failure, (LoadBalancerError, BrokenPoolError))
        elif deaths == 1:
            assert self.driven.error(work) is error
        else:
            failure = self.driven.error(work)
            assert isinstance(failure, WorkQuarantinedError)
            assert len(failure.deaths) == deaths
            assert failure.deaths[-1] is error

    @precondition(lambda self: self.driven.pauses)
    @rule()
    def restart_due(self) -> None:
        self.driven.pass_pause()

    @precondition(lambda self: self.takes_works)
    @rule(size=st.integers(1, 5))
    def resize(self, size: int) -> None:
        self.driven.resize(size)
        assert self.driven.pool.size == size

    @rule(really=st.integers(0, 19))
    def terminate(self, really: int) -> None:
        if really == 0:
            waiting = [w for w in self.driven.submitted if w.state is WorkState.WAITING]
            self.driven.terminate()
            assert all(map(self.driven.is_cancelled, waiting))

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), work_id=st.integers(0, 20))
    def late_report(self, data: st.DataObject, work_id: int) -> None:
        before = dict(self.driven.outcomes)
        worker = data.draw(st.sampled_from(self.dead))
        self.driven.report(worker, (work_id, VALUE, "from beyond"))
        assert self.driven.outcomes == before

    @rule()
    def cancel_waiting(self) -> None:
        waiting = [w for w in self.driven.submitted if w.state is WorkState.WAITING]
        self.driven.cancel_waiting()
        assert all(map(self.driven.is_cancelled, waiting))

    @rule(cancel_waiting=st.booleans(), really=st.integers(0, 9))
    def close(self, cancel_waiting: bool, really: int) -> None:
        if really == 0:  # seldom, or most histories would be short
            self.driven.close(cancel_waiting=cancel_waiting)

    @precondition(lambda self: self.driven.pool.terms.replaces)
    @precondition(lambda self: self.workers(WorkerState.SERVING, WorkerState.STANDBY))
    @rule(data=st.data())
    def worn(self, data: st.DataObject) -> None:
        workers = self.workers(WorkerState.SERVING, WorkerState.STANDBY)
        self.driven.wear(data.draw(st.sampled_from(workers)))

    # -- what always holds --------------------------------------------------------

    @invariant()
    def no_worker_takes_more_than_it_may(self) -> None:
        most = self.driven.pool.terms.max_tasks
        for worker in self.driven.started if most is not None else ():
            taken = sum(work.options.items for work in self.driven.works_of(worker))
            assert taken - self.returns[worker] <= most

    @invariant()
    def every_work_is_somewhere(self) -> None:
        pool = self.driven.pool
        held = {lane: pool.held(lane) for lane in LANES}
        settled = self.driven.outcomes
        for work in self.driven.submitted:
            assert held[work.lane].count(work) == (0 if work in settled else 1)
        for lane in LANES:
            assert pool.holds(lane) is bool(held[lane])
        assert pool.idle is (len(settled) == len(self.driven.submitted))

    @invariant()
    def the_line_keeps_its_order(self) -> None:
        """Of works with equal rights, those in flight came before those that wait."""
        if self.dead or self.returned or self.pins or self.whimsical or self.driven.pool.leaving:
            return
        for lane in LANES:
            works = [work for work in self.driven.submitted if work.lane == lane]
            works = [work for work in works if not work.options.apart]
            waiting = [work.id for work in works if work.state is WorkState.WAITING]
            in_flight = [work.id for work in works if work.state is WorkState.IN_FLIGHT]
            assert (
                not waiting
                or not in_flight
                or max(in_flight) < min(waiting)
                or self._detached(works)
            )

    @staticmethod
    def _detached(works: list[Work]) -> bool:
        """Whether works changed from one lane to the other: their order is then another."""
        return any(work.state is WorkState.IN_FLIGHT and work.seq == 0 for work in works)

    @invariant()
    def the_pool_is_as_large_as_it_can_be(self) -> None:
        pool = self.driven.pool
        assert len(pool.workers) <= 2 * pool.size
        assert pool.broken or pool.closing or pool.workers or pool.leaving or self.driven.pauses
        assert len(set(self.driven.started)) == len(self.driven.started)
        assert len(set(self.driven.stopped)) == len(self.driven.stopped)

    def teardown(self) -> None:
        """Whatever happened: the works that are left can end, and then the workers."""
        if not hasattr(self, "driven"):
            return
        driven = self.driven
        if driven.pool.terminating:
            for worker in self.everyone():
                driven.lose(worker, ALL_STARTED, error=WorkerLostError(worker.pid, -9, 0))
        else:
            driven.close()
            driven.run_to_the_end()
            for worker in self.everyone():
                assert worker.state is WorkerState.STOPPING
                assert worker in driven.stopped
                driven.lose(worker)
        assert self.everyone() == []
        assert driven.pool.idle
        assert set(driven.outcomes) == set(driven.submitted)
        for work, (kind, data) in driven.outcomes.items():
            if isinstance(data, LoadBalancerError):
                assert self.whimsical
                assert kind == RAISED
            assert work.worker is None


def run_histories(count: int, number: int | None = None) -> None:
    """Run so many histories; with a number always the same ones."""
    histories = type("Histories", (Histories,), {})
    run_state_machine_as_test(
        histories if number is None else seed(number)(histories),
        settings=settings(
            max_examples=count,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=set(Phase) - {Phase.explain},
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


@pytest.mark.timeout(300)  # shrinking a failure takes its time
def test_random_histories() -> None:
    run_histories(COUNT)
