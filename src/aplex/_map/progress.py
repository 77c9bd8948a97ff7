"""Shows how far a map has come: counts works as they complete, in whatever order.

What is counted is never what is handed over: the bar of an ordered map would stand still behind
its first slow item (https://github.com/tqdm/tqdm/issues/1181).
"""

from __future__ import annotations

import functools
import logging
import operator
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from aplex._map.bars import Drawing
from aplex._worker.chunks import Chunk
from aplex._worker.chunks_measured import MeasuredChunk

Later: TypeAlias = Callable[[float, Callable[[], None]], object]

PATIENCE: Final = 1.0
"""Seconds for which a bar that is closed waits for another thread that tells of it."""
_log: Final = logging.getLogger("aplex")
_REDRAW: Final = object()
_END: Final = object()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a map, or a set of futures, has come.

    Attributes:
        done: Items that are done, in whatever way.
        failed: Those of them that have failed.
        total: How many there will be; None if that is not known.
        retried: How often works that are done were run again: as their worker had died
            (``retries``), or as their outcome was to be retried (``retry_on``).
    """

    done: int
    failed: int
    total: int | None
    retried: int = 0


Progress.__module__ = "aplex.progress"  # where it is public; not before `dataclass` has looked


class Bar(Protocol):
    """What a bar of the user's has, as those of tqdm do."""

    def update(self, n: int, /) -> Any:
        """Learn that so many more are done."""


def total_of(iterables: Iterable[object]) -> int | None:
    """Return how many items there will be, as far as the shortest input tells; None: unknown."""
    hints = [operator.length_hint(each, -1) for each in iterables]
    return min((hint for hint in hints if hint >= 0), default=None)


class Counter:
    """Counts completions, and tells a bar or a function. Any thread.

    Callbacks of futures come in the threads that everything else waits for, and signal handlers
    come in the middle: nobody waits for a lock here. Whoever finds that another thread is
    telling, or itself further down, leaves what has happened to that (decision 22).

    Args:
        wanted: True, a label, a function that takes a `Progress`, or a bar.
        total: How many there will be, if that is known.
        later: Makes a call after so many seconds, in whatever thread.
        cancelled: Whether those that are cancelled count. (Of a map that was left, they do not.)

    Raises:
        ImportError: A bar of tqdm is wanted, and there is no tqdm.
        TypeError: It is nothing of the kind.
    """

    def __init__(
        self, wanted: Any, total: int | None, later: Later, *, cancelled: bool = False
    ) -> None:
        self._total = total
        self._cancelled = cancelled
        self._done = self._failed = self._retried = 0
        self._counted: dict[Any, tuple[int, Any]] = {}  # not yet done: items, and its work
        self._news: deque[Any] = deque()  # futures that are done; `_REDRAW`, `_END`
        self._telling = threading.Lock()  # never waited for, but by `close`
        self._teller = 0  # the thread that has it
        self._closed = False
        self._in_chunks = False
        self._drawing: Drawing | None = None
        self._tell: Callable[[int], object]
        if wanted is True or isinstance(wanted, str):
            redraw = functools.partial(self._hear, _REDRAW)
            label = None if wanted is True else wanted
            self._drawing = Drawing(label, total, lambda seconds: later(seconds, redraw))
            self._tell = self._draw
        elif callable(getattr(wanted, "update", None)):
            self._tell = wanted.update
        elif callable(wanted):
            self._tell = lambda _count: wanted(self.progress)
        else:
            raise TypeError(
                f"progress must be True, a label, a function or a bar with update(), not {wanted!r}"
            )

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(self._done, self._failed, self._total, self._retried)

    def expect(self, future: Any, count: int = 1) -> None:
        """Count a work, of so many items, when it is done."""
        self._counted[future] = count, getattr(future, "_work", None)
        future.add_done_callback(self._hear)

    def close(self) -> None:
        """Tell the last news, and leave the bar as it is, if it is ours.

        Results may have been handed over before another thread made the callbacks: the works
        that are done are counted first.
        """
        self._news += [future for future in list(self._counted) if future.done()]
        self._hear(_END)
        if self._teller not in (0, threading.get_ident()) and self._telling.acquire(
            timeout=PATIENCE
        ):
            self._telling.release()
            self._tell_news()

    def counting(self, submit: Callable[..., Any], *, in_chunks: bool) -> Callable[..., Any]:
        """Return what submits as `submit` does, and counts what it has submitted."""
        self._in_chunks = in_chunks

        def submit_counted(options: Any, work: Any, args: Any, kwargs: Any, *more: Any) -> Any:
            future = submit(options, work, args, kwargs, *more)
            self.expect(future, len(args[1][0]) if in_chunks else 1)
            return future

        return submit_counted

    def _hear(self, news: Any) -> None:
        """Take in a future that is done."""
        self._news.append(news)
        self._tell_news()

    def _tell_news(self) -> None:
        # Again: somebody may have left news when all were told, and the lock was not free yet.
        while self._news and self._telling.acquire(blocking=False):
            try:
                self._teller = threading.get_ident()
                while self._news:
                    self._take(self._news.popleft())
            finally:
                self._teller = 0
                self._telling.release()

    def _take(self, news: Any) -> None:
        if self._closed:
            return
        if news is _END:
            self._closed = True
            if self._drawing is not None:
                self._drawing.close()
        elif news is not _REDRAW:
            self._count(news)
        elif self._drawing is not None:
            self._drawing.redraw()

    def _count(self, future: Any) -> None:
        """Count a work that is done, once."""
        count, work = self._counted.pop(future, (0, None))
        if not count or (future.cancelled() and not self._cancelled):
            return
        self._done += count
        # A future that was done before it was expected has no work any more, but its count.
        self._retried += getattr(future, "_retried", 0) if work is None else work.retried
        if not future.cancelled():
            self._failed += self._failures(future, count)
        try:
            self._tell(count)
        except Exception as error:  # noqa: BLE001 - of the user's: works and results go on
            self._tell = _tell_nobody
            _log.warning(
                "what was given as progress= has raised, and is told nothing more of this map",
                exc_info=error,
            )

    def _failures(self, future: Any, count: int) -> int:
        """Return how many of the items of a work have failed."""
        if future.exception() is not None:
            return count
        if not self._in_chunks:
            return 0
        chunk: Chunk = future.result()
        if isinstance(chunk, MeasuredChunk):
            return sum(error is not None for _, error, _, _ in chunk.values)
        return int(chunk.error is not None)

    def _draw(self, count: int) -> None:
        assert self._drawing is not None
        counts = {"failed": self._failed, "retried": self._retried}
        said = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
        self._drawing.update(count, said)


def _tell_nobody(_count: int) -> None:
    pass


class Counted(Iterator[Any]):
    """Results of a map; their end closes the bar."""

    def __init__(self, results: Any, counter: Counter) -> None:
        self._results = results
        self._counter = counter

    def __next__(self) -> Any:
        """Return the next result."""
        try:
            return next(self._results)
        except BaseException:
            self._counter.close()
            raise

    def close(self) -> None:
        """Cancel what is left."""
        self._results.close()
        self._counter.close()


class AwaitedCounted(AsyncIterator[Any]):
    """The same, to ``async for``."""

    def __init__(self, results: Any, counter: Counter) -> None:
        self._results = results
        self._counter = counter

    async def __anext__(self) -> Any:
        """Return the next result."""
        try:
            return await anext(self._results)
        except BaseException:
            self._counter.close()
            raise

    async def aclose(self) -> None:
        """Cancel what is left."""
        await self._results.aclose()
        self._counter.close()
