"""A worker process: the two lanes of `_worker.lane` over pipes. What a child imports.

Threads, by what may block them:

* the main thread runs the plain lane: it reads, computes and writes, blocking;
* the loop's thread runs the coroutine lane. It is started (and ``asyncio``
  imported) when the first coroutine comes;
* the watcher (`_worker.watcher`) runs no user's code, so nothing but C code that keeps
  the GIL can hold it up. It sees that first coroutine, and the end of the lifeline
  (`_worker.lifeline`): the parent is dead, or did not want this worker any more.

How a worker goes, in order: the parent sends ``None`` on the plain lane; the main
thread asks the loop's thread to stop, which cancels the tasks that works left
behind and closes their generators; the main thread joins it and returns; the
interpreter runs its exit handlers.

If the parent dies: the watcher has the loop cancel its tasks, gives their
cleanup `ORPHAN_GRACE` seconds, and ends the process.
"""

from __future__ import annotations

import os
import sys
import threading

from aplex._common.identity import be_here, be_worker_process
from aplex._common.locks import late_imports
from aplex._common.messages import FAILED, READY, Reports, only
from aplex._wire.counters import Progress
from aplex._wire.exceptions import encode_exception
from aplex._wire.frames import Reader, Writer
from aplex._wire.packed_setup import PackedSetup
from aplex._wire.page import COUNTER_COUNT
from aplex._worker.child_ends import ChildEnds
from aplex._worker.here import Here
from aplex._worker.lifeline import Lifeline
from aplex._worker.loop_thread import DaemonThread, LoopThread
from aplex._worker.meter import Meter
from aplex._worker.plain_lane import PlainLane
from aplex._worker.process_codec import Codecs, ProcessCodec
from aplex._worker.producers import Producers
from aplex._worker.signals import Interrupts, be_deaf
from aplex._worker.watcher import Kick, Watcher

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any, Final

    from aplex._worker.coroutine_lane import CoroutineLane
    from aplex._worker.coroutine_pipes import CoroutinePipes
    from aplex._worker.lifespan import Lifespan

SWITCH_INTERVAL: Final = 0.001
"""Seconds after which a computing thread lets another one run; CPython's own is 0.005.

With 0.005, 100 sleeps of 10 ms beside a computing function took 90-157 ms under
uvloop and 24-29 ms under the stock loop; with 0.001, 14-18 ms under both.
"""
ORPHAN_GRACE: Final = 1.0
"""Seconds that coroutines have to clean up when the parent has died."""
DOUBT: Final = 0.25
"""Seconds in which the watcher must have seen the parent's death, if that has broken a channel."""


def main(ends: ChildEnds, progress: Progress, setup: PackedSetup, number: int, index: int) -> None:
    """Serve until the parent asks to stop, or is gone."""
    withdraw = getattr(sys.excepthook, "withdraw", None)  # see _last_words, which is the parent's
    if withdraw is not None:
        withdraw()
    late_imports.renew()
    be_worker_process(number)
    be_deaf()
    # While a function computes, the loop's thread gets the interpreter lock only after
    # this interval, each time it wakes (with uvloop: for each timer).
    sys.setswitchinterval(SWITCH_INTERVAL)
    progress.keep_crashes()
    progress.page.seal()
    child = Child(ends, progress, index)
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=child.be_copy)
    child.run(setup)


