"""The Workforce: how many workers there are, and what follows from the death of one.

Rules of this file: logic only, as in ``_pool.pool``. Time comes in as a number; a restart that has
to wait goes out as a number of seconds, and comes back in as ``restart_due``.

A worker is *starting*, then *serving*, then *stopping*, then *gone*. One that is to go while
the pool stays is *retiring* before it stops: it gets no more works and finishes those it has.
It is in ``leaving`` then, where no load balancer sees it. One that is *due for recycling* has
done as many works as a worker may do; it serves until another one can.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from aplex._common.locks import late_imports
from aplex._common.messages import CANCELLED, PLAIN, RAISED
from aplex._common.requests import Cancel
from aplex._pool import retries
from aplex._pool.failures import sign_of
from aplex._pool.ledger import SERVING
from aplex._pool.notes import Gone, Ready, Rerun, Resized, Retiring, Spawned
from aplex._pool.restarts import RestartPolicy
from aplex._pool.state import Death, PoolWorker, Work, WorkerState
from aplex._pool.trials import Trials
from aplex.load_balancers import LoadBalancerFactory


class Workforce(Trials):
    """Starts and retires workers."""

    def __init__(
        self,
        size: int,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        policy: RestartPolicy,
        max_tasks_per_child: int | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(max_works_per_worker, load_balancer, clock)
        self.size = size
        self.policy = policy
        self.max_tasks_per_child = max_tasks_per_child
        self._clock = clock
        self._pauses = 0  # restarts that wait for their time
        self._worker_ids = 0

    # -- events ---------------------------------------------------------------

    def open(self) -> None:
        """Begin to start the workers that are missing."""
        if self._missing() > 0:
            places = self._free_places()
            while self._missing() > 0:
                self.workers.append(self._new_worker(next(places)))

    def resize(self, size: int) -> None:
        """Have another number of workers: start some, or retire some."""
        self.size = size
        if self.notes is not None:
            self.notes.append(Resized(size))
        self._fit()
        self.dispatch()

    def restart_due(self) -> None:
        """Make a restart whose pause is over, if it is still wanted."""
        self._pauses -= 1
        if self._missing() > 0:
            self.tally.restarts += 1
            self.workers.append(self._new_worker(next(self._free_places())))

    def retire_for(self, worker: PoolWorker, stuck: Work) -> None:
        """Retire a worker because a plain function in it does not end.

        Functions behind it are recalled. If the worker cannot answer, they go elsewhere when
        it has ended.
        """
        behind = [work for work in worker.works.values() if work.lane and work.seq > stuck.seq]
        worker.recalls += [Cancel(work.id, work.seq) for work in behind]
        self.outbound.add(worker)
        if worker.state is SERVING:
            self._retire(worker)
            self._fit()
            self.dispatch()

    # -- decisions ------------------------------------------------------------

    @property
    def wants_workers(self) -> bool:
        """Whether there may be works for a new worker."""
        return not (self.terminating or self.broken or (self.closing and self.idle))

    def _missing(self) -> int:
        """How many workers to start. One that is due for recycling serves until another can."""
        if not self.wants_workers:
            return 0
        return self.size - self._counted() - self._pauses

    def _counted(self) -> int:
        """How many workers there are, without those that are due for recycling."""
        return len(self.workers) - sum(worker.due_for_recycling for worker in self.workers)

    def _fit(self) -> None:
        """Retire workers if there are too many, start those that are missing."""
        while self._counted() > self.size:
            self._retire(min(self.workers, key=_worth))
        serving = sum(worker.state is SERVING for worker in self.workers)
        for worker in [worker for worker in self.workers if worker.due_for_recycling]:
            if serving > self.size:
                self._retire(worker)
                serving -= 1
        self.open()

    def _ready(self, worker: PoolWorker, pid: int | None) -> None:
        """Let a started worker serve."""
        worker.pid = pid
        if self.notes is not None:
            self.notes.append(Ready(worker))
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.SERVING
            self._started()
            self._refresh(worker)
            if len(self.workers) > self.size:
                self._fit()

    def _serves(self, worker: PoolWorker) -> None:
        """Note that a worker has ended its first work: workers can be started here."""
        worker.served = True
        self.policy.succeeded()
        self.open()

    def _reported(self, worker: PoolWorker) -> None:
        """Note that a worker that retires, or may be due for recycling, has reported works."""
        if worker.state is WorkerState.RETIRING:
            self._stop_if_idle(worker)
        elif (
            self.max_tasks_per_child is not None
            and worker.works_done >= self.max_tasks_per_child
            and worker.state is SERVING
            and not worker.due_for_recycling
        ):
            worker.due_for_recycling = True
            self._fit()

    def _retire(self, worker: PoolWorker) -> None:
        """Give a worker no more works; stop it when it has done those it has."""
        was = worker.state
        if self.notes is not None:
            self.notes.append(Retiring(worker))
        self.leaving.append(worker)
        worker.state = WorkerState.RETIRING
        self.workers.remove(worker)
        if was is WorkerState.STARTING:
            self._started()
        self._refresh(worker)
        self._unpin(worker)
        self._stop_if_idle(worker)

    def _stop_if_idle(self, worker: PoolWorker) -> None:
        if not worker.works:
            self.to_stop.append(worker)  # first: nothing repairs a stop that nobody sends
            worker.state = WorkerState.STOPPING

    def _free_places(self) -> Iterator[int]:
        """Yield the places that no worker has, but for those whose successor is to come."""
        taken = {worker.index for worker in self.workers if not worker.due_for_recycling}
        return (index for index in itertools.count() if index not in taken)

    def _new_worker(self, index: int) -> PoolWorker:
        self._worker_ids += 1
        self._starting += 1
        worker = PoolWorker(self.question, self._worker_ids, index)
        worker.born = self._clock()
        self.to_start.append(worker)
        if self.notes is not None:
            self.notes.append(Spawned(worker))
        return worker

    # -- deaths ---------------------------------------------------------------

    def lost(self, worker: PoolWorker, death: Death, now: float) -> None:
        """Take note of a worker's end at that time, and replace it.

        Works that it had not started wait again, in front; so do those that it had and
        that may run again. The others fail.
        """
        was = worker.state
        if was is WorkerState.GONE:
            return
        if self.notes is not None:
            self.notes.append(Gone(worker, death, was is WorkerState.STOPPING))
        failed = self._failed_to_serve(worker, death)
        if failed:
            began = now - (death.uptime or 0.0)
            self.policy.failed(began, now, sign_of(death.reason))
        worker.state = WorkerState.GONE
        self._refresh(worker)
        self.outbound.discard(worker)
        for work in list(worker.works.values()):
            self._leave(work, worker)
            self._reroute(work, worker, death)
            del worker.works[work.id]  # not before it is elsewhere: see `give_up`
        self._unpin(worker)
        if was is WorkerState.STARTING:
            self._started()
        self._replace(worker, failed=failed)
        if self.policy.hopeless:
            self._despair()
        awaited = self._pauses and not self.policy.hopeless
        if not self.workers and not awaited and self.wants_workers:
            self._break(death.reason or death.error)
        self.dispatch()

    def _reroute(self, work: Work, worker: PoolWorker, death: Death) -> None:
        """Let a work of a lost worker wait again, or settle it."""
        started = retries.had_started(work, death)
        if started:
            assert death.error is not None
            work.deaths += (death.error,)
        fate = retries.verdict(
            work, started=started, terminating=self.terminating, broken=self.broken
        )
        if fate is retries.CANCELLED:
            self._settle(work, CANCELLED, None)
        elif fate is retries.AGAIN:
            if started and not work.seq:
                work.lane = PLAIN  # it was detached: its plain part runs again, too
            self.tally.retried += started
            if self.notes is not None:
                self.notes.append(Rerun(work.id, worker.id, started))
            self._wait_again(work, worker.pinned[work.lane])
        else:
            self._settle(work, RAISED, fate)

    def _failed_to_serve(self, worker: PoolWorker, death: Death) -> bool:
        """Whether the death of a worker counts as a failed start."""
        if worker.state is WorkerState.STARTING:
            return True
        if worker.state is not SERVING or worker.served or any(death.started):
            return False
        # It did not start what it was given; or it was there for a moment only.
        young = death.uptime is None or death.uptime <= self.policy.window
        return bool(worker.works) or young

    def _replace(self, worker: PoolWorker, *, failed: bool) -> None:
        """Put a new worker in the place of a lost one: at once, later, or never."""
        if worker in self.leaving:
            self.leaving.remove(worker)
            return
        place = self.workers.index(worker)
        del self.workers[place]
        if self._missing() <= 0:
            return
        pause = 0.0
        if failed:
            if self.policy.exhausted and not self._anyone_serves():
                return
            pause = self.policy.restart()
        if pause:
            self._pauses += 1
            self.pauses.append((pause, self.restart_due))
        else:
            self.tally.restarts += 1
            free = itertools.takewhile(lambda index: index <= worker.index, self._free_places())
            index = worker.index if worker.index in free else next(self._free_places())
            self.workers.insert(place, self._new_worker(index))

    def _despair(self) -> None:
        """Wait for no worker that would fail as others did; unless some worker serves."""
        if not self._anyone_serves():
            for worker in list(self.workers):
                self._retire(worker)

    def _break(self, reason: BaseException | None) -> None:
        """Give up: no worker is left and none could be started."""
        why = f": {reason}" if reason is not None else ""
        with late_imports.importing:
            from aplex.exceptions import BrokenPoolError
        self.broken = BrokenPoolError(
            f"the pool is broken: {self.policy.failures} workers in a row ended before they "
            f"served{why}"
        )
        self.broken.__cause__ = reason
        for work in self._drain_waiting():
            self._settle(work, RAISED, self.broken)

    def _anyone_serves(self) -> bool:
        return any(worker.state is SERVING for worker in self.workers)

    # -- invariants -----------------------------------------------------------

    def _recount_workers(self) -> None:
        """Finish a start or a retirement that an exception broke into. Then ``_fit``."""
        everyone = list(self.everyone())
        self.to_start = [worker for worker in self.to_start if worker in everyone]
        for worker in self.leaving:
            if worker in self.workers:
                self.workers.remove(worker)
            if worker.state not in (WorkerState.STOPPING, WorkerState.GONE):
                worker.state = WorkerState.RETIRING
                self._unpin(worker)
                if worker not in self.to_stop:
                    self._stop_if_idle(worker)
                elif not worker.works:
                    worker.state = WorkerState.STOPPING
        self._starting = sum(worker.state is WorkerState.STARTING for worker in self.workers)

    def check(self) -> None:
        """Assert, besides, that there are as many workers as there should be."""
        super().check()
        states = {worker.state for worker in self.leaving}
        assert states <= {WorkerState.RETIRING, WorkerState.STOPPING}
        for worker in self.leaving:
            assert bool(worker.works) is (worker.state is WorkerState.RETIRING)
            assert worker.room == [False, False]
            assert not any(worker.pinned)
        assert self._counted() <= self.size
        if self._counted() < len(self.workers):
            assert sum(worker.state is SERVING for worker in self.workers) <= self.size
        assert self._pauses >= 0
        if self.wants_workers and self.workers and not self.policy.failures:
            assert self._missing() <= 0


def _worth(worker: PoolWorker) -> tuple[int, int]:
    """Order workers by how much is lost with them; of equal ones the first goes.

    Of those that start it is the newest: the oldest will be ready next. If that one went, a pool
    that is resized faster than workers start would never have one that serves.
    """
    if worker.state is WorkerState.STARTING:
        return 0, -worker.id
    return (1 if worker.due_for_recycling else 2), worker.workload
