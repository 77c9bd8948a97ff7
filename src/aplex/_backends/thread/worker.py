"""A worker of threads: one for the event loop, one for functions."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import groupby
from operator import attrgetter
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from aplex._backends.contract import Backend, Death, Events, Setup
from aplex._backends.thread.codec import PlainCodec, ThreadCodec
from aplex._common.identity import be_here, be_worker
from aplex._common.messages import (
    COROUTINE,
    FAILED,
    PLAIN,
    READY,
    SINCE,
    SLOW,
    STALLED,
    Reports,
    only,
)
from aplex._common.requests import Cancel, Credit
from aplex._common.threads import OnceThread
from aplex._pool.state import PoolWorker, Work
from aplex._wire.page import ALIVE, SIZE, WorkerPage, is_shown, make_page_file
from aplex._worker.coroutine_lane import CoroutineLane
from aplex._worker.lane import Detached
from aplex._worker.loop_thread import LoopThread
from aplex._worker.loop_watch import LoopWatch, Stall
from aplex._worker.meter import Meter, Names
from aplex._worker.plain_lane import PlainLane
from aplex._worker.producers import Producers
from aplex._worker.stacks import Row, rows_of
from aplex.workers import CurrentWorker

if TYPE_CHECKING:
    from aplex._worker.lifespan import Lifespan


class Recall(NamedTuple):
    """A plain function that is wanted back, in the inbox of the loop's thread."""

    id: int
    seq: int


def _page_of(pool: str, number: int) -> WorkerPage:
    """Return a page that others can read, where there is such; else one of this process."""
    try:
        page = WorkerPage(make_page_file(SIZE) if is_shown() else None)
    except OSError:  # too many open files: it is nothing that works need
        page = WorkerPage(None)
    page.name(pool, number)
    page.seal()
    return page


def _lifespan(setup: Setup, here: CurrentWorker) -> Lifespan | None:
    if setup.surroundings is None:
        return None
    from aplex._worker.lifespan import Lifespan

    return Lifespan(setup.surroundings, here)


