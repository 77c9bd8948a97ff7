"""Supervision: how many workers there are, and what follows from the death of one.

Rules of this file: logic only, as in ``_pool.pool``. Time comes in as a number; a restart that has
to wait goes out as a number of seconds, and comes back in as ``restart_due``.

A worker is *starting*, then *serving*, then *stopping*, then *gone*. One that is to go while
the pool stays is *retiring* before it stops: it gets no more works and finishes those it has.
It is in ``leaving`` then, where no load balancer sees it.

How failed starts are counted, after the restart intensity of OTP's supervisors
(https://www.erlang.org/doc/system/sup_princ.html): a worker that ends before it has served is
a failed start. The first is made good at once, further ones in a row after pauses that double.
After ``max_restarts`` of them no more are tried, unless a worker serves: then a pool stays open
for ever, and tries on. A work that was served, or ``restart_window`` seconds in which no start
failed, end the row. Unlike OTP's, the window does not count the time that a start itself takes:
else starts that fail slowly would be tried for ever.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aplex._pool.worker import PoolWorker

FIRST_PAUSE: Final = 0.1
"""Seconds before the second restart in a row; the first is made at once."""
LONGEST_PAUSE: Final = 30.0
"""Seconds; pauses grow to this."""


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    RETIRING = "retiring"
    STOPPING = "stopping"
    GONE = "gone"


STAYING: Final = (WorkerState.STARTING, WorkerState.SERVING)
"""States of a worker that works may wait for."""


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker."""

    started: tuple[int, int]  # how many works it had started, per lane
    error: BaseException | None  # what to tell the works it had started
    reason: BaseException | None  # why it never served, if that is known
    uptime: float | None = None  # seconds it lived; None: unknown


class RestartPolicy:
    """Decides when the place of a worker that never served is filled again."""

    __slots__ = ("_last_failure", "_restarts", "failures", "max_restarts", "window")

    def __init__(self, max_restarts: int = 3, window: float = 5.0) -> None:
        self.max_restarts = max_restarts  # in a row
        self.window = window  # seconds
        self.failures = 0  # failed starts in a row
        self._restarts = 0  # of those, made good, or about to be
        self._last_failure = float("-inf")

    @property
    def exhausted(self) -> bool:
        """Whether all restarts are used up."""
        return self._restarts >= self.max_restarts

    def failed(self, began: float, now: float) -> None:
        """Count a failed start, begun and ended at these times."""
        if began - self._last_failure > self.window:
            self.succeeded()
        self._last_failure = now
        self.failures += 1

    def succeeded(self) -> None:
        """End the row of failures."""
        self.failures = self._restarts = 0

    def restart(self) -> float:
        """Count a restart; return after how many seconds to make it."""
        self._restarts += 1
        if self._restarts == 1:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** min(self._restarts - 2, 32), LONGEST_PAUSE)


