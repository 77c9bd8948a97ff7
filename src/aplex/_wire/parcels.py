"""Parcels: big payloads on a connection of their own, so that nothing else waits behind them.

A frame on a lane names a parcel by its number, and is there at once; the parcel comes when it
comes. Its parts are read straight into memory of their sizes, and written from where they lie.

What the sender says cannot be changed (`bytes`) becomes `bytes` again, without another copy; all
else, memory that the receiver may write to.

A frame that a death cut off never surfaces, nor does a parcel.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aplex._wire.frames import Bytes, End

CALL: Final = 0
"""The arguments of a work."""
RESULT: Final = 1
"""What it has returned."""
FORGET: Final = 2
"""Without parts: nobody will want what has that number."""
SHARED: Final = 3
"""A shared object, for all workers of a machine; the first part says where it belongs."""
HERE: Final = 4
"""Without parts: that shared object has come, by another worker of the same machine."""
GONE: Final = 5
"""A shared object that nobody wants any more; the first part says where it was."""

BIG: Final = 2**20
"""Bytes from which a payload travels here, and not in a frame."""
_HEAD: Final = struct.Struct("<QBI")  # number, kind, how many parts
_LENGTH: Final = struct.Struct("<Q")
_FROZEN: Final = 1 << 63  # in a length
_HUGE: Final = 2 * 2**20  # bytes of a page of memory, where there are such big ones


class Parcel(NamedTuple):
    """One that has arrived."""

    number: int
    kind: int
    parts: list[Bytes]


def packed(
    number: int, kind: int, parts: Sequence[Bytes], frozen: Sequence[int] = ()
) -> list[Bytes]:
    """Return what is to be written.

    Args:
        number: By which frames name it.
        kind: One of the words above.
        parts: Of it.
        frozen: Places of those that are `bytes`.
    """
    head = _HEAD.pack(number, kind, len(parts)) + b"".join(
        _LENGTH.pack(len(part) | (_FROZEN if place in frozen else 0))
        for place, part in enumerate(parts)
    )
    return [head, *(part for part in parts if len(part))]


class ParcelReader:
    """Reads parcels from one end, one after another. One thread at a time."""

    def __init__(self, end: End) -> None:
        """Have read nothing yet.

        Args:
            end: Blocking or not.
        """
        self.end = end
        self._begin()

    def _begin(self) -> None:
        self._head: tuple[int, int, int] | None = None
        self._lengths: list[int] | None = None
        self._parts: list[Any] = []
        self._want(bytearray(_HEAD.size))

    def _want(self, room: Any) -> None:
        self._room = room
        self._view = memoryview(room)
        self._at = 0

    def read(self) -> Parcel | None:
        """Read once; return a parcel, if that was the last of it.

        Raises:
            EOFError: The other side is gone.
            BlockingIOError: Nothing is at hand (a non-blocking end only).
            OSError: The connection is lost.
            MemoryError: There is no room for it.
        """
        count = self.end.read_into(self._view[self._at :])
        if not count:
            raise EOFError
        self._at += count
        if self._at < len(self._view):
            return None
        return self._filled()

    def _filled(self) -> Parcel | None:
        if self._head is None:
            self._head = _HEAD.unpack(self._room)
            if self._head[2]:
                self._want(bytearray(_LENGTH.size * self._head[2]))
                return None
            self._lengths = []
        elif self._lengths is None:
            self._lengths = [length for (length,) in _LENGTH.iter_unpack(self._room)]
        else:
            self._take_part()
        return self._next()

    def _take_part(self) -> None:
        assert self._lengths is not None
        frozen = self._lengths[len(self._parts)] & _FROZEN
        self._parts.append(bytes(self._room) if frozen else self._room)

    def _next(self) -> Parcel | None:
        assert self._head is not None
        assert self._lengths is not None
        for length in self._lengths[len(self._parts) :]:
            size = length & ~_FROZEN
            if size:
                self._want(_room_for(size))
                return None
            self._parts.append(b"")
        number, kind, _ = self._head
        parcel = Parcel(number, kind, self._parts)
        self._begin()
        return parcel


def is_bytes(part: Any) -> bool:
    """Whether a part can never change."""
    return type(part) is bytes or (type(part) is memoryview and type(part.obj) is bytes)


def _room_for(size: int) -> Any:
    """Return memory of that size, which is taken page by page as it is written."""
    if sys.platform != "linux" or size < _HUGE:
        return bytearray(size)
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # where there are none
        room.madvise(mmap.MADV_HUGEPAGE)  # a fault for each small page takes longer than the copy
    return room
