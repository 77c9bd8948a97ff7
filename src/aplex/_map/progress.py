"""Shows how far a map has come: counts works as they complete, in whatever order.

What is counted is never what is handed over: the bar of an ordered map would stand still behind
its first slow item (https://github.com/tqdm/tqdm/issues/1181).
"""

from __future__ import annotations

import operator
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

MISSING = "a progress bar needs tqdm: pip install 'aplex[progress]'"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a map, or a set of futures, has come.

    Attributes:
        done: Items that are done, in whatever way.
        failed: Those of them that have failed.
        total: How many there will be; None if that is not known.
    """

    done: int
    failed: int
    total: int | None


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

    Args:
        wanted: True, a label, a function that takes a `Progress`, or a bar.
        total: How many there will be, if that is known.

    Raises:
        ImportError: A bar of tqdm is wanted, and there is no tqdm.
        TypeError: It is nothing of the kind.
    """

    def __init__(self, wanted: Any, total: int | None) -> None:
        self._total = total
        self._done = self._failed = 0
        self._counted: dict[Any, int] = {}  # futures that are not known to be done, and items
        self._close: Callable[[], object] = _nothing
        self._tell: Callable[[int], object]
        if wanted is True or isinstance(wanted, str):
            bar = _tqdm(None if wanted is True else wanted, total)
            self._tell, self._close = bar.update, bar.close
        elif callable(getattr(wanted, "update", None)):
            self._tell = wanted.update
        elif callable(wanted):
            self._tell = lambda _count: wanted(Progress(self._done, self._failed, self._total))
        else:
            raise TypeError(
                f"progress must be True, a label, a function or a bar with update(), not {wanted!r}"
            )

    def expect(self, future: Any, count: int) -> None:
        """Count a work, of so many items, when it is done."""
        self._counted[future] = count
        future.add_done_callback(self.completed)

    def take(self, futures: Iterable[Any]) -> None:
        """Count these when `completed` tells of them, and in no callback."""
        self._counted.update(dict.fromkeys(futures, 1))

    def completed(self, future: Any) -> None:
        """Count a work that is done, once."""
        count = self._counted.pop(future, 0)
        if not count or future.cancelled():
            return
        self._done += count
        if future.exception() is not None:
            self._failed += count
        self._tell(count)

    def close(self) -> None:
        """Leave the bar as it is, if it is ours.

        Results may have been handed over before another thread made the callbacks: the works
        that are done are counted first.
        """
        for future in [future for future in list(self._counted) if future.done()]:
            self.completed(future)
        self._close()

    def counting(self, submit: Callable[..., Any], *, in_chunks: bool) -> Callable[..., Any]:
        """Return what submits as `submit` does, and counts what it has submitted."""

        def submit_counted(options: Any, work: Any, args: Any, kwargs: Any, *more: Any) -> Any:
            future = submit(options, work, args, kwargs, *more)
            self.expect(future, len(args[1][0]) if in_chunks else 1)
            return future

        return submit_counted


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


def _tqdm(label: str | None, total: int | None) -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(MISSING) from error

    class Quiet(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # no thread that looks whether a bar stands still

    # `disable=None`: not a word where stderr is no terminal.
    return Quiet(desc=label, total=total, disable=None, file=sys.stderr)


def _nothing() -> None:
    """Leave a bar of the user's open."""
