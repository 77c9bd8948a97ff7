"""The Staff: starts single workers, and lets single workers go.

Rules of this file: logic only, as in ``_pool.pool``.

A worker is *starting*, then *serving*, then *stopping*, then *gone*. One that is to go while
the pool stays is *retiring* before it stops: it gets no more works and finishes those it has.
It is in ``leaving`` then, where no load balancer sees it. A *spare* is the heir of a worker that
will soon be replaced: when it is ready it *stands by* until that one has gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from aplex._pool.ahead import Ahead
from aplex._pool.ledger import SERVING
from aplex._pool.notes import Retiring, Spawned
from aplex._pool.restarts import RestartPolicy
from aplex._pool.state import PoolWorker, WorkerState
from aplex._pool.terms import Terms
from aplex.load_balancers import LoadBalancerFactory


class Staff(Ahead):
    """Starts workers, and lets workers go."""

    def __init__(
        self,
        size: int,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        policy: RestartPolicy,
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(max_works_per_worker, load_balancer, clock, terms)
        self.size = size
        self.policy = policy
        self._pauses = 0  # restarts that wait for their time
        self._worker_ids = 0
        self.waits_for_places = False  # whether a new worker may wait until another one has gone

    @property
    def wants_workers(self) -> bool:
        """Whether there may be works for a new worker."""
        return not (self.terminating or self.broken or (self.closing and self.idle))

    def _new_worker(self, index: int) -> PoolWorker:
        """Have a worker started; put it into ``workers``."""
        self._starting += 1
        return self._hire(index)

    def _hire(self, index: int) -> PoolWorker:
        self._worker_ids += 1
        worker = PoolWorker(self.question, self._worker_ids, index)
        worker.born = self._clock()
        worker.limit = self._limit
        self.to_start.append(worker)
        if self.notes is not None:
            self.notes.append(Spawned(worker))
        return worker

    def _retire(self, worker: PoolWorker) -> None:
        """Give a worker no more works; stop it when it has done those it has."""
        was = worker.state
        self.leaving.append(worker)
        worker.state = WorkerState.RETIRING
        self.workers.remove(worker)
        if was is WorkerState.STARTING:
            self._started()
        self._part(worker)
        self._dismiss_heir(worker)

    def _part(self, worker: PoolWorker) -> None:
        """Do the rest when a worker has become one that is leaving."""
        if self.notes is not None:
            self.notes.append(Retiring(worker))
        self._refresh(worker)
        self._unpin(worker)
        self._stop_if_idle(worker)

    def _dismiss_heir(self, worker: PoolWorker) -> None:
        """Let the spare go that was to take the place of a worker."""
        heir = worker.heir
        if heir is not None and heir in self.spares:
            self.leaving.append(heir)
            was = heir.state
            if was is not WorkerState.STOPPING:
                heir.state = WorkerState.RETIRING
            self.spares.remove(heir)
            if was is not WorkerState.STOPPING:
                self._part(heir)

    def _stop_if_idle(self, worker: PoolWorker) -> None:
        if not worker.works:
            self.to_stop.append(worker)  # first: nothing repairs a stop that nobody sends
            worker.state = WorkerState.STOPPING

    def _free_places(self) -> Iterator[int]:
        """Yield the places that no worker has."""
        taken = {worker.index for worker in self.workers}
        return (index for index in itertools.count() if index not in taken)

    def _anyone_serves(self) -> bool:
        return any(worker.state is SERVING for worker in self.workers)

    def _recount_workers(self) -> None:
        """Finish a start or a retirement that an exception broke into. Then ``_fit``."""
        self.spares = [spare for spare in self.spares if spare not in self.workers]
        everyone = list(self.everyone())
        self.to_start = [worker for worker in self.to_start if worker in everyone]
        for worker in self.leaving:
            for there in self.workers, self.spares:
                if worker in there:
                    there.remove(worker)
            if worker.state not in (WorkerState.STOPPING, WorkerState.GONE):
                worker.state = WorkerState.RETIRING
                self._unpin(worker)
                if worker not in self.to_stop:
                    self._stop_if_idle(worker)
                elif not worker.works:
                    worker.state = WorkerState.STOPPING
        self._starting = sum(worker.state is WorkerState.STARTING for worker in self.workers)
