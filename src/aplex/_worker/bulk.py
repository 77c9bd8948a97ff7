"""The Bulk: a worker's side of the connection on which big payloads travel, see `_wire.parcels`.

Imported by workers on other machines than their pool's. Two threads, which run no user's code: one
reads what comes and one, from the first big result on, writes. A plain function waits for its
arguments on its own thread, where it can be interrupted; a coroutine is begun when they are there
(`CoroutineLane.hold`), and can be cancelled until then.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from aplex._common.locks import RLock
from aplex._wire import parcels
from aplex._wire.frames import Bytes, PipeEnd, Writer
from aplex._wire.parcels import BIG, Parcel, ParcelReader, is_bytes
from aplex._wire.shared_memory import SharedPayload

if TYPE_CHECKING:
    import asyncio


class Bulk:
    """A worker's side."""

    def __init__(
        self,
        end: PipeEnd,
        start: Callable[[Callable[[], None], str], object],
        keep: Callable[[Sequence[Any]], SharedPayload | None],
    ) -> None:
        """Have nothing yet.

        Args:
            end: The connection; blocking.
            start: Starts a daemon thread of that name.
            keep: Copies payloads to where they stay as they are, if it can.
        """
        self.end = end
        self._start = start
        self._keep = keep
        self._lock = RLock()
        self._here: dict[int, list[Bytes]] = {}
        self._waiting: dict[int, deque[Callable[[], object]]] = {}
        self._unwanted: set[int] = set()  # of what has not come yet
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
            # The pool is gone, or gives us up: it will be told, and tell us.
            pass

    def _take(self, parcel: Parcel) -> None:
        number = parcel.number
        if parcel.kind == parcels.FORGET:
            self.forget(number)
            return
        with self._lock:
            if number in self._unwanted:
                self._unwanted.discard(number)
                return
            self._here[number] = parcel.parts
            waiting = self._waiting.pop(number, ())
        for wake in waiting:
            wake()

    def is_here(self, number: int) -> bool:
        """Whether a parcel has come."""
        return number in self._here

    def when_here(self, number: int, wake: Callable[[], object]) -> None:
        """Have something called when a parcel has come, perhaps now. It may be on any thread."""
        with self._lock:
            if number not in self._here:
                self._waiting.setdefault(number, deque()).append(wake)
                return
        wake()

    def forget(self, number: int) -> None:
        """Note that nobody wants a parcel, whether it has come or not."""
        with self._lock:
            self._waiting.pop(number, None)
            if self._here.pop(number, None) is None:
                self._unwanted.add(number)

    def open(self, place: list[int]) -> list[Any]:
        """Return the parts of a parcel; wait for it, if it has not come."""
        number = place[0]
        if number not in self._here:
            there = threading.Event()
            self.when_here(number, there.set)
            try:
                there.wait()
            except BaseException:  # interrupted
                self.forget(number)
                raise
        return self._here.pop(number)

    async def wait(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a parcel. Who is cancelled meanwhile does not want it any more."""
        there = loop.create_future()
        self.when_here(number, partial(_wake, loop, there))
        try:
            await there
        except BaseException:
            self.forget(number)
            raise

    # -- what goes ----------------------------------------------------------------

    def put(self, payloads: Sequence[Any]) -> list[int] | None:
        """Send a big result as it is now; return how a report names it. None: it is too small."""
        if sum(map(len, payloads)) < BIG:
            return None
        frozen = [place for place, part in enumerate(payloads) if is_bytes(part)]
        keep: Any = None
        parts: list[Bytes] = list(payloads)
        others = [place for place in range(len(parts)) if place not in frozen]
        if others:
            keep = self._copied([payloads[place] for place in others])
            for place, copy in zip(others, keep[1], strict=True):
                parts[place] = copy
        with self._lock:
            if self._outgoing is None:
                self._outgoing = SimpleQueue()
                self._start(partial(self._write, self._outgoing), "aplex-bulk-out")
            self._numbers += 1
            number = self._numbers
        self._outgoing.put((parcels.packed(number, parcels.RESULT, parts, frozen), keep))
        return [number, *map(len, parts)]

    def _copied(self, payloads: list[Any]) -> tuple[Any, list[Bytes]]:
        """Copy what the works of this worker may change, into memory that was used before."""
        payload = self._keep(payloads)
        if payload is None:
            return None, [bytes(part) for part in payloads]
        return payload, payload.views()

    def _write(self, outgoing: SimpleQueue[tuple[list[Bytes], Any]]) -> None:
        writer = Writer(self.end)
        while True:
            parts, keep = outgoing.get()
            writer.rest = parts
            del parts
            try:
                writer.flush()
            except OSError:  # the pool is gone: that is told elsewhere
                return
            del keep


def _wake(loop: asyncio.AbstractEventLoop, there: asyncio.Future[None]) -> None:
    def tell() -> None:
        if not there.done():
            there.set_result(None)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:  # it is closed
        pass
