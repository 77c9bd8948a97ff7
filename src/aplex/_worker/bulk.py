"""The Bulk: a worker's side of the connection on which big payloads travel, see `_wire.parcels`.

Imported by workers on other machines than their pool's. Two threads, which run no user's code: one
reads what comes, and one writes what goes; each is started when there is something. A plain
function waits for its arguments on its own thread, where it can be interrupted; a coroutine is
begun when they are there (`CoroutineLane.hold`), and can be cancelled until then.

A shared object comes to one worker of a machine, which writes it into a file that all of them have;
the others are told when it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from aplex._common.locks import RLock
from aplex._wire import parcels
from aplex._wire.frames import Bytes, PipeEnd, Writer
from aplex._wire.parcels import BIG, Parcel, ParcelReader, is_bytes
from aplex._wire.segments import LENGTHS, Place, Segment, padded
from aplex._wire.shared_files import write_at
from aplex._wire.shared_memory import SharedPayload

Loop = asyncio.AbstractEventLoop
Start = Callable[[Callable[[], None], str], object]
Keep = Callable[[Sequence[Any]], SharedPayload | None]


class Awaited:
    """What comes by number, and who waits for it. Any thread."""

    def __init__(self) -> None:
        """Have nothing yet."""
        self.here: dict[int, list[Bytes]] = {}
        self._lock = RLock()
        self._waiting: dict[int, list[Callable[[], object]]] = {}
        self._unwanted: set[int] = set()  # of what has not come yet

    def come(self, number: int, parts: list[Bytes]) -> None:
        """Note that something has come."""
        with self._lock:
            if number in self._unwanted:
                self._unwanted.discard(number)
                return
            self.here[number] = parts
            waiting = self._waiting.pop(number, ())
        for wake in waiting:
            wake()

    def when_here(self, number: int, wake: Callable[[], object]) -> None:
        """Have something called when it has come, perhaps now. It may be on any thread."""
        with self._lock:
            if number not in self.here:
                self._waiting.setdefault(number, []).append(wake)
                return
        wake()

    def forget(self, number: int) -> None:
        """Note that nobody wants it, whether it has come or not."""
        with self._lock:
            self._waiting.pop(number, None)
            if self.here.pop(number, None) is None:
                self._unwanted.add(number)

    def wait_for(self, number: int) -> None:
        """Return when it is there."""
        if number not in self.here:
            there = threading.Event()
            self.when_here(number, there.set)
            there.wait()

    async def wait(self, number: int, loop: Loop) -> None:
        """Return when it is there."""
        if number not in self.here:
            there = loop.create_future()
            self.when_here(number, partial(_wake, loop, there))
            await there


class Arrivals:
    """Which shared objects are in the file that all workers of a machine have."""

    def __init__(self) -> None:
        """Know of none."""
        self._awaited = Awaited()
        self._wanted: set[int] = set()

    def expect(self, number: int) -> None:
        """Note that works to come may want an object."""
        self._wanted.add(number)

    def forget(self, number: int) -> None:
        """Note that none will."""
        self._wanted.discard(number)
        self._awaited.here.pop(number, None)

    def come(self, number: int) -> None:
        """Note that it is there."""
        self._awaited.come(number, [])

    def wait_for(self, number: int) -> None:
        """Return when it is there."""
        self._awaited.wait_for(number)

    def missing(self) -> list[int]:
        """Return those that are wanted and have not come."""
        return [number for number in list(self._wanted) if number not in self._awaited.here]

    async def wait(self, numbers: list[int], loop: Loop) -> None:
        """Return when they are there."""
        for number in numbers:
            await self._awaited.wait(number, loop)


class Bulk:
    """A worker's side.

    Attributes:
        end: The connection; blocking.
        arrivals: Which shared objects have come.
    """

    def __init__(
        self,
        end: PipeEnd,
        common: PipeEnd | None,
        start: Start,
        keep: Keep,
        lost: Callable[[], object],
    ) -> None:
        """Have nothing yet.

        Args:
            end: The connection; blocking.
            common: The file of shared objects.
            start: Starts a daemon thread of that name.
            keep: Copies payloads to where they stay as they are, if it can.
            lost: Is called when nothing more can come: works may wait for it.
        """
        self.end = end
        self.arrivals = Arrivals()
        self._common = common
        self._start = start
        self._keep = keep
        self._lost = lost
        self._lock = RLock()
        self._calls = Awaited()
        self._outgoing: SimpleQueue[tuple[list[Bytes], Any]] | None = None
        self._numbers = 0

    # -- what comes ---------------------------------------------------------------

    def begin(self) -> None:
        """Read, from now on, what comes. On the watcher's thread, when there is something."""
        self._start(self._read, "aplex-bulk-in")

    def _read(self) -> None:
        reader = ParcelReader(self.end)
        try:
            while True:
                parcel = reader.read()
                if parcel is not None:
                    self._take(parcel)
                del parcel  # nothing is to live on while nothing comes
        except (EOFError, OSError, MemoryError):
            self._lost()

    def _take(self, parcel: Parcel) -> None:
        number, kind, parts = parcel
        if kind == parcels.CALL:
            self._calls.come(number, parts)
        elif kind == parcels.FORGET:
            self._calls.forget(number)
        elif kind == parcels.HERE:
            self.arrivals.come(number)
        elif kind == parcels.SHARED:
            self._write_shared(marshal.loads(parts[0]), parts[1:])
            self.arrivals.come(number)
            self._send(parcels.packed(number, parcels.HERE, ()))
        elif kind == parcels.GONE and self._common is not None:
            _, start, size, *_ = marshal.loads(parts[0])
            Segment(self._common, start, size).drop(0, size)

    def _write_shared(self, place: Place, parts: list[Bytes]) -> None:
        assert self._common is not None
        at = place[1]
        for length, part in zip(place[LENGTHS:], parts, strict=True):
            write_at(self._common.fileno(), memoryview(part), at)
            at += padded(length)

    def open(self, place: list[int]) -> list[Any]:
        """Return the parts of a call; wait for it, if it has not come."""
        number = place[0]
        try:
            self._calls.wait_for(number)
        except BaseException:  # interrupted
            self._calls.forget(number)
            raise
        return self._calls.here.pop(number)

    def lacking(self, call: Any, loop: Loop) -> Coroutine[Any, Any, None] | None:
        """Return what waits until a call and what it may use are there; None if they are."""
        place: list[int] = call if isinstance(call, list) else []
        number = place[0] if place else None
        missing = self.arrivals.missing()
        if not missing and (number is None or number in self._calls.here):
            return None
        return self._wait(number, missing, loop)

    async def _wait(self, number: int | None, missing: list[int], loop: Loop) -> None:
        if number is not None:
            await self._calls.wait(number, loop)
        await self.arrivals.wait(missing, loop)

    def give_up(self, call: Any) -> None:
        """Note that nobody wants a call, whether it has come or not."""
        if isinstance(call, list):
            place: list[int] = call
            self._calls.forget(place[0])

    # -- what goes ----------------------------------------------------------------

    def put(self, payloads: Sequence[Any]) -> list[int] | None:
        """Send a big result as it is now; return how a report names it. None: it is too small."""
        if sum(map(len, payloads)) < BIG:
            return None
        frozen = [place for place, part in enumerate(payloads) if is_bytes(part)]
        others = [place for place in range(len(payloads)) if place not in frozen]
        parts: list[Bytes] = list(payloads)
        keep, copies = self._copied([payloads[place] for place in others])
        for place, copy in zip(others, copies, strict=True):
            parts[place] = copy
        with self._lock:
            self._numbers += 1
            number = self._numbers
        self._send(parcels.packed(number, parcels.RESULT, parts, frozen), keep)
        return [number, *map(len, parts)]

    def _copied(self, payloads: list[Any]) -> tuple[Any, list[Any]]:
        """Copy what the works of this worker may change, into memory that was used before."""
        payload = self._keep(payloads) if payloads else None
        if payload is None:
            return None, [bytes(part) for part in payloads]
        return payload, payload.views()

    def _send(self, parts: list[Bytes], keep: Any = None) -> None:
        with self._lock:
            if self._outgoing is None:
                self._outgoing = SimpleQueue()
                self._start(partial(self._write, self._outgoing), "aplex-bulk-out")
        self._outgoing.put((parts, keep))

    def _write(self, outgoing: SimpleQueue[tuple[list[Bytes], Any]]) -> None:
        writer = Writer(self.end)
        with contextlib.suppress(OSError):  # the pool is gone: that is told elsewhere
            while True:
                writer.rest, keep = outgoing.get()
                writer.flush()
                del keep  # nothing is to live on while nothing goes


def _wake(loop: Loop, there: asyncio.Future[None]) -> None:
    def tell() -> None:
        if not there.done():
            there.set_result(None)

    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(tell)
