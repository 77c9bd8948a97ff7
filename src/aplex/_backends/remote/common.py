"""The Common: the shared objects that the workers of one machine have together.

They come to one of them, which writes them into a file that all of them map. Used under the lock of
the pool.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Final, Protocol

from aplex._wire import parcels
from aplex._wire.segments import FLAGS, Place, padded

if TYPE_CHECKING:
    from aplex._wire.shared_memory import SharedPayload

PAGE: Final = 2**16
"""Bytes; objects begin at a multiple of it, which is one of any machine's page size."""
SIZE: Final = 2**33
"""Bytes that any file of shared memory has."""


class Carrier(Protocol):
    """A link to a worker, as far as shared objects need it."""

    def tell_bulk(self, kind: int, number: int, *parts: bytes) -> None:
        """Tell the worker something of an object."""
        ...

    def carry(self, number: int, place: bytes, payload: SharedPayload) -> None:
        """Send it an object, for all of its machine."""
        ...


class Common:
    """The shared objects that have come to one machine; that is, into one file there."""

    def __init__(self) -> None:
        """Have none."""
        self.links: set[Carrier] = set()
        self._objects: dict[int, _Object] = {}
        self._end = FLAGS  # bytes of the file that were given away; none of them twice

    def place_for(self, link: Carrier, number: int, payload: SharedPayload) -> Place | None:
        """Return where a worker finds an object; have it sent there, if it is not. None: no room.

        Args:
            link: To the worker.
            number: Of the object.
            payload: Where it is here.
        """
        found = self._objects.get(number)
        if found is None:
            place = self._new_place(payload)
            if place is None:
                return None
            found = self._objects[number] = _Object(place, payload)
            found.carry(link, number)
        elif found.is_there:
            link.tell_bulk(parcels.HERE, number)
        elif link is not found.carrier:
            found.waiting.add(link)
        return found.place

    def _new_place(self, payload: SharedPayload) -> Place | None:
        lengths = payload.lengths
        size = sum(map(padded, lengths))
        start = -(-self._end // PAGE) * PAGE
        if start + size > SIZE:
            return None
        self._end = start + size
        return [0, start, size, 0, 0, *lengths]

    def came(self, number: int) -> None:
        """Note that an object is there; tell who waits for it."""
        found = self._objects.get(number)
        if found is not None:
            found.come(number)

    def freed(self, number: int) -> None:
        """Have the memory of an object given back: no worker has anything of it."""
        found = self._objects.pop(number, None)
        if found is not None:
            # What is on its way is to come first; else any worker will do.
            link = found.carrier or next(iter(self.links), None)
            if link is not None:
                link.tell_bulk(parcels.GONE, number, marshal.dumps(found.place))

    def lost(self, link: Carrier) -> None:
        """Note that a worker has ended; what it was to bring, another one that waits brings."""
        self.links.discard(link)
        for number, found in list(self._objects.items()):
            found.waiting.discard(link)
            if found.carrier is not link:
                continue
            if found.waiting:
                found.carry(found.waiting.pop(), number)
            else:
                del self._objects[number]


class _Object:
    """One object on its way to a machine, or there."""

    def __init__(self, place: Place, payload: SharedPayload) -> None:
        self.place = place
        self.payload: SharedPayload | None = payload
        self.carrier: Carrier | None = None  # by whom it comes
        self.waiting: set[Carrier] = set()

    @property
    def is_there(self) -> bool:
        return self.payload is None

    def carry(self, link: Carrier, number: int) -> None:
        """Have it sent by one worker, for all."""
        assert self.payload is not None
        self.carrier = link
        link.carry(number, marshal.dumps(self.place), self.payload)

    def come(self, number: int) -> None:
        self.carrier = self.payload = None
        waiting, self.waiting = self.waiting, set()
        for link in waiting:
            link.tell_bulk(parcels.HERE, number)
