"""The listener: one daemon thread per executor that waits for everything.

It waits for channels to become readable or writable, for workers to end, for
deadlines, and for calls from other threads. Rules: ``call_soon`` may be called
from anywhere, a finalizer or a signal handler included: it takes no lock.
Everything else belongs to the listener's own thread.

An exception that comes out of a callback is a bug of aplex: users' code is called where its
exceptions are caught. What should have followed does not happen then, and somebody would wait
for it for ever. So the listener ends, as it does when waiting itself fails, and tells why.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from aplex._common.threads import OnceThread
from aplex._common.waits import of_selector

_log = logging.getLogger("aplex")


class HasFileno(Protocol):
    """What a selector can wait for."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


class Timer:
    """A call at a later time, which can be cancelled."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call."""
        self.callback = None


class Listener:
    """Waits in a thread of its own, which ``start`` starts and ``stop`` ends."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        """Have nothing to wait for yet.

        Args:
            name: Of the thread.
            failed: Called on the thread, as its last act but to free what it holds, when it
                ends by an exception. Calls that were asked for and not made are still there.
        """
        self._failed = failed
        # Opened by ``start``: an executor that is never used holds nothing.
        self._selector: selectors.BaseSelector
        self._wakee: socket.socket
        self._waker: socket.socket | None = None
        self._calls: deque[Callable[[], object]] = deque()
        self._sure_calls: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._awake = False  # a wake-up is on its way, or the calls are being made
        self._stopped = False
        self._name = name
        self._over = False  # the thread makes no more calls
        self._joining: set[int] = set()  # threads that wait for its end
        # Made by ``start``: since CPython 3.13 a thread that was made before a fork cannot be
        # started in the child.
        self._thread: OnceThread | None = None
        self._claim = threading.Lock()  # taken by who starts it, and kept; nobody waits for it

    def start(self) -> None:
        """Start the thread, unless somebody does so. For locks see `OnceThread.start`.

        Raises:
            RuntimeError: There can be no more threads: the interpreter exits.
        """
        if not self._claim.acquire(blocking=False):
            return  # calls that are asked for before the thread begins are made then
        self._over = False
        thread = OnceThread(self._run, self._name)
        try:
            self._selector = selectors.DefaultSelector()
            self._waker, self._wakee = socket.socketpair()
            self._waker.setblocking(False)
            self._wakee.setblocking(False)
            self._selector.register(self._wakee, selectors.EVENT_READ, [self._drain, None])
            self._thread = thread
            thread.start()
        except BaseException:  # there can be no more threads, or a signal handler raises
            if thread.give_up():
                self.renew()
                self.discard()
            raise

    def renew(self) -> None:
        """Have no thread: in a forked child, or because none could be started."""
        self._thread = None
        self._claim = threading.Lock()

    def is_current(self) -> bool:
        """Whether the caller runs on the listener's thread."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def join(self) -> None:
        """Wait for the thread's end; at once on the thread itself."""
        thread, me = self._thread, threading.get_ident()
        # ``join`` of a signal handler in the middle of another one hangs before CPython 3.13.
        if thread is None or thread.ident in (None, me) or me in self._joining:
            return
        self._joining.add(me)
        try:
            thread.join()
        finally:
            self._joining.discard(me)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back on the listener's thread. Safe anywhere; takes no lock."""
        self._calls.append(callback)
        waker = self._waker
        if not self._awake and waker is not None:
            self._awake = True
            try:
                waker.send(b"\0")
            except OSError:
                pass  # full: it wakes anyway; closed: it has stopped

    def call_surely(self, callback: Callable[[], object]) -> None:
        """Do the same; if it is over with the listener, call back in this thread."""
        self._sure_calls.append(callback)
        self.call_soon(self._make_sure_calls)
        if self._over:  # who comes before it is seen by the thread, after its end
            self._make_sure_calls()

    def discard(self) -> None:
        """Free what it holds. For a listener whose thread is not in this process."""
        self._over = True
        if self._waker is not None:
            self._selector.close()
            self._waker.close()
            self._wakee.close()
            self._waker = None

    # -- on the listener's thread ---------------------------------------------

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at ``time.monotonic() == when``."""
        timer = Timer(when, callback)
        if when < math.inf:  # else never
            heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def watch(self, end: HasFileno, readable: Callable[[], None]) -> None:
        """Call back whenever the end can be read."""
        self._change(end, 0, readable)

    def watch_writing(self, end: HasFileno, writable: Callable[[], None]) -> None:
        """Call back whenever the end can be written."""
        self._change(end, 1, writable)

    def unwatch(self, end: HasFileno) -> None:
        """Stop watching the end for reading."""
        self._change(end, 0, None)

    def unwatch_writing(self, end: HasFileno) -> None:
        """Stop watching the end for writing."""
        self._change(end, 1, None)

    def stop(self) -> None:
        """End the thread when the current round is over."""
        self._stopped = True

    def _change(self, end: HasFileno, index: int, callback: Callable[[], None] | None) -> None:
        fd = end.fileno()
        if fd < 0:
            return
        callbacks: list[Callable[[], None] | None] = [None, None]
        if fd in self._selector.get_map():
            callbacks = self._selector.get_key(fd).data
        known = any(callbacks)
        callbacks[index] = callback
        events = (selectors.EVENT_READ if callbacks[0] else 0) | (
            selectors.EVENT_WRITE if callbacks[1] else 0
        )
        if not events:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events, callbacks)
        else:
            self._selector.register(fd, events, callbacks)

    def make_what_is_left(self) -> None:
        """Make the calls that were asked for, after the end; what they raise does not matter."""
        while self._calls:
            with contextlib.suppress(BaseException):
                self._calls.popleft()()

    def _run(self) -> None:
        try:
            self._wait_for_everything()
        except BaseException as error:  # noqa: BLE001 - a bug of aplex, or of the system
            self._failed(error)
        finally:
            self.discard()
            self._make_sure_calls()

    def _wait_for_everything(self) -> None:
        while not self._stopped:
            for key, events in self._selector.select(self._timeout()):
                callbacks = key.data  # looked at only now: one may have unwatched another
                if events & selectors.EVENT_READ and callbacks[0]:
                    self._call(callbacks[0])
                if events & selectors.EVENT_WRITE and callbacks[1]:
                    self._call(callbacks[1])
            self._make_calls()
            self._fire_timers()

    def _timeout(self) -> float | None:
        if self._calls:
            return 0
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return of_selector(self._timers[0][0] - time.monotonic())

    def _drain(self) -> None:
        try:
            while self._wakee.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _make_calls(self) -> None:
        # Lowered before the queue is looked at: whoever appends after the look
        # sees it low and wakes us again.
        self._awake = False
        while self._calls:
            self._call(self._calls.popleft())

    def _make_sure_calls(self) -> None:
        """Make what must not be lost. Any thread, once it is over."""
        while self._sure_calls:
            try:
                callback = self._sure_calls.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                callback()
            except BaseException:  # noqa: BLE001 - the next ones must not be lost
                _log.exception("error in %r", callback)

    def _fire_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                self._call(callback)

    def _call(self, callback: Callable[[], Any]) -> None:
        try:
            callback()
        except Exception:
            raise  # a bug of aplex
        except BaseException:  # noqa: BLE001 - SystemExit, say, of a load balancer: see `_step`
            _log.exception("error in %r", callback)
