"""The CoroutineLane: runs works as tasks of the event loop of a worker."""

from __future__ import annotations

import inspect
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from aplex._common.messages import CANCELLED, DELIVERED, RETURNED, TOO_LATE, ReportBatch, Reports
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
from aplex._worker.producers import CoroutineProducer, Producer, Producers

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context


class CoroutineLane:
    """Runs works as tasks of one event loop. Used on the loop's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        codec: Codec,
        send: Callable[[Reports], None],
        producers: Producers,
    ) -> None:
        self._loop = loop
        self._codec = codec
        self._send = send
        self._producers = producers
        self._items_sent = 0.0  # when an item of a stream was sent last
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._batch = ReportBatch()
        self._flush_planned = False
        self._make_task = task_maker(loop)
        # Cancels of plain functions that were running: one may turn out to return
        # a coroutine, which then is on its way here.
        self._late_cancels: deque[int] = deque(maxlen=1024)

    @property
    def running(self) -> Collection[asyncio.Task[Any]]:
        """The tasks of works that have not ended."""
        return self._tasks.values()

    @property
    def tasks(self) -> Collection[int]:
        """The numbers of these works; always the same collection."""
        return self._tasks

    def begin(self, work_id: int, function: Any, call: Any) -> None:
        """Call a work; a coroutine it returns becomes a task. Call ``flush`` after the last."""
        try:
            made = self._codec.run(function, call)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            self._batch.others.append(self._codec.error(work_id, error))
            return
        if is_coroutine(made):
            self._run(work_id, made)
        elif isinstance(made, CoroutineProducer):
            self._produce(work_id, made)
        elif inspect.isawaitable(made):
            self._run(work_id, _awaited(made))
        else:
            self._put(work_id, made)

    def adopt(self, work_id: int, made: Detached) -> None:
        """Run a coroutine, or a stream, that a plain function has returned."""
        if isinstance(made, CoroutineProducer):
            self._produce(work_id, made)
        else:
            self._run(work_id, made)
        if work_id in self._late_cancels:
            self._cancel(work_id)
        self.flush()

    def _run(
        self, work_id: int, coroutine: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> None:
        try:
            task = self._make_task(coroutine, context=context)
        except BaseException as error:  # noqa: BLE001 - a task factory, or a first step
            coroutine.close()
            self._batch.others.append(self._codec.error(work_id, error))
            return
        if task.done():  # it ran eagerly, and never waited
            self._take(work_id, task)
            return
        self._tasks[work_id] = task
        # The outcome is taken here and not in a coroutine around the work: a task
        # that is cancelled before its first step never enters its coroutine.
        task.add_done_callback(partial(self._ended, work_id))

    def _produce(self, work_id: int, producer: CoroutineProducer) -> None:
        """Run a stream as a task."""
        self._producers.add(work_id, producer)
        put = partial(self._put_item, work_id, producer)
        self._run(work_id, producer.run(put), producer.context)
        task = self._tasks.get(work_id)
        if task is None:
            self._producers.remove(work_id)
        else:  # which may never enter its coroutine
            task.add_done_callback(lambda _task: self._producers.remove(work_id))

    def _put_item(self, work_id: int, producer: Producer, value: Any) -> None:
        """Report an item: at once, if the last one was a while ago; else with the next ones."""
        self._batch.put_item(work_id, producer.yielded, self._codec.value(value))
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
        task = self._tasks.get(work_id)
        if task is not None and task.cancel():
            self._batch.others.append((work_id, DELIVERED, None))

    def flush(self) -> None:
        """Send the reports gathered so far."""
        self._flush_planned = False
        batch = self._batch
        if batch.ids or batch.others or batch.pickled:
            self._batch = ReportBatch()
            self._send(batch.frame(0.0))

    def _ended(self, work_id: int, task: asyncio.Task[Any]) -> None:
        del self._tasks[work_id]
        self._take(work_id, task)
        if not self._tasks:
            self.flush()  # nothing else can come: do not wait for a turn of the loop
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def _take(self, work_id: int, task: asyncio.Task[Any]) -> None:
        """Take the outcome of a task that has ended."""
        if task.cancelled():
            self._batch.others.append((work_id, CANCELLED, None))
        elif (error := task.exception()) is not None:
            self._batch.others.append(self._codec.error(work_id, error))
        else:
            self._put(work_id, task.result())

    def _put(self, work_id: int, value: Any) -> None:
        try:
            self._codec.put(self._batch, work_id, value)
        except Exception as error:  # noqa: BLE001 - the result cannot travel
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
