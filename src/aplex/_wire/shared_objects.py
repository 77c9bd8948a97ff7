"""The shared objects of a worker process: each is unpickled once, when a work first wants it.

The parent sends each of them once per lane, before the first work that is given it, as functions
are defined: a number, and where the pickle is, or the pickle itself. `shared_object` is what a
handle pickles as.

What lies in shared memory is mapped read-only, on its own, and unmapped when its last view is
gone (`_Mapping`): a work may keep a part of an array for longer than the parent keeps the whole.
So the parent frees the memory only when this worker has said that it has no views of it.

Rule: a last view may go in any thread, at any moment. Then nothing is sent and no lock is taken:
the number is noted, and the thread that reports it is woken.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import pickle
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from aplex._common.errors import SerializationError
from aplex._common.locks import RLock
from aplex._wire.borrowed import BorrowedMemory, Release, remember
from aplex._wire.calls import LESS
from aplex._wire.frames import PipeEnd
from aplex._wire.segments import LENGTHS, Place, padded

Parts: TypeAlias = tuple[bytes | memoryview, ...]
"""A pickle, and the buffers that it names."""
Packed: TypeAlias = tuple[str, Place | Parts]
"""What messages call an object; then a list, where it is in shared memory, or a tuple, itself."""


class Arrivals(Protocol):
    """Which of the shared objects that a worker was told of have come. Any thread."""

    def expect(self, number: int) -> None:
        """Note that a work may want an object."""
        ...

    def forget(self, number: int) -> None:
        """Note that none will."""
        ...

    def wait_for(self, number: int) -> None:
        """Return when it is there."""
        ...


_store: SharedObjects | None = None


def shared_object(number: int) -> Any:
    """Return the object of that number: what a handle pickles as.

    Raises:
        SerializationError: This process has no such object, or cannot unpickle it.
    """
    if _store is None:
        raise SerializationError("a shared object is wanted where there is no worker")
    return _store.take(number)


class SharedObjects:
    """What one worker has of them. Any thread."""

    def __init__(
        self,
        end: PipeEnd | None,
        wake: Callable[[], object],
        arrivals: Arrivals | None = None,
    ) -> None:
        """Have none yet, and be what `shared_object` asks.

        Args:
            end: The file in which the big ones are; None: they all come by the channel.
            wake: Has `freed` asked for soon. Safe in a finalizer.
            arrivals: Knows which of them are in the file. None: all are there before they are told.
        """
        self._wake = wake
        self._arrivals = arrivals
        self._views = None if end is None else SharedViews(end, self._unmapped)
        self._objects: dict[int, _Object] = {}
        self._mapped: dict[int, int] = {}  # numbers of objects, by those of their mappings
        self._forgotten: set[int] = set()  # of these, the ones that nobody will ask for
        self._mappings = itertools.count()
        self._freed: deque[int] = deque()
        global _store  # noqa: PLW0603
        _store = self

    def define(self, number: int, packed: Packed | None) -> None:
        """Take in an object that works to come may want; None: that none will want any more.

        Each lane is told apart, one of them perhaps much later.
        """
        if packed is not None:
            self._objects.setdefault(number, _Object(*packed))
            if self._arrivals is not None and type(packed[1]) is list:
                self._arrivals.expect(number)
            return
        if self._arrivals is not None:
            self._arrivals.forget(number)
        self._forgotten.add(number)
        self._objects.pop(number, None)
        if number not in list(self._mapped.values()):
            self._free(number)
        if self._views is not None:
            self._views.look_after_children()

    def take(self, number: int) -> Any:
        """Return an object, unpickled now or before.

        Raises:
            SerializationError: It is not known here, or cannot be unpickled.
        """
        found = self._objects.get(number)
        if found is None:
            raise SerializationError(f"this worker does not know the shared object {number}")
        if not found.is_there:
            with found.lock:
                if not found.is_there:
                    found.value = self._unpickled(number, found)
                    found.is_there = True
                    found.packed = ()
        return found.value

    def freed(self) -> list[int]:
        """Return the numbers of objects that this worker has nothing of any more, once each."""
        freed: list[int] = []
        while self._freed:
            freed.append(self._freed.popleft())
        return freed

    def forget(self) -> None:
        """Have no objects any more; what nobody else has is unmapped."""
        self._objects.clear()
        if self._views is not None:
            self._views.forget()

    def _unpickled(self, number: int, found: _Object) -> Any:
        try:
            parts = found.packed
            if type(parts) is list:
                parts = self._map(number, found.packed)
            return pickle.loads(parts[0], buffers=map(_read_only, parts[1:]))
        except (MemoryError, OSError) as error:
            raise SerializationError(
                f"the worker has not enough memory for the shared {found.name}: "
                f"{type(error).__name__}: {error}. {LESS}"
            ) from error
        except Exception as error:
            raise SerializationError(
                f"the worker cannot unpickle the shared {found.name}: {type(error).__name__}: "
                f"{error}. Functions and classes must be importable in a worker: define them at "
                "the top of a module, and not under `if __name__ == '__main__'`"
            ) from error

    def _map(self, number: int, place: Place) -> list[memoryview]:
        assert self._views is not None
        if self._arrivals is not None:
            self._arrivals.wait_for(number)
        mapping = next(self._mappings)
        self._mapped[mapping] = number
        try:
            return self._views.open([mapping, *place[1:]])
        except OSError:
            del self._mapped[mapping]
            raise

    def _unmapped(self, mapping: int) -> None:
        """Note that the last view of an object is gone. Any thread, at any moment."""
        number = self._mapped.pop(mapping)
        if number in self._forgotten:
            self._free(number)

    def _free(self, number: int) -> None:
        self._forgotten.discard(number)
        self._freed.append(number)
        self._wake()


class Inserting:
    """Calls a function with a shared object at a place that is not the first.

    Like ``functools.partial``, which has places to be filled since CPython 3.14 only.
    """

    __slots__ = ("_object", "_place", "_work")

    def __init__(self, work: Callable[..., Any], place: int, shared: Any) -> None:
        self._work = work
        self._place = place
        self._object = shared

    def __reduce__(self) -> tuple[Any, ...]:
        return Inserting, (self._work, self._place, self._object)

    def __call__(self, *args: Any) -> Any:
        place = self._place
        return self._work(*args[:place], self._object, *args[place:])


class _Object:
    """One shared object."""

    __slots__ = ("is_there", "lock", "name", "packed", "value")

    def __init__(self, name: str, packed: Place | Parts) -> None:
        self.name = name
        self.packed: Any = packed
        self.lock = RLock()  # for unpickling it: two lanes may want it at once
        self.is_there = False
        self.value: Any = None


class SharedViews(BorrowedMemory):
    """Read-only views of shared objects; each is mapped on its own, and has a number as that."""

    def __init__(self, end: PipeEnd, gone: Callable[[int], None]) -> None:
        """Have no views yet.

        Args:
            end: The file.
            gone: Is told the number of a mapping of which there are no views any more.
        """
        super().__init__(end)
        self._gone = gone
        self._is_known = False  # to who looks after forks

    def open(self, place: Place) -> list[memoryview]:
        """Return views of the parts of an object.

        Raises:
            OSError: It cannot be mapped.
        """
        number, offset, _size, start, _private = place[:LENGTHS]
        lengths = place[LENGTHS:]
        if not self._is_known:
            self._is_known = True
            remember(self)
        mapping = _Mapping(self.end, offset + start, sum(map(padded, lengths)))
        owner = mapping.owner()
        self._watches[number] = weakref.ref(owner, Release(self, mapping, place))
        whole = memoryview(owner).cast("B").toreadonly()
        views: list[memoryview] = []
        at = 0
        for length in lengths:
            views.append(whole[at : at + length])
            at += padded(length)
        return views

    def look_after_children(self) -> None:
        """Let go of what only forked children still had, if these have ended."""
        if self._left:
            self._free_left()

    def _free(self, release: Release) -> None:
        number = release.place[0]
        release.segment.unmap()
        self._inherited.discard(number)
        self._gone(number)

    def _shield(self) -> None:
        """Do nothing: nobody can change what is there."""


if sys.platform == "win32":  # where there is no shared memory
    _READ = _SHARED = 0
else:
    _READ, _SHARED = mmap.PROT_READ, mmap.MAP_SHARED


class _Mapping:
    """A read-only mapping of a part of a file, which holds no descriptor.

    ``mmap.mmap`` has a copy of its descriptor before CPython 3.13: a thousand objects would need
    a thousand of them.
    """

    __slots__ = ("_address", "_size")

    def __init__(self, end: PipeEnd, offset: int, size: int) -> None:
        self._size = max(size, 1)
        number, length, where = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
        call: Any = ctypes.CDLL(None, use_errno=True).mmap
        call.restype = where
        call.argtypes = [where, length, number, number, number, ctypes.c_int64]
        address = call(None, self._size, _READ, _SHARED, end.fileno(), offset)
        if address in (None, where(-1).value):
            reason = ctypes.get_errno() or errno.ENOMEM
            raise OSError(reason, os.strerror(reason))
        self._address: int = address

    def owner(self) -> Any:
        """Return what each view keeps alive."""
        return (ctypes.c_char * self._size).from_address(self._address)

    def unmap(self) -> None:
        """Take the mapping away: nobody has views of it."""
        call: Any = ctypes.CDLL(None).munmap
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        call(self._address, self._size)


def _read_only(part: bytes | memoryview) -> bytes | memoryview:
    return part if isinstance(part, bytes) else part.toreadonly()
