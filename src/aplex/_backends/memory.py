"""A back end for tests, whose workers exist only in memory.

It starts nothing. A test sees what was sent to each worker, and plays the worker's part: it lets
it be ready, report, and die. The smallest example of the contract.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from aplex._backends.contract import Backend, Death, Setup
from aplex._common.errors import AplexWorkerError
from aplex._common.messages import COROUTINE, LANES, READY, Report
from aplex._common.requests import Cancel, Credit
from aplex._pool.state import PoolWorker, Work


class MemoryBackend(Backend):
    """Records what it is asked for, and reports what a test tells it to.

    Attributes:
        started: Workers that were to be started, in order.
        stopped: Workers that were asked to end.
        killed: Workers that were to be killed.
        sent: What was sent to each worker, works, cancels and credits, in order.
        interrupted: Workers and numbers of functions that were to be interrupted.
        runs: What a worker runs, and since when; a test sets it.
    """

    def __init__(self, setup: Setup | None = None) -> None:
        """Have no worker yet; `setup` is only kept."""
        self.setup = setup
        self.started: list[PoolWorker] = []
        self.stopped: list[PoolWorker] = []
        self.killed: list[PoolWorker] = []
        self.sent: dict[PoolWorker, list[Work | Cancel | Credit]] = {}
        self.interrupted: list[tuple[PoolWorker, int]] = []
        self.runs: dict[PoolWorker, tuple[int, float]] = {}
        self.closed = False

    can_interrupt = True

    # -- the worker's part, played by a test ----------------------------------

    def ready(self, worker: PoolWorker, pid: int | None = None) -> None:
        """Let a worker serve."""
        self.report(worker, (0, READY, pid))

    def report(
        self, worker: PoolWorker, *reports: Report, lane: int = COROUTINE, seconds: float = 0.0
    ) -> None:
        """Let a worker report."""
        self.events.receive(worker, lane, lambda: deque([(seconds, list(reports), [], [], [], [])]))

    def die(
        self,
        worker: PoolWorker,
        started: tuple[int, int] = (0, 0),
        error: AplexWorkerError | None = None,
    ) -> None:
        """Let a worker end, having started so many works of each lane."""
        self.events.lost(worker, lambda: Death(started, error, None))

    # -- the contract ---------------------------------------------------------

    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Return the call as it is: nothing travels."""
        return work, (args, kwargs)

    def start(self, worker: PoolWorker) -> None:
        """Record it."""
        self.started.append(worker)
        self.sent[worker] = []

    def send(self, worker: PoolWorker) -> None:
        """Record what is in the worker's outboxes, and empty them."""
        for lane in LANES:
            self.sent[worker] += worker.outboxes[lane]
            worker.outboxes[lane] = []
        self.sent[worker] += worker.cancels
        worker.cancels.clear()
        self.sent[worker] += worker.recalls
        worker.recalls.clear()
        self.sent[worker] += worker.credits
        worker.credits.clear()

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        """Return what a test has set in ``runs``."""
        return self.runs.get(worker, (0, 0.0))

    def has_started(self, worker: PoolWorker, seq: int) -> bool:
        """Whether ``runs`` says so."""
        return self.running(worker)[0] >= seq

    def interrupt(self, worker: PoolWorker, seq: int) -> None:
        """Record it."""
        self.interrupted.append((worker, seq))

    def kill_at(self, worker: PoolWorker, seq: int) -> bool:
        """Record that the worker was killed, if the function runs."""
        if self.running(worker)[0] == seq:
            self.killed.append(worker)
            return True
        return False

    def stop(self, worker: PoolWorker) -> None:
        """Record it."""
        self.stopped.append(worker)

    def kill(self, worker: PoolWorker) -> None:
        """Record it; the worker dies when the test lets it."""
        self.killed.append(worker)

    def owns_current_thread(self) -> bool:
        """Return False: no thread runs a worker."""
        return False

    def close(self) -> None:
        """Record it."""
        self.closed = True

    def break_down(self) -> None:
        """Record that all workers were killed."""
        self.killed += [worker for worker in self.started if worker not in self.killed]
        self.close()
