"""What tests of the Manager sit at."""

from __future__ import annotations

from typing import Any

from aplex._backends.memory import MemoryBackend
from aplex._common.messages import CANCELLED, COROUTINE
from aplex._manager.manager import Manager
from aplex._pool.pool import Pool
from aplex._pool.state import Work
from aplex.futures import ConcurrentFuture
from aplex.load_balancers import LoadBalancerFactory, RoundRobin

DEADLINE = 10  # seconds


class Desk:
    """A Manager over paper workers, and shorthands to play both sides."""

    def __init__(self, size: int = 1, balancer: LoadBalancerFactory = RoundRobin) -> None:
        self.backend = MemoryBackend()
        self.pool = Pool(size, 300, balancer)
        self.manager = Manager(self.pool, self.backend, "desk", exit_grace=0.2)

    def submit(self, lane: int = COROUTINE) -> ConcurrentFuture[Any]:
        """Submit a work as an executor does."""
        future: ConcurrentFuture[Any] = ConcurrentFuture()
        work = Work(lane, print, ((), {}), None, future)
        work.manager = self.manager
        future._work = work
        self.manager.submit(work)
        return future

    def serve(self) -> None:
        """Let all started workers be ready."""
        for worker in list(self.backend.started):
            self.backend.ready(worker)

    def sent_ids(self) -> list[int]:
        """Ids of the works sent to the first worker."""
        sent = self.backend.sent[self.backend.started[0]]
        return [item.id for item in sent if isinstance(item, Work)]

    def end(self) -> None:
        """Close, let every worker report its works as cancelled, and end."""
        self.manager.close(cancel_waiting=True)
        while not self.manager.gone.done() and self.pool.workers:
            worker = self.pool.workers[0]
            self.backend.report(worker, *((i, CANCELLED, None) for i in list(worker.works)))
            self.backend.die(worker)
        assert self.manager.wait(DEADLINE)
