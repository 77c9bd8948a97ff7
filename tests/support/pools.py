"""Drives a Pool as the Manager would, by hand: no thread, no process, no clock.

After every event the invariants are checked, the effects are taken, and what was settled
is written down: a work that is settled twice fails the test at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    DETACHED,
    FAILED,
    ITEMS,
    PICKLED,
    PLAIN,
    RAISED,
    READY,
    VALUE,
)
from aplex._common.options import DEFAULTS, WorkOptions
from aplex._common.requests import Cancel
from aplex._pool.pool import Pool
from aplex._pool.restarts import RestartPolicy
from aplex._pool.state import Death, PoolWorker, Work, WorkerState, WorkState
from aplex._pool.terms import Terms, terms_of
from aplex.load_balancers import LoadBalancer, LoadBalancerFactory, RoundRobin, Worker

ALL_STARTED = (2**63 - 1, 2**63 - 1)
"""What a worker publishes that had started all its works."""


class DrivenPool:
    """A Pool, and what came out of it."""

    def __init__(
        self,
        size: int = 1,
        limit: int = 300,
        load_balancer: LoadBalancerFactory = RoundRobin,
        *,
        ready: bool = True,
        max_restarts: int = 3,
        window: float = 5.0,
        max_tasks_per_child: int | None = None,
        terms: Terms | None = None,
    ) -> None:
        self.policy = RestartPolicy(max_restarts, window)
        self.now = 0.0  # seconds
        self.pool = Pool(
            size,
            limit,
            load_balancer,
            self.policy,
            terms or terms_of(max_tasks_per_child),
            clock=lambda: self.now,
        )
        self.lags: dict[PoolWorker, float] = {}  # of event loops, in seconds
        self.pool.question.turns_of = lambda worker: (self.lags.get(worker, 0.0), 0.0)
        self.pauses: list[float] = []  # of restarts to come
        self.alarms: list[tuple[float, Callable[[], None]]] = []  # of limits, and when
        self.sent: dict[PoolWorker, list[Work | Cancel]] = {}
        self.recalled: dict[PoolWorker, list[Cancel]] = {}
        self.started: list[PoolWorker] = []
        self.stopped: list[PoolWorker] = []
        self.submitted: list[Work] = []
        self.outcomes: dict[Work, tuple[int, Any]] = {}
        self.pool.open()
        self.take_effects()
        if ready:
            for worker in list(self.workers):
                self.ready(worker)

    @property
    def workers(self) -> list[PoolWorker]:
        return self.pool.workers

    # -- events ---------------------------------------------------------------

    def submit(
        self,
        lane: int = COROUTINE,
        meta: Any = None,
        options: WorkOptions = DEFAULTS,
        *,
        alone: bool = False,
    ) -> Work:
        """Submit a work; if it may be ``alone``, the short way where the pool takes it so."""
        work = Work(lane, "function", "call", meta, None)
        work.options, work.target = options, print
        self.submitted.append(work)
        if not (alone and self.pool.add_alone(work)):
            self.pool.submit(work)
        self.take_effects()
        return work

    def plain(self, meta: Any = None) -> Work:
        return self.submit(PLAIN, meta)

    def cancel(self, work: Work) -> None:
        self.pool.cancel(work)
        self.take_effects()

    def ready(self, worker: PoolWorker, pid: int | None = 1000) -> None:
        self.report(worker, (0, READY, pid))

    def fail_to_start(self, worker: PoolWorker, reason: BaseException | None = None) -> None:
        """Its initializer raised, say."""
        self.report(worker, (0, FAILED, reason))
        assert worker.failure is reason
        self.lose(worker, reason=reason)

    def end(
        self, *works: Work, kind: int = VALUE, data: Any = "result", alone: bool = False
    ) -> None:
        """Let works end as their workers report them; ``alone``: the short way, if it may."""
        for work in works:
            assert work.worker is not None
            self.report(work.worker, (work.id, kind, data), alone=alone)

    def detach(self, work: Work) -> None:
        assert work.worker is not None
        self.report(work.worker, (work.id, DETACHED, None))

    def report(
        self, worker: PoolWorker, *reports: tuple[int, int, Any], alone: bool = False
    ) -> None:
        results = [report for report in reports if report[1] in (VALUE, PICKLED)]
        others = [report for report in reports if report not in results]
        columns: list[Any] = []
        for kind in VALUE, PICKLED:
            columns.append([work_id for work_id, was, _ in results if was == kind])
            columns.append([data for _, was, data in results if was == kind])
        frame: Any = (0.0, others, *columns)
        if not (alone and self.pool.take_alone(worker, frame)):
            self.pool.take_in(worker, frame)
            self.pool.dispatch()
        self.take_effects()

    def pace(self, worker: PoolWorker, seconds: float, count: int = 1) -> None:
        self.pool.paced(worker, seconds, count)
        self.pool.dispatch()
        self.take_effects()

    def lose(
        self,
        worker: PoolWorker,
        started: tuple[int, int] = (0, 0),
        *,
        reason: BaseException | None = None,
        error: BaseException | None = None,
        uptime: float | None = None,
        blameless: bool = False,
    ) -> list[Work]:
        """Let a worker end that had started so many works of each lane; return what failed."""
        before = set(self.outcomes)
        if error is None and any(started):
            error = ConnectionError("the worker is lost")
        self.pool.lost(worker, Death(started, error, reason, uptime, blameless), self.now)
        self.take_effects()
        new = [work for work in self.outcomes if work not in before]
        return [work for work in new if self.outcomes[work][0] == RAISED]

    def wear(self, worker: PoolWorker) -> None:
        self.pool.wear(worker)
        self.take_effects()

    def resize(self, size: int) -> None:
        self.pool.resize(size)
        self.take_effects()

    def terminate(self) -> None:
        self.pool.terminate()
        self.take_effects()

    def pass_pause(self) -> None:
        """Let the time of a restart come."""
        self.now += self.pauses.pop(0)
        self.pool.restart_due()
        self.take_effects()

    def pass_pauses(self) -> None:
        """Let the time of all restarts that wait come."""
        while self.pauses:
            self.pass_pause()

    def pass_alarm(self, late: float = 0.0) -> None:
        """Let the next time come that a limit waits for, or a moment later."""
        alarm = min(self.alarms, key=lambda alarm: alarm[0])
        self.alarms.remove(alarm)
        self.now = max(self.now, alarm[0]) + late
        alarm[1]()
        self.take_effects()

    def close(self, *, cancel_waiting: bool = False) -> None:
        self.pool.close(cancel_waiting=cancel_waiting)
        self.take_effects()

    def steal(self, *, all_started: bool = False) -> None:
        self.pool.steal(lambda _worker, _seq: all_started)
        self.take_effects()

    def cancel_waiting(self) -> None:
        self.pool.cancel_waiting()
        self.take_effects()

    def run_to_the_end(self) -> None:
        """Let every worker serve, and every work end."""
        for _ in range(10 * len(self.submitted) + 10):
            self.pass_pauses()
            for _ in list(self.alarms):  # some come again as long as there are works
                self.pass_alarm()
            for worker in list(self.pool.everyone()):
                if worker.state is WorkerState.STARTING:
                    self.ready(worker)
                self.end(*list(worker.works.values()))
            if self.pool.idle:
                return
        raise AssertionError(f"works are stuck: {self.pool!r}")

    # -- observations ---------------------------------------------------------

    def sent_to(self, worker: PoolWorker) -> list[Work | Cancel]:
        return self.sent.get(worker, [])

    def works_of(self, worker: PoolWorker) -> list[Work]:
        """Works sent to a worker, in order."""
        return [item for item in self.sent_to(worker) if isinstance(item, Work)]

    def cancels_of(self, worker: PoolWorker) -> list[Cancel]:
        """Cancels sent to a worker, in order."""
        return [item for item in self.sent_to(worker) if isinstance(item, Cancel)]

    def value(self, work: Work) -> Any:
        kind, data = self.outcomes[work]
        assert kind == VALUE
        return data

    def error(self, work: Work) -> Any:
        kind, data = self.outcomes[work]
        assert kind == RAISED
        return data

    def is_cancelled(self, work: Work) -> bool:
        return work in self.outcomes and self.outcomes[work][0] == CANCELLED

    def take_effects(self) -> None:
        for work, kind, data in self.pool.take_settled():
            if kind == ITEMS:
                continue  # it goes on
            assert work not in self.outcomes, f"{work!r} is settled twice"
            assert work.state is WorkState.DONE
            self.outcomes[work] = kind, data
        for worker in self.pool.outbound:
            assert worker in self.pool.everyone(), "works are sent to a worker that is gone"
            for lane, outbox in enumerate(worker.outboxes):
                self.sent.setdefault(worker, []).extend(outbox)
                worker.outboxes[lane] = []
            self.sent.setdefault(worker, []).extend(worker.cancels)
            worker.cancels.clear()
            self.recalled.setdefault(worker, []).extend(worker.recalls)
            worker.recalls.clear()
        self.pool.outbound.clear()
        self.started += self.pool.to_start
        self.pool.to_start.clear()
        self.stopped += self.pool.to_stop
        self.pool.to_stop.clear()
        for seconds, then in self.pool.pauses:
            if then == self.pool.restart_due:
                self.pauses.append(seconds)
            else:
                self.alarms.append((self.now + seconds, then))
        self.pool.pauses.clear()
        self.pool.check()


def choosing(choose: Callable[[LoadBalancer, Any], Any]) -> type[LoadBalancer]:
    """Return a load balancer class that chooses by a function of itself and the meta."""

    class Choosing(LoadBalancer):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            return choose(self, load_balancing_meta)

    return Choosing


PinningByIndex = choosing(lambda balancer, meta: balancer.workers[meta or 0])
"""Gives a work to the worker whose index is the meta."""
