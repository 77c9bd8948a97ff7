"""The contract of a back end: what the Manager asks of it, and what it reports.

A back end is only transport. It starts workers where it wants, carries their outboxes there and
their reports back, and notices their end. It decides nothing.

A first back end implements the nine abstract methods of `Backend`, and is complete. Two parts are
optional; each is overridden as a whole, or not at all:

* `StopsFunctions`: plain functions that run can be interrupted, and a worker killed in one;
* `ReadByCallers`: threads and event loops that wait for results read the reports themselves,
  which saves a hand-over from the listener's thread.

`memory.MemoryBackend` is the smallest one.

Rules:

* The Manager calls every method under its lock, except where said; none may
  block, and none may run users' code.
* The back end reports by the methods of `Events`, from any thread, not under
  any lock of its own. For each worker it reports, in this order: ``READY`` (or
  ``FAILED``), outcomes, and exactly one ``lost`` - also for a worker that was
  asked to stop, also for one that never started.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from aplex._backends.listener import Listener
from aplex._common.messages import Reports
from aplex._common.resident import resident
from aplex._pool.state import Death, PoolWorker, Work
from aplex._wire.past import Part

if TYPE_CHECKING:
    from aplex._common.sharing import Share
    from aplex._worker.lifespan import Surroundings

__all__ = ["Backend", "Death", "Events", "ReadByCallers", "Setup", "StopsFunctions"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What every worker of a pool is started with."""

    name: str
    worker_loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    surroundings: Surroundings | None = None
    forward_logs: bool | None = None
    slow_callback: float | None = None  # seconds


class Events(Protocol):
    """What a back end reports."""

    def receive(self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]) -> None:
        """Call ``read`` under the Manager's lock, take in what it returns, and empty it."""

    def lost(self, worker: PoolWorker, examine: Callable[[], Death]) -> None:
        """Note that a worker has ended; ``examine`` is called under the lock."""

    def placed(self, worker: PoolWorker, node: str | None) -> None:
        """Note that a worker has its place, where it may have waited for one (`waits_for_places`).

        Args:
            worker: Whose start is timed from now on.
            node: The machine, if it is known, and not this one.
        """

    def looked(self, worker: PoolWorker, running: tuple[int, float]) -> None:
        """Note what a worker runs, as `Backend.running` returns it, where that may have been old.

        Comes after each call of `Backend.running`.
        """

    def leaving(self, worker: PoolWorker) -> None:
        """Note that a worker is to go soon: another one is started, and it finishes what runs."""

    def capacity(self, count: int) -> None:
        """Note for how many workers there are places, where the pool is to have so many."""

    def locked(self, call: Callable[[], None]) -> None:
        """Make a call under the Manager's lock."""

    def after_step(self, call: Callable[[], None]) -> None:
        """Make a call when the step is over, with no lock, in the thread that takes the step.

        If a signal handler breaks into the call, it is made again.
        """

    def failed(self, error: BaseException) -> None:
        """Break the pool: there is a bug, seen in any thread."""


class StopsFunctions:
    """Optional part: stops plain functions that run. As it is here, it stops none."""

    can_interrupt: ClassVar[bool] = False
    """Whether ``interrupt`` and ``kill_at`` stop plain functions that run."""

    def has_started(self, worker: PoolWorker, seq: int) -> bool:  # noqa: ARG002
        """Whether a worker has started its plain function of that number, as ``running`` knows.

        False where it is not known.
        """
        return False

    def look(self, worker: PoolWorker | None = None) -> None:
        """Have what is known of a worker, or of all, fresh, where it may be old.

        And what they were told before, has arrived. Unlocked; may wait, for a moment.
        """

    def interrupt(self, worker: PoolWorker, seq: int) -> None:
        """Interrupt the plain function of that number, if it runs."""

    def kill_at(self, worker: PoolWorker, seq: int) -> bool:  # noqa: ARG002
        """Kill a worker, if the plain function of that number is the one that runs.

        Returns:
            Whether it is. No function that had not started is started any more then. Where that is
            decided on another machine: whether it was asked.
        """
        return False


class ReadByCallers:
    """Optional part: callers read the reports. As it is here, only the listener reads."""

    patience: float | None = None
    """Seconds after which the listener reads what a coroutine that was sent alone has to say,
    if nobody waits for it. None: that has nothing to say before its result, or it is read."""

    def read_in(self, loop: asyncio.AbstractEventLoop | None) -> bool:  # noqa: ARG002
        """Let that running loop read the reports from now on; None: the listener.

        Returns:
            Whether the loop can.
        """
        return False

    def read_until(
        self, done: Callable[[], bool], end: float | None, quiet: Callable[[], bool]
    ) -> None:
        """Read reports in this thread until ``done()`` or the monotonic time ``end``.

        Called unlocked. May return at any time, at once where only the listener reads.
        If ``quiet()`` then, no report is to come before works are sent.
        """

    def arm(self) -> None:
        """Have the listener read: somebody waits who does not call ``read_until``."""

    def wake(self) -> None:
        """Have ``read_until`` in another thread look at ``done()``: futures were settled."""

    def resume(self) -> None:
        """Report what was read and not taken in, as a signal handler raised. Unlocked."""

    def leads(self) -> bool:
        """Whether the caller is in a thread that is in ``read_until``."""
        return False

    def is_broken_into(self) -> bool:
        """Whether the caller is a signal handler, or a finalizer, in the middle of our code.

        Then the thread may have what others need: they would wait for it.
        """
        return False


def _never(_work_id: int) -> int:
    return 0


