"""The Book: keeps what one recording is told, up to a number of works. Logic only.

It is kept in blocks. When there are enough works without it, the oldest block is dropped, but for
what is still needed of it: works that are still in flight, workers that are still there, and when
works that are still to come were submitted.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final

from aplex._observe.names import Names
from aplex._observe.tape import MANY, RERUN, SENT, SUBMITTED, Block, Event, Row, Tape, row, rows_of

BLOCK_WORDS: Final = 1 << 16
"""Words of a log after which the next block begins."""
PARTS: Final = 8
"""Blocks, at least, in which as many works are as must be kept."""
STAMPS: Final = 1 << 16
"""Words of times of submission that are kept of blocks that were dropped."""


class Book:
    """What one recording has kept.

    Attributes:
        limit: How many works are kept, if there were as many; a block more may be.
        messages: Whether messages of exceptions are kept.
        dropped: Works that were dropped; attempts of them that were lost count, too.
        dropped_workers: Workers that had ended, and were dropped with their ends.
        names: What names stand in the log for.
        is_full: Whether `turn` is to be called.
    """

    def __init__(self, head: dict[str, Any], names: Names, limit: int, *, messages: bool) -> None:
        """Have nothing yet."""
        self._head = head
        self.names = names
        self.limit = limit
        self.messages = messages
        self.dropped = 0
        self.dropped_workers = 0
        self.is_full = False
        self._blocks: deque[Block] = deque((Block(),))
        self._now = self._blocks[0]
        self._works = 0
        self._stamps = array("q")  # of dropped blocks
        self._workers: dict[int, list[Event]] = {}  # of dropped blocks: those still there then
        self._block_works = max(1, limit // PARTS)
        self.to_write: Callable[[], None] | None = None  # called once there is something new
        self._asked = False  # and was not taken since
        self._written: Block | None = None  # the last one that was taken to be written

    def add(self, made: array[int], works: int = 0) -> None:
        """Append a row, which says that so many works were sent."""
        block = self._now
        block.log.extend(made)
        if works:
            self._works += works
            block.works = sent = block.works + works
            if self.to_write is not None and not self._asked:
                self._asked = True
                self.to_write()
            if sent >= self._block_works or len(block.log) >= BLOCK_WORDS:
                self.is_full = True

    def event(self, event: Event) -> None:
        """Append an event."""
        self._now.events.append(event)

    def turn(self, in_flight: Collection[int]) -> None:
        """Begin the next block, and drop what is too much.

        Args:
            in_flight: Numbers of the works that are in flight.
        """
        self.is_full = False
        self._now = Block()
        self._blocks.append(self._now)
        while len(self._blocks) > 1 and self._works - self._blocks[0].works >= self.limit:
            self._drop(self._blocks[0], in_flight)
            self._blocks.popleft()

    def take_new(self, in_flight: Collection[int]) -> list[Block]:
        """Return the blocks that were not taken yet; the one of this moment ends here."""
        self._asked = False
        if self._now.log or self._now.events:
            self.turn(in_flight)
        blocks = list(self._blocks)[:-1]
        if self._written in blocks:  # by identity, see `Block`
            blocks = blocks[blocks.index(self._written) + 1 :]
        if blocks:
            self._written = blocks[-1]
        return [Block(block.log, block.events, block.works) for block in blocks]

    def _drop(self, block: Block, in_flight: Collection[int]) -> None:
        self._works -= block.works
        self.dropped += block.works
        kept = set(in_flight)
        carried = Block()
        for read in rows_of(block.log):
            if read.kind == SUBMITTED:
                self._stamps.extend((read.time, read.words[0]))
            elif read.kind == RERUN and not read.form:
                self.dropped -= 1  # it was sent twice, and counts once
            elif read.kind == SENT and not kept.isdisjoint(read.words):
                _carry(carried, read, kept)
        following = self._blocks[1]
        following.log = carried.log + following.log
        following.works += carried.works
        self._works += carried.works
        self.dropped -= carried.works
        del self._stamps[: max(0, len(self._stamps) - STAMPS) & ~1]
        for event in block.events:
            if event[1] == "gone":
                self.dropped_workers += self._workers.pop(event[2], None) is not None
            elif event[1] in ("spawned", "ready"):
                self._workers.setdefault(event[2], []).append(event)

    def tape(self, **more: Any) -> Tape:
        """Return a copy of all of it; ``more`` goes into the head."""
        head = {
            **self._head,
            "limit": self.limit,
            "dropped": self.dropped,
            "dropped_workers": self.dropped_workers,
            **more,
        }
        first = Block()
        for at in range(0, len(self._stamps), 2):
            made = row(self._stamps[at], SUBMITTED, 0, 0, 0, (self._stamps[at + 1],))
            first.log.extend(made)
        first.events = [event for events in self._workers.values() for event in events]
        blocks = [Block(block.log[:], block.events[:], block.works) for block in self._blocks]
        return Tape(head, self.names.texts[:], [first, *blocks])


def _carry(carried: Block, read: Row, kept: set[int]) -> None:
    """Keep of a row of what was sent what is still in flight."""
    ids, names = read.words, array("q", [read.name]) * len(read.words)
    if read.form & MANY:
        half = len(ids) // 2
        ids, names = ids[:half], ids[half:]
    for work_id, name in zip(ids, names, strict=True):
        if work_id in kept:
            lane = read.form & ~MANY
            carried.log.extend(row(read.time, SENT, lane, read.worker, name, (work_id,)))
            carried.works += 1
