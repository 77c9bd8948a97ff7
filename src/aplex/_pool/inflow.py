"""The parent's side of a stream: what has arrived, what was handed over, what may come.

Logic only. Items are put in under the Manager's lock (`take`), in the order in which the
worker has yielded them; the end is put in later, outside of it. One reader takes them
out (`next`). Neither needs a lock, as each step is one operation on a dictionary, found by
the number of the item: a frame that Ctrl-C brings a second time changes nothing.

Credit: the worker may yield item ``n`` (from 0) if ``n < credit``. It begins with
``size``, and grows by what the reader is done with; so never more than ``size`` items are
yielded and not handed over. It is sent when half of the buffer has been read: not a
message for each item. What is sent is a total and no difference: it may arrive twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aplex._common.messages import CANCELLED, ITEMS, TOO_LATE, VALUE, Item

Owner = tuple[int, Any]
"""Thread, and task if there is one."""

NOTHING: Final[Item] = (False, object())
"""Stands for an item that has not arrived."""


class Inflow:
    """The future of a work that is a stream: it is settled again and again.

    Attributes:
        size: How many items may be yielded and not handed over.
        loop: The event loop whose thread it is settled on; None: any thread.
        owner: Who reads it; as long as he does something else, nobody does.
        end: Kind and data of the last report; None: more may come.
        bell: Called, perhaps again and again, when there may be something for a reader who
            waits.
    """

    def __init__(self, size: int, loop: Any, owner: Owner) -> None:
        self.size = size
        self.loop = loop
        self.owner = owner
        self.end: tuple[int, Any] | None = None
        self.bell: Callable[[], object] | None = None
        self._arrived: dict[int, list[Item]] = {}  # batches, by the number of their first item
        self._batch: list[Item] = []  # the one that is read now
        self._at = 0  # in the batch
        self._number = 0  # of items handed out
        self._credit = size  # sent to the worker
        self._dropped = False

    def __repr__(self) -> str:
        """Show how far it is."""
        state = "open" if self.end is None else "ended"
        return f"<stream, {self._number} items read, {state}>"

    # -- the pool's side ------------------------------------------------------

    def take(self, number: int, items: list[Item]) -> None:
        """Put items in; the first one has that number. Under the Manager's lock."""
        if not self._dropped:
            self._arrived[number] = items

    def get_loop(self) -> Any:
        """Return the loop, as awaitable futures do."""
        return self.loop

    def _settle(self, kind: int, data: Any) -> None:
        """Take a report that concerns whoever waits, as futures do."""
        if kind == TOO_LATE:
            return  # it ends at its next yield
        if kind != ITEMS and self.end is None:
            self.end = kind, data
        self.ring()

    def ring(self) -> None:
        """Wake who waits."""
        # It stays, and may be rung again: had it been taken away, Ctrl-C could lose it.
        if self.bell is not None:
            self.bell()

    # -- the reader's side ----------------------------------------------------

    def due(self) -> int:
        """Return the credit that is to be sent now, 0 if none is.

        All that was handed out so far is done with when the reader asks for more.
        """
        credit = self._number + self.size
        if self.end is None and credit - self._credit >= max(1, self.size // 2):
            return credit
        return 0

    def sent(self, credit: int) -> None:
        """Note that credit was sent. If Ctrl-C comes before, it is sent again."""
        self._credit = credit

    def next(self) -> Item:
        """Return the next item, or `NOTHING`."""
        batch, at = self._batch, self._at  # a signal handler may drop them meanwhile
        if at >= len(batch):
            arrived = self._arrived.get(self._number)
            if arrived is None:
                return NOTHING
            batch, at = arrived, 0
            self._at = 0
            self._batch = batch
            self._arrived.pop(self._number, None)  # not before: Ctrl-C must not lose it
        item = batch[at]
        batch[at] = NOTHING  # big items must not live on until the batch is read
        self._at = at + 1
        self._number += 1
        return item

    def is_ready(self) -> bool:
        """Whether there is a next item, or the end."""
        return self.end is not None or self._at < len(self._batch) or self._number in self._arrived

    def drop(self) -> None:
        """Take no more items in, and forget those that were not read."""
        self._dropped = True
        self._arrived.clear()
        self._batch = []
        self._at = 0

    @property
    def ended_well(self) -> bool:
        """Whether the generator has run to its end."""
        return self.end is not None and self.end[0] == VALUE

    @property
    def was_cancelled(self) -> bool:
        """Whether it has ended by a cancel."""
        return self.end is not None and self.end[0] == CANCELLED
