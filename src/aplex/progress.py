"""Progress of maps and of futures, counted as works complete."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from aplex._map.progress import Counter, Progress

__all__ = ["Progress", "as_completed"]

F = TypeVar("F", bound="concurrent.futures.Future[Any]")


def as_completed(
    futures: Iterable[F],
    progress: bool | str | Callable[[Progress], object] | Any = True,  # noqa: FBT001, FBT002
    timeout: float | None = None,
) -> Iterator[F]:
    """Yield futures as they complete, as ``concurrent.futures.as_completed`` does, with a bar.

    Args:
        futures: Those of blocking calls, of aplex or of others.
        progress: True: a bar of tqdm; a string: its label; a function, called with a `Progress`;
            or a bar of your own, that is anything with ``update(n)``. False: nothing.
        timeout: Seconds until the last one must be done. None: no limit.

    Raises:
        ImportError: A bar of tqdm is wanted, and there is no tqdm (``aplex[progress]``).
        TypeError: ``progress`` is nothing of the kind.
        TimeoutError: While iterating: the timeout passed.
    """
    waiting = list(dict.fromkeys(futures))
    counter = Counter(progress, len(waiting)) if progress is not False else None
    if counter is not None:
        counter.take(waiting)

    def completed() -> Iterator[F]:
        try:
            for future in concurrent.futures.as_completed(waiting, timeout):
                if counter is not None:
                    counter.completed(future)
                yield future  # type: ignore[misc] # one of those given
        finally:
            if counter is not None:
                counter.close()

    return completed()
