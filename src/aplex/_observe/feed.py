"""The Feed: a book of which everything is taken out soon, so that nothing is ever dropped."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from typing import Final

from aplex._observe.book import Book
from aplex._observe.names import Names
from aplex._observe.tape import DONE, ENDED, KIND_MASK, RERUN, Block

_ENDS: Final = frozenset((DONE, ENDED, RERUN))


class Feed(Book):
    """Keeps rows until somebody takes them. All is called under the manager's lock."""

    def __init__(self, names: Names, tell: Callable[[], None]) -> None:
        """Have nothing yet.

        Args:
            names: What names stand in the log for.
            tell: Called once when an attempt has ended, until `take` was called.
        """
        super().__init__({}, names, 0, messages=False)
        self._tell = tell

    def add(self, made: array[int], works: int = 0) -> None:
        """Append a row."""
        self._now.log.extend(made)
        if not works and not self._asked and made and made[1] & KIND_MASK in _ENDS:
            self._asked = True
            self._tell()

    def turn(self, in_flight: Collection[int]) -> None:
        """Drop nothing."""

    def take(self) -> Block:
        """Return all that is new."""
        block, self._now, self._asked = self._now, Block(), False
        return block
