"""The receiver's side of shared memory: views of blocks, and who else may have them.

Whatever is made of a view keeps its block lent. When the last one is gone the flag is lowered,
in the callback of a weak reference: a store into memory, no message and no lock.

* A block may be *private*: what its receiver changes is for it alone, since the same block may
  be sent again to another receiver when this one dies.
* A forked child has the views, too. They stay as they are: before a fork the blocks are
  *shielded*, that is, each process goes on with memory of its own where it changes them; and
  none of them is used again while such a child lives. That is known by a lock on the file
  (``fcntl``), which belongs to a descriptor of the child's: its end, whatever it is, or an
  ``exec`` gives it back. Others ask for the lock only if there is one, and never take it. The
  flags are not the child's business.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import weakref
from typing import Any, Final

from aplex._common.locks import late_imports
from aplex._wire.frames import PipeEnd
from aplex._wire.segments import (
    BLOCKS,
    LENGTHS,
    PRIVATE,
    Flags,
    Place,
    Segment,
    flags_of,
    padded,
    size_of_block,
)


class BorrowedMemory:
    """What a receiver has of shared memory. Opened by one thread at a time; released by any."""

    def __init__(self, end: PipeEnd) -> None:
        self.end = end
        self.pid = os.getpid()
        self._flags: Flags | None = None
        self._char: Any  # ctypes.c_char, with the flags
        self._segments: dict[int, Segment] = {}
        self._watches: dict[int, weakref.ref[Any]] = {}  # by the numbers of the blocks
        self._shielded: set[int] = set()
        self._inherited: set[int] = set()  # blocks of which a forked child may have views
        self._left: list[Release] = []  # of those, the ones of which we have none any more
        self._tethers: dict[int, int] = {}  # descriptors for children, by the forking threads
        self._unknown = False  # whether it cannot be known if such a child lives

    def open(self, place: Place) -> list[memoryview]:
        """Return views of the payloads. The block is free again when they are all gone."""
        number, offset, size, start, private = place[:LENGTHS]
        lengths = place[LENGTHS:]
        if self._flags is None:
            self._begin()
        if self._left:
            self._free_left()
        if not 0 <= number < BLOCKS:
            raise ValueError(f"no block of shared memory: {number}")
        segment = self._segments.get(offset)
        if segment is None or segment.size != size:
            segment = self._segments[offset] = Segment(self.end, offset, size)
        memory = segment.map_private() if private else segment.map()
        # Whatever is made of a view, or of a view of a view, keeps the owner alive.
        owner = (self._char * sum(map(padded, lengths))).from_buffer(memory, start)
        self._watches[number] = weakref.ref(owner, Release(self, segment, place))
        whole = memoryview(owner).cast("B")
        views: list[memoryview] = []
        at = 0
        for length in lengths:
            views.append(whole[at : at + length])
            at += padded(length)
        return views

    def give_back(self, place: Place) -> None:
        """Lower the flag of a block that could not be opened."""
        if self._flags is not None:
            self._flags[1][place[0]] = 0

    def _begin(self) -> None:
        with late_imports.importing:
            from ctypes import c_char
        self._char = c_char
        self._flags = flags_of(self.end.fileno())
        remember(self)

    def released(self, release: Release) -> None:
        """Note that the last view of a block is gone. Any thread, at any moment."""
        number = release.place[0]
        self._watches.pop(number, None)
        if number in self._inherited and self._has_heirs():
            self._left.append(release)
        else:
            self._free(release)

    def _free(self, release: Release) -> None:
        if self._flags is None or self.end.fileno() < 0:  # nobody sends here any more
            return
        kept, lent, due = self._flags
        segment, place = release.segment, release.place
        number, start = place[0], place[3]
        size = size_of_block(sum(map(padded, place[LENGTHS:])))
        if place[PRIVATE]:
            segment.forget(start, size)
        elif number in self._shielded:
            if not segment.unshield(start, size):
                return  # it cannot be used again
            self._shielded.discard(number)
        if due[number] and not kept[number]:  # nobody wants it
            segment.drop(start, size)
        self._inherited.discard(number)
        lent[number] = 0

    # -- forks ----------------------------------------------------------------

    def before_fork(self) -> None:
        """See to it that the child's views stay as they are now. On the thread that forks."""
        if not self._watches or self.end.fileno() < 0 or self.pid != os.getpid():
            return
        self._tether()
        for number in list(self._watches):
            self._inherited.add(number)
        self._shield()

    def after_fork(self) -> None:
        """Let go of what belongs to the child. In the parent, on the thread that forked."""
        fd = self._tethers.pop(threading.get_ident(), None)
        if fd is not None:
            os.close(fd)

    def _tether(self) -> None:
        """Open the file once more, for the child, and lock that."""
        try:
            fd = self._tethers[threading.get_ident()] = _opened_anew(self.end.fileno())
            _lock(fd)
        except OSError:  # no /proc; too many open files
            self._unknown = True

    def _has_heirs(self) -> bool:
        """Whether a forked child may have views of our blocks."""
        if self._unknown or self.end.fileno() < 0:
            return self._unknown
        return _is_locked(self.end.fileno())

    def _free_left(self) -> None:
        if not self._has_heirs():
            while self._left:
                self._free(self._left.pop())

    def _shield(self) -> None:
        """Make all blocks private that are shared."""
        for number, watch in list(self._watches.items()):
            release: Any = watch.__callback__
            if release is None or number in self._shielded or release.place[PRIVATE]:
                continue
            size = size_of_block(sum(map(padded, release.place[LENGTHS:])))
            if release.segment.shield(release.place[3], size):
                self._shielded.add(number)

    def close(self) -> None:
        """Close the file, as nobody sends here any more. Views stay, and are for us alone."""
        if self._watches and self.pid == os.getpid():
            self._shield()
        self.end.close()

    def forget(self) -> None:
        """Close the file, and unmap what has no views. Where no end of a process does that."""
        self.close()
        self._segments.clear()
        self._flags = None


