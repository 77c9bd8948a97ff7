"""The parent's side of a stream: what has arrived, what was handed over, what may still come.

Logic only. `take` puts items in, under the Manager's lock and in the order in which the worker
yielded them; the end is put in later, without the lock. One reader takes items out with `next`.
The two need no lock of their own, since each step is one operation on a dictionary whose key is
the number of an item: a frame that is read a second time, because of Ctrl-C, changes nothing.

Credit: the worker may yield item ``n`` (from 0) if ``n < credit``. The credit starts at ``size``
and grows by each item that the reader is done with. So at most ``size`` items are yielded and not
handed over. Credit is not sent for each item, but when half of the buffer has been read. It is
sent as a total, not as a difference, so it may arrive twice.
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
        owner: Who reads it; while the owner does something else, nobody reads.
        end: Kind and data of the last report; None: more may come.
        bell: Called, perhaps repeatedly, when there may be something for a waiting reader.
    """

    def __init__(self, size: int, loop: Any, owner: Owner) -> None:
        self.size = size
        self.loop = loop
        self.owner = owner
        self.end: tuple[int, Any] | None = None
        self.bell: Callable[[], object] | None = None
        self._arrived: dict[int, list[Item]] = {}  # batches, by the numbers of their first items
        self._batch: list[Item] = []  # the batch that is being read
        self._at = 0  # the next place in it
        self._number = 0  # how many items were handed out
        self._credit = size  # the last that was sent to the worker
        self._dropped = False

    def __repr__(self) -> str:
        """Show how far it is."""
        state = "open" if self.end is None else "ended"
        return f"<stream, {self._number} items read, {state}>"

    # -- the pool's side ------------------------------------------------------

    def take(self, number: int, items: list[Item]) -> None:
        """Put items in, of which the first has that number. Needs the Manager's lock."""
        if not self._dropped:
            self._arrived[number] = items

    def get_loop(self) -> Any:
        """Return the loop, as awaitable futures do."""
        return self.loop

    def _settle(self, kind: int, data: Any) -> None:
        """Take a report, as futures do, and wake a waiting reader."""
        if kind == TOO_LATE:
            return  # it ends at its next yield
        if kind != ITEMS and self.end is None:
            self.end = kind, data
        self.ring()

    def ring(self) -> None:
        """Wake a reader who waits."""
        # It stays, and may be called again: if it were taken away, Ctrl-C could lose it.
        if self.bell is not None:
            self.bell()

    # -- the reader's side ----------------------------------------------------

    def due(self) -> int:
        """Return the credit that is to be sent now, 0 if none is.

        When the reader asks for more, it is done with all that was handed out so far.
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
            self._arrived.pop(self._number, None)  # not earlier: Ctrl-C must not lose it
        item = batch[at]
        batch[at] = NOTHING  # big items must not live on until the batch is read
        self._at = at + 1
        self._number += 1
        return item

    def is_ready(self) -> bool:
        """Whether there is a next item, or the end."""
        return self.end is not None or self._at < len(self._batch) or self._number in self._arrived

    def drop(self) -> None:
        """Discard the items that were not read, and all that are still to come."""
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
        """Whether it was cancelled."""
        return self.end is not None and self.end[0] == CANCELLED
