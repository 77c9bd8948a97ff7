"""A worker process: the two lanes of `_worker.lane` over pipes. What a child imports.

Threads, by what may block them:

* the main thread runs the plain lane: it reads, computes and writes, blocking;
* the loop's thread runs the coroutine lane. It is started (and ``asyncio``
  imported) when the first coroutine comes;
* the watcher runs no user's code, so nothing but C code that keeps the GIL can
  hold it up. It sees that first coroutine, and the end of the lifeline: the parent
  is dead, or did not want this worker any more. What the parent writes to it,
  before, are the numbers of plain functions that are to be interrupted, or `TERMINATE`,
  or an `INQUIRY`, which it answers.

How a worker goes, in order: the parent sends ``None`` on the plain lane; the main
thread asks the loop's thread to stop, which cancels the tasks that works left
behind and closes their generators; the main thread joins it and returns; the
interpreter runs its exit handlers.

If the parent dies: the watcher has the loop cancel its tasks, gives their
cleanup `ORPHAN_GRACE` seconds, and ends the process.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import threading
from collections.abc import MutableSequence

from aplex._common.identity import be_here, be_worker_process
from aplex._common.locks import RLock, late_imports
from aplex._common.messages import (
    ATOMS,
    COROUTINE,
    DUMPED,
    ERROR,
    FAILED,
    FREED,
    PLAIN,
    READY,
    SINCE,
    Report,
    ReportBatch,
    Reports,
    only,
)
from aplex._wire.calls import CallDecoder, Put, encode_value, is_atom
from aplex._wire.counters import Progress
from aplex._wire.exceptions import encode_exception
from aplex._wire.frames import End, PipeEnd, Reader, Writer, one_way
from aplex._wire.packed_setup import PackedSetup
from aplex._wire.page import COUNTER_COUNT
from aplex._worker.lane import HOLD
from aplex._worker.loop_thread import LoopThread, be_daemon
from aplex._worker.meter import Meter, Names
from aplex._worker.plain_lane import PlainLane
from aplex._worker.producers import Producers
from aplex._worker.signals import Interrupts, be_deaf, is_deaf, kill_self, obey
from aplex._worker.stacks import rows_of

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any, Final

    from aplex._wire.shared_objects import SharedObjects
    from aplex._worker.bulk import Bulk
    from aplex._worker.coroutine_lane import CoroutineLane
    from aplex._worker.coroutine_pipes import CoroutinePipes
    from aplex._worker.lifespan import Lifespan
    from aplex._worker.log_forwarding import Forwarder
    from aplex._worker.loop_watch import LoopWatch
    from aplex._worker.shared_results import SharedResults
    from aplex.workers import CurrentWorker

SWITCH_INTERVAL: Final = 0.001
"""Seconds after which a computing thread lets another one run; CPython's own is 0.005.

With 0.005, 100 sleeps of 10 ms beside a computing function took 90-157 ms under
uvloop and 24-29 ms under the stock loop; with 0.001, 14-18 ms under both.
"""
ORPHAN_GRACE: Final = 1.0
"""Seconds that coroutines have to clean up when the parent has died."""
_NUMBER: Final = 8  # bytes of a number on the lifeline
TERMINATE: Final = 0
"""On the lifeline, where else the numbers of functions come: end by SIGTERM."""
INQUIRY: Final = 1 << 63
"""On the lifeline, with the number of an inquiry: tell what you do."""
STUCK: Final = 0.2
"""Seconds in which the main thread must have heard a SIGTERM; else it is in code of C."""
DOUBT: Final = 0.25
"""Seconds in which the watcher must have seen the parent's death, if that has broken a channel."""


class ChildEnds:
    """The ends of the channels that belong to the child."""

    # No dataclass: the module for those takes longer to import than all of ours.
    __slots__ = (
        "arena_in",
        "arena_out",
        "bulk",
        "common",
        "coroutines_in",
        "coroutines_out",
        "lifeline",
        "logs",
        "plain_in",
        "plain_out",
    )

    def __init__(
        self,
        coroutines_in: End,
        coroutines_out: End,
        plain_in: End,
        plain_out: End,
        lifeline: End,
        arena_in: PipeEnd | None,
        arena_out: PipeEnd | None,
        logs: End | None = None,
        bulk: PipeEnd | None = None,
        common: PipeEnd | None = None,
    ) -> None:
        self.coroutines_in = coroutines_in
        self.coroutines_out = coroutines_out
        self.plain_in = plain_in
        self.plain_out = plain_out
        self.lifeline = lifeline
        self.arena_in = arena_in
        self.arena_out = arena_out
        self.logs = logs
        self.bulk = bulk  # where there are no arenas
        self.common = common  # where shared objects are that came by it

    def close(self) -> None:
        """Close them all."""
        for name in self.__slots__:
            end = getattr(self, name)
            if end is not None:
                end.close()


