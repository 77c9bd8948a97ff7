"""Workers whose plain functions run in the thread that submits them, or that waits for them.

Such a worker is one of threads in all else: coroutines run on the worker's event loop, and so do
asynchronous streams; streams of plain generators run in the worker's thread.

A batch of functions is *offered* to the threads that submit or wait. They are rung, and the first
to look runs it. Where none is left, the worker's own thread does: so is it with maps that are
awaited, and with what waits for a rate and comes when nobody looks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from aplex._backends.contract import Death, Events, Setup
from aplex._backends.thread.backend import ThreadBackend
from aplex._backends.thread.worker import ThreadWorker
from aplex._common.identity import acting_as
from aplex._common.messages import Reports
from aplex._pool.state import PoolWorker, Work
from aplex._testing.prompt import PromptManager
from aplex._wire.counters import running_in

Loop = asyncio.AbstractEventLoop
Done = Callable[[], bool]


class Desk:
    """Where workers offer what is to be run, and threads come to run it."""

    def __init__(self) -> None:
        self._offers: deque[InlineWorker] = deque()
        self._callers: list[SimpleQueue[None]] = []  # rung when there is something to look at

    def offer(self, worker: InlineWorker) -> None:
        """Have what has come to a worker run: by a thread at the desk, or by its own."""
        self._offers.append(worker)  # before the look: a caller that leaves looks after it has left
        self.ring()
        if not self._callers:
            self._hand_over()

    def ring(self) -> None:
        """Have the callers look again."""
        for caller in list(self._callers):
            caller.put(None)

    @contextmanager
    def caller(self) -> Generator[Callable[[Done, float | None], None]]:
        """Be at the desk; get what runs offers until something is done, or its time is over."""
        bell: SimpleQueue[None] = SimpleQueue()
        self._callers.append(bell)
        try:
            yield lambda done, end: self._run_until(bell, done, end)
        finally:
            self._callers.remove(bell)
            if not self._callers:
                self._hand_over()

    def _run_until(self, bell: SimpleQueue[None], done: Done, end: float | None) -> None:
        while not done():
            if self._offers:
                self._run_one()
                continue
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            try:
                bell.get(timeout=left)
            except Empty:
                return

    def _run_one(self) -> None:
        try:
            worker = self._offers.popleft()
        except IndexError:  # another thread was faster
            return
        worker.run_here()

    def _hand_over(self) -> None:
        """Leave the offers to the workers' own threads."""
        while self._offers:
            try:
                self._offers.popleft().run_there()
            except IndexError:
                return


class InlineBackend(ThreadBackend):
    """Starts workers whose plain functions run in the threads of callers."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.desk = Desk()

    def _make_worker(
        self, worker: PoolWorker, events: Events, bury: Callable[[], Death]
    ) -> ThreadWorker:
        return InlineWorker(self, self._setup, worker, events, bury)

    def read_until(self, done: Done, end: float | None, quiet: Done) -> None:  # noqa: ARG002
        """Run functions in this thread until ``done()``, or the monotonic time ``end``."""
        with self.desk.caller() as run_until:
            run_until(done, end)

    def wake(self) -> None:
        """Have those who wait look whether that is done."""
        self.desk.ring()

    def function_here(self) -> tuple[PoolWorker, int] | None:
        """Return the worker whose function this thread runs, and its number."""
        me = threading.get_ident()
        for worker, threads in self._workers.items():
            if isinstance(threads, InlineWorker) and threads.runner == me:
                seq, since = running_in(threads.started)
                return (worker, seq) if seq and since else None
        return None


class InlineWorker(ThreadWorker):
    """A worker of threads that lets callers run its plain functions.

    Attributes:
        runner: The thread that runs them now, if one does.
    """

    def __init__(
        self,
        pool: InlineBackend,
        setup: Setup,
        worker: PoolWorker,
        events: Events,
        bury: Callable[[], Death],
    ) -> None:
        super().__init__(pool, setup, worker, events, bury)
        self._desk = pool.desk
        self._turn = threading.Lock()  # held by the thread that runs functions
        self.runner: int | None = None

    def wake(self, *, plain: bool, loop: bool) -> None:
        if plain:
            self._events.after_step(self._offer)  # not with the lock: it may run at once
        super().wake(plain=False, loop=loop)

    def _offer(self) -> None:
        if any(work.is_stream for work in list(self.plain_inbox)):  # its reader is to read it
            self.run_there()
        else:
            self._desk.offer(self)

    def run_there(self) -> None:
        """Have the worker's own thread run what has come."""
        self._wakes.put(True)

    def run_here(self) -> None:
        """Run what has come in this thread, as this worker; unless another thread does."""
        # Looks again after it has let go: who came meanwhile has left it to us.
        while self.plain_inbox and self._turn.acquire(blocking=False):
            try:
                self.runner = threading.get_ident()
                with acting_as(self._worker.id, self._pool, lambda: self._here):
                    super()._run_batch()
            finally:
                self.runner = None
                self._turn.release()

    def _run_batch(self) -> None:
        self.run_here()

    def _report(self, lane: int, reports: Reports) -> None:
        super()._report(lane, reports)
        self._desk.ring()


class InlineManager(PromptManager):
    """Takes works in, and has them run before it returns."""

    def submit(self, work: Work, loop: Loop | None = None) -> None:
        """Take a work in, and run functions in this thread until it is done.

        Not for streams, which run beside their reader; nor for a work that submits to its own
        pool, which may have to end first.
        """
        backend = self._backend
        assert isinstance(backend, InlineBackend)
        if work.is_stream or backend.owns_current_thread():
            super().submit(work, loop)
            return
        with backend.desk.caller() as run_until:
            super().submit(work, loop)
            run_until(lambda: work.is_done, None)
