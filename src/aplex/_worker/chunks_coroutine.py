"""What runs on a worker's event loop for a chunk of coroutines.

Each item is a task of its own. Where Python can start tasks eagerly (3.12), one that never
waits costs no turn of the loop and no callback.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from aplex._common.names import runs
from aplex._worker.chunks import Chunk, Columns
from aplex._worker.chunks_measured import Measured, MeasuredChunk, measured, measured_chunk
from aplex._worker.lane import EAGER, is_coroutine, task_maker

NOTHING: Final = 0.0001
"""Seconds of idleness that are none: the machine has interrupted the thread."""


@runs(0)
async def run_coroutine_chunk(
    work: Callable[..., Any], columns: Columns, limit: int | None = None
) -> Chunk:
    """Run a coroutine function on all items concurrently, until one fails.

    Args:
        work: Makes the coroutines.
        columns: The arguments.
        limit: How many coroutines of chunks may run on this loop at a time; the others
            of the chunk start when there is a place. None: they start all at once.
    """
    if len(columns[0]) == 1:
        return await _run_one(work, [column[0] for column in columns], limit)
    tasks = _Tasks(limit)
    await tasks.start(work, zip(*columns, strict=True))
    return await tasks.finish()


async def _run_one(work: Callable[..., Any], args: Sequence[Any], limit: int | None) -> Chunk:
    """Run the one coroutine of a chunk: the task of the chunk is its own."""
    loop = asyncio.get_running_loop()
    places = None if limit is None else _places_of(loop, limit)
    if places is not None:
        await places.acquire()
    clock = _Clock()
    try:
        made = work(*args)
        value = await made if is_coroutine(made) else made
    except BaseException as error:
        if _is_cancelled(error):
            raise
        return Chunk([], error)
    finally:
        if places is not None:
            places.release()
    seconds, idle = clock.read()
    return Chunk([value], None, seconds, idle if idle > NOTHING else None)


@runs(0)
async def run_measured_coroutines(
    work: Callable[..., Any], columns: Columns, sent: float, limit: int | None = None
) -> MeasuredChunk:
    """Run a coroutine function on all items concurrently, and measure each.

    Args:
        work: Makes the coroutines.
        columns: The arguments.
        sent: When they were submitted, on the clock of ``time.monotonic``.
        limit: As for `run_coroutine_chunk`.
    """
    return measured_chunk(await run_coroutine_chunk(partial(_begin, work, sent), columns, limit))


async def measured_when_done(chunk: Coroutine[Any, Any, Chunk]) -> MeasuredChunk:
    """Return the measured chunk that comes of what plain functions have returned."""
    return measured_chunk(await chunk)


async def _begin(work: Callable[..., Any], sent: float, /, *args: Any) -> Measured:
    began = time.monotonic()
    try:
        made = work(*args)
    except BaseException as error:  # noqa: BLE001 - it belongs to the item
        return measured(began, sent, None, error)
    if not is_coroutine(made):
        return measured(began, sent, made, None)
    return await measure(made, began, sent)


async def measure(coroutine: Coroutine[Any, Any, Any], began: float, sent: float) -> Measured:
    """Await a coroutine that began then; what it raises is its outcome."""
    try:
        return measured(began, sent, await coroutine, None)
    except BaseException as error:
        if _is_cancelled(error):
            raise
        return measured(began, sent, None, error)


class _Clock:
    """Measures a time, and how much of it this thread had nothing to do."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._cpu_began = time.thread_time()

    def read(self) -> tuple[float, float]:
        """Return the seconds since the beginning, and those of them that were idle."""
        seconds = time.perf_counter() - self._began
        return seconds, max(0.0, seconds - (time.thread_time() - self._cpu_began))


async def run_returned(values: list[Any], error: BaseException | None) -> Chunk:
    """Run the coroutines among the values that a plain function has returned."""
    tasks = _Tasks(None)
    try:
        await tasks.start(_itself, ((value,) for value in values))
        chunk = await tasks.finish()
    finally:
        for value in values:
            if is_coroutine(value):
                value.close()  # of those behind a failure; the others have ended
    if chunk.error is None:
        chunk.error = error
    return chunk


def _itself(value: Any) -> Any:
    return value


class _Tasks:
    """The coroutines of a chunk. Used by one coroutine of the loop that runs them.

    Args:
        limit: As for `run_coroutine_chunk`.
    """

    def __init__(self, limit: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._places = None if limit is None else _places_of(self._loop, limit)
        self._values: list[Any] = []
        self._error: BaseException | None = None
        self._pending: dict[int, asyncio.Task[Any]] = {}  # by the index of the value
        self._has_waited = False
        self._clock = _Clock()  # of the loop, whatever else it runs meanwhile

    async def start(self, work: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> None:
        """Start a task for each call, until one has failed."""
        make, values, places = task_maker(self._loop), self._values, self._places
        has_place = False
        try:
            for args in calls:
                if places is not None and not has_place:
                    has_place = await places.acquire()
                made = work(*args)
                if is_coroutine(made):
                    task = make(made)
                    if not task.done():
                        self._keep(task)
                        has_place = False  # it is the task's now
                        continue
                    made = task.result()
                values.append(made)
        except BaseException as error:
            if _is_cancelled(error):
                await self._cancel()
                raise
            self._error = error
        finally:
            if has_place:
                self._release()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._pending[len(self._values)] = task
        self._values.append(None)
        if self._places is not None:
            task.add_done_callback(self._release)

    def _release(self, _task: object = None) -> None:
        if self._places is not None:
            self._places.release()

    async def finish(self) -> Chunk:
        """Wait for the tasks; cancel the rest if one fails."""
        if self._pending:
            if not EAGER:  # they have not even started
                await asyncio.sleep(0)
            self._has_waited = not all(task.done() for task in self._pending.values())
        try:
            for index in list(self._pending):
                self._values[index] = await self._pending[index]
                del self._pending[index]
        except BaseException as error:
            if _is_cancelled(error):
                raise
            del self._values[min(self._pending) :]
            self._error = error
        finally:
            await self._cancel()
        seconds, idle = self._clock.read()
        return Chunk(self._values, self._error, seconds, idle if self._has_waited else None)

    async def _cancel(self) -> None:
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


def _is_cancelled(error: BaseException) -> bool:
    """Whether the chunk was cancelled, and not just a coroutine of it."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


_places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _places_of(loop: asyncio.AbstractEventLoop, limit: int) -> asyncio.Semaphore:
    """Return what counts the coroutines of chunks on a loop."""
    places = _places.get(loop)
    if places is None:
        places = _places[loop] = asyncio.Semaphore(limit)
    return places