class Child:
    """One worker process; what differs in other hosts are methods that can be overridden."""

    codec: type[ProcessCodec] = ProcessCodec
    kick: type[Kick] = Kick
    loop_name = "aplex-loop"

    def __init__(self, ends: ChildEnds, progress: Progress, index: int) -> None:
        self._ends = ends
        self._progress = progress
        self._index = index
        self._pid = os.getpid()
        self._main = threading.get_ident()
        self._kick = self.kick()
        self._codecs = Codecs(
            self.codec, ends, progress.page, self._kick.give, self._start_thread, self._lost_bulk
        )
        self._codec = self._codecs.make(progress.started)
        self._pipes: CoroutinePipes | None = None
        self._loop_thread = LoopThread(self, lambda run: DaemonThread(run, self.loop_name))
        self._factory_may_fail = False  # it is the user's
        self._plain_out = Writer(ends.plain_out)
        self.producers = Producers()
        self.plain = PlainLane(
            self._codec,
            progress.started,
            self._send_plain,
            self._loop_thread.adopt_soon,
            self._kick.give,
            self.producers,
            Meter(progress.page, self._codecs.names, progress.started),
        )
        self._interrupts = self._make_interrupts()
        lanes = progress.started, self.plain, self._loop_thread
        self._here = Here(index, self._pid, self._name, *lanes)
        self._lifeline = Lifeline(ends.lifeline, self._interrupts, *lanes)
        self._watcher = Watcher(
            self._lifeline,
            self._kick,
            ends.coroutines_in,
            self._codecs.bulk,
            self.plain,
            self._interrupts,
            self._loop_thread,
            self._codecs.memory,
            self._end_watch,
            lambda run: DaemonThread(run, "aplex-watcher"),
        )
        be_here(self._here.worker, whole_process=True)
        self._lifespan: Lifespan | None = None

    def run(self, setup: PackedSetup) -> None:
        """Start, serve, clean up. On the process's main thread."""
        self._interrupts.install()
        try:
            _check_threads()
            self._forward_logs()
            self._watcher.thread.start()
            self._initialize(setup)
        except BaseException as error:  # noqa: BLE001 - the parent says what it was
            try:
                self._plain_out.write(only((0, FAILED, encode_exception(error))))
                sys.stdout.flush()
                self._finish_logs()
            finally:  # also if nobody is there any more who wants to know
                self._end_unserved()
        else:
            self._serve()
        self._leave()

    def _leave(self) -> None:
        """Clean up, in order. On the main thread."""
        self._loop_thread.stop()
        if self._watcher.loop_watch is not None:
            self._watcher.loop_watch.detach()
        if self._lifespan is not None:
            self._lifespan.leave_plain()
        self._finish_logs()

    def be_copy(self) -> None:
        """In a process that a work has forked off: end when it leaves the work."""
        if threading.get_ident() == self._main:
            self.plain.be_copy()
        else:
            self._loop_thread.be_copy()
        self._ends.close()

    def _start_thread(self, run: Callable[[], None], name: str) -> None:
        DaemonThread(run, name).start()

    def _initialize(self, setup: PackedSetup) -> None:
        """Call the initializer, and enter the lifespan.

        Nothing holds the initializer's arguments afterwards, unless it does.
        """
        loop_factory, initializer, initargs, surroundings = setup.take()
        self._factory_may_fail = loop_factory is not None
        self._loop_thread.initialize(loop_factory, initializer, initargs)
        if surroundings is None:
            return
        del initializer, initargs
        from aplex._worker.lifespan import Lifespan

        self._lifespan = Lifespan(surroundings, self._here.worker())
        self._lifespan.enter(self._loop_thread.run_coroutine)

    # -- logs -----------------------------------------------------------------------

    def _forward_logs(self) -> None:
        """Send what is logged to the parent, if it wants that."""
        if self._ends.logs is not None:
            from aplex._worker.log_forwarding import Forwarder
            from aplex._worker.log_place import LogPlace

            forwarder = self._watcher.forwarder = Forwarder(
                self._ends.logs,
                self._progress,
                LogPlace(self._index, self._pid, self._loop_thread),
                self._kick.give,
                self._interrupts.again,
            )
            forwarder.install()

    def _finish_logs(self) -> None:
        """Leave what stands in line to the parent, as this process ends."""
        if self._watcher.forwarder is not None:
            self._watcher.forwarder.finish()

    def _name(self) -> str:
        from multiprocessing.process import current_process

        return current_process().name

    # -- the loop: a `Port` ---------------------------------------------------------

    def connect(self, loop: asyncio.AbstractEventLoop) -> CoroutineLane:
        """Have coroutine works arrive."""
        from aplex._worker.coroutine_pipes import CoroutinePipes

        codec = self._codecs.make([0] * COUNTER_COUNT)
        self._pipes = CoroutinePipes(
            loop,
            (self._ends.coroutines_in, self._ends.coroutines_out),
            codec,
            self._progress.started,
            self.producers,
            self.plain.skip,
            lambda: loop.call_later(DOUBT, self.cut_off),
            self._kick.give,
            self.plain.tell,
            Meter(self._progress.page, self._codecs.names, codec.counters),
        )
        self._pipes.bulk = self._codecs.bulk
        self._watcher.loop_watch = self._pipes.watch
        if self._watcher.forwarder is not None:
            from aplex._worker.whose_work import note

            self._pipes.lane.note = note
        return self._pipes.lane

    def disconnect(self) -> None:
        """Have no more of them arrive."""
        assert self._pipes is not None
        self._pipes.close()

    def leaving(self, lane: CoroutineLane) -> Coroutine[Any, Any, None] | None:
        """Return what leaves the lifespan, if there is one."""
        return None if self._lifespan is None else self._lifespan.leave(lane.running)

    def loop_failed(self, error: BaseException) -> None:  # noqa: ARG002 - it is being handled
        """End the process, unless the user's factory has failed: then the pool says so."""
        if not self._factory_may_fail:  # out of descriptors or memory: no use as a worker
            self._end_by_exception()

    def loop_broke(self, error: BaseException, *, stopping: bool) -> None:
        """End the process: nothing else tells the parent that a work has broken the loop."""
        if stopping:
            raise error
        self._end_by_exception()

    # -- the main thread ------------------------------------------------------------

    def _serve(self) -> None:
        """Tell the parent that this worker is ready; run the plain lane until it says ``None``."""
        reader = Reader(self._ends.plain_in)
        try:
            self._plain_out.write(only((0, READY, os.getpid())))
            while True:
                frames = reader.read()
                while frames:
                    frame = frames.popleft()
                    if frame is None:
                        return
                    definitions, ids, functions, calls, _, _, _, submitted = frame
                    if definitions:
                        self._codec.define(definitions)
                    self.plain.run(ids, functions, calls, submitted)
                    # What was asked for must not live on while nothing comes.
                    del frame, definitions, functions, calls
        except (EOFError, OSError):
            self._lost_parent()

    def _lost_parent(self) -> None:
        """End, as a channel broke; see `cut_off`."""
        self._lifeline.orphaned.wait(DOUBT)
        self.cut_off()
        self._watcher.thread.join(2 * ORPHAN_GRACE)
        self._exit()

    def _lost_bulk(self) -> None:
        """Do the same, on the thread that reads big payloads."""
        self._lifeline.orphaned.wait(DOUBT)
        self.cut_off()

    def cut_off(self) -> None:
        """End the process `DOUBT` seconds after a channel broke; unless the parent has died.

        Then the watcher lets coroutines clean up, and ends the process. Else a work has closed
        the channel: what is in flight cannot be reported, and only our end tells the parent.
        """
        if not self._lifeline.orphaned.is_set():
            self._exit()

    def _send_plain(self, reports: Reports) -> None:
        self._plain_out.write(reports)

    def _end_watch(self) -> None:
        """End, as the parent is dead, or does not want this worker. On the watcher's thread."""
        self._lifeline.orphaned.set()
        self._loop_thread.stop(ORPHAN_GRACE)
        self._exit()

    def _end_unserved(self) -> None:
        """End, as the worker cannot serve. The loop's thread may be in any state."""
        self._exit()

    def _exit(self) -> None:
        """End this process at once. Any thread."""
        os._exit(1)

    def _end_by_exception(self) -> None:
        """Show the exception that is being handled, if stderr still is open, and end."""
        try:
            import traceback

            traceback.print_exc()
        finally:
            self._exit()

    def _make_interrupts(self) -> Interrupts:
        return Interrupts(self.plain, self._progress, self._kick.give)


def _check_threads() -> None:
    """Raise WorkerStartError if there are green threads only."""
    if "gevent.monkey" in sys.modules or "eventlet.patcher" in sys.modules:
        from aplex._worker.green_threads import check_worker

        check_worker()