class ThreadWorker:
    """The two threads of one worker."""

    def __init__(
        self,
        pool: Backend,
        setup: Setup,
        worker: PoolWorker,
        events: Events,
        bury: Callable[[], Death],
    ) -> None:
        self._pool = pool
        self._bury = bury  # called under the Manager's lock
        self._setup = setup
        self._worker = worker
        self._events = events
        self.plain_inbox: deque[Work] = deque()  # for the main thread
        self.inbox: deque[Work | Cancel | Recall | Credit] = deque()  # for the loop's
        self._wakes: SimpleQueue[bool] = SimpleQueue()  # of the main thread; False: the last one
        name = f"{setup.name}-{worker.id}"
        self._main = OnceThread(partial(self._guarded, self._run_main), name)
        self.threads = [self._main]
        self._loop_thread = LoopThread(self, partial(self._make_loop_thread, f"{name}-loop"))
        self._lane: CoroutineLane | None = None
        self._drain_planned = False
        self.page = _page_of(setup.name, worker.id)
        self.started = self.page.counters
        self.started[SLOW] = int((setup.slow_callback or 0.0) * 1e9)
        self._watch: LoopWatch | None = None
        self._names = Names(self.page)
        self._codec = ThreadCodec(self._names.of_call)
        self._plain_codec = PlainCodec(self._names.of_call, self.started)
        self._producers = Producers()
        self._here = CurrentWorker(
            *(worker.index, name, os.getpid()),
            *(self._loop_thread.want_loop, lambda: worker.works_done),
        )
        self._lifespan = _lifespan(setup, self._here)
        self._kill_wanted = False
        self._abandoned = False
        report = partial(self._report, PLAIN)
        self._plain = PlainLane(
            self._plain_codec,
            self.started,
            report,
            self._adopt_soon,
            None,
            self._producers,
            Meter(self.page, self._names, self.started),
        )

    def _make_loop_thread(self, name: str, run: Callable[[], None]) -> OnceThread:
        thread = OnceThread(partial(self._guarded, run), name)
        self.threads.append(thread)
        return thread

    # -- the caller's side; under the Manager's lock --------------------------

    def start(self) -> None:
        """Start the worker.

        Raises:
            RuntimeError: There can be no more threads.
        """
        self._main.start()

    def rows(self) -> list[Row]:
        """Return what the worker does now."""
        loop_thread = self._loop_thread
        idents = self._main.ident, loop_thread.thread.ident
        return rows_of(self._lane, *idents, self.started[SINCE])

    def give_up(self) -> bool:
        """Have the worker never begin; return False if it has begun, or was given up."""
        return self._main.give_up()

    def wake(self, *, plain: bool, loop: bool) -> None:
        """Have the threads look at what was handed over."""
        if plain:
            self._wakes.put(True)
        if not loop:
            return
        thread = self._loop_thread
        if thread.claim():
            self._events.after_step(thread.launch)  # not with the lock
        if thread.failure is not None:
            self.loop_failed(thread.failure)
        elif thread.loop is not None and not self._drain_planned:
            self._drain_planned = True
            try:
                thread.loop.call_soon_threadsafe(self._drain)
            except BaseException:  # of a signal handler
                self._drain_planned = False
                raise

    def stop(self) -> None:
        """Ask the idle worker to end."""
        self._wakes.put(False)

    def abandon(self) -> bool:
        """Never hear of the worker again, if it is in its lifespan; return whether it is.

        If it comes out of it after all, it ends.
        """
        self._kill_wanted = True
        if self._abandoned or self._lifespan is None or not self._lifespan.busy:
            return False
        self._abandoned = True
        self._wakes.put(False)
        return True

    def be_copy(self) -> None:
        """In a forked child: if a work of ours has forked it, it ends when it leaves the work.

        The main program is not there, so nothing else is left to do.
        """
        if threading.get_ident() == self._main.ident:
            self._plain.be_copy()
        else:
            self._loop_thread.be_copy()

    # -- the main thread ------------------------------------------------------

    def _guarded(self, run: Callable[[], None]) -> None:
        """Run a thread; if it ends by an exception, nobody would ever hear of its works."""
        be_worker(self._worker.id, self._pool)
        be_here(lambda: self._here, whole_process=False)
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - a bug, or a work has broken the loop
            self._events.failed(error)

    def _run_main(self) -> None:
        setup = self._setup
        try:
            self._loop_thread.initialize(
                setup.worker_loop_factory, setup.initializer, setup.initargs
            )
            if self._lifespan is not None and not self._kill_wanted:
                self._lifespan.enter(self._loop_thread.run_coroutine)
        except BaseException as error:  # noqa: BLE001 - the pool says what it was
            self._report(COROUTINE, only((0, FAILED, error)))
        else:
            self._report(COROUTINE, only((0, READY, None)))
            self._serve()
        self._loop_thread.stop()
        if self._watch is not None:
            self._watch.detach()
        if self._lifespan is not None:
            self._lifespan.leave_plain()
        if not self._abandoned:
            self._events.lost(self._worker, self._bury)

    def _adopt_soon(self, work_id: int, made: Detached) -> None:
        context, self._plain_codec.detached = self._plain_codec.detached, None
        self._loop_thread.adopt_soon(work_id, made, context)

    def _serve(self) -> None:
        while self._wakes.get():
            self._run_batch()

    def _run_batch(self) -> None:
        """Run what has come. Nothing of it must live on while there is nothing to do."""
        frames = self._frames()
        while frames:
            self._plain.run(*frames.popleft())

    def _frames(self) -> deque[tuple[list[int], list[Any], list[Any], int]]:
        """Return the works that have come, apart by when they were submitted."""
        batch = [self.plain_inbox.popleft() for _ in range(len(self.plain_inbox))]
        frames: deque[tuple[list[int], list[Any], list[Any], int]] = deque()
        for submitted, group in groupby(batch, attrgetter("submitted")):
            works = list(group)
            functions = [work.function for work in works]
            frames.append(
                ([work.id for work in works], functions, [work.call for work in works], submitted)
            )
        return frames

    # -- the loop: a `Port` ---------------------------------------------------

    def connect(self, loop: asyncio.AbstractEventLoop) -> CoroutineLane:
        """Have coroutine works arrive, those too that wait already."""
        report = partial(self._report, COROUTINE)
        meter = Meter(self.page, self._names, self._codec.counters)
        self._lane = CoroutineLane(
            loop, self._codec, report, self._producers, self.started, meter, self._say_alive
        )
        self._watch = LoopWatch(self.started, self._look_soon, self._tell)
        self._watch.attach(loop, self._lane.numbers, threading.get_ident())
        loop.call_soon(self._drain)
        return self._lane

    def _say_alive(self, count: int) -> None:
        self.started[ALIVE] = count

    def disconnect(self) -> None:
        """Do nothing: a worker that is asked to end is sent nothing more."""

    def leaving(self, lane: CoroutineLane) -> Coroutine[Any, Any, None] | None:
        """Return what leaves the lifespan, if there is one."""
        return None if self._lifespan is None else self._lifespan.leave(lane.running)

    def loop_failed(self, error: BaseException) -> None:
        """Fail the coroutine works: there is no loop to run them."""
        while self.inbox:
            item = self.inbox.popleft()
            if isinstance(item, Work):
                self._report(COROUTINE, only(self._codec.error(item.id, error)))

    def loop_broke(self, error: BaseException, *, stopping: bool) -> None:  # noqa: ARG002
        """Break the pool: the works of this worker would never end."""
        self._events.failed(error)

    def _drain(self) -> None:
        self._drain_planned = False
        lane = self._lane
        assert lane is not None
        begin = lane.beginner()
        assert self._watch is not None
        self._watch.arriving(now=True)
        while self.inbox:
            item = self.inbox.popleft()
            if isinstance(item, Work):
                self.started[COROUTINE] += 1
                lane.frame(1, item.submitted, item.function)
                # Its task copies the context in which it is made.
                item.call[2].run(begin, item.id, item.function, item.call)
            elif isinstance(item, Recall):
                lane.recall(item.id, item.seq, self._plain.skip)
            elif isinstance(item, Credit):
                self._producers.credit(*item)
            else:
                lane.cancel(item.id, item.seq, self._plain.skip)
        self._watch.arriving(now=False)
        lane.flush()

    # -- what blocks the loop; on the listener's thread -------------------------

    def _look_soon(self) -> None:
        self._pool.listener.call_soon(self._look)

    def _look(self) -> None:
        assert self._watch is not None
        try:
            pause = self._watch.look()
        except ValueError:  # its counters were freed just now: it has ended
            return
        if pause is not None:
            self._pool.listener.call_at(time.monotonic() + pause, self._look)

    def _tell(self, stall: Stall) -> None:
        self._report(COROUTINE, only((0, STALLED, stall)))

    def _report(self, lane: int, reports: Reports) -> None:
        self._events.receive(self._worker, lane, lambda: deque((reports,)))
