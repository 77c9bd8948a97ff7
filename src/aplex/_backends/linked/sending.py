"""The Sender: how works travel over links, whatever is at their other ends.

Rule: the ends of the parent are non-blocking and closed by `Link.close`, after the last watcher
has let go of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aplex._backends.contract import Backend
from aplex._backends.linked.link import Link
from aplex._backends.linked.sharing import Sharing
from aplex._common.locks import RLock, late_imports
from aplex._common.messages import COROUTINE, PLAIN
from aplex._pool.state import PoolWorker, Work
from aplex._wire.by_value import Definition, numbers_of
from aplex._wire.calls import CallEncoder
from aplex._wire.frames import frame_of
from aplex._wire.shared_memory import SharedMemory, SharedPayload, make_shared_memory

if TYPE_CHECKING:
    from aplex._backends.linked.shares import Shares
    from aplex._common.sharing import Share


L = TypeVar("L", bound=Link)
"""What a back end's links are."""


class Sender(Backend, Generic[L]):
    """The half of `LinkedBackend` that sends: outboxes, big arguments, shared objects.

    A link that is in ``_links`` has open channels. What is sent to a worker that has none there is
    left in its outboxes.
    """

    tells_sent = True
    maps_memory = True
    """Whether workers map the memory of this process, so that big payloads lie there."""

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
        self._links: dict[PoolWorker, L] = {}

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
        if link.skew:  # its clock is another one
            self.send(worker)
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

    def _send_lane(self, worker: PoolWorker, link: L, lane: int) -> None:
        """Send an outbox, and what is asked of the coroutine lane."""
        outbox = worker.outboxes[lane]
        functions = [work.function for work in outbox]
        known = link.known[lane]
        new = None
        if not known.issuperset(functions):
            new = self._definitions(link, known, functions)
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
        if submitted:
            submitted -= link.skew
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

    def _definitions(self, link: L, known: set[int], functions: list[Any]) -> dict[int, Any]:
        """Return what a lane has to be told before it gets works with these functions."""
        if self._shares is None:
            return self._encoder.definitions(known, functions)
        every = set(functions)
        plain = [each.function if type(each) is Sharing else each for each in every]
        new = self._encoder.definitions(known, plain)
        shared = self._shares.definitions(known, every)
        new.update(self._shared_for(link, shared) if shared else {})
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
        if self._arena is None and self.maps_memory:
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

    def _lend(self, link: L, work: Work) -> Any:
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
                from aplex._backends.linked.shares import Shares

            with self._arena_lock:
                if self._shares is None:
                    made = Shares(self, self._encoder, self._put, self._links)
                    self._encode = made.encode
                    self._shares = made
        return self._shares.share(obj)

    def _shared_for(self, link: L, definitions: dict[int, Any]) -> dict[int, Any]:  # noqa: ARG002
        """Return definitions of shared objects as a worker can take them in."""
        return definitions

    def tell(self, link: Link, definitions: dict[int, Any], lane: int) -> None:
        """Send definitions to a worker, without a work. In a step."""
        link.writers[lane].rest += frame_of((definitions, (), [], [], (), (), (), 0))
        self._flush_now(link, lane)

    def _freed(self, link: Link, numbers: list[int]) -> None:
        if self._shares is not None:
            self._shares.freed(link, numbers)
