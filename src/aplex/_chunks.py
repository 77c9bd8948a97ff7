"""Chunks: items of a ``map`` that travel together as one work. What runs in the workers.

The arguments travel as columns, a list for each parameter: a list of numbers is pickled,
and read again, several times as fast as a list of tuples of one number.

Each item of a chunk of coroutines is a task of its own. Where Python can start tasks
eagerly (3.12), one that never waits costs no turn of the loop and no callback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aplex._pickling import decode_exception, encode_exception
from aplex._worker import EAGER, _task_maker, is_coroutine

if TYPE_CHECKING:
    import asyncio

Columns = Sequence[Sequence[Any]]


class Chunk:
    """The results of a chunk.

    Attributes:
        values: Those of its items, up to the first failure.
        error: That failure, if there was one.
        seconds: How long it took.
        waited: Seconds of these in which the loop had nothing to do; None if the items
            ran through at once.
    """

    __slots__ = ("error", "seconds", "values", "waited")

    def __init__(
        self,
        values: list[Any],
        error: BaseException | None,
        seconds: float = 0.0,
        waited: float | None = None,
    ) -> None:
        self.values = values
        self.error = error
        self.seconds = seconds
        self.waited = waited

    def __reduce__(self) -> tuple[Any, ...]:
        error = None if self.error is None else encode_exception(self.error)
        return _received_chunk, (self.values, error, self.seconds, self.waited)


def _received_chunk(
    values: list[Any], error: bytes | None, seconds: float, waited: float | None
) -> Chunk:
    decoded = None if error is None else decode_exception(error)
    return Chunk(values, decoded, seconds, waited)


def run_plain_chunk(
    work: Callable[..., Any], columns: Columns
) -> Chunk | Coroutine[Any, Any, Chunk]:
    """Run a function on each item, until one fails.

    If it turns out to return coroutines, they run on the loop, as those of single works do.
    """
    began = time.perf_counter()
    values: list[Any] = []
    error: BaseException | None = None
    put = values.append
    try:
        if len(columns) == 1:
            for item in columns[0]:
                put(work(item))
        else:
            for args in zip(*columns, strict=True):
                put(work(*args))
    except BaseException as raised:  # noqa: BLE001 - raised again where its item is
        error = raised
    if _has_coroutines(values):
        return _run_returned(values, error)
    return Chunk(values, error, time.perf_counter() - began)


def _has_coroutines(values: list[Any]) -> bool:
    kind: type | None = None  # mostly they are all of one type: it is looked at once
    for value in values:
        if type(value) is not kind:
            kind = type(value)
            if is_coroutine(value):
                return True
    return False


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
    tasks = _Tasks(limit)
    await tasks.start(work, zip(*columns, strict=True))
    return await tasks.finish()


async def _run_returned(values: list[Any], error: BaseException | None) -> Chunk:
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
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._places = None if limit is None else _places_of(self._loop, limit)
        self._values: list[Any] = []
        self._error: BaseException | None = None
        self._pending: dict[int, asyncio.Task[Any]] = {}  # by the index of the value
        self._has_waited = False
        self._began = time.perf_counter()
        self._cpu_began = time.thread_time()  # of the loop, whatever else it runs meanwhile

    async def start(self, work: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> None:
        """Start a task for each call, until one has failed."""
        make, values, places = _task_maker(self._loop), self._values, self._places
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
            if self._is_cancelled(error):
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
        import asyncio

        if self._pending:
            if not EAGER:  # they have not even started
                await asyncio.sleep(0)
            self._has_waited = not all(task.done() for task in self._pending.values())
        try:
            for index in list(self._pending):
                self._values[index] = await self._pending[index]
                del self._pending[index]
        except BaseException as error:
            if self._is_cancelled(error):
                raise
            del self._values[min(self._pending) :]
            self._error = error
        finally:
            await self._cancel()
        seconds = time.perf_counter() - self._began
        busy = time.thread_time() - self._cpu_began
        waited = max(0.0, seconds - busy) if self._has_waited else None
        return Chunk(self._values, self._error, seconds, waited)

    @staticmethod
    def _is_cancelled(error: BaseException) -> bool:
        """Whether the chunk was cancelled, and not just a coroutine of it."""
        import asyncio

        current = asyncio.current_task()
        return (
            isinstance(error, asyncio.CancelledError)
            and current is not None
            and current.cancelling() > 0
        )

    async def _cancel(self) -> None:
        import asyncio

        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


_places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _places_of(loop: asyncio.AbstractEventLoop, limit: int) -> asyncio.Semaphore:
    """Return what counts the coroutines of chunks on a loop."""
    import asyncio

    places = _places.get(loop)
    if places is None:
        places = _places[loop] = asyncio.Semaphore(limit)
    return places
