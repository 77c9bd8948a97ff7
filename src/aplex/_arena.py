"""Shared memory for big payloads: written once, read where it lies.

A pipe moves a big array through the kernel in pieces, and both sides copy. Here the
sender copies it into a *block* of an arena, the frame carries only where that is, and
what the receiver unpickles (a NumPy array, say) is a view of the block itself.

An arena is an anonymous file in memory (``memfd_create``): it has no name, so a crash
leaves nothing behind. The sender makes and chooses blocks; each has three flags in the
first pages of the file, one byte each:

* *kept* - the sender may send it, or send it again to another receiver;
* *lent* - a receiver may read it. It lowers the flag when the last view is gone,
  in the callback of a weak reference: a store into memory, no message and no lock;
* *due* - the sender has not used it for a while: who is the last to have it gives its
  memory back. For `HUGE` blocks only.

A block that is neither kept nor lent is free. Free blocks stay warm on both sides, since
fresh pages cost several times as much as the copy into them; but not more than `WARM`
bytes of them. `HUGE` ones are not counted: they stay warm for `KEEP` seconds after they
were last used. The sender looks then, and once more, since a receiver may have looked
for the flag just before it was raised.

Only where there is ``memfd_create`` (Linux): elsewhere big payloads travel in frames.
A forked child has the views, but flags are not its business.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from aplex import _late
from aplex._frames import PipeEnd
from aplex._locks import Lock

Buffer: TypeAlias = bytes | bytearray | memoryview

BLOCKS: Final = 4096  # that an arena can have
FLAGS: Final = 3 * BLOCKS  # bytes in front of the blocks
LINE: Final = 64  # bytes: payloads begin at a cache line
SEGMENT: Final = 64 * 2**20
"""Bytes that are mapped at a time; of memory that is not used yet, they cost nothing."""
WARM: Final = 256 * 2**20
"""Bytes of free blocks that an arena keeps."""
HUGE: Final = 128 * 2**20
"""Bytes from which a block gives its memory back soon after it was used. Its sender writes it
without mapping it, so that it counts in one process only."""
KEEP: Final = 3.0
"""Seconds for which such a block stays warm. Who holds one result until the next one is there
uses two blocks in turn; on a slow machine that takes a second each."""

Flags: TypeAlias = tuple[memoryview, memoryview, memoryview]
"""Kept, lent and due; by the number of the block."""
Place: TypeAlias = list[int]
"""As it travels: block, offset and size of its segment, its offset there, lengths of payloads."""


class Segment:
    """A part of the file that is mapped as a whole."""

    __slots__ = ("_end", "_memory", "offset", "size", "used")

    def __init__(self, end: PipeEnd, offset: int, size: int) -> None:
        self._end = end
        self.offset = offset
        self.size = size
        self.used = 0  # bytes given to blocks
        self._memory: mmap.mmap | None = None

    def map(self) -> mmap.mmap:
        """Return its memory, mapped now or before."""
        if self._memory is None:
            fd = self._end.fileno()
            if fd < 0:
                raise OSError(errno.EBADF, "the arena is closed")
            self._memory = mmap.mmap(fd, self.size, offset=self.offset)
        return self._memory

    def drop(self, start: int, size: int) -> None:
        """Give memory back to the system; what is read there afterwards is zero."""
        with contextlib.suppress(OSError, ValueError):  # the arena is closed
            self.map().madvise(mmap.MADV_REMOVE, start, size)


class Block:
    """A part of a segment, for one parcel at a time."""

    __slots__ = ("number", "segment", "size", "start", "used_at", "warm")

    def __init__(self, number: int, segment: Segment, start: int, size: int) -> None:
        self.number = number
        self.segment = segment
        self.start = start
        self.size = size
        self.warm = False  # whether it holds memory, as far as the sender knows
        self.used_at = 0.0  # monotonic

    @property
    def is_huge(self) -> bool:
        """Whether it is not kept warm for good. Its segment has no other block then."""
        return self.size >= HUGE


class Parcel:
    """Payloads in a block, as the sender holds them: they may be sent until it is dropped."""

    __slots__ = ("_arena", "_block", "_pid", "place")

    def __init__(self, arena: Arena, block: Block, place: Place) -> None:
        self._pid = os.getpid()
        self._arena = arena
        self._block = block
        self.place = place

    def __del__(self) -> None:
        """Free the block, unless a receiver has it."""
        if (
            getattr(self, "_pid", 0) == os.getpid()
        ):  # not in a forked child: the parent may send it yet
            self._arena.put_down(self._block)


class Arena:
    """The sender's side. Any thread."""

    def __init__(self, end: PipeEnd, plan: Callable[[float], object]) -> None:
        """Have no blocks yet.

        Args:
            end: The file.
            plan: Has ``cool`` called after so many seconds. Safe in a finalizer.
        """
        self.end = end
        self._plan = plan
        self._planned = False
        self._lock = Lock()
        fd = end.fileno()
        os.ftruncate(fd, FLAGS)
        self._kept, self._lent, self._due = _flags(fd)
        self._segments: list[Segment] = []
        self._blocks: list[Block] = []
        self._by_size: dict[int, list[Block]] = {}
        self._end = FLAGS  # bytes of the file
        self._warm = 0  # bytes of the blocks that hold memory, without huge ones

    def put(self, payloads: Sequence[Buffer]) -> Parcel | None:
        """Copy payloads into a block; None if there is no room for them."""
        lengths = [len(payload) for payload in payloads]
        with self._lock:
            block = self._take(sum(map(_padded, lengths)))
        if block is None:
            return None
        segment = block.segment
        place = [block.number, segment.offset, segment.size, block.start, *lengths]
        parcel = Parcel(self, block, place)
        try:
            (self._copy if block.warm and not block.is_huge else self._write)(block, payloads)
        except OSError:  # the memory is exhausted; frames may still do
            block.segment.drop(block.start, block.size)
            return None
        finally:
            if block.is_huge:
                self._look_later()
        return parcel

    def lend(self, place: Place) -> None:
        """Note that a receiver is about to get a block."""
        self._lent[place[0]] = 1

    def take_back(self, number: int) -> None:
        """Note that the receiver of a block is gone."""
        self._lent[number] = 0
        if self._due[number]:
            self._look_later()

    def put_down(self, block: Block) -> None:
        """Note that a block will not be sent any more. Takes no lock."""
        self._kept[block.number] = 0
        if self._due[block.number]:  # its receiver may have left it to us
            self._look_later()

    def cool(self) -> None:
        """Give back the memory of huge blocks that were not used for a while."""
        self._planned = False
        again = False
        before = time.monotonic() - KEEP
        with self._lock:
            for block in self._blocks:
                if not (block.is_huge and block.warm):
                    continue
                if block.used_at > before:
                    again = True
                elif self._is_free(block):
                    self._drop(block)
                elif not self._due[block.number]:
                    self._due[block.number] = 1
                    again = True  # its receiver may have looked for that just before
        if again:
            self._look_later()

    def trim(self) -> None:
        """Give back the memory of free blocks beyond those that are kept warm."""
        if self._warm <= WARM:
            return
        with self._lock:
            for block in self._blocks:
                if self._warm <= WARM:
                    break
                if block.warm and not block.is_huge and self._is_free(block):
                    self._drop(block)
                    self._warm -= block.size

    def close(self) -> None:
        """Close the file. What is mapped stays until it is dropped."""
        self.end.close()

    def _take(self, wanted: int) -> Block | None:
        """Return a free block of the right size, kept; None if there can be no more."""
        size = _size_of_block(wanted)
        blocks = self._by_size.setdefault(size, [])
        block = next(filter(self._is_free, blocks), None)
        if block is None:
            if size >= HUGE:
                self._drop_huge()  # of other sizes: they are not wanted, it seems
            if len(self._blocks) == BLOCKS:
                return None
            segment = self._segment_for(size)
            block = Block(len(self._blocks), segment, segment.used, size)
            segment.used += size
            self._blocks.append(block)
            blocks.append(block)
        self._kept[block.number] = 1
        self._due[block.number] = 0
        block.used_at = time.monotonic()
        return block

    def _drop(self, block: Block) -> None:
        block.segment.drop(block.start, block.size)
        block.warm = False

    def _drop_huge(self) -> None:
        for block in self._blocks:
            if block.is_huge and block.warm and self._is_free(block):
                self._drop(block)

    def _look_later(self) -> None:
        if not self._planned:
            self._planned = True
            self._plan(KEEP)

    def _segment_for(self, size: int) -> Segment:
        if self._segments and self._segments[-1].used + size <= self._segments[-1].size:
            return self._segments[-1]
        segment = Segment(self.end, self._end, max(size, SEGMENT))
        os.ftruncate(self.end.fileno(), self._end + segment.size)  # takes no memory
        self._end += segment.size
        self._segments.append(segment)
        return segment

    @staticmethod
    def _copy(block: Block, payloads: Sequence[Buffer]) -> None:
        """Copy payloads into a block that has its memory."""
        memory = block.segment.map()
        at = block.start
        for payload in payloads:
            memory[at : at + len(payload)] = payload
            at += _padded(len(payload))

    def _write(self, block: Block, payloads: Sequence[Buffer]) -> None:
        """Write payloads into a block that has no memory yet.

        The system need not clear pages that are written as a whole, which is half of the
        cost; and when the memory is exhausted it says so, instead of killing somebody.
        """
        at = block.segment.offset + block.start
        for payload in payloads:
            view, written = memoryview(payload), 0
            while written < len(view):
                written += os.pwrite(self.end.fileno(), view[written:], at + written)
            at += _padded(len(view))
        with self._lock:
            block.warm = True
            if not block.is_huge:
                self._warm += block.size

    def _is_free(self, block: Block) -> bool:
        return not self._kept[block.number] and not self._lent[block.number]