class Workforce(ABC):
    """The workers of a pool, without their works."""

    def __init__(self, size: int, policy: RestartPolicy, max_tasks_per_child: int | None) -> None:
        self.size = size
        self.policy = policy
        self.max_tasks_per_child = max_tasks_per_child
        self.workers: list[PoolWorker] = []  # in place: the load balancer's view shows this list
        self.leaving: list[PoolWorker] = []  # retiring, or asked to stop since
        self._starting = 0  # of the workers
        self._pauses = 0  # restarts that wait for their time
        self._worker_ids = 0
        # Effects, taken by the Manager.
        self.to_start: list[PoolWorker] = []
        self.to_stop: list[PoolWorker] = []
        # Seconds, and what is to be called after them.
        self.pauses: list[tuple[float, Callable[[], None]]] = []

    # -- what the Pool adds ---------------------------------------------------

    @property
    @abstractmethod
    def wants_workers(self) -> bool:
        """Whether there may be works for a new worker."""

    @abstractmethod
    def _make_worker(self, number: int) -> PoolWorker: ...

    @abstractmethod
    def _refresh(self, worker: PoolWorker) -> None:
        """Note whether the worker can take one more work."""

    @abstractmethod
    def _share(self) -> None:
        """Adapt to how many workers are starting."""

    @abstractmethod
    def _give_back(self, worker: PoolWorker) -> None:
        """Let works that wait for this worker wait for any."""

    @abstractmethod
    def dispatch(self) -> None:
        """Give waiting works to workers with room."""

    # -- events ---------------------------------------------------------------

    def open(self) -> None:
        """Begin to start the workers that are missing."""
        while self._missing() > 0:
            self.workers.append(self._new_worker())

    def resize(self, size: int) -> None:
        """Have another number of workers: start some, or retire some."""
        self.size = size
        self._fit()
        self.dispatch()

    def restart_due(self) -> None:
        """Make a restart whose pause is over, if it is still wanted."""
        self._pauses -= 1
        if self._missing() > 0:
            self.workers.append(self._new_worker())

    # -- decisions ------------------------------------------------------------

    def everyone(self) -> Iterator[PoolWorker]:
        """Those that serve, or will, and those that are leaving."""
        yield from self.workers
        yield from self.leaving

    def _missing(self) -> int:
        """How many workers to start. One that is worn out serves until another can."""
        if not self.wants_workers:
            return 0
        worn = sum(worker.worn for worker in self.workers)
        return self.size + worn - len(self.workers) - self._pauses

    def _fit(self) -> None:
        """Retire who is one too many, start who is missing."""
        while len(self.workers) - sum(worker.worn for worker in self.workers) > self.size:
            self._retire(min(self.workers, key=_worth))
        serving = sum(worker.state is WorkerState.SERVING for worker in self.workers)
        for worker in [worker for worker in self.workers if worker.worn]:
            if serving > self.size:
                self._retire(worker)
                serving -= 1
        self.open()

    def _ready(self, worker: PoolWorker, pid: int | None) -> None:
        """Let a started worker serve."""
        worker.pid = pid
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.SERVING
            self._started()
            self._refresh(worker)
            if len(self.workers) > self.size:
                self._fit()

    def _serves(self, worker: PoolWorker) -> None:
        """A worker has ended its first work: workers can be started here."""
        worker.served = True
        self.policy.succeeded()
        self.open()

    def _reported(self, worker: PoolWorker) -> None:
        """A worker that retires, or may be worn out, has reported works."""
        if worker.state is WorkerState.RETIRING:
            self._stop_if_idle(worker)
        elif (
            self.max_tasks_per_child is not None
            and worker.works_done >= self.max_tasks_per_child
            and worker.state is WorkerState.SERVING
            and not worker.worn
        ):
            worker.worn = True
            self._fit()

    def _retire(self, worker: PoolWorker) -> None:
        """Give a worker no more works; stop it when it has done those it has."""
        was = worker.state
        self.leaving.append(worker)
        worker.state = WorkerState.RETIRING
        self.workers.remove(worker)
        if was is WorkerState.STARTING:
            self._started()
        self._refresh(worker)
        self._give_back(worker)
        self._stop_if_idle(worker)

    def _stop_if_idle(self, worker: PoolWorker) -> None:
        if not worker.works:
            self.to_stop.append(worker)  # first: nothing mends a worker never told
            worker.state = WorkerState.STOPPING

    def _started(self) -> None:
        """One worker fewer is starting."""
        self._starting -= 1
        self._share()

    def _new_worker(self) -> PoolWorker:
        self._worker_ids += 1
        self._starting += 1
        worker = self._make_worker(self._worker_ids)
        self.to_start.append(worker)
        return worker

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
            self.workers.insert(place, self._new_worker())

    def _anyone_serves(self) -> bool:
        return any(worker.state is WorkerState.SERVING for worker in self.workers)

    def _mend_workers(self) -> None:
        """Finish a start or a retirement that Ctrl-C has broken into. Then ``_fit``."""
        everyone = list(self.everyone())
        self.to_start = [worker for worker in self.to_start if worker in everyone]
        for worker in self.leaving:
            if worker in self.workers:
                self.workers.remove(worker)
            if worker.state not in (WorkerState.STOPPING, WorkerState.GONE):
                worker.state = WorkerState.RETIRING
                self._give_back(worker)
                if worker not in self.to_stop:
                    self._stop_if_idle(worker)
                elif not worker.works:
                    worker.state = WorkerState.STOPPING
        self._starting = sum(worker.state is WorkerState.STARTING for worker in self.workers)


def _worth(worker: PoolWorker) -> tuple[int, int]:
    """Order workers by how much is lost with them; of equal ones the first goes.

    Of those that start it is the newest: the oldest will be ready next. If that one went, a pool
    that is resized faster than workers start would never have one that serves.
    """
    if worker.state is WorkerState.STARTING:
        return 0, -worker.id
    return (1 if worker.worn else 2), worker.workload
