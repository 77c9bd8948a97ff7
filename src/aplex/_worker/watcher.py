"""The Watcher: the thread of a worker process that waits for all that is not a work.

It runs no user's code, so nothing but C code that keeps the GIL can hold it up. It waits for the
lifeline, for the first coroutine (from then on that channel is the loop's), for the first big
payload, for room and levels of logs, and for a `Kick`, by which other threads and finalizers have
it do what is due now or later: report what was held back or freed, interrupt, trim, look at the
loop.
"""

from __future__ import annotations

import selectors
import threading

from aplex._common.messages import FREED, only
from aplex._wire.frames import one_way
from aplex._worker.lane import HOLD

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aplex._wire.frames import End
    from aplex._worker.bulk import Bulk
    from aplex._worker.lifeline import Lifeline
    from aplex._worker.log_forwarding import Forwarder
    from aplex._worker.loop_thread import LoopThread, WorkerThread
    from aplex._worker.loop_watch import LoopWatch
    from aplex._worker.plain_lane import PlainLane
    from aplex._worker.signals import Interrupts
    from aplex._worker.worker_memory import WorkerMemory


class Kick:
    """Wakes the watcher.

    Attributes:
        end: Can be read when it was given.
    """

    def __init__(self) -> None:
        self.end, self._kicker = one_way()

    def give(self) -> None:
        """Have the watcher see what is due. Any thread, also in a finalizer."""
        self._kicker.write([b"\0"])

    def take(self) -> None:
        """Note that the watcher is awake."""
        self.end.read_into(memoryview(bytearray(64)))

    def close(self) -> None:
        """Have it never be given any more; whoever still tries gets an OSError."""
        self._kicker.close()
        self.end.close()


class Watcher:
    """Waits, and does what is due.

    Attributes:
        thread: On which it does.
        over: Set when the main thread has nothing more to do, where the process goes on then.
        forwarder: Sends log records; None: nobody does.
        loop_watch: Looks at the loop; None: there is none yet.
    """

    def __init__(
        self,
        lifeline: Lifeline,
        kick: Kick,
        coroutines: End,
        bulk: Bulk | None,
        plain: PlainLane,
        interrupts: Interrupts,
        loop_thread: LoopThread,
        memory: WorkerMemory,
        end: Callable[[], None],
        make_thread: Callable[[Callable[[], None]], WorkerThread],
    ) -> None:
        """Watch nothing yet.

        Args:
            lifeline: What the parent tells.
            kick: Wakes this.
            coroutines: Where they come.
            bulk: Where big payloads come; None: not apart.
            plain: The plain lane, which may hold reports back.
            interrupts: Interrupts its functions.
            loop_thread: Is started when the first coroutine comes.
            memory: What is shared with the parent.
            end: Ends the worker, as the parent is dead, or does not want it; or lets it end, if
                that is `over`. Called in this thread.
            make_thread: Makes a thread that calls the given function; does not start it.
        """
        self.over = threading.Event()
        self.forwarder: Forwarder | None = None
        self.loop_watch: LoopWatch | None = None
        self._lifeline = lifeline
        self._kick = kick
        self._coroutines = coroutines
        self._bulk = bulk
        self._plain = plain
        self._interrupts = interrupts
        self._loop_thread = loop_thread
        self._memory = memory
        self._end = end
        self.thread = make_thread(self._watch)

    def stop(self) -> None:
        """Have it end, as the main thread has nothing more to do, and wait for that."""
        self.over.set()
        self._kick.give()
        if self.thread.ident is not None:
            self.thread.join()

    # -- its thread ---------------------------------------------------------------

    def _watch(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._lifeline.end, selectors.EVENT_READ)
        selector.register(self._kick.end, selectors.EVENT_READ)
        selector.register(self._coroutines, selectors.EVENT_READ)
        if self._bulk is not None:
            selector.register(self._bulk.end, selectors.EVENT_READ)
        pause: float | None = None
        while True:
            if self.forwarder is not None:
                self.forwarder.watch(selector)
            ready = {key.fileobj: events for key, events in selector.select(pause)}
            if self._lifeline.end in ready and not self._lifeline.read():
                break
            if self._kick.end in ready and not self._flush_held(selector):
                break
            self._begin(ready, selector)
            if self.forwarder is not None and self.forwarder.end in ready:
                self.forwarder.take(ready[self.forwarder.end])
            pause = self._do_what_is_due()
        selector.close()
        self._end()

    def _begin(self, ready: dict[Any, int], selector: selectors.BaseSelector) -> None:
        """Start what runs from now on, as the first thing has come for it."""
        if self._coroutines in ready:
            selector.unregister(self._coroutines)  # from now on it is the loop's
            self._loop_thread.start()
        if self._bulk is not None and self._bulk.end in ready:
            selector.unregister(self._bulk.end)
            self._bulk.begin()

    def _do_what_is_due(self) -> float | None:
        """Return the seconds after which more is; None: only when there is something new."""
        pause = _shorter(self._interrupts.send(), self._memory.trim())
        if self.loop_watch is not None:
            pause = _shorter(pause, self.loop_watch.look())
        return pause

    def _flush_held(self, selector: selectors.BaseSelector) -> bool:
        """Send a report that is held back; return False if the parent is dead, or it is over.

        The works behind it get a moment to finish, unless the lifeline has something to tell.
        """
        self._kick.take()
        self._pause(selector)
        try:
            freed = self._memory.freed()
            if freed:
                self._plain.tell(only((0, FREED, freed)))
            self._plain.flush_held()
        except OSError:
            return False
        return not self.over.is_set()

    def _pause(self, selector: selectors.BaseSelector) -> None:
        selector.unregister(self._kick.end)
        try:
            selector.select(HOLD)
        finally:
            selector.register(self._kick.end, selectors.EVENT_READ)


def _shorter(one: float | None, other: float | None) -> float | None:
    return min((pause for pause in (one, other) if pause is not None), default=None)