class Backend(StopsFunctions, ReadByCallers, ABC):
    """Starts workers and talks to them."""

    can_kill: ClassVar[bool] = True
    """Whether ``kill`` ends a worker."""
    shares_early: ClassVar[bool] = False
    """Whether what is shared has to be taken care of before there is a work."""
    waits_for_places: ClassVar[bool] = False
    """Whether a worker may wait for a place; its start is timed from `Events.placed` on."""
    in_threads: ClassVar[bool] = False
    """Whether works run in threads of this process, and may wait for works."""
    tells_sent: ClassVar[bool] = False
    """Whether the back end itself calls ``tell_sent``, with the columns that it sends."""
    events: Events
    listener: Listener
    tell_sent: Callable[[PoolWorker, int, Sequence[int], Sequence[Work]], None] | None = None
    """While somebody records: is told the worker, the lane, numbers of works, and the works, just
    before they are sent, under the lock."""

    def bind(self, events: Events, listener: Listener) -> None:
        """Tell where to report, and which listener waits for channels. Called once."""
        self.events = events
        self.listener = listener

    # -- the nine methods that every back end has ------------------------------

    @abstractmethod
    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Return the function and the call in the form that travels. Called unlocked.

        Raises:
            SerializationError: They cannot travel.
        """

    @abstractmethod
    def start(self, worker: PoolWorker) -> None:
        """Begin to start a worker; return at once."""

    @abstractmethod
    def send(self, worker: PoolWorker) -> None:
        """Send what is in the worker's outboxes, and empty them."""

    @abstractmethod
    def running(self, worker: PoolWorker) -> tuple[int, float]:
        """Return the number of the plain function that runs in a worker, and since when.

        The number is that of the work's ``seq``, the time that of ``time.monotonic``. Zeros
        if none runs. Known without the worker's help: it may not answer. Where that is asked of
        another machine, this is what was known last, and `Events.looked` says when there is more.
        """

    @abstractmethod
    def stop(self, worker: PoolWorker) -> None:
        """Ask an idle (or starting) worker to clean up and end."""

    @abstractmethod
    def kill(self, worker: PoolWorker) -> None:
        """End a worker by force, where that is possible. With the lock, or without."""

    @abstractmethod
    def owns_current_thread(self) -> bool:
        """Whether the caller runs in a worker, so that waiting for it would never end."""

    @abstractmethod
    def close(self) -> None:
        """Free everything, after the last worker was reported lost. Called unlocked."""

    @abstractmethod
    def break_down(self) -> None:
        """End all workers as far as that can be done, and free everything, after a bug.

        On the listener's thread, which ends. Nothing is reported any more. Called unlocked.
        """

    # -- what has a default ----------------------------------------------------

    submitted: Callable[[int], int] = staticmethod(_never)
    """Tells when a work was submitted, in nanoseconds of the monotonic clock; 0: not known."""

    def inquire(self, worker: PoolWorker, number: int) -> list[Any] | None:  # noqa: ARG002
        """Ask a worker what it does now, without waiting.

        Args:
            worker: Which one.
            number: Comes back as the id of a report `DUMPED`.

        Returns:
            The answer, if it is known at once; see `_worker.stacks`. None: it will be reported,
            if the worker answers.
        """
        return None

    def timings(self) -> list[Part]:
        """Return how long works waited and ran, by function, as each worker has counted it.

        Any thread, without the lock.
        """
        return []

    def check_can_start(self) -> None:
        """Check whether workers can be started in this process at this time.

        Raises:
            RuntimeError: They cannot; says why.
        """

    def send_alone(self, worker: PoolWorker, work: Work) -> None:  # noqa: ARG002
        """Do what ``send`` does, where this work is all that is to be sent."""
        self.send(worker)

    def record(self, level: int) -> None:
        """Have all workers note when works begin and end, see `RECORDING`; 0: no more."""

    def resident(self, worker: PoolWorker) -> int | None:
        """Return how many bytes of memory a worker holds; None if that is not known."""
        return None if worker.pid is None else resident(worker.pid)

    def weigh(self, worker: PoolWorker) -> int | None:
        """Return what `resident` does; or have that looked at, of which `Events.looked` tells."""
        return self.resident(worker)

    def turns(self, worker: PoolWorker) -> tuple[float, float]:  # noqa: ARG002
        """Return for how long the loop of a worker has not waited, and how long turns took lately.

        In seconds; known without the worker's help. Zeros where it is not known. May be called
        without the lock.
        """
        return 0.0, 0.0

    @property
    def cluster_away(self) -> str | None:
        """Why no worker can be started now, where a cluster starts them, and is away."""
        return None

    def began(self) -> None:
        """Note that a worker is ready, and has not ended a work yet. May come more than once."""

    def share(self, obj: Any) -> Share:
        """Take an object that is to be shared with the workers. Any thread; called unlocked.

        Returns:
            What keeps it shared. `encode` puts the object, or what stands for it, in the place of
            its handle.

        Raises:
            SerializationError: It cannot travel.
        """
        raise NotImplementedError

    def served(self) -> None:
        """Note that a worker has ended its first work."""

    def terminate(self, worker: PoolWorker) -> None:
        """Ask a worker to end at once, whatever it does."""
        self.kill(worker)

    def runs_current_thread(self) -> bool:
        """Whether the caller is a work of this pool."""
        return False

    def function_here(self) -> tuple[PoolWorker, int] | None:
        """Return the worker whose plain function the caller is, and its number; else None."""
        return None

    def renew_after_fork(self) -> None:
        """In a forked child: share nothing with the parent; no worker was started there."""

    def abandon_after_fork(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""
