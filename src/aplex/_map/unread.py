"""The maps of an executor that nobody has begun to iterate. A leaf.

``pool.map(print, items)`` is a way to run things, and what it returns is dropped at once. Its
window has been submitted; what is left of its input is read when the executor ends in order, see
decision 24. A map that is kept is known by a weak reference, one that was dropped is held here:
its finalizer brings it. So nothing is kept alive by an executor that is iterated as usual.
"""

from __future__ import annotations

import warnings
import weakref
from typing import Any, Protocol


class Results(Protocol):
    """What a ``map`` returns."""

    unread: Any  # who is to be told when it is dropped
    where: tuple[str, int]  # file and line of the call
    bounded: bool  # whether the user has said how many items may be taken
    asynchronous: bool  # whether its input is awaited
    needs_loop: bool  # whether its futures belong to an event loop

    @property
    def is_unread(self) -> bool:
        """Whether no result was asked for, and input may be left."""
        ...

    def read_out(self) -> None:
        """Submit what is left of the input."""
        ...


class Unread:
    """Knows the maps whose input may have to be read out."""

    def __init__(self) -> None:
        self._kept: set[weakref.ref[Any]] = set()
        self._dropped: list[Any] = []

    def add(
        self,
        results: Any,
        where: tuple[str, int],
        *,
        bounded: bool,
        asynchronous: bool,
        needs_loop: bool,
    ) -> None:
        """Mind what a ``map`` returns."""
        results.where, results.bounded, results.asynchronous = where, bounded, asynchronous
        results.needs_loop = needs_loop
        results.unread = self
        self._kept.add(weakref.ref(results, self._kept.discard))

    def drop(self, results: Results) -> None:
        """Hold results that nobody can iterate any more. For finalizers: takes no lock."""
        self._dropped.append(results)

    def take(self) -> list[Any]:
        """Return those that are to be read out. They are known no more."""
        found: dict[Any, None] = dict.fromkeys(self._dropped)
        found |= dict.fromkeys(results for ref in list(self._kept) if (results := ref()))
        self._dropped.clear()
        self._kept.clear()
        unread = [results for results in found if results.is_unread]
        for results in found:
            results.unread = None
        for results in unread:
            if results.bounded:
                _warn(results, "takes no more items than its buffersize")
        return [results for results in unread if not results.bounded]

    def read_out(self, *, loop: bool) -> None:
        """Submit what is left of all inputs.

        Args:
            loop: Whether there is an event loop that futures can belong to, if they have to.
        """
        for results in self.take():
            if results.asynchronous or (results.needs_loop and not loop):
                _warn(results, "cannot be read out without `async with`")
            else:
                results.read_out()

    async def read_all_out(self) -> None:
        """Submit what is left of all inputs, in an event loop, which futures can belong to."""
        for results in self.take():
            await results.read_all_out()

    def forget(self) -> None:
        """Read nothing out: the works are not wanted any more."""
        for results in self._dropped:
            results.unread = None
        self._dropped.clear()
        self._kept.clear()

    def __del__(self) -> None:
        """Say what was never run, if the executor was dropped without an end."""
        for results in self._dropped:
            _warn(results, "belongs to an executor that was dropped without shutdown()")


def _warn(results: Results, why: str) -> None:
    warnings.warn_explicit(
        f"nobody iterated this map, and it {why}: a part of its input was never run. Iterate it, "
        "or use submit()",
        RuntimeWarning,
        *results.where,
    )
