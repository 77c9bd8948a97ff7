"""Workers as threads: two of them each, one for the event loop, one for functions.

Nothing is pickled: works, arguments and results are shared objects. A thread
cannot be killed, so ``kill`` does nothing; the threads are daemons and do not
outlive the program.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from aplex._backends.contract import Backend, Death, Events, Setup
from aplex._backends.thread.worker import Recall, ThreadWorker
from aplex._common.errors import WorkerStartError
from aplex._common.identity import this_pool
from aplex._common.messages import COROUTINE, PLAIN, RECORDING
from aplex._common.requests import Cancel, Credit
from aplex._common.threads import OnceThread
from aplex._pool.state import PoolWorker
from aplex._wire.counters import running_in, turns_in
from aplex._wire.past import Part, Past, timings_of
from aplex._worker.green_threads import check_program
from aplex._worker.thread_shares import resolved, share
from aplex.handles import MADE

if TYPE_CHECKING:
    from aplex._common.sharing import Share


class ThreadBackend(Backend):
    """Starts workers that are threads of this process."""

    can_kill = False
    in_threads = True

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._workers: dict[PoolWorker, ThreadWorker] = {}
        self._ending: list[OnceThread] = []  # of workers that are gone
        self.past = Past()
        self.recording = 0

    def inquire(self, worker: PoolWorker, number: int) -> list[Any] | None:  # noqa: ARG002
        threads = self._workers.get(worker)
        return [] if threads is None else list(threads.rows())

    def timings(self) -> list[Part]:
        workers = self._workers
        return timings_of(lambda: [one.page for one in list(workers.values())], self.past)

    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        if MADE:  # else there are no handles of shared objects
            work, args, kwargs = resolved(self, (work, args, kwargs))
        return work, (args, kwargs, copy_context())

    def share(self, obj: Any) -> Share:
        return share(self, obj)

    def check_can_start(self) -> None:
        check_program(forks=False)

    def start(self, worker: PoolWorker) -> None:
        if worker not in self._workers:  # else Ctrl-C broke into this very method
            bury = partial(self._bury, worker)
            threads = self._make_worker(worker, self.events, bury)
            threads.started[RECORDING] = self.recording
            self._workers[worker] = threads
        # Not here, with the lock: see `OnceThread.start`.
        self.events.after_step(partial(self._launch, worker, self._workers[worker]))

    def _make_worker(
        self, worker: PoolWorker, events: Events, bury: Callable[[], Death]
    ) -> ThreadWorker:
        return ThreadWorker(self, self._setup, worker, events, bury)

    def _launch(self, worker: PoolWorker, threads: ThreadWorker) -> None:
        try:
            threads.start()
        except RuntimeError as error:  # there can be no more threads
            if not threads.give_up():  # it has begun, or another call has found out the same
                return
            failure = WorkerStartError(f"a worker thread could not be started: {error}")
            failure.__cause__ = error
            self.events.lost(worker, partial(self._bury, worker, failure))

    def _bury(
        self, worker: PoolWorker, failure: WorkerStartError | None = None, *, joined: bool = True
    ) -> Death:
        """Forget a worker; its threads run their last lines. Under the Manager's lock."""
        self._ending = [thread for thread in self._ending if thread.is_alive()]
        gone = self._workers.pop(worker)
        self.past.add(gone.page)
        if joined:
            self._ending += gone.threads
            gone.page.close()
        return Death((0, 0), None, failure)

    def send(self, worker: PoolWorker) -> None:
        threads = self._workers[worker]
        plain, coroutines = worker.outboxes[PLAIN], worker.outboxes[COROUTINE]
        asked: list[Cancel | Recall | Credit] = [
            *worker.cancels,
            *(Recall(*recall) for recall in worker.recalls),
            *worker.credits,
        ]
        for works in (plain, coroutines):
            submitted = self.submitted(works[0].id) if works else 0
            for work in works:
                work.submitted = submitted
        # No call until all of them are emptied: a signal handler may raise after any, and what
        # was to be sent must be in an outbox or in an inbox, not in both and not in neither.
        threads.plain_inbox += plain
        threads.inbox += coroutines
        threads.inbox += asked
        worker.outboxes[PLAIN] = []
        worker.outboxes[COROUTINE] = []
        worker.cancels = []
        worker.recalls = []
        worker.credits = []
        threads.wake(plain=bool(plain), loop=bool(coroutines or asked))

    def resume(self) -> None:
        for threads in list(self._workers.values()):
            self.events.locked(partial(threads.wake, plain=True, loop=bool(threads.inbox)))

    def record(self, level: int) -> None:
        self.recording = level
        for threads in self._workers.values():
            threads.started[RECORDING] = level

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        threads = self._workers.get(worker)
        return (0, 0.0) if threads is None else running_in(threads.started)

    def turns(self, worker: PoolWorker) -> tuple[float, float]:
        threads = self._workers.get(worker)
        return (0.0, 0.0) if threads is None else turns_in(threads.started, time.monotonic())

    def has_started(self, worker: PoolWorker, seq: int) -> bool:
        threads = self._workers.get(worker)
        return threads is not None and threads.started[PLAIN] >= seq

    def stop(self, worker: PoolWorker) -> None:
        if worker in self._workers:
            self._workers[worker].stop()

    def kill(self, worker: PoolWorker) -> None:
        """Leave a worker alone that hangs in its lifespan; nothing else can be ended."""
        threads = self._workers.get(worker)
        if threads is not None and threads.abandon():
            self.listener.call_soon(
                partial(self.events.lost, worker, partial(self._bury, worker, joined=False))
            )

    def owns_current_thread(self) -> bool:
        return this_pool() is self

    def runs_current_thread(self) -> bool:
        return self.owns_current_thread()

    def function_here(self) -> tuple[PoolWorker, int] | None:
        me = threading.get_ident()
        for worker, threads in self._workers.items():
            if threads.threads[0].ident == me:
                seq, since = running_in(threads.started)
                return (worker, seq) if seq and since else None
        return None  # a thread of an event loop, which others need

    def close(self) -> None:
        assert not self._workers
        for thread in self._ending:
            thread.join()
        self._ending.clear()

    def abandon_after_fork(self) -> None:
        for threads in self._workers.values():
            threads.be_copy()

    def break_down(self) -> None:
        for threads in list(self._workers.values()):
            threads.stop()  # they end when they have done what they do
