"""The worker: runs works, on two lanes.

This is what a worker does wherever it was started: in a process (`_child`) or
in two threads (`_backends.thread`). Each lane runs on one thread and takes
works in order:

* `CoroutineLane` - on the thread of the worker's event loop, many works at a time;
* `PlainLane` - on the worker's main thread, one function at a time. The loop
  goes on serving while a function computes.

A lane knows nothing of channels: works come in by ``begin`` and ``run``, reports
go out by a function it was given.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, MutableSequence
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol

from aplex._messages import CANCELLED, DELIVERED, DETACHED, TOO_LATE, Report

if TYPE_CHECKING:
    import asyncio

HOLD: Final = 0.001
"""Seconds for which the outcome of a plain function may wait for the next ones."""

Run = tuple[int, int, Any, Any]
"""A work as it arrives: id, number in its lane, function, call."""


class Codec(Protocol):
    """How calls and outcomes travel to this kind of worker."""

    def call(self, function: Any, call: Any) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """Return the work, its positional and its keyword arguments."""
        ...

    def value(self, work_id: int, value: Any) -> Report:
        """Return the report of a result."""
        ...

    def error(self, work_id: int, error: BaseException) -> Report:
        """Return the report of an exception."""
        ...


class CoroutineLane:
    """Runs works as tasks of one event loop. Used on the loop's thread only."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, codec: Codec, send: Callable[[list[Report]], None]
    ) -> None:
        self._loop = loop
        self._codec = codec
        self._send = send
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._outbox: list[Report] = []
        # Cancels of plain functions that were running: one may turn out to return
        # a coroutine, which then is on its way here.
        self._late_cancels: deque[int] = deque(maxlen=1024)

    def begin(self, run: Run) -> None:
        """Call a work; a coroutine it returns becomes a task."""
        work_id, _, function, call = run
        try:
            work, args, kwargs = self._codec.call(function, call)
            made = work(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            self._report(self._codec.error(work_id, error))
            return
        if is_coroutine(made):
            self._run(work_id, made)
        elif inspect.isawaitable(made):
            self._run(work_id, _awaited(made))
        else:
            self._report(self._value(work_id, made))

    def adopt(self, work_id: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine that a plain function has returned."""
        self._run(work_id, coroutine)
        if work_id in self._late_cancels:
            self._cancel(work_id)

    def _run(self, work_id: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            task = self._loop.create_task(coroutine)
        except BaseException as error:  # noqa: BLE001 - a task factory of the user's
            coroutine.close()
            self._report(self._codec.error(work_id, error))
            return
        self._tasks[work_id] = task
        # The outcome is taken here and not in a coroutine around the work: a task
        # that is cancelled before its first step never enters its coroutine.
        task.add_done_callback(partial(self._ended, work_id))

    def cancel(self, work_id: int, skip: Callable[[], bool]) -> None:
        """Cancel a work wherever it is.

        Args:
            work_id: The work.
            skip: Called if it has no task; keeps a plain function from being started,
                and returns whether it could.
        """
        if work_id in self._tasks:
            self._cancel(work_id)
        elif skip():
            self._report((work_id, CANCELLED, None))
        else:
            # It runs on the main thread; or has returned a coroutine that is on its
            # way here; or has ended, which does no harm: ids are unique.
            self._late_cancels.append(work_id)
            self._report((work_id, TOO_LATE, None))

    def _cancel(self, work_id: int) -> None:
        task = self._tasks.get(work_id)
        if task is not None and task.cancel():
            self._report((work_id, DELIVERED, None))

    def flush(self) -> None:
        """Send the reports gathered so far."""
        outbox, self._outbox = self._outbox, []
        if outbox:
            self._send(outbox)

    def _ended(self, work_id: int, task: asyncio.Task[Any]) -> None:
        del self._tasks[work_id]
        if task.cancelled():
            self._report((work_id, CANCELLED, None))
        elif (error := task.exception()) is not None:
            self._report(self._codec.error(work_id, error))
        else:
            self._report(self._value(work_id, task.result()))

    def _value(self, work_id: int, value: Any) -> Report:
        try:
            return self._codec.value(work_id, value)
        except Exception as error:  # noqa: BLE001 - the result cannot travel
            return self._codec.error(work_id, error)

    def _report(self, report: Report) -> None:
        self._outbox.append(report)
        if not self._tasks:
            self.flush()  # nothing else can come: do not wait for a turn of the loop
        elif len(self._outbox) == 1:
            self._loop.call_soon(self.flush)


class PlainLane:
    """Runs plain functions one after another, on the thread that calls ``run``.

    Args:
        codec: How calls and outcomes travel.
        started: Where to publish the number of the last work started.
        send: Sends reports, with the seconds the works took. May be called on
            the thread that calls ``flush_held`` too, never on both at once.
        detach: Takes over a coroutine that a plain callable returned.
        held: Called when a report is held back while the next function runs: have
            ``flush_held`` called on another thread `HOLD` seconds later. None: hold
            nothing back.
    """

    def __init__(
        self,
        codec: Codec,
        started: MutableSequence[int] | memoryview,
        send: Callable[[float, list[Report]], None],
        detach: Callable[[int, Coroutine[Any, Any, Any]], None],
        held: Callable[[], None] | None,
    ) -> None:
        self._codec = codec
        self._started = started
        self._send = send
        self._detach = detach
        self._held = held
        self._lock = threading.Lock()  # for what ``skip`` and ``flush_held`` share with ``run``
        self._skipped: set[int] = set()
        self._outbox: list[Report] = []
        self._since = 0.0  # when the time that was not reported yet began
        self._holding = False

    def run(self, batch: list[Run]) -> None:
        """Run works one after another and send their reports."""
        self._since = time.perf_counter()
        last = len(batch) - 1
        for index, (work_id, seq, function, call) in enumerate(batch):
            if not self._start(seq):
                continue
            report = self._run(work_id, function, call)
            with self._lock:
                self._outbox.append(report)
                if self._held is None or time.perf_counter() - self._since > HOLD:
                    self._flush()
                elif index < last and not self._holding:
                    self._holding = True
                    self._held()
        with self._lock:
            self._flush()

    def skip(self, seq: int) -> bool:
        """Make ``run`` skip a work. Any thread.

        Returns:
            False if it was started already, or was never on this lane (``seq`` is 0).
        """
        with self._lock:
            if self._started[1] >= seq:
                return False
            self._skipped.add(seq)
            return True

    def flush_held(self) -> None:
        """Send reports that were held back. Any thread."""
        with self._lock:
            self._flush()

    def _start(self, seq: int) -> bool:
        with self._lock:
            self._started[1] = seq
            if seq in self._skipped:
                self._skipped.discard(seq)
                return False
            return True

    def _run(self, work_id: int, function: Any, call: Any) -> Report:
        try:
            work, args, kwargs = self._codec.call(function, call)
            value = work(*args, **kwargs)
            if is_coroutine(value):
                self._detach(work_id, value)
                return work_id, DETACHED, None
            return self._codec.value(work_id, value)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            return self._codec.error(work_id, error)

    def _flush(self) -> None:
        self._holding = False
        outbox, self._outbox = self._outbox, []
        now = time.perf_counter()
        if outbox:
            self._send(now - self._since, outbox)
        self._since = now


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