class Release:
    """Called when the last view of a block is gone, in any thread, at any moment."""

    __slots__ = ("lent", "place", "segment")

    def __init__(self, lent: BorrowedMemory, segment: Any, place: Place) -> None:
        self.lent = lent
        self.segment = segment
        self.place = place

    def __call__(self, _reference: object) -> None:
        if self.lent.pid == os.getpid():  # else a forked child: the views of its parent live on
            self.lent.released(self)


_FLOCK: Final = struct.Struct("@hhqqi0q")  # ``struct flock`` of C


def _whole_file(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


if sys.platform == "linux":

    def _opened_anew(fd: int) -> int:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)

    def _lock(fd: int) -> None:
        from fcntl import F_OFD_SETLK, F_RDLCK, fcntl

        fcntl(fd, F_OFD_SETLK, _whole_file(F_RDLCK))

    def _is_locked(fd: int) -> bool:
        from fcntl import F_OFD_GETLK, F_UNLCK, F_WRLCK, fcntl

        return bool(_FLOCK.unpack(fcntl(fd, F_OFD_GETLK, _whole_file(F_WRLCK)))[0] != F_UNLCK)

else:  # where there is no shared memory

    def _opened_anew(fd: int) -> int:
        raise OSError(fd)

    def _lock(fd: int) -> None:
        raise OSError(fd)

    def _is_locked(fd: int) -> bool:
        raise OSError(fd)


_known: weakref.WeakSet[BorrowedMemory] | None = None  # those which may have views


def remember(lent: BorrowedMemory) -> None:
    """Have the views of this memory seen to when the process forks."""
    global _known  # noqa: PLW0603
    if _known is None:
        _known = weakref.WeakSet()
        if sys.platform != "win32":
            os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)
    _known.add(lent)


def _before_fork() -> None:
    for lent in list(_known or ()):
        with contextlib.suppress(Exception):  # nothing of ours may hinder a fork
            lent.before_fork()


def _after_fork() -> None:
    for lent in list(_known or ()):
        lent.after_fork()
