"""The LinkedBackend: all that is the same for workers behind channels.

It sends and reads, over the links that a back end opens; has a gate for callers who wait, and the
arena; forwards logs; knows from counters what a worker runs; and takes in the end of one. A back
end on top only starts workers, kills them, and certifies how they have ended. What it has to do:

* ``start``: call ``_make_gate``; open a `Link` (a subclass of its own), put it into ``_links``,
  and call ``_attach``; then start what is to be at the other end. If the channels cannot be opened,
  call ``_unborn``. Where channels come only when the worker has dialled in, ``_links`` has no link
  until then: ``send`` is not called before the worker has said `READY`, which comes over one.
* ``kill``: end the worker, also if it has no link yet.
* When the worker has ended: call ``_take_end`` with what certifies its death, on the listener's
  thread. That reads out the channels and reports the end; the link is gone then.
* ``close``, ``break_down``, ``abandon_after_fork``: what it has besides, and those of here.

Reports are read by whoever watches the channels: the listener, one caller who waits (see `Gate`),
or the event loop of the caller.

`Link` says what a link has to have. At the other end is a `_worker.process.Child`, or what behaves
like one: it reads frames of works on each lane and writes frames of reports (`_wire.frames`,
`_common.messages`), says `READY` with its process id on the plain lane when it serves, ends when it
reads ``None`` there, and takes numbers from the lifeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from aplex._backends.contract import Death, Events, Setup
from aplex._backends.linked.callers_gate import CallersGate, make_gate
from aplex._backends.linked.link import Link
from aplex._backends.linked.logs import Logs
from aplex._backends.linked.sending import L, Sender
from aplex._backends.listener import Listener
from aplex._common.errors import WorkerStartError
from aplex._common.locks import RLock, is_mine, late_imports
from aplex._common.messages import LANES, PLAIN, Reports
from aplex._pool.state import PoolWorker
from aplex._wire.frames import End, frame_of
from aplex._wire.past import Part, Past, timings_of
from aplex._worker import lifeline
from aplex._worker.channel_watch import can_watch

Loop = asyncio.AbstractEventLoop
_log = logging.getLogger("aplex")


class LinkedBackend(Sender[L]):
    """Talks to workers over links; who starts workers adds their start and their end."""

    def __init__(
        self, setup: Setup, *, main_by_value: Callable[[], bool], forward_logs: bool | None
    ) -> None:
        """Have no worker yet.

        Args:
            setup: What the workers are set up with.
            main_by_value: As of `Sender`.
            forward_logs: Whether log records are forwarded, see `Logs`.
        """
        super().__init__(main_by_value=main_by_value)
        self._loop: Loop | None = None  # reads the reports; None: the listener, or who waits
        self._gate: CallersGate | None = None
        self.past = Past()
        self._logs = Logs(setup.name, wanted=forward_logs)
        self._recording = 0  # see `record`
        self.patience = setup.slow_callback

    def bind(self, events: Events, listener: Listener) -> None:
        super().bind(events, listener)
        self._logs.bind(listener)

    def timings(self) -> list[Part]:
        links = self._links
        return timings_of(lambda: [one.progress.page for one in list(links.values())], self.past)

    # -- the beginning of a link ------------------------------------------------

    def _make_gate(self) -> None:
        """Make the gate, before the first link.

        Raises:
            OSError: There are too many open files.
        """
        if self._gate is None:
            self._gate = make_gate(self._take_in_rest)
            if self._gate is not None:
                self.listener.call_soon(partial(self.listener.watch, self._gate, self._gate.read))

    def _attach(self, worker: PoolWorker, link: Link) -> None:
        """Have the reports of a link that is in ``_links`` read. Under the lock."""
        if link.logs is not None:
            self._logs.add(link.logs)
        link.freed = self._freed
        link.progress.record(self._recording)
        self._watch_readers(worker, link)

    def _unborn(self, worker: PoolWorker, failure: WorkerStartError) -> None:
        """Report that a worker could not be started, which has no link. Under the lock."""
        self.listener.call_soon(partial(self.events.lost, worker, lambda: unborn(failure)))

    def record(self, level: int) -> None:
        self._recording = level
        for link in self._links.values():
            if not link.closed:
                link.progress.record(level)

    # -- stops functions, as far as counters tell ------------------------------

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        link = self._links.get(worker)
        return (0, 0.0) if link is None or link.closed else link.progress.running()

    def turns(self, worker: PoolWorker) -> tuple[float, float]:
        link = self._links.get(worker)
        if link is None or link.closed:
            return 0.0, 0.0
        try:
            return link.progress.turns(time.monotonic())
        except ValueError:  # its memory was freed just now: it has died
            return 0.0, 0.0

    def has_started(self, worker: PoolWorker, seq: int) -> bool:
        link = self._links.get(worker)
        return link is not None and not link.closed and link.progress.has_started(seq)

    def inquire(self, worker: PoolWorker, number: int) -> list[Any] | None:
        link = self._links.get(worker)
        if link is not None and not link.closed:
            with contextlib.suppress(OSError):  # full, or broken: it does not listen
                link.lifeline.write([(lifeline.INQUIRY + number).to_bytes(8, sys.byteorder)])
        return None

    def interrupt(self, worker: PoolWorker, seq: int) -> None:
        link = self._links.get(worker)
        if link is not None and not link.closed:
            # Full, or broken: then the worker does not listen, and is killed in the end.
            with contextlib.suppress(OSError):
                link.lifeline.write([seq.to_bytes(8, sys.byteorder)])

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
        self._leave_loop(link)
        for lane in LANES:
            end = link.readers[lane].end
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
            elif link.loop is not loop:
                forget = partial(loop.remove_reader, end.fileno())
                callback = self._receiver(worker, link, lane, forget)
                link.unwatched[end.fileno()] = callback
        if loop is not None and link.unwatched:
            link.loop = loop  # before it watches: it is to let go of what it began to watch
            for _ in LANES:  # twice: Ctrl-C, in the main thread, may end one call
                loop.call_soon_threadsafe(_watch_in_loop, loop, link)

    def _leave_loop(self, link: Link) -> None:
        """Have this thread's loop, if another reader follows it, watch a link no more; soon.

        Not at once: a signal handler that has broken into the loop could be between its look at a
        callback and the call, and asyncio would call one that was cancelled.
        """
        loop = link.loop
        if loop not in (None, self._loop) and loop is asyncio._get_running_loop():  # noqa: SLF001
            loop.call_soon_threadsafe(self._unwatch_in_loop, loop, link)

    def _unwatch_in_loop(self, loop: Loop, link: Link) -> None:
        if link.loop is loop and loop is not self._loop and not link.closed:
            for reader in link.readers:
                loop.remove_reader(reader.end.fileno())
            link.loop = None

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
            _log.exception("no memory to read from %s; killing it", link.described)
            gone()
            link.kill()
        except Exception:  # noqa: BLE001 - whatever marshal and pickle raise
            _log.exception("undecodable data from %s; killing it", link.described)
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

    def stop(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.stopped = True
            link.writers[PLAIN].rest += frame_of(None)
            self._flush_now(link, PLAIN)

    @abstractmethod
    def kill(self, worker: PoolWorker) -> None: ...

    def terminate(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is None or worker.pid is None:  # SIGTERM is blocked while it starts
            self.kill(worker)
            return
        try:
            link.lifeline.write([lifeline.TERMINATE.to_bytes(8, sys.byteorder)])
        except OSError:  # full, or broken: it does not listen, or has ended just now
            self.kill(worker)

    def _take_end(self, worker: PoolWorker, link: Link, examine: Callable[[], Death]) -> None:
        """Take in the last reports, then the end. On the listener's thread.

        Args:
            worker: Which has ended.
            link: To it.
            examine: Says how it has ended; called under the lock, after the reports were taken in.
        """
        for lane in LANES:
            self.events.receive(worker, lane, partial(self._drain, link, lane))
        self.events.lost(worker, lambda: self._bury(worker, link, examine()))

    def _bury(self, worker: PoolWorker, link: Link, death: Death) -> Death:
        self._links.pop(worker, None)
        link.buried = True
        if not link.closed:
            self.past.add(link.progress.page)
        self._take_back(link)
        if self._shares is not None:
            self._shares.lost(link)
        for end in link.ends():
            if self._gate is not None:
                self._gate.unwatch(end.fileno())
            self.listener.unwatch(end)
            self.listener.unwatch_writing(end)
        if link.logs is not None:
            self._logs.end(link.logs, link.progress)
        self._let_go(link)
        return death

    def owns_current_thread(self) -> bool:
        return False

    def close(self) -> None:
        assert not self._links
        if self._gate is not None:
            self.listener.unwatch(self._gate)
            self._gate.close()
        if self._shares is not None:
            self._shares.close()
        if self._arena is not None:
            self._arena.close()
        self._logs.close()

    def _bury_all(self) -> None:
        """Have no links any more, after a bug: whatever their ends are, they are closed."""
        for worker, link in list(self._links.items()):
            with contextlib.suppress(Exception):
                self._bury(worker, link, Death((0, 0), None, None))

    def _let_go(self, link: Link) -> None:
        """Close the link, after its loop (if any) has stopped watching it, on its thread."""
        loop = link.loop
        if loop is None or loop.is_closed():
            link.close()
        elif loop.is_running():
            try:  # later in its own thread too, see `_leave_loop`
                loop.call_soon_threadsafe(_unwatch_and_close, loop, link)
            except RuntimeError:  # it was closed just now
                link.close()
        else:
            _unwatch_and_close(loop, link)

    # -- fork -----------------------------------------------------------------

    def renew_after_fork(self) -> None:
        late_imports.renew()
        self._arena_lock = RLock()
        self._encoder.renew_after_fork()
        if self._arena is not None:  # of a submit that did not come to its end
            self._arena.close()
            self._arena = None

    def abandon_after_fork(self) -> None:
        late_imports.renew()
        for link in self._links.values():
            for end in link.ends():  # not the counters: they may be those of this very child
                end.close()
        if self._gate is not None:
            self._gate.discard()
        if self._arena is not None:
            self._arena.close()
        self._logs.abandon()


def unborn(error: WorkerStartError) -> Death:
    """Return the end of a worker that has never been."""
    return Death((0, 0), None, error)


def _watch_in_loop(loop: Loop, link: Link) -> None:
    for fd, callback in list(link.unwatched.items()):
        if not link.closed:
            loop.add_reader(fd, callback)
        link.unwatched.pop(fd, None)


def _unwatch_and_close(loop: Loop, link: Link) -> None:
    if not link.closed:
        for reader in link.readers:
            loop.remove_reader(reader.end.fileno())
        link.close()
