"""The CoroutineLane: runs works as tasks of the event loop of a worker."""

from __future__ import annotations

import inspect
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, MutableSequence
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeAlias

from aplex._common.messages import (
    CANCELLED,
    DELIVERED,
    RECORDING,
    RETURNED,
    TOO_LATE,
    ReportBatch,
    Reports,
)
from aplex._worker.lane import (
    EAGER,
    HOLD,
    Codec,
    Detached,
    Ending,
    end_after_step,
    end_chunks,
    is_coroutine,
    task_maker,
)
from aplex._worker.meter import LONG, Meter
from aplex._worker.producers import CoroutineProducer, Producer, Producers

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from aplex._worker.times import Times


Timed: TypeAlias = tuple[int, int, int, int] | None
"""Of a work that is measured: what it is, for how many works it stands, when it was submitted,
and when it began."""


class CoroutineLane:
    """Runs works as tasks of one event loop. Used on the loop's thread only.

    Attributes:
        note: If there is one: is told the id of each work, in the context that its tasks will copy.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        codec: Codec,
        send: Callable[[Reports], None],
        producers: Producers,
        started: MutableSequence[int] | memoryview,
        meter: Meter | None = None,
        alive: Callable[[int], object] = int,
    ) -> None:
        """Have no works yet.

        Args:
            loop: Runs them.
            codec: How calls and outcomes travel.
            send: Sends reports.
            producers: The streams of this worker.
            started: The counters, where the parent says whether it records.
            meter: Measures works. None: nobody does.
            alive: Is told how many works have begun and not ended, now and then.
        """
        self._loop = loop
        self._started = started  # the parent says there whether it records
        self._level = 0  # what it has said
        self._times: Times | None = None  # while it does
        self._codec = codec
        self._send = send
        self._producers = producers
        self.note: Callable[[int], object] | None = None
        self._items_sent = 0.0  # when an item of a stream was sent last
        self._tasks: dict[int, tuple[asyncio.Task[Any], int]] = {}  # with when they began
        self._meter = meter
        self._say_alive = alive
        self._count = 0  # of works that came so far
        self._due = sys.maxsize  # number of the next one to be measured
        self._now = 0  # nanoseconds: when the frame came, or the last work that was measured began
        self._batch = ReportBatch()
        self._flush_planned = False
        self._make_task = task_maker(loop)
        # Cancels of plain functions that were running: one may turn out to return
        # a coroutine, which then is on its way here.
        self._late_cancels: deque[int] = deque(maxlen=1024)

    def task_of(self, work_id: int) -> asyncio.Task[Any] | None:
        """Return the task of a work that has not ended, if it is here."""
        return self._tasks.get(work_id, (None, 0))[0]

    @property
    def running(self) -> Collection[asyncio.Task[Any]]:
        """The tasks of works that have not ended."""
        return [task for task, _ in self._tasks.values()]

    def tasks(self) -> list[tuple[int, asyncio.Task[Any], float]]:
        """Return the works that have not ended, their tasks, and when they began. Any thread.

        The times are those of ``time.monotonic``; works of a frame have begun together.
        """
        return [(number, task, began / 1e9) for number, (task, began) in list(self._tasks.items())]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that runs the works."""
        return self._loop

    @property
    def began(self) -> int:
        """When the last work began, or the frame that it came with, in nanoseconds."""
        return self._now

    @staticmethod
    def beginnings() -> tuple[CodeType, ...]:
        """Return the code in whose frames a work begins; ``work_id`` is a variable there."""
        return CoroutineLane.begin.__code__, CoroutineLane._run.__code__

    def frame(self, count: int, submitted: int, function: Any = 0) -> None:
        """Begin a frame of so many works, which were submitted then; the first of this function."""
        before, self._now = self._now, time.monotonic_ns()
        if self._meter is not None:
            idle = self._now - before > LONG
            self._due = self._meter.frame(self._count, count, submitted, function, idle=idle)

    @property
    def numbers(self) -> Collection[int]:
        """The numbers of works that have not ended; always the same collection."""
        return self._tasks

    def begin(self, work_id: int, function: Any, call: Any) -> None:
        """Call a work; a coroutine it returns becomes a task. Call ``flush`` after the last."""
        if self.note is not None:
            self.note(work_id)
        timed: Timed = None
        self._count += 1
        measured = self._count >= self._due
        if measured:
            self._now = time.monotonic_ns()
        try:
            made = self._codec.run(function, call)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            self._failed(work_id, error)
            return
        if measured:
            timed = self._timed()
        if is_coroutine(made):
            self._run(work_id, made, timed=timed)
        elif isinstance(made, CoroutineProducer):
            self._produce(work_id, made, timed)
        elif inspect.isawaitable(made):
            self._run(work_id, _awaited(made), timed=timed)
        else:
            self._put(work_id, made)

    def _timed(self) -> Timed:
        """Return what is known of a work that is to be measured, when it has begun."""
        assert self._meter is not None
        weight, self._due = self._meter.weigh(self._count)
        return self._meter.what(), weight, self._meter.submitted, self._now

    def beginner(self) -> Callable[[int, Any, Any], None]:
        """Return what begins works now: `begin`, which notes times if the parent records."""
        level = self._started[RECORDING]
        if level != self._level:
            self._level = level
            self._times = None
            if level:
                from aplex._worker.times import Times

                self._times = Times(level)
        return self.begin if self._times is None else self._begin_timed

    def _begin_timed(self, work_id: int, function: Any, call: Any) -> None:
        """Begin a work, and note when. What `_begun` does, without its call."""
        now = time.monotonic_ns()
        times = self._times
        assert times is not None
        rows = times.rows
        if rows and not rows[-1]:
            rows[-1] = now
        self.begin(work_id, function, call)
        if work_id in self._tasks:
            times.begun[work_id] = now
        else:
            times.rows += (work_id, now, 0)

    def _begun(self, work_id: int, began: int) -> None:
        """Note when a work began; if it never waited, it ends when the next thing happens."""
        times = self._times
        assert times is not None
        rows = times.rows
        if rows and not rows[-1]:
            rows[-1] = began
        if work_id in self._tasks:
            times.begun[work_id] = began
        else:
            rows += (work_id, began, 0)

    def hold(
        self,
        work_id: int,
        function: Any,
        call: Any,
        there: Coroutine[Any, Any, Any],
        give_up: Callable[[Any], object],
    ) -> None:
        """Begin a work when what it needs is there. Until then it can be cancelled.

        Args:
            work_id: The work.
            function: Of it.
            call: Of it.
            there: Ends when all is there.
            give_up: Is told the call, if it was cancelled.
        """
        task = self._loop.create_task(there)
        self._tasks[work_id] = task, self._now
        task.add_done_callback(partial(self._held, work_id, function, call, give_up))

    def _held(
        self,
        work_id: int,
        function: Any,
        call: Any,
        give_up: Callable[[Any], object],
        there: asyncio.Task[Any],
    ) -> None:
        del self._tasks[work_id]
        if there.cancelled():  # perhaps before its first step: it cannot give up by itself
            give_up(call)
            self._batch.others.append((work_id, CANCELLED, None))
        elif (error := there.exception()) is not None:
            self._failed(work_id, error)
        else:
            begin = self.beginner()
            self._now = time.monotonic_ns()
            begin(work_id, function, call)
        self.flush()

    def adopt(self, work_id: int, made: Detached) -> None:
        """Run a coroutine, or a stream, that a plain function has returned."""
        if self.note is not None:
            self.note(work_id)
        self.beginner()
        self._now = time.monotonic_ns()
        if isinstance(made, CoroutineProducer):
            self._produce(work_id, made)
        else:
            self._run(work_id, made)
        if self._times is not None:
            self._begun(work_id, self._now)
        if work_id in self._late_cancels:
            self._cancel(work_id)
        self.flush()

    def _run(
        self,
        work_id: int,
        coroutine: Coroutine[Any, Any, Any],
        context: Context | None = None,
        timed: Timed = None,
    ) -> None:
        try:
            task = self._make_task(coroutine, context=context)
        except BaseException as error:  # noqa: BLE001 - a task factory, or a first step
            coroutine.close()
            self._failed(work_id, error)
            return
        if task.done():  # it ran eagerly, and never waited
            self._take(work_id, task)
            if timed is not None:
                self._measure(*timed)
            return
        self._tasks[work_id] = task, self._now
        # The outcome is taken here and not in a coroutine around the work: a task
        # that is cancelled before its first step never enters its coroutine.
        task.add_done_callback(partial(self._ended, work_id, timed))

    def _produce(self, work_id: int, producer: CoroutineProducer, timed: Timed = None) -> None:
        """Run a stream as a task."""
        self._producers.add(work_id, producer)
        put = partial(self._put_item, work_id, producer)
        self._run(work_id, producer.run(put), producer.context, timed)
        running = self._tasks.get(work_id)
        if running is None:
            self._producers.remove(work_id)
        else:  # which may never enter its coroutine
            running[0].add_done_callback(lambda _task: self._producers.remove(work_id))

    def _put_item(self, work_id: int, producer: Producer, value: Any) -> None:
        """Report an item: at once, if the last one was a while ago; else with the next ones."""
        self._batch.put_item(work_id, producer.yielded, self._codec.item(value))
        now = time.perf_counter()
        if now - self._items_sent > HOLD:
            self._items_sent = now
            self.flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def mute(self) -> None:
        """Report nothing more."""
        self._send = _forget

    def be_copy(self) -> None:
        """In a process that this thread has forked off: end when it leaves the coroutine."""
        ending: Any = Ending()
        self._codec = self._tasks = self._batch = self._send = ending
        end_chunks()
        end_after_step(self._loop)

    def cancel(self, work_id: int, seq: int, skip: Callable[[int], bool]) -> None:
        """Cancel a work wherever it is. Call ``flush`` after the last.

        Args:
            work_id: The work.
            seq: Its number, if it is a plain function.
            skip: Called with that if it has no task; keeps a plain function from being
                started, and returns whether it could.
        """
        if work_id in self._tasks:
            self._cancel(work_id)
        elif skip(seq):
            self._batch.others.append((work_id, CANCELLED, seq))
        elif self._producers.close(work_id):
            self._batch.others.append((work_id, DELIVERED, None))
        else:
            # It runs on the main thread; or has returned a coroutine that is on its
            # way here; or has ended, which does no harm: ids are unique.
            self._late_cancels.append(work_id)
            self._batch.others.append((work_id, TOO_LATE, None))

    def recall(self, work_id: int, seq: int, skip: Callable[[int], bool]) -> None:
        """Give a plain function back if it was not started. Call ``flush`` after the last."""
        if skip(seq):
            self._batch.others.append((work_id, RETURNED, seq))

    def _cancel(self, work_id: int) -> None:
        self._producers.close(work_id)  # a stream; it may ignore the cancel, and go on yielding
        running = self._tasks.get(work_id)
        if running is not None and running[0].cancel():
            self._batch.others.append((work_id, DELIVERED, None))

    def flush(self) -> None:
        """Send the reports gathered so far."""
        self._flush_planned = False
        self._say_alive(len(self._tasks))  # first: who has a result finds it said
        batch = self._batch
        if batch.ids or batch.others or batch.pickled:
            self._batch = ReportBatch()
            frame: Any = batch.frame(0.0)
            if self._times is not None and self._times.rows:
                frame = (*frame, self._times.take_coroutines())
            self._send(frame)

    def _ended(self, work_id: int, timed: Timed, task: asyncio.Task[Any]) -> None:
        del self._tasks[work_id]
        if self._times is not None:
            self._times.ended(work_id)
        self._take(work_id, task)
        if timed is not None:
            self._measure(*timed)
        if not self._tasks:
            self.flush()  # nothing else can come: do not wait for a turn of the loop
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def _measure(self, place: int, weight: int, submitted: int, began: int) -> None:
        """Measure a work that ends now."""
        assert self._meter is not None
        self._meter.put(place, weight, submitted, began, time.monotonic_ns())

    def _take(self, work_id: int, task: asyncio.Task[Any]) -> None:
        """Take the outcome of a task that has ended."""
        if task.cancelled():
            self._batch.others.append((work_id, CANCELLED, None))
        elif (error := task.exception()) is not None:
            self._failed(work_id, error)
        else:
            self._put(work_id, task.result())

    def _put(self, work_id: int, value: Any) -> None:
        try:
            self._codec.put(self._batch, work_id, value)
        except Exception as error:  # noqa: BLE001 - the result cannot travel
            self._failed(work_id, error)

    def _failed(self, work_id: int, error: BaseException) -> None:
        if self._times is not None:
            self._times.failed(work_id, error)
        self._batch.others.append(self._codec.error(work_id, error))


def _forget(_reports: Reports) -> None:
    pass


def is_in_first_step() -> bool:
    """Whether the caller is in the first step of a work that runs eagerly: it is no task yet."""
    frame = sys._getframe(1) if EAGER else None  # noqa: SLF001 - who asks pays, and nobody else
    while frame is not None:
        if frame.f_code is CoroutineLane._run.__code__:  # noqa: SLF001 - of this file
            return True
        frame = frame.f_back
    return False


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