class ProcessCodec(CallDecoder):
    """Calls and outcomes travel as pickles, atoms as they are."""

    def __init__(
        self,
        arena_in: PipeEnd | None,
        put: Put | None,
        shared: Callable[[], SharedObjects] | None = None,
        bulk: Bulk | None = None,
    ) -> None:
        """Open and fill shared memory, where there is such.

        Args:
            arena_in: The file with what the parent has put there.
            put: Puts a big result there.
            shared: Returns the shared objects of this worker.
            bulk: Where big payloads travel instead.
        """
        self._borrowed: Any = None
        self._arena_in = arena_in
        open_ = None if arena_in is None else self._open_place
        super().__init__(open_ if bulk is None else bulk.open, shared)
        self._put_item = put
        self._put_value: Any = put if bulk is None else bulk.put

    def _open_place(self, place: list[int]) -> list[memoryview]:
        if self._borrowed is None:
            from aplex._wire.borrowed import BorrowedMemory

            assert self._arena_in is not None
            self._borrowed = BorrowedMemory(self._arena_in)
        views: list[memoryview] = self._borrowed.open(place)
        return views

    def forget(self) -> None:
        """Unmap what the calls had, where no end of a process does that."""
        if self._borrowed is not None:
            self._borrowed.forget()

    def put(self, batch: ReportBatch, work_id: int, value: Any) -> None:
        if type(value) in ATOMS or is_atom(value):
            batch.ids.append(work_id)
            batch.values.append(value)
        else:
            batch.put(work_id, encode_value(value, self._put_value), pickled=True)

    def value(self, value: Any) -> tuple[bool, Any]:
        if is_atom(value):
            return False, value
        return True, encode_value(value, self._put_value)

    def item(self, value: Any) -> tuple[bool, Any]:
        if is_atom(value):
            return False, value
        return True, encode_value(value, self._put_item)

    def error(self, work_id: int, error: BaseException) -> Report:
        return work_id, ERROR, encode_exception(error)


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
    loop_name = "aplex-loop"

    def __init__(self, ends: ChildEnds, progress: Progress, index: int) -> None:
        self._ends = ends
        self._progress = progress
        self._results: SharedResults | None = None
        self._shared: SharedObjects | None = None
        self._results_lock = RLock()  # for making these two
        self._bulk: Bulk | None = None
        if ends.bulk is not None:
            from aplex._worker.bulk import Bulk

            self._bulk = Bulk(
                ends.bulk, ends.common, self._start_thread, self._keep, self._lost_bulk
            )
        self._names = Names(progress.page)
        self._codec = self._make_codec(progress.started)
        self._pipes: CoroutinePipes | None = None
        self._loop_thread = LoopThread(self, lambda run: _Thread(target=run, name=self.loop_name))
        self._watcher = _Thread(target=self._watch, name="aplex-watcher")
        self._main = threading.get_ident()
        self._orphaned = threading.Event()
        self._factory_may_fail = False  # it is the user's
        self._kickee, self._kicker = one_way()
        self._plain_out = Writer(ends.plain_out)
        self.producers = Producers()
        self.plain = PlainLane(
            self._codec,
            progress.started,
            self._send_plain,
            self._loop_thread.adopt_soon,
            self._kick,
            self.producers,
            Meter(progress.page, self._names, progress.started),
        )
        self._interrupts = self._make_interrupts()
        self._index = index
        self._pid = os.getpid()
        self._here: CurrentWorker | None = None
        self._here_lock = RLock()  # for making it
        be_here(self._current_worker, whole_process=True)
        self._lifespan: Lifespan | None = None
        self._forwarder: Forwarder | None = None
        self._loop_watch: LoopWatch | None = None

    def run(self, setup: PackedSetup) -> None:
        """Start, serve, clean up. On the process's main thread."""
        self._interrupts.install()
        try:
            _check_threads()
            self._forward_logs()
            self._watcher.start()
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
        if self._loop_watch is not None:
            self._loop_watch.detach()
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

    def _make_codec(self, counters: MutableSequence[int] | memoryview) -> ProcessCodec:
        """Make the codec of one lane, which notes there what it calls."""
        codec = self.codec(
            self._ends.arena_in,
            None if self._ends.arena_out is None else self._put_big,
            self._shared_objects,
            self._bulk,
        )
        codec.counters, codec.name = counters, self._names.of_call
        return codec

    def _shared_objects(self) -> SharedObjects:
        """Return the shared objects of this worker, none at first. Any thread."""
        if self._shared is None:
            with self._results_lock:
                if self._shared is None:
                    from aplex._wire.shared_objects import SharedObjects

                    where = self._ends.arena_in or self._ends.common
                    arrivals = None if self._bulk is None else self._bulk.arrivals
                    self._shared = SharedObjects(where, self._kick, arrivals)
        return self._shared

    def _put_big(self, payloads: Any) -> Any:
        """Put a big result into shared memory; return where it is, None if there is no room."""
        if self._results is None:
            assert self._ends.arena_out is not None
            self._make_results(self._ends.arena_out)
        assert self._results is not None
        return self._results.put(payloads)

    def _make_results(self, end: PipeEnd) -> None:
        with self._results_lock:
            if self._results is None:
                from aplex._worker.shared_results import SharedResults

                self._results = SharedResults(end, self._kick)

    def _keep(self, payloads: Any) -> Any:
        """Copy a big result that is to travel; return what keeps the copy, None if it cannot."""
        if self._results is None:
            from aplex._wire.shared_memory import make_shared_memory_file

            end = make_shared_memory_file()
            if end is None:
                return None
            self._make_results(end)
        assert self._results is not None
        return self._results.keep(payloads)

    def _start_thread(self, run: Callable[[], None], name: str) -> None:
        _Thread(target=run, name=name).start()

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

        self._lifespan = Lifespan(surroundings, self._current_worker())
        self._lifespan.enter(self._loop_thread.run_coroutine)

    # -- logs -----------------------------------------------------------------------

    def _forward_logs(self) -> None:
        """Send what is logged to the parent, if it wants that."""
        if self._ends.logs is not None:
            from aplex._worker.log_forwarding import Forwarder

            self._forwarder = Forwarder(
                self._ends.logs,
                self._progress,
                self._place_of_record,
                self._kick,
                self._interrupts.again,
            )
            self._forwarder.install()

    def _place_of_record(self) -> dict[str, Any]:
        """Return what a log record of this thread says of its place."""
        from aplex._worker.whose_work import work_here

        work_id, name = work_here(None if self._pipes is None else self._pipes.lane.task_of)
        return {
            "worker_index": self._index,
            "worker_pid": self._pid,
            "work_id": work_id,
            "work_name": name,
        }

    def _finish_logs(self) -> None:
        """Leave what stands in line to the parent, as this process ends."""
        if self._forwarder is not None:
            self._forwarder.finish()

    # -- who asks -------------------------------------------------------------------

    def _current_worker(self) -> CurrentWorker:
        """Return what works call their worker, made when somebody first asks. Any thread."""
        if self._here is None:
            with self._here_lock:
                if self._here is None:
                    from aplex.workers import CurrentWorker

                    self._here = CurrentWorker(
                        self._index,
                        self._name(),
                        self._pid,
                        self._loop_thread.want_loop,
                        self._works_done,
                    )
        return self._here

    def _name(self) -> str:
        from multiprocessing.process import current_process

        return current_process().name

    def _works_done(self) -> int:
        started = self._progress.started
        begun = started[COROUTINE] + started[PLAIN] - self.plain.skips
        return begun - bool(started[SINCE]) - self._loop_thread.works_running()

    # -- the loop: a `Port` ---------------------------------------------------------

    def connect(self, loop: asyncio.AbstractEventLoop) -> CoroutineLane:
        """Have coroutine works arrive."""
        from aplex._worker.coroutine_pipes import CoroutinePipes

        codec = self._make_codec([0] * COUNTER_COUNT)
        self._pipes = CoroutinePipes(
            loop,
            (self._ends.coroutines_in, self._ends.coroutines_out),
            codec,
            self._progress.started,
            self.producers,
            self.plain.skip,
            lambda: loop.call_later(DOUBT, self.cut_off),
            self._kick,
            self.plain.tell,
            Meter(self._progress.page, self._names, codec.counters),
        )
        self._pipes.bulk = self._bulk
        self._loop_watch = self._pipes.watch
        if self._forwarder is not None:
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
        self._orphaned.wait(DOUBT)
        self.cut_off()
        self._watcher.join(2 * ORPHAN_GRACE)
        self._exit()

    def _lost_bulk(self) -> None:
        """Do the same, on the thread that reads big payloads."""
        self._orphaned.wait(DOUBT)
        self.cut_off()

    def cut_off(self) -> None:
        """End the process `DOUBT` seconds after a channel broke; unless the parent has died.

        Then the watcher lets coroutines clean up, and ends the process. Else a work has closed
        the channel: what is in flight cannot be reported, and only our end tells the parent.
        """
        if not self._orphaned.is_set():
            self._exit()

    def _send_plain(self, reports: Reports) -> None:
        self._plain_out.write(reports)

    def _kick(self) -> None:
        self._kicker.write([b"\0"])

    def _watch(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._ends.lifeline, selectors.EVENT_READ)
        selector.register(self._kickee, selectors.EVENT_READ)
        coroutines = self._ends.coroutines_in
        selector.register(coroutines, selectors.EVENT_READ)
        if self._bulk is not None:
            selector.register(self._bulk.end, selectors.EVENT_READ)
        pause: float | None = None
        while True:
            if self._forwarder is not None:
                self._forwarder.watch(selector)
            ready = {key.fileobj: events for key, events in selector.select(pause)}
            if self._ends.lifeline in ready and not self._read_lifeline():
                break
            if self._kickee in ready and not self._flush_held(selector):
                break
            if coroutines in ready:
                selector.unregister(coroutines)  # from now on it is the loop's
                self._loop_thread.start()
            if self._bulk is not None and self._bulk.end in ready:
                selector.unregister(self._bulk.end)
                self._bulk.begin()
            if self._forwarder is not None and self._forwarder.end in ready:
                self._forwarder.take(ready[self._forwarder.end])
            pause = self._interrupts.send()
            if self._results is not None:
                pause = _shorter(pause, self._results.trim())
            if self._loop_watch is not None:
                pause = _shorter(pause, self._loop_watch.look())
        selector.close()
        self._end_watch()

    def _end_watch(self) -> None:
        """End, as the parent is dead, or does not want this worker. On the watcher's thread."""
        self._orphaned.set()
        self._loop_thread.stop(ORPHAN_GRACE)
        self._exit()

    def _read_lifeline(self) -> bool:
        """Take in which function is to be interrupted; return False at the lifeline's end."""
        data = bytearray(64 * _NUMBER)
        try:
            count = self._ends.lifeline.read_into(memoryview(data))
        except ConnectionError:  # a socket, whose other side has died
            return False
        numbers = memoryview(data)[: count - count % _NUMBER].cast("Q").tolist()
        asked = [number for number in numbers if number < INQUIRY]
        if TERMINATE in asked:
            self._terminate()
        elif asked:
            self._interrupts.ask(asked[-1])
        for number in numbers:
            if number >= INQUIRY:
                self._answer(number - INQUIRY)
        return count > 0

    def _answer(self, inquiry: int) -> None:
        """Tell what this worker does now."""
        rows = rows_of(
            self._loop_thread.lane,
            self._main,
            self._loop_thread.thread.ident,
            self._progress.started[SINCE],
        )
        with contextlib.suppress(OSError):  # the parent is dead: the lifeline says so, too
            self.plain.tell(only((inquiry, DUMPED, rows)))

    def _terminate(self) -> None:
        """End by SIGTERM, unless a work handles that."""
        obey()
        self._orphaned.wait(STUCK)  # nobody sets it but this thread: the end comes meanwhile
        if is_deaf():
            kill_self()

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
        return Interrupts(self.plain, self._progress, self._kick)

    def _flush_held(self, selector: selectors.BaseSelector) -> bool:
        """Send a report that is held back; return False if the parent is dead.

        The works behind it get a moment to finish, unless the lifeline has something to tell.
        """
        self._kickee.read_into(memoryview(bytearray(64)))
        self._pause(selector)
        try:
            freed = None if self._shared is None else self._shared.freed()
            if freed:
                self.plain.tell(only((0, FREED, freed)))
            self.plain.flush_held()
        except OSError:
            return False
        return True

    def _pause(self, selector: selectors.BaseSelector) -> list[Any]:
        selector.unregister(self._kickee)
        try:
            return selector.select(HOLD)
        finally:
            selector.register(self._kickee, selectors.EVENT_READ)


def _check_threads() -> None:
    """Raise WorkerStartError if there are green threads only."""
    if "gevent.monkey" in sys.modules or "eventlet.patcher" in sys.modules:
        from aplex._worker.green_threads import check_worker

        check_worker()


def _shorter(one: float | None, other: float | None) -> float | None:
    return min((pause for pause in (one, other) if pause is not None), default=None)


class _Thread(threading.Thread):
    """A daemon thread whose start is tried once."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name)
        be_daemon(self)

    def give_up(self) -> bool:
        return True
