"""Segments: parts of a shared file that are mapped as a whole, and what the blocks in them are.

The layout of a file of shared memory, which its sender and its receivers know: three flags for each
block, a byte each; then the segments. See `_wire.shared_memory`.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import sys
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from aplex._wire.frames import PipeEnd
from aplex._wire.shared_files import write_at

Buffer: TypeAlias = bytes | bytearray | memoryview

BLOCKS: Final = 64 * 1024  # that one file can have
FLAGS: Final = 3 * BLOCKS  # bytes in front of the blocks
if sys.platform != "win32":
    _SHARED, _PRIVATE = mmap.MAP_SHARED, mmap.MAP_PRIVATE
else:
    _SHARED, _PRIVATE = 0, 0  # there is no such memory
LINE: Final = 64  # bytes: payloads begin at a cache line

Flags: TypeAlias = tuple[memoryview, memoryview, memoryview]
"""Kept, lent and due; by the number of the block."""
Place: TypeAlias = list[int]
"""As it travels: block, offset and size of its segment, its offset there, whether its receiver
must not change it for others, lengths of payloads."""
PRIVATE: Final = 4
"""Index of that, in a place."""
LENGTHS: Final = 5
"""Index of the first length."""


class Segment:
    """A part of the file that is mapped as a whole."""

    __slots__ = ("_end", "_memory", "_private", "blocks", "offset", "size", "used")

    def __init__(self, end: PipeEnd, offset: int, size: int) -> None:
        self._end = end
        self.offset = offset
        self.size = size
        self.used = 0  # bytes given to blocks
        self.blocks: list[Block] = []  # in these; the sender knows them
        self._memory: mmap.mmap | None = None
        self._private: mmap.mmap | None = None

    def map(self) -> mmap.mmap:
        """Return its memory, mapped now or before."""
        if self._memory is None:
            self._memory = self._mapped(_SHARED)
        return self._memory

    def map_private(self) -> mmap.mmap:
        """Return its memory, mapped so that others do not see what is changed there."""
        if self._private is None:
            self._private = self._mapped(_PRIVATE)
        return self._private

    def unmap(self) -> None:
        """Let go of its memory; views that there are keep it."""
        self._memory = self._private = None

    def _mapped(self, flags: int) -> mmap.mmap:
        fd = self._end.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, "the shared memory is closed")
        if sys.platform == "win32":
            raise OSError(errno.ENOSYS, "no shared memory here")
        return mmap.mmap(fd, self.size, flags=flags, offset=self.offset)

    def write(self, start: int, data: Buffer) -> None:
        """Write there without mapping it."""
        write_at(self._end.fileno(), data, self.offset + start)

    def drop(self, start: int, size: int) -> None:
        """Give memory back to the system; what is read there afterwards is zero."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError):  # the shared memory is closed
                self.map().madvise(mmap.MADV_REMOVE, start, size)

    def forget(self, start: int, size: int) -> None:
        """Drop what was changed in the private memory: what is in the file is read again."""
        if sys.platform != "win32":
            self.map_private().madvise(mmap.MADV_DONTNEED, start, size)

    def shield(self, start: int, size: int) -> bool:
        """Make a part of the shared memory private, where it is mapped; return whether it is."""
        return self._remap(start, size, _PRIVATE)

    def unshield(self, start: int, size: int) -> bool:
        """Make it shared again; what was changed meanwhile is dropped."""
        return self._remap(start, size, _SHARED)

    def _remap(self, start: int, size: int, flags: int) -> bool:
        fd = self._end.fileno()
        if (
            sys.platform == "win32" or fd < 0 or sys.maxsize < 2**32
        ):  # its offsets are too big for the mmap of C
            return False
        import ctypes  # it is there already, see `BorrowedMemory.open`

        memory, library = self.map(), ctypes.CDLL(None)
        remap: Any = library.mmap
        remap.restype = ctypes.c_void_p
        number, length = ctypes.c_int, ctypes.c_size_t
        remap.argtypes = [ctypes.c_void_p, length, number, number, number, ctypes.c_int64]
        where = ctypes.addressof(ctypes.c_char.from_buffer(memory, start))
        prot = mmap.PROT_READ | mmap.PROT_WRITE
        made = remap(where, size, prot, flags | _MAP_FIXED, fd, self.offset + start)
        return bool(made == where)


class Block:
    """A part of a segment, for one payload at a time."""

    __slots__ = ("is_huge", "number", "retired", "segment", "size", "start", "used_at", "warm")

    def __init__(
        self, number: int, segment: Segment, start: int, size: int, *, is_huge: bool
    ) -> None:
        self.number = number
        self.segment = segment
        self.start = start
        self.size = size
        self.is_huge = is_huge  # it is not kept warm for good; its segment has no other block
        self.warm = False  # whether it holds memory, as far as the sender knows
        self.used_at = 0.0  # monotonic
        self.retired = False  # its number and its place are used by others

    def copy(self, payloads: Sequence[Buffer]) -> None:
        """Copy payloads into a block that has its memory."""
        memory = self.segment.map()
        at = self.start
        for payload in payloads:
            memory[at : at + len(payload)] = payload
            at += padded(len(payload))

    def write(self, payloads: Sequence[Buffer]) -> None:
        """Write payloads into a block that has no memory yet.

        The system need not clear pages that are written as a whole, which is half of the
        cost; and when the memory is exhausted it says so, instead of killing somebody.
        """
        at = self.start
        for payload in payloads:
            self.segment.write(at, payload)
            at += padded(len(payload))
        self.warm = True


_MAP_FIXED: Final = 0x10  # of Linux, on every machine


def flags_of(fd: int) -> Flags:
    """Map the flags of a file of shared memory."""
    memory = memoryview(mmap.mmap(fd, FLAGS))
    return memory[:BLOCKS], memory[BLOCKS : 2 * BLOCKS], memory[2 * BLOCKS :]


def padded(length: int) -> int:
    """Return the bytes that a payload takes."""
    return -(-length // LINE) * LINE


def size_of_block(wanted: int) -> int:
    """Return the size of the blocks for so many bytes: four sizes in each octave."""
    pages = max(1, -(-wanted // mmap.PAGESIZE))
    step = 1 << max(0, pages.bit_length() - 3)
    return -(-pages // step) * step * mmap.PAGESIZE
