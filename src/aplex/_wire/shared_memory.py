"""Shared memory for big payloads: written once, read where it lies.

A pipe moves a big array through the kernel in pieces, and both sides copy. Here the
sender copies it into a *block* of shared memory, the frame carries only where that is, and
what the receiver unpickles (a NumPy array, say) is a view of the block itself.

Shared memory is an anonymous file in memory (`_wire.shared_files`): it has no name, so a crash
leaves nothing behind. The sender makes and chooses blocks; each has three flags in the
first pages of the file, one byte each:

* *kept* - the sender may send it, or send it again to another receiver;
* *lent* - a receiver may read it. It lowers the flag when the last view is gone (`_wire.borrowed`);
* *due* - the sender has not used it for a while: who is the last to have it gives its
  memory back.

A block that is neither kept nor lent is free. Free blocks stay warm on both sides, since
fresh pages cost several times as much as the copy into them; but not more than `WARM`
bytes of them. `HUGE` ones are not counted: they stay warm for `KEEP` seconds after they
were last used. The sender looks `KEEP` seconds after it has sent, or let go of, something,
and once more, since a receiver may have looked for the flag just before it was raised.

A block is found in constant time: those that the sender has put down are in a row for each
size, and only a few of them are looked at: the last ones, which are likely to be warm, and the
first ones, which are likely to be free. Segments of which all blocks are free are used anew, for
blocks of any size, before there are very many, or the numbers come to their end.

Rule: a signal handler or a finalizer may break into ``put`` and call it again, on the same
thread. Then the inner call gets no block, and its payload travels in a frame.

Only where there is ``memfd_create`` (Linux): elsewhere big payloads travel in frames.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from aplex._common.locks import RLock
from aplex._wire.frames import PipeEnd
from aplex._wire.segments import (
    BLOCKS,
    FLAGS,
    LENGTHS,
    PRIVATE,
    Block,
    Buffer,
    Place,
    Segment,
    flags_of,
    padded,
    size_of_block,
)
from aplex._wire.shared_files import make_shared_file

SIZES: Final = (2**44, 2**40, 2**36, 2**33)
"""Bytes of the file: what the system allows of these. What is not used takes no memory."""
SEGMENT: Final = 64 * 2**20
"""Bytes that are mapped at a time."""
SEGMENTS: Final = 8
"""Segments from which one that is free as a whole is used anew, before there is one more."""
WARM: Final = 256 * 2**20
"""Bytes of free blocks that are kept."""
HUGE: Final = 128 * 2**20
"""Bytes from which a block gives its memory back soon after it was used. Its sender writes it
without mapping it, so that it counts in one process only."""
KEEP: Final = 3.0
"""Seconds for which such a block stays warm. Who holds one result until the next one is there
uses two blocks in turn; on a slow machine that takes a second each."""
LOOKS: Final = 2
"""Blocks put down last, and as many others, that are looked at before a new one is made."""


class SharedPayload:
    """Payloads in a block, as the sender holds them: they may be sent until it is dropped."""

    __slots__ = ("_block", "_memory", "_pid", "frozen", "place")

    def __init__(self, memory: SharedMemory, block: Block, place: Place) -> None:
        self.frozen: list[int] = []  # which of them can never change, if somebody wants to know
        self._pid = os.getpid()
        self._memory = memory
        self._block = block
        self.place = place

    def private(self) -> Place:
        """Return the place for a receiver that must not change what is there for others."""
        place = self.place.copy()
        place[PRIVATE] = 1
        return place

    @property
    def lengths(self) -> list[int]:
        """Bytes of each of them."""
        return self.place[LENGTHS:]

    def views(self) -> list[memoryview]:
        """Return views of what is there. They are good as long as this object is."""
        block, views = self._block, []
        whole = memoryview(block.segment.map())
        at = block.start
        for length in self.place[LENGTHS:]:
            views.append(whole[at : at + length])
            at += padded(length)
        return views

    def give_back(self) -> None:
        """Give the memory back to the system now. Nobody must read what is there any more."""
        block = self._block
        if not self._memory.is_closed:
            block.segment.drop(block.start, block.size)
            block.warm = False

    def __del__(self) -> None:
        """Free the block, unless a receiver has it."""
        # Not in a forked child: the parent may still send it.
        if getattr(self, "_pid", 0) == os.getpid():
            self._memory.put_down(self._block)


class SharedMemory:
    """The sender's side. Any thread."""

    def __init__(self, end: PipeEnd, plan: Callable[[float], object]) -> None:
        """Have no blocks yet.

        Args:
            end: The file.
            plan: Has ``trim`` called after so many seconds. Safe in a finalizer.
        """
        self.end = end
        self._pid = os.getpid()
        self._plan = plan
        self._planned = False
        self._lock = RLock()
        self._busy = False  # whether a thread is where the lock is needed
        fd = end.fileno()
        self._size = os.fstat(fd).st_size
        self._kept, self._lent, self._due = flags_of(fd)
        self._segments: list[Segment] = []
        self._current: Segment | None = None  # where new blocks are made
        self._end = FLAGS  # bytes of the file that belong to segments, or the flags
        self._blocks: dict[int, Block] = {}  # by their numbers
        self._numbers: list[int] = []  # of retired blocks
        self._next = 0  # number that no block has had
        self._made = 0  # bytes of the blocks, without huge ones
        self._idle: dict[int, deque[Block]] = {}  # put down by us, the last one last; by size
        self._patience = 0  # how many more blocks are refused before it is looked for room

    def put(self, payloads: Sequence[Buffer]) -> SharedPayload | None:
        """Copy payloads into a block; None if there is no room for them."""
        if os.getpid() != self._pid:  # a forked child: the lock may be held for ever
            return None
        lengths = [len(payload) for payload in payloads]
        block = self._take(size_of_block(sum(map(padded, lengths))))
        if block is None:
            return None
        segment = block.segment
        place = [block.number, segment.offset, segment.size, block.start, 0, *lengths]
        payload = SharedPayload(self, block, place)
        try:
            (block.copy if block.warm and not block.is_huge else block.write)(payloads)
        except OSError:  # the memory is exhausted; frames may still do
            block.segment.drop(block.start, block.size)
            return None
        finally:
            self._mind(block)
        return payload

    def lend(self, place: Place) -> None:
        """Note that a receiver is about to get a block."""
        self._lent[place[0]] = 1

    def take_back(self, number: int) -> None:
        """Note that the receiver of a block is gone, or has not opened it, and never will."""
        self._lent[number] = 0
        block = self._blocks.get(number)
        if block is not None:
            self._mind(block)

    def put_down(self, block: Block) -> None:
        """Note that a block will not be sent any more. Takes no lock."""
        self._kept[block.number] = 0
        self._idle[block.size].append(block)
        self._mind(block)

    def trim(self) -> None:
        """Give back memory that was not used for a while, if it is too much."""
        self._planned = False
        again = False
        with self._lock:
            if not self._busy:
                self._busy = True
                try:
                    again = self._trim(time.monotonic() - KEEP)
                finally:
                    self._busy = False
        if again:
            self._look_later()

    @property
    def is_closed(self) -> bool:
        """Whether the file was closed."""
        return self.end.fileno() < 0

    def close(self) -> None:
        """Close the file. What is mapped stays until it is dropped."""
        self.end.close()

    def forget(self) -> None:
        """Close the file and unmap it; nothing is put there any more."""
        self.close()
        self._kept = self._lent = self._due = memoryview(bytearray(BLOCKS))
        for segment in self._segments:
            segment.unmap()

    # -- which block ------------------------------------------------------------

    def _take(self, size: int) -> Block | None:
        """Return a free block of that size, kept; None if there can be no more."""
        with self._lock:
            if self._busy:  # a signal handler, or a finalizer, has broken into this very thread
                return None
            self._busy = True
            try:
                block = self._idler(size) or self._new(size)
                if block is not None:
                    self._kept[block.number] = 1
                    block.used_at = time.monotonic()
                return block
            finally:
                self._busy = False

    def _idler(self, size: int) -> Block | None:
        """Return one that was put down; the last one, if it may be, as it is in the caches."""
        idle = self._idle.get(size)
        if not idle:
            return None
        block = idle.pop()
        found: Block | None = block
        if block.retired or not self._is_free(block):
            idle.append(block)
            found = self._sought(idle)
        if found is not None and self._due[found.number]:
            self._due[found.number] = 0
            found.warm = False  # perhaps: its receiver may have given it back
        return found

    def _sought(self, idle: deque[Block]) -> Block | None:
        """Look at the last ones, and at some of the first ones, which then go below the last."""
        last = [idle.pop() for _ in range(min(LOOKS, len(idle)))]
        first = [idle.popleft() for _ in range(min(LOOKS, len(idle)))]
        known = [block for block in last + first if not block.retired]
        found = next(filter(self._is_free, known), None)
        idle.extend(block for block in first + last[::-1] if block in known and block is not found)
        return found

    def _new(self, size: int) -> Block | None:
        if size >= HUGE:
            self._drop_huge()  # of other sizes: they are not wanted, it seems
        number = self._number()
        segment = None if number is None else self._segment_for(size)
        if number is None or segment is None:
            return None
        start, segment.used = segment.used, segment.used + size
        block = Block(number, segment, start, size, is_huge=size >= HUGE)
        self._idle.setdefault(size, deque())
        self._due[number] = 0
        segment.blocks.append(block)
        self._blocks[number] = block
        if size < HUGE:
            self._made += size
        return block

    def _number(self) -> int | None:
        """Return a number that no block has."""
        if self._next >= BLOCKS and not self._numbers:
            if self._patience:
                self._patience -= 1
                return None
            self._retire_free()
            few = BLOCKS // 8  # looking takes as long as making so many
            self._patience = few if len(self._numbers) < few else 0
        if self._numbers:
            return self._numbers.pop()
        if self._next >= BLOCKS:
            return None
        number, self._next = self._next, self._next + 1
        return number

    def _segment_for(self, size: int) -> Segment | None:
        if size >= HUGE:
            return self._empty_segment(size)
        if self._current is None or self._current.used + size > self._current.size:
            self._current = self._empty_segment(size)
        return self._current

    def _empty_segment(self, size: int) -> Segment | None:
        """Return a segment without blocks: an old one, rather than very many."""
        wanted = max(size, SEGMENT)
        at_end = self._end + wanted > self._size
        if at_end or len(self._segments) >= SEGMENTS:
            for segment in self._segments:
                if wanted <= segment.size <= 2 * wanted and self._clear(segment):
                    return segment
        if at_end:
            return None
        segment = Segment(self.end, self._end, wanted)
        self._end += wanted
        self._segments.append(segment)
        return segment

    def _clear(self, segment: Segment) -> bool:
        """Take all blocks off a segment, if they are free; return whether it has none."""
        if not all(block.retired or self._is_free(block) for block in segment.blocks):
            return False
        for block in segment.blocks:
            self._retire(block)
        if segment.used:
            segment.drop(0, segment.size)
        segment.blocks = []
        segment.used = 0
        return True

    def _retire_free(self) -> None:
        """Make the numbers of all free blocks those of others."""
        for segment in self._segments:
            if self._clear(segment):
                continue
            for block in segment.blocks:  # their places are used anew when all are free
                if not block.retired and self._is_free(block):
                    self._drop(block)
                    self._retire(block)

    def _retire(self, block: Block) -> None:
        if not block.retired:
            block.retired = True
            del self._blocks[block.number]
            self._numbers.append(block.number)
            self._made -= 0 if block.is_huge else block.size

    def _is_free(self, block: Block) -> bool:
        return not self._kept[block.number] and not self._lent[block.number]

    # -- memory -----------------------------------------------------------------

    def _mind(self, block: Block) -> None:
        """See to it that memory is given back some time, if it may be too much."""
        if block.is_huge or self._made > WARM:
            self._look_later()

    def _look_later(self) -> None:
        if not self._planned:
            self._planned = True
            self._plan(KEEP)

    def _trim(self, before: float) -> bool:
        """Give back what was not used since then; return whether to look once more."""
        again = False
        warm = 0
        blocks = sorted(self._blocks.values(), key=attrgetter("used_at"), reverse=True)
        for block in blocks:
            if not block.warm or self._kept[block.number]:  # it is looked at when it is put down
                continue
            if not block.is_huge:
                warm += block.size
                if warm <= WARM:
                    continue
            if block.used_at > before:
                again = True
            elif not self._lent[block.number]:
                self._drop(block)
            elif not self._due[block.number]:
                self._due[block.number] = 1
                again = True  # its receiver may have looked for that just before
        return again

    @staticmethod
    def _drop(block: Block) -> None:
        block.segment.drop(block.start, block.size)
        block.warm = False

    def _drop_huge(self) -> None:
        for segment in self._segments:
            if segment.size > SEGMENT:
                for block in segment.blocks:
                    if block.is_huge and block.warm and self._is_free(block):
                        self._drop(block)


def make_shared_memory(plan: Callable[[float], object]) -> SharedMemory | None:
    """Return new shared memory; None where there can be none. For ``plan`` see `SharedMemory`."""
    end = make_shared_memory_file()
    return None if end is None else SharedMemory(end, plan)


def make_shared_memory_file() -> PipeEnd | None:
    """Return the file of shared memory for somebody else; None where there can be none."""
    try:
        return make_shared_file(*SIZES)
    except OSError:  # not Linux; too many open files; a sandbox
        return None
