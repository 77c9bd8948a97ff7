"""The worker: runs works, on two lanes.

This is what a worker does wherever it was started: in a process (`_child`) or
in two threads (`_backends.thread`). Each lane runs on one thread and takes
works in order:

* `CoroutineLane` - on the thread of the worker's event loop, many works at a time;
* `PlainLane` - on the worker's main thread, one function at a time. The loop
  goes on serving while a function computes.

A lane knows nothing of channels: works come in by ``begin`` and ``run``, reports
go out by a function it was given.

A coroutine runs eagerly where Python can (3.12): up to its first ``await`` that
really waits, at once; one that never waits costs no turn of the loop.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, MutableSequence, Sequence
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from aplex._messages import (
    CANCELLED,
    DELIVERED,
    DETACHED,
    DOOMED,
    PLAIN,
    RETURNED,
    SINCE,
    TOO_LATE,
    VALUE,
    Outbox,
    Report,
    Reports,
)
from aplex._producers import CoroutineProducer, PlainProducer, Producer, Producers
from aplex.exceptions import WorkInterrupted

if TYPE_CHECKING:
    import asyncio

EAGER: Final = sys.version_info >= (3, 12)
"""Whether tasks can start before the next turn of the loop."""
HOLD: Final = 0.001
"""Seconds for which the outcome of a plain function may wait for the next ones."""
DOOM_PAUSE: Final = 0.001
"""Seconds after which a worker looks again whether it is to be killed. Either is soon."""


Detached: TypeAlias = Coroutine[Any, Any, Any] | CoroutineProducer


class Codec(Protocol):
    """How calls and outcomes travel to this kind of worker."""

    def run(self, function: Any, call: Any) -> Any:
        """Call the work with its arguments."""
        ...

    def put(self, outbox: Outbox, work_id: int, value: Any) -> None:
        """Put a result into an outbox; raise if it cannot travel."""
        ...

    def value(self, value: Any) -> tuple[bool, Any]:
        """Return whether a result is pickled, and what travels; raise if it cannot."""
        ...

    def error(self, work_id: int, error: BaseException) -> Report:
        """Return the report of an exception."""
        ...


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
        self._outbox = Outbox()
        self._flush_planned = False
        self._make_task = _task_maker(loop)
        # Cancels of plain functions that were running: one may turn out to return
        # a coroutine, which then is on its way here.
        self._late_cancels: deque[int] = deque(maxlen=1024)

    def begin(self, work_id: int, function: Any, call: Any) -> None:
        """Call a work; a coroutine it returns becomes a task. Call ``flush`` after the last."""
        try:
            made = self._codec.run(function, call)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            self._outbox.others.append(self._codec.error(work_id, error))
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

    def _run(self, work_id: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            task = self._make_task(coroutine)
        except BaseException as error:  # noqa: BLE001 - a task factory, or a first step
            coroutine.close()
            self._outbox.others.append(self._codec.error(work_id, error))
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
        self._run(work_id, producer.run(partial(self._put_item, work_id, producer)))
        task = self._tasks.get(work_id)
        if task is None:
            self._producers.remove(work_id)
        else:  # which may never enter its coroutine
            task.add_done_callback(lambda _task: self._producers.remove(work_id))

    def _put_item(self, work_id: int, producer: Producer, value: Any) -> None:
        """Report an item: at once, if the last one was a while ago; else with the next ones."""
        self._outbox.put_item(work_id, producer.yielded, self._codec.value(value))
        now = time.perf_counter()
        if now - self._items_sent > HOLD:
            self._items_sent = now
            self.flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def cancel(self, work_id: int, skip: Callable[[], bool]) -> None:
        """Cancel a work wherever it is. Call ``flush`` after the last.

        Args:
            work_id: The work.
            skip: Called if it has no task; keeps a plain function from being started,
                and returns whether it could.
        """
        if work_id in self._tasks:
            self._cancel(work_id)
        elif skip():
            self._outbox.others.append((work_id, CANCELLED, None))
        elif self._producers.close(work_id):
            self._outbox.others.append((work_id, DELIVERED, None))
        else:
            # It runs on the main thread; or has returned a coroutine that is on its
            # way here; or has ended, which does no harm: ids are unique.
            self._late_cancels.append(work_id)
            self._outbox.others.append((work_id, TOO_LATE, None))

    def recall(self, work_id: int, seq: int, skip: Callable[[int], bool]) -> None:
        """Give a plain function back if it was not started. Call ``flush`` after the last."""
        if skip(seq):
            self._outbox.others.append((work_id, RETURNED, seq))

    def _cancel(self, work_id: int) -> None:
        self._producers.close(work_id)  # a stream; it may ignore the cancel, and go on yielding
        task = self._tasks.get(work_id)
        if task is not None and task.cancel():
            self._outbox.others.append((work_id, DELIVERED, None))

    def flush(self) -> None:
        """Send the reports gathered so far."""
        self._flush_planned = False
        box = self._outbox
        if box.ids or box.others or box.pickled:
            self._outbox = Outbox()
            self._send(box.frame(0.0))

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
            self._outbox.others.append((work_id, CANCELLED, None))
        elif (error := task.exception()) is not None:
            self._outbox.others.append(self._codec.error(work_id, error))
        else:
            self._put(work_id, task.result())

    def _put(self, work_id: int, value: Any) -> None:
        try:
            self._codec.put(self._outbox, work_id, value)
        except Exception as error:  # noqa: BLE001 - the result cannot travel
            self._outbox.others.append(self._codec.error(work_id, error))


class PlainLane:
    """Runs plain functions one after another, on the thread that calls ``run``.

    Attributes:
        inside: Number of the function whose call the thread is in, in which it may be
            interrupted; 0 in all other code.
        interrupted: Number of the last function that was interrupted.

    Args:
        codec: How calls and outcomes travel.
        started: Where to publish the number of the last work started, and since when it runs.
        send: Sends reports, with the seconds the works took. May be called on
            the thread that calls ``flush_held`` too, never on both at once.
        detach: Takes over a coroutine, or an asynchronous stream, that a plain callable
            returned.
        held: Called when a report is held back while the next function runs: have
            ``flush_held`` called on another thread `HOLD` seconds later. None: hold
            nothing back.
    """

    def __init__(
        self,
        codec: Codec,
        started: MutableSequence[int] | memoryview,
        send: Callable[[Reports], None],
        detach: Callable[[int, Detached], None],
        held: Callable[[], None] | None,
        producers: Producers,
    ) -> None:
        self._codec = codec
        self._started = started
        self._count = 0  # of works that came so far
        self.inside = 0
        self.interrupted = 0
        self._send = send
        self._detach = detach
        self._held = held
        self._producers = producers
        self._producing = False
        self._lock = threading.Lock()  # for what ``skip`` and ``flush_held`` share with ``run``
        self._skipped: set[int] = set()
        self._outbox = Outbox()
        self._since = 0.0  # when the time that was not reported yet began
        self._holding = False
        self._items_sent = 0.0  # when an item of a stream was sent last

    def run(self, ids: Sequence[int], functions: Sequence[Any], calls: Sequence[Any]) -> None:
        """Run works one after another and send their reports."""
        self._since = time.perf_counter()
        left = len(ids)
        for work_id, function, call in zip(ids, functions, calls, strict=True):
            left -= 1
            with self._lock:
                self._begin()
                if self._skipped and self._count in self._skipped:
                    self._skipped.discard(self._count)
                    self._started[SINCE] = 0
                    continue
            self._run(work_id, function, call, last=not left)
        with self._lock:
            self._flush()

    def _begin(self) -> None:
        """Publish that the next function starts; not while the parent is about to kill us."""
        started = self._started
        self._count = count = self._count + 1
        while True:
            started[SINCE] = time.monotonic_ns()
            started[PLAIN] = count
            if not started[DOOMED]:  # in this order, see `Progress.doom`
                return
            started[SINCE] = 0
            started[PLAIN] = count - 1
            time.sleep(DOOM_PAUSE)

    def skip(self, seq: int) -> bool:
        """Make ``run`` skip a work. Any thread.

        Returns:
            False if it was started already, or was never on this lane (``seq`` is 0).
        """
        with self._lock:
            if self._started[PLAIN] >= seq:
                return False
            self._skipped.add(seq)
            return True

    def flush_held(self) -> None:
        """Send reports that were held back. Any thread."""
        with self._lock:
            self._flush()

    def _run(self, work_id: int, function: Any, call: Any, *, last: bool) -> None:
        report: Report | None = None
        pickled, data = False, None
        try:
            # An interrupt raises here from now on ...
            self.inside = self._count
            value = self._codec.run(function, call)
            self.inside = 0  # ... to here: CPython looks for signals after calls, not in between
            if isinstance(value, PlainProducer):
                report = self._produce(work_id, value)
            elif is_coroutine(value) or isinstance(value, CoroutineProducer):
                self._detach(work_id, value)
                report = work_id, DETACHED, None
            else:
                pickled, data = self._codec.value(value)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            self.inside = 0  # first of all: no call until here
            report = self._failed(work_id, error)
        with self._lock:
            self._started[SINCE] = 0
            if self.interrupted == self._count:
                self._outbox.others.append((work_id, DELIVERED, None))
            if report is None:
                self._outbox.put(work_id, data, pickled=pickled)
            else:
                self._outbox.others.append(report)
            # The traceback of an exception has this frame: it must not have the exception.
            report = None
            if last:
                return  # ``run`` flushes
            if self._held is None or time.perf_counter() - self._since > HOLD:
                self._flush()
            elif not self._holding:
                self._holding = True
                self._held()

    def _produce(self, work_id: int, producer: PlainProducer) -> Report:
        """Run a stream to its end, or until it is closed."""
        with self._lock:
            self._flush()  # what was held back must not wait for it
            self._producing = True
        self._producers.add(work_id, producer)
        try:
            ended = producer.run(partial(self._put_item, work_id, producer), self.flush_held)
        finally:
            self._producers.remove(work_id)
            with self._lock:
                self._producing = False
        return work_id, VALUE if ended else CANCELLED, None

    def _put_item(self, work_id: int, producer: Producer, value: Any) -> None:
        """Report an item: at once, if the last one was a while ago; else with the next ones."""
        item = self._codec.value(value)
        with self._lock:
            self._outbox.put_item(work_id, producer.yielded, item)
            now = time.perf_counter()
            if self._held is None or now - self._items_sent > HOLD:
                self._items_sent = now
                self._flush()
            elif not self._holding:
                self._holding = True
                self._held()

    def _failed(self, work_id: int, error: BaseException) -> Report:
        if isinstance(error, WorkInterrupted) and self.interrupted == self._count:
            return work_id, CANCELLED, None
        return self._codec.error(work_id, error)

    def _flush(self) -> None:
        self._holding = False
        outbox, now = self._outbox, time.perf_counter()
        # Items say nothing of how long works take: a stream counts when it has ended.
        seconds = 0.0 if self._producing else now - self._since
        if outbox:
            self._outbox = Outbox()
            self._send(outbox.frame(seconds))
        if not self._producing:
            self._since = now


def _task_maker(
    loop: asyncio.AbstractEventLoop,
) -> Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]:
    """Return what makes a task of a coroutine: an eager one, where Python has them."""
    if not EAGER:
        return loop.create_task
    from asyncio import Task

    kind: Any = Task

    def make(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if loop.get_task_factory() is not None:  # the user's own way
            return loop.create_task(coroutine)
        task: asyncio.Task[Any] = kind.__new__(kind)
        try:
            kind.__init__(task, coroutine, loop=loop, eager_start=True)
        except (SystemExit, KeyboardInterrupt):
            pass  # the work raised it; asyncio has given it to the task too, where it belongs
        return task

    return make


def is_coroutine(value: Any) -> bool:
    """Whether a value is a coroutine, native or of a compiler such as Cython."""
    return type(value) is CoroutineType or isinstance(value, Coroutine)


def run_until_stopped(
    runner: asyncio.Runner, loop: asyncio.AbstractEventLoop, stopping: asyncio.Future[None]
) -> None:
    """Run a worker's loop; at the end cancel what works left behind, and close it."""
    while not stopping.done():
        try:
            loop.run_until_complete(stopping)
        except (SystemExit, KeyboardInterrupt):
            # A work raised it. asyncio has given it to the work's task, where it
            # belongs, and raised it out of the loop as well: go on.
            continue
    while True:
        try:
            runner.close()
        except (SystemExit, KeyboardInterrupt):
            continue
        return


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
