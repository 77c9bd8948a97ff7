"""Progress of maps and of futures, counted as works complete."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from aplex._map.progress import Counter, Later, Progress

__all__ = ["Progress", "as_completed"]

F = TypeVar("F", bound="concurrent.futures.Future[Any]")
A = TypeVar("A", bound="asyncio.Future[Any]")


@overload
def as_completed(
    futures: Iterable[F],
    progress: bool | str | Callable[[Progress], object] | Any = ...,  # noqa: FBT001
    timeout: float | None = ...,
) -> Iterator[F]: ...
@overload
def as_completed(
    futures: Iterable[A],
    progress: bool | str | Callable[[Progress], object] | Any = ...,  # noqa: FBT001
    timeout: float | None = ...,
) -> AsyncIterator[A]: ...
def as_completed(
    futures: Iterable[Any],
    progress: bool | str | Callable[[Progress], object] | Any = True,  # noqa: FBT001, FBT002
    timeout: float | None = None,
) -> Iterator[Any] | AsyncIterator[Any]:
    """Yield futures as they complete, as ``concurrent.futures.as_completed`` does, with a bar.

    Futures that are awaited are yielded to ``async for``, as ``asyncio.as_completed`` does since
    Python 3.13: those that were given, which are done then. If the loop is left, or cancelled,
    the futures go on.

    See https://docs.python.org/3/library/concurrent.futures.html#concurrent.futures.as_completed
    and https://docs.python.org/3/library/asyncio-task.html#asyncio.as_completed

    Args:
        futures: Of aplex or of others; of blocking calls, or all of awaitable ones.
        progress: True: a bar of tqdm on stderr, if that is a terminal, or in the notebook; a
            string: its label; a function, called with a `Progress`, in any thread; or a bar of
            your own, that is anything with ``update(n)``. False: nothing.
        timeout: Seconds from the first step of the iteration until the last one must be done.
            None: no limit.

    Raises:
        ImportError: A bar of tqdm is wanted, and there is no tqdm (``aplex[progress]``).
        TypeError: ``progress`` is nothing of the kind; or only some of the futures are awaited.
        TimeoutError: While iterating: the timeout passed.
    """
    waiting: list[Any] = list(dict.fromkeys(futures))
    awaited = sum(map(asyncio.isfuture, waiting))
    if awaited not in (0, len(waiting)):
        raise TypeError("as_completed takes futures that are awaited, or others, but not both")
    counter = None
    if progress is not False:
        later = _call_later_on_loop if awaited else _call_later_of(waiting)
        counter = Counter(progress, len(waiting), later, cancelled=True)
        for future in waiting:
            counter.expect(future)
    if awaited:
        return _awaited(waiting, timeout, counter)
    return _closing(concurrent.futures.as_completed(waiting, timeout), counter)


def _closing(completed: Iterator[Any], counter: Counter | None) -> Iterator[Any]:
    try:
        yield from completed
    finally:
        if counter is not None:
            counter.close()


async def _awaited(
    waiting: Sequence[Any], seconds: float | None, counter: Counter | None
) -> AsyncIterator[Any]:
    done: asyncio.Queue[Any] = asyncio.Queue()
    try:
        for future in waiting:
            future.add_done_callback(done.put_nowait)
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        for _ in waiting:
            async with asyncio.timeout_at(end):
                future = await done.get()
            yield future
    finally:
        for future in waiting:
            future.remove_done_callback(done.put_nowait)
        if counter is not None:
            counter.close()


def _call_later_on_loop(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)


def _call_later_of(futures: Sequence[Any]) -> Later:
    """Return what makes a call later: the pool of one of the futures, or a thread for a moment."""
    for future in futures:
        work = getattr(future, "_work", None)
        if work is not None:
            return work.manager.call_later  # type: ignore[no-any-return]
    return _call_later_in_thread


def _call_later_in_thread(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
