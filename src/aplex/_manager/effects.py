"""Carries out what the pool and the escalation want, but for sending: starts, stops, kills, timers.

All but `Effects.call_later` happens within a step, under the manager's lock, of which nothing
here knows: what is to happen later is handed to `step`, a function.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from aplex._backends.contract import Backend
from aplex._backends.listener import Listener
from aplex._common.errors import WorkerStartError
from aplex._pool.escalation import Escalation
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, WorkerState

_log = logging.getLogger("aplex")
MOST_TOLD: Final = 1000
"""Places that were warned of and are remembered; of further ones nobody is warned."""
STALLED: Final = (
    "%s (%s:%d) blocks the event loop of worker %d (%s), for %.1f s by now: all other coroutines "
    "of the worker wait. Make it a plain function, or await asyncio.to_thread(…). "
    "(slow_callback=None turns this off.) It is here:\n%s"
)
Step = Callable[[Callable[[], None]], None]
"""Takes an event in as a step of its own."""


class Effects:
    """Carries out effects, each exactly once, also if a signal handler raises in between."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        listener: Listener,
        step: Step,
        *,
        exit_grace: float,
        start_timeout: float | None,
    ) -> None:
        """Have nothing to carry out yet.

        Args:
            pool: What wants workers started and stopped.
            backend: What starts and stops them.
            listener: What keeps the timers.
            step: Called on the listener's thread with what is to be done later.
            exit_grace: Seconds in which a worker that was asked to stop must end.
            start_timeout: Seconds in which a worker must be ready. None: any time.
        """
        self._pool = pool
        self._backend = backend
        self._listener = listener
        self._step = step
        self._exit_grace = exit_grace
        self._start_timeout = start_timeout
        self.escalation = Escalation(pool, backend.running)
        self._told: set[tuple[str, int]] = set()  # files and lines that block event loops
        self._timer_at = math.inf  # monotonic; for when the escalation's next timer is set

    def start_and_stop(self) -> None:
        """Start the workers that the pool wants, and stop those it wants no more."""
        # Each is removed only after it was done: a signal handler may raise in between.
        pool = self._pool
        starts = bool(pool.to_start)
        while pool.to_start:
            worker = pool.to_start[0]
            self._backend.start(worker)
            pool.to_start.pop(0)
            if not self._backend.waits_for_places:
                self.time_start(worker)
        if starts:  # nobody may be waiting for these workers: the listener sees them get ready
            self._backend.arm()
        while pool.stalls:
            # Not here, with the lock: a handler of the user's may do anything.
            self._listener.call_soon(partial(self._say_stalled, *pool.stalls[-1]))
            pool.stalls.pop()
        while pool.pauses:
            seconds, then = pool.pauses[-1]
            self.call_later(seconds, partial(self._step, then))
            pool.pauses.pop()
        if pool.to_stop:
            self.call_later(self._exit_grace, partial(self.kill, list(pool.to_stop)))
        while pool.to_stop:
            self._backend.stop(pool.to_stop[0])
            pool.to_stop.pop(0)

    def time_start(self, worker: PoolWorker) -> None:
        """Have a worker killed that does not become ready in time, from now on."""
        if self._start_timeout is not None:
            late = partial(self._start_too_late, worker, self._start_timeout)
            self.call_later(self._start_timeout, late)

    def stop_functions(self) -> None:
        """Carry out what the escalation has decided; have it look again when it wants to."""
        # Each is removed only after it was done: a signal handler may raise in between.
        escalation = self.escalation
        while escalation.interrupts:
            self._backend.interrupt(*escalation.interrupts[0])
            escalation.interrupts.pop(0)
        while escalation.kills:
            worker, seq, why = escalation.kills[0]
            if self._backend.kill_at(worker, seq):
                worker.why_killed = why
            escalation.kills.pop(0)
        first = escalation.first
        if first < self._timer_at:
            self.call_later(first - time.monotonic(), self._escalate)
            self._timer_at = first
        escalation.changed = False

    def kill(self, workers: Iterable[PoolWorker]) -> None:
        """Kill workers, some of which may have ended meanwhile."""
        for worker in workers:
            self._backend.kill(worker)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have the listener make a call after that time; never, if it is infinite."""
        when = time.monotonic() + seconds
        self._listener.call_soon(partial(self._listener.call_at, when, call))

    def _escalate(self) -> None:
        """Have the escalation look at what is due. On the listener's thread."""

        def look() -> None:
            self._timer_at = math.inf
            self.escalation.check_due(time.monotonic())

        self._step(look)

    def _say_stalled(self, worker: PoolWorker, stall: tuple[float, str, str, int, str]) -> None:
        """Warn of what blocks the event loop of a worker, once for each place."""
        seconds, name, file, line, stack = stall
        if (file, line) in self._told or len(self._told) >= MOST_TOLD:
            return
        self._told.add((file, line))
        where = f"slot {worker.index}" + (f", pid {worker.pid}" if worker.pid else "")
        _log.warning(STALLED, name, file, line, worker.id, where, seconds, stack.rstrip())

    def _start_too_late(self, worker: PoolWorker, seconds: float) -> None:
        """Kill a worker that does not become ready: its end then counts as a failed start."""

        def kill() -> None:
            if worker.state is not WorkerState.STARTING:
                return
            worker.failure = WorkerStartError(
                f"worker {worker.id} did not become ready within {seconds:g} s (start_timeout): "
                "its imports, its initializer or the entry of its lifespan did not end"
            )
            # Under the lock: released, it could be ready, and given works, just before it dies.
            self._backend.kill(worker)

        self._step(kill)
