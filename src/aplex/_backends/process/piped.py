"""What is the same wherever the other end of a worker's pipes is: sending, and reading reports.

Reports are read by whoever watches the pipes: the listener, one caller who waits (see `Gate`), or
the event loop of the caller.

Rule: the ends of the parent are non-blocking and closed by `Link.close`, after the last watcher
has let go of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from aplex._backends.contract import Backend
from aplex._backends.process.callers_gate import CallersGate
from aplex._backends.process.link import Link
from aplex._backends.process.sharing import Sharing
from aplex._common.locks import RLock, is_mine, late_imports
from aplex._common.messages import COROUTINE, LANES, PLAIN, Reports
from aplex._pool.state import PoolWorker, Work
from aplex._wire.by_value import Definition, numbers_of
from aplex._wire.calls import CallEncoder
from aplex._wire.frames import End, frame_of
from aplex._wire.past import Part, Past, timings_of
from aplex._wire.shared_memory import SharedMemory, SharedPayload, make_shared_memory
from aplex._worker.channel_watch import can_watch

if TYPE_CHECKING:
    from aplex._backends.process.shares import Shares
    from aplex._common.sharing import Share

Loop = asyncio.AbstractEventLoop
_log = logging.getLogger("aplex")


class PipedBackend(Backend):
    """Sends outboxes and reads reports over pipes; who starts workers adds their start and end."""

    tells_sent = True

    def __init__(self, *, main_by_value: Callable[[], bool]) -> None:
        """Have no worker yet.

        Args:
            main_by_value: Tells whether workers cannot import the main module, so that what is
                defined there travels by value; called before the first call is pickled.
        """
        self._arena: SharedMemory | None = None
        self._arena_lock = RLock()
        self._borrowers: dict[int, Link] = {}  # who has a block of the arena, by its number
        self._encoder = CallEncoder(self._put, decide=main_by_value)
        self._encode = self._encoder.encode
        self._shares: Shares | None = None  # made by the first object that is shared
        self._links: dict[PoolWorker, Link] = {}
        self._loop: Loop | None = None  # reads the reports; None: the listener, or who waits
        self._gate: CallersGate | None = None
        self.past = Past()

    def timings(self) -> list[Part]:
        links = self._links
        return timings_of(lambda: [one.progress.page for one in list(links.values())], self.past)

    # -- sending --------------------------------------------------------------

    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        return self._encode(work, args, kwargs)

    def send(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is None:
            return
        # Cancels last: they may be for works that are sent just now.
        if worker.outboxes[PLAIN]:
            self._send_lane(worker, link, PLAIN)
        if worker.outboxes[COROUTINE] or worker.cancels or worker.recalls or worker.credits:
            self._send_lane(worker, link, COROUTINE)

    def send_alone(self, worker: PoolWorker, work: Work) -> None:
        link = self._links.get(worker)
        if link is None:
            return
        lane, function, call = work.lane, work.function, work.call
        if type(function) is Definition:
            function = function.number
        if function not in link.known[lane] or type(call) is SharedPayload:
            if type(function) is not Sharing or type(call) is SharedPayload:
                self.send(worker)
                return
            if not function.all_in(link.known[lane]):
                self.send(worker)
                return
            function = function.number
        if self.tell_sent is not None:
            self.tell_sent(worker, lane, (work.id,), (work,))
        frame = frame_of(
            (None, (work.id,), [function], [call], (), (), (), self.submitted(work.id))
        )
        # No call between these two, see `_send_lane`.
        link.writers[lane].rest += frame
        worker.outboxes[lane] = []
        self._flush_now(link, lane)

    def _send_lane(self, worker: PoolWorker, link: Link, lane: int) -> None:
        """Send an outbox, and what is asked of the coroutine lane."""
        outbox = worker.outboxes[lane]
        functions = [work.function for work in outbox]
        known = link.known[lane]
        new = None
        if not known.issuperset(functions):
            new = self._definitions(known, functions)
            functions = numbers_of(functions)
        ids = [work.id for work in outbox]
        if self.tell_sent is not None and outbox:
            self.tell_sent(worker, lane, ids, outbox)
        calls = [work.call for work in outbox]
        if SharedPayload in map(type, calls):
            calls = [self._lend(link, work) for work in outbox]
        cancels: Any = ()
        recalls: Any = ()
        credits_: Any = ()
        if lane == COROUTINE:
            cancels = list(map(tuple, worker.cancels))  # marshal knows no named ones
            recalls = list(map(tuple, worker.recalls))
            credits_ = list(map(tuple, worker.credits))
        submitted = self.submitted(ids[0]) if ids else 0
        frame = frame_of((new, ids, functions, calls, cancels, recalls, credits_, submitted))
        writer = link.writers[lane]
        # No call until all of them are emptied: a signal handler may raise after any, and what
        # was to be sent must be in an outbox or in the writer, not in both and not in neither.
        writer.rest += frame
        worker.outboxes[lane] = []
        if lane == COROUTINE:
            worker.cancels = []
            worker.recalls = []
            worker.credits = []
        if new:
            known.update(new)
            known.difference_update([number for number, pickled in new.items() if pickled is None])
        self._flush_now(link, lane)

    def _definitions(self, known: set[int], functions: list[Any]) -> dict[int, Any]:
        """Return what a lane has to be told before it gets works with these functions."""
        if self._shares is None:
            return self._encoder.definitions(known, functions)
        every = set(functions)
        plain = [each.function if type(each) is Sharing else each for each in every]
        new = self._encoder.definitions(known, plain)
        new.update(self._shares.definitions(known, every))
        return new

    def _flush_now(self, link: Link, lane: int) -> None:
        if link.closed:
            return
        writer = link.writers[lane]
        try:
            if not writer.flush():
                self.listener.call_soon(partial(self._flush, link, lane))
        except OSError:
            self._cut_off(link)

    def _flush(self, link: Link, lane: int) -> None:
        """Write on what did not fit. On the listener's thread."""
        self.events.locked(partial(self._flush_locked, link, lane))

    def _flush_locked(self, link: Link, lane: int) -> None:
        writer = link.writers[lane]
        try:
            # Buried, it may not be closed yet: its loop has to let go of it.
            flushed = link.buried or link.closed or writer.flush()
        except OSError:
            self._cut_off(link)
            flushed = True
        if flushed:
            self.listener.unwatch_writing(writer.end)
        else:
            flush = partial(self._flush, link, lane)
            self.listener.watch_writing(writer.end, flush)

    def _cut_off(self, link: Link) -> None:
        """Make sure of the end of a worker whose channel has ended: mostly it is dead.

        But a work may have closed the channel; then the worker would go on, and its works in
        flight would never be settled.
        """
        link.unwanted = True
        if link.started and not link.closed:
            link.kill()

    # -- big arguments, in shared memory --------------------------------------

    def _shared(self) -> SharedMemory | None:
        """Return the arena of the calls, made when it is first wanted. Any thread."""
        if self._arena is None:
            with self._arena_lock:
                if self._arena is None:
                    self._keep(make_shared_memory(self._trim_later))
        return self._arena

    def _keep(self, made: SharedMemory | None) -> None:
        # Another look, with no call after it: a signal handler may have made one.
        if self._arena is None:
            self._arena = made
        elif made is not None:
            made.close()

    def _put(self, payloads: Sequence[bytes | memoryview]) -> SharedPayload | None:
        arena = self._shared()
        return None if arena is None else arena.put(payloads)

    def _trim_later(self, seconds: float) -> None:
        when = time.monotonic() + seconds
        self.listener.call_soon(partial(self.listener.call_at, when, self._trim))

    def _trim(self) -> None:
        if self._arena is not None:
            self._arena.trim()

    def _lend(self, link: Link, work: Work) -> Any:
        """Return what of a call goes into the frame."""
        call: Any = work.call
        if type(call) is not SharedPayload:
            return call
        assert self._arena is not None
        self._borrowers[call.place[0]] = link
        self._arena.lend(call.place)
        # What may run again must find its arguments as they were, whatever its first run did.
        again = work.options.retries or work.judge is not None
        return call.private() if again else call.place

    def _take_back(self, link: Link) -> None:
        """Free the blocks that a lost worker had; its works may be sent again."""
        if self._arena is not None:
            for number, borrower in list(self._borrowers.items()):
                if borrower is link:
                    del self._borrowers[number]
                    self._arena.take_back(number)

    # -- shared objects -------------------------------------------------------

    def share(self, obj: Any) -> Share:
        if self._shares is None:
            with late_imports.importing:
                from aplex._backends.process.shares import Shares

            with self._arena_lock:
                if self._shares is None:
                    made = Shares(self, self._encoder, self._put, self._links)
                    self._encode = made.encode
                    self._shares = made
        return self._shares.share(obj)

    def tell(self, link: Link, definitions: dict[int, Any], lane: int) -> None:
        """Send definitions to a worker, without a work. In a step."""
        link.writers[lane].rest += frame_of((definitions, (), [], [], (), (), (), 0))
        self._flush_now(link, lane)

    def _freed(self, link: Link, numbers: list[int]) -> None:
        if self._shares is not None:
            self._shares.freed(link, numbers)

    # -- who reads the reports ------------------------------------------------

    def read_in(self, loop: Loop | None) -> bool:
        if loop is not None and not can_watch(loop):
            return False
        self._loop = loop
        for worker, link in self._links.items():
            self._watch_readers(worker, link)
        return True

    def _watch_readers(self, worker: PoolWorker, link: Link) -> None:
        """Have the current reader watch a link. The former one may go on: that is harmless."""
        loop = self._loop
        if loop is not None and loop.is_closed():
            loop = self._loop = None
        for lane in LANES:
            end = link.readers[lane].end
            if link.loop is not None and link.loop is asyncio._get_running_loop():  # noqa: SLF001
                link.loop.remove_reader(end.fileno())
            if loop is None and self._gate is not None:
                gone = partial(self._gate.unwatch, end.fileno())
                self._gate.watch(end.fileno(), self._receiver(worker, link, lane, gone))
                continue
            if self._gate is not None:
                self._gate.unwatch(end.fileno())
            if loop is None:
                forgotten = partial(self.listener.unwatch, end)
                callback = self._receiver(worker, link, lane, forgotten)
                self.listener.call_soon(partial(self._watch_in_listener, link, end, callback))
                continue
            forget = partial(loop.remove_reader, end.fileno())
            callback = self._receiver(worker, link, lane, forget)
            link.loop = loop
            if loop is asyncio._get_running_loop():  # noqa: SLF001
                loop.add_reader(end.fileno(), callback)
            else:
                loop.call_soon_threadsafe(_watch_in_loop, loop, link, end, callback)

    def _watch_in_listener(self, link: Link, end: End, callback: Callable[[], None]) -> None:
        if not link.closed and not link.buried:
            self.listener.watch(end, callback)

    def _receiver(
        self, worker: PoolWorker, link: Link, lane: int, gone: Callable[[], object]
    ) -> Callable[[], None]:
        """Return what is to be called when the reader of a lane can be read."""
        return partial(self.events.receive, worker, lane, partial(self._read, link, lane, gone))

    def read_until(
        self, done: Callable[[], bool], end: float | None, quiet: Callable[[], bool]
    ) -> None:
        if self._gate is not None and self._loop is None:
            if self._shares is not None:
                quiet = partial(self._shares.is_quiet, quiet)
            self._gate.read_until(done, end, quiet)

    def arm(self) -> None:
        if self._gate is not None:
            self._gate.arm()

    def wake(self) -> None:
        if self._gate is not None:
            self._gate.wake()

    def leads(self) -> bool:
        return self._gate is not None and self._gate.leads()

    def is_broken_into(self) -> bool:
        gate, arena = self._gate, self._arena
        return (
            (gate is not None and gate.is_broken_into())
            or (arena is not None and is_mine(arena._lock))  # noqa: SLF001
            or is_mine(self._arena_lock)
            or is_mine(late_imports.importing)
        )

    # -- reading them ---------------------------------------------------------

    def _read(self, link: Link, lane: int, gone: Callable[[], object]) -> deque[Reports]:
        frames: deque[Reports] = link.readers[lane].frames
        try:
            if not link.closed:
                link.read(lane)
        except BlockingIOError:  # somebody else has read it
            pass
        except (EOFError, OSError):
            gone()
            self._cut_off(link)
        except MemoryError:
            _log.exception("no memory to read from worker process %s; killing it", link.process.pid)
            gone()
            link.kill()
        except Exception:  # noqa: BLE001 - whatever marshal and pickle raise
            _log.exception("undecodable data from worker process %s; killing it", link.process.pid)
            gone()
            link.kill()
        return frames

    def _drain(self, link: Link, lane: int) -> deque[Reports]:
        """Read all that a worker which has ended has left."""
        frames: deque[Reports] = link.readers[lane].frames
        while True:
            try:
                link.read(lane)
            except Exception:  # noqa: BLE001 - nothing is left, or nothing decodable
                return frames

    def resume(self) -> None:
        if self._gate is not None:
            self._gate.settle(lambda: False)
        for link in list(self._links.values()):
            for lane in LANES:
                self._flush(link, lane)
        self._take_in_rest()

    def _take_in_rest(self) -> None:
        """Report what was read and not taken in, because a signal handler broke into that."""
        for worker, link in list(self._links.items()):
            for lane in LANES:
                if link.readers[lane].interrupted:
                    read = partial(self._read, link, lane, lambda: None)
                    self.events.receive(worker, lane, read)

    # -- the end of a link ----------------------------------------------------

    def _let_go(self, link: Link) -> None:
        """Close the link, after its loop (if any) has stopped watching it, on its thread."""
        loop = link.loop
        if loop is None or loop.is_closed():
            link.close()
        elif loop.is_running() and loop is not asyncio._get_running_loop():  # noqa: SLF001
            try:
                loop.call_soon_threadsafe(_unwatch_and_close, loop, link)
            except RuntimeError:  # it was closed just now
                link.close()
        else:
            _unwatch_and_close(loop, link)


def _watch_in_loop(loop: Loop, link: Link, end: End, callback: Callable[[], None]) -> None:
    if not link.closed:
        loop.add_reader(end.fileno(), callback)


def _unwatch_and_close(loop: Loop, link: Link) -> None:
    if not link.closed:
        for reader in link.readers:
            loop.remove_reader(reader.end.fileno())
        link.close()