class Lent:
    """The receiver's side of an arena. One thread at a time."""

    def __init__(self, end: PipeEnd) -> None:
        self.end = end
        self._flags: Flags | None = None
        self._char: Any  # ctypes.c_char, with the flags
        self._segments: dict[int, Segment] = {}
        self._watches: dict[int, weakref.ref[Any]] = {}

    def open(self, place: Place) -> list[memoryview]:
        """Return views of the payloads. The block is free again when they are all gone."""
        number, offset, size, start, *lengths = place
        if self._flags is None:
            with _late.importing:
                from ctypes import c_char
            self._char = c_char
            self._flags = _flags(self.end.fileno())
        segment = self._segments.get(offset)
        if segment is None:
            segment = self._segments[offset] = Segment(self.end, offset, size)
        # Whatever is made of a view, or of a view of a view, keeps the owner alive.
        owner = (self._char * sum(map(_padded, lengths))).from_buffer(segment.map(), start)
        release = _Release(self._flags, self._watches, segment, place)
        self._watches[number] = weakref.ref(owner, release)
        whole = memoryview(owner).cast("B")
        views: list[memoryview] = []
        at = 0
        for length in lengths:
            views.append(whole[at : at + length])
            at += _padded(length)
        return views

    def give_back(self, place: Place) -> None:
        """Lower the flag of a block that could not be opened."""
        if self._flags is not None:
            self._flags[1][place[0]] = 0


class _Release:
    """Called when the last view of a block is gone, in any thread, at any moment."""

    __slots__ = ("_flags", "_pid", "_place", "_segment", "_watches")

    def __init__(
        self,
        flags: Flags,
        watches: dict[int, weakref.ref[Any]],
        segment: Segment,
        place: Place,
    ) -> None:
        self._flags = flags
        self._watches = watches
        self._segment = segment
        self._place = place
        self._pid = os.getpid()

    def __call__(self, _reference: object) -> None:
        if self._pid != os.getpid():  # a forked child: the views of its parent live on
            return
        number, _, size, *_ = self._place
        kept, lent, due = self._flags
        if due[number] and not kept[number]:  # nobody wants it: the segment of a huge block is it
            self._segment.drop(0, size)
        self._watches.pop(number, None)
        lent[number] = 0


def make_arena(plan: Callable[[float], object]) -> Arena | None:
    """Return a new arena; None where there can be none. For ``plan`` see `Arena`."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        return Arena(PipeEnd(os.memfd_create("aplex", os.MFD_CLOEXEC)), plan)
    except OSError:  # too many open files, a sandbox
        return None


def _flags(fd: int) -> Flags:
    memory = memoryview(mmap.mmap(fd, FLAGS))
    return memory[:BLOCKS], memory[BLOCKS : 2 * BLOCKS], memory[2 * BLOCKS :]


def _padded(length: int) -> int:
    return -(-length // LINE) * LINE


def _size_of_block(wanted: int) -> int:
    """Return the size of the blocks for so many bytes: four sizes in each octave."""
    pages = max(1, -(-wanted // mmap.PAGESIZE))
    step = 1 << max(0, pages.bit_length() - 3)
    return -(-pages // step) * step * mmap.PAGESIZE
