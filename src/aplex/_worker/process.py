"""A worker process: the two lanes of `_worker.lane` over pipes. What a child imports.

Threads, by what may block them:

* the main thread runs the plain lane: it reads, computes and writes, blocking;
* the loop's thread runs the coroutine lane. It is started (and ``asyncio``
  imported) when the first coroutine comes;
* the watcher runs no user's code, so nothing but C code that keeps the GIL can
  hold it up. It sees that first coroutine, and the end of the lifeline: the parent
  is dead, or did not want this worker any more. What the parent writes to it,
  before, are the numbers of plain functions that are to be interrupted, or `TERMINATE`.

How a worker goes, in order: the parent sends ``None`` on the plain lane; the main
thread asks the loop's thread to stop, which cancels the tasks that works left
behind and closes their generators; the main thread joins it and returns; the
interpreter runs its exit handlers.

If the parent dies: the watcher has the loop cancel its tasks, gives their
cleanup `ORPHAN_GRACE` seconds, and ends the process.
"""

from __future__ import annotations

import faulthandler
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aplex._common import late_imports
from aplex._common.identity import be_here, be_worker_process
from aplex._common.locks import RLock
from aplex._common.messages import (
    ATOMS,
    COROUTINE,
    ERROR,
    FAILED,
    PLAIN,
    READY,
    SINCE,
    Outbox,
    Report,
    Reports,
    only,
)
from aplex._wire.calls import CallDecoder, encode_value, is_atom
from aplex._wire.counters import Progress
from aplex._wire.exceptions import encode_exception
from aplex._wire.frames import End, PipeEnd, Reader, Writer, one_way
from aplex._wire.packed_setup import PackedSetup
from aplex._worker.coroutine_lane import CoroutineLane, is_in_first_step
from aplex._worker.green_threads import check_worker
from aplex._worker.interrupts import Interrupts
from aplex._worker.lane import HOLD, Detached, initialize, run_on, run_until_stopped
from aplex._worker.lifespan import NOTHING_AROUND, Lifespan
from aplex._worker.plain_lane import PlainLane
from aplex._worker.producers import Producers
from aplex._worker.signals import be_deaf, is_deaf, obey
from aplex.workers import CurrentWorker

if TYPE_CHECKING:
    import asyncio

    from aplex._worker.log_forwarding import Forwarder

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
STUCK: Final = 0.2
"""Seconds in which the main thread must have heard a SIGTERM; else it is in code of C."""
DOUBT: Final = 0.25
"""Seconds in which the watcher must have seen the parent's death, if that has broken a channel."""


@dataclass(slots=True)
class ChildEnds:
    """The ends of the channels that belong to the child."""

    coroutines_in: End
    coroutines_out: End
    plain_in: End
    plain_out: End
    lifeline: End
    arena_in: PipeEnd | None
    arena_out: PipeEnd | None
    logs_out: End | None = None
    levels_in: End | None = None

    def close(self) -> None:
        """Close them all."""
        for field in fields(self):
            end = getattr(self, field.name)
            if end is not None:
                end.close()


class Results:
    """Puts big results into shared memory. Both lanes'."""

    def __init__(self, end: PipeEnd, wake: Callable[[], object]) -> None:
        """Have no shared memory yet.

        Args:
            end: The file.
            wake: Has ``cool`` called soon. Safe in a finalizer.
        """
        self._end = end
        self._wake = wake
        self._lock = RLock()
        self._arena: Any = None
        self._cool_at: float | None = None  # monotonic

    def put(self, payloads: Any) -> Any:
        """Return where the payloads are, for the parent to have; None if there is no room."""
        from aplex._wire.shared_memory import Arena

        with self._lock:
            if self._arena is None:
                self._arena = Arena(self._end, self._cool_later)
        parcel = self._arena.put(payloads)
        if parcel is None:
            return None
        self._arena.lend(parcel.place)
        return parcel.place

    def _cool_later(self, seconds: float) -> None:
        self._cool_at = time.monotonic() + seconds
        self._wake()

    def cool(self) -> float | None:
        """Give back memory, if it is time to.

        Returns:
            Seconds after which to call again; None: only when there is something new.
        """
        when = self._cool_at
        if when is not None and when <= time.monotonic():
            self._cool_at = None
            self._arena.cool()
            when = self._cool_at
        return None if when is None else max(0.0, when - time.monotonic())


class ProcessCodec(CallDecoder):
    """Calls and outcomes travel as pickles, atoms as they are."""

    def __init__(self, ends: ChildEnds, results: Results | None) -> None:
        self._lent: Any = None
        self._ends = ends
        super().__init__(None if ends.arena_in is None else self._open_place)
        self._put_value = None if results is None else results.put

    def _open_place(self, place: list[int]) -> list[memoryview]:
        if self._lent is None:
            from aplex._wire.borrowed import Lent

            assert self._ends.arena_in is not None
            self._lent = Lent(self._ends.arena_in)
        views: list[memoryview] = self._lent.open(place)
        return views

    def put(self, outbox: Outbox, work_id: int, value: Any) -> None:
        if type(value) in ATOMS or is_atom(value):
            outbox.ids.append(work_id)
            outbox.values.append(value)
        else:
            outbox.put(work_id, encode_value(value, self._put_value), pickled=True)

    def value(self, value: Any) -> tuple[bool, Any]:
        if is_atom(value):
            return False, value
        return True, encode_value(value, self._put_value)

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
    _keep_crashes(progress)
    child = Child(ends, progress, index)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=child.be_copy)
    child.run(setup)


def _keep_crashes(progress: Progress) -> None:
    """Have the stack of a crash go where the parent finds it; unless it was to go elsewhere."""
    if progress.file is None:
        return
    if not faulthandler.is_enabled():
        faulthandler.enable(progress.file.fileno(), all_threads=False)
    elif _environment_wants_crashes() and not progress.is_for_stderr:  # forked: there was no hook
        faulthandler.enable(progress.file.fileno())
        progress.mark_for_stderr()  # so the parent shows it there


def _environment_wants_crashes() -> bool:
    """Whether the environment has enabled ``faulthandler``, which writes to stderr then."""
    wanted = os.environ.get("PYTHONFAULTHANDLER") or "faulthandler" in sys._xoptions  # noqa: SLF001
    return bool(wanted or sys.flags.dev_mode)


class Child:
    """One worker process."""

    def __init__(self, ends: ChildEnds, progress: Progress, index: int) -> None:
        self._ends = ends
        self._progress = progress
        self.results = None if ends.arena_out is None else Results(ends.arena_out, self._kick)
        self._codec = ProcessCodec(ends, self.results)
        self._loop_thread = LoopThread(self)
        self._watcher = threading.Thread(target=self._watch, name="aplex-watcher", daemon=True)
        self._main = threading.get_ident()
        self._orphaned = threading.Event()
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
        )
        self._interrupts = Interrupts(self.plain, progress, self._kick)
        from multiprocessing.process import current_process

        self._here = CurrentWorker(
            index, current_process().name, os.getpid(), self._loop_thread.loop, self._works_done
        )
        be_here(self._here, whole_process=True)
        self.lifespan = Lifespan(NOTHING_AROUND, self._here)
        self._forwarder: Forwarder | None = None

    @property
    def ends(self) -> ChildEnds:
        return self._ends

    @property
    def progress(self) -> Progress:
        return self._progress

    def run(self, setup: PackedSetup) -> None:
        """Start, serve, clean up. On the process's main thread."""
        self._interrupts.install()
        try:
            check_worker()
            self._forward_logs()
            self._watcher.start()
            self._initialize(setup)
        except BaseException as error:  # noqa: BLE001 - the parent says what it was
            self._plain_out.write(only((0, FAILED, encode_exception(error))))
            sys.stdout.flush()
            self._flush_logs()
            os._exit(1)  # the loop's thread may be in any state
        self._plain_out.write(only((0, READY, os.getpid())))
        self._serve()
        self._loop_thread.stop()
        self._loop_thread.join()
        self.lifespan.leave_plain()
        self._flush_logs()

    def _forward_logs(self) -> None:
        """Send what is logged to the parent, if it wants that."""
        ends = self._ends
        if ends.logs_out is not None and ends.levels_in is not None:
            from aplex._worker.log_forwarding import Forwarder

            tasks = self._loop_thread.tasks
            self._forwarder = Forwarder(ends.logs_out, ends.levels_in, self._here, tasks)
            self._forwarder.install()

    def _flush_logs(self) -> None:
        if self._forwarder is not None:
            self._forwarder.flush()

    def _works_done(self) -> int:
        started = self._progress.started
        begun = started[COROUTINE] + started[PLAIN] - self.plain.skips
        return begun - bool(started[SINCE]) - self._loop_thread.works_running()

    def be_copy(self) -> None:
        """In a process that a work has forked off: end when it leaves the work."""
        if threading.get_ident() == self._main:
            self.plain.be_copy()
        else:
            self._loop_thread.be_copy()
        self._ends.close()

    def _initialize(self, setup: PackedSetup) -> None:
        """Call the initializer. Nothing holds its arguments afterwards, unless it does."""
        loop_factory, initializer, initargs, surroundings = setup.take()
        self._loop_thread.set_factory(loop_factory)
        if initializer is not None:
            initialize(initializer, initargs, self._loop_thread.run)
        self.lifespan = Lifespan(surroundings, self._here)
        self.lifespan.enter(self._loop_thread.run)

    def _serve(self) -> None:
        """Run the plain lane until the parent says ``None``."""
        reader = Reader(self._ends.plain_in)
        try:
            while True:
                frames = reader.read()
                while frames:
                    frame = frames.popleft()
                    if frame is None:
                        return
                    definitions, ids, functions, calls, _, _, _ = frame
                    if definitions:
                        self._codec.define(definitions)
                    self.plain.run(ids, functions, calls)
                    # What was asked for must not live on while nothing comes.
                    del frame, definitions, functions, calls
        except (EOFError, OSError):
            self._orphaned.wait(DOUBT)
            self.cut_off()
            self._watcher.join(2 * ORPHAN_GRACE)
            os._exit(1)

    def cut_off(self) -> None:
        """End the process `DOUBT` seconds after a channel broke; unless the parent has died.

        Then the watcher lets coroutines clean up, and ends the process. Else a work has closed
        the channel: what is in flight cannot be reported, and only our end tells the parent.
        """
        if not self._orphaned.is_set():
            os._exit(1)

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
        levels = self._ends.levels_in
        if levels is not None:
            selector.register(levels, selectors.EVENT_READ)
        pause: float | None = None
        while True:
            ready = {key.fileobj for key, _ in selector.select(pause)}
            if self._ends.lifeline in ready and not self._read_lifeline():
                break
            if self._kickee in ready and not self._flush_held(selector):
                break
            if coroutines in ready:
                selector.unregister(coroutines)  # from now on it is the loop's
                self._loop_thread.start()
            if levels in ready and self._forwarder and not self._forwarder.read_levels():
                selector.unregister(levels)
            pause = self._interrupts.send()
            if self.results is not None:
                pause = _shorter(pause, self.results.cool())
        self._orphaned.set()
        self._loop_thread.stop()
        self._loop_thread.join(ORPHAN_GRACE)
        os._exit(1)

    def _read_lifeline(self) -> bool:
        """Take in which function is to be interrupted; return False at the lifeline's end."""
        data = bytearray(64 * _NUMBER)
        count = self._ends.lifeline.read_into(memoryview(data))
        numbers = memoryview(data)[:count].cast("Q").tolist()
        if TERMINATE in numbers:
            self._terminate()
        elif numbers:
            self._interrupts.ask(numbers[-1])
        return count > 0

    def _terminate(self) -> None:
        """End by SIGTERM, unless a work handles that."""
        obey()
        self._orphaned.wait(STUCK)  # nobody sets it but this thread: the end comes meanwhile
        if is_deaf():
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    def _flush_held(self, selector: selectors.BaseSelector) -> bool:
        """Send a report that is held back; return False if the parent is dead.

        The works behind it get a moment to finish, unless the lifeline has something to tell.
        """
        self._kickee.read_into(memoryview(bytearray(64)))
        self._pause(selector)
        try:
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


def _shorter(one: float | None, other: float | None) -> float | None:
    return min((pause for pause in (one, other) if pause is not None), default=None)


class LoopThread:
    """The thread of the worker's event loop."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._thread = threading.Thread(target=self._run, name="aplex-loop", daemon=True)
        self._factory: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lane: CoroutineLane | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._count = 0  # of works that came so far
        self._codec: ProcessCodec
        self._reader: Reader
        self._writer: Writer
        self._lock = threading.Lock()  # for starting the thread, and for wanting none
        self._started = False
        self._unwanted = threading.Event()
        self._made = threading.Event()
        self._failure: BaseException | None = None

    def set_factory(self, factory: Any) -> None:
        """Take the factory for the loop. One of the user's is tried at once, and may raise."""
        self._factory = factory
        if factory is not None:
            self._want_loop()

    def start(self) -> None:
        """Start the thread, if that was not done before. Any thread."""
        with self._lock:
            if self._started or self._unwanted.is_set():
                return
            self._started = True
            try:
                self._thread.start()
            except BaseException as error:  # noqa: BLE001 - there can be no more threads
                self._fail(error)

    def be_copy(self) -> None:
        """In a process that a work has forked off."""
        if self._lane is not None and self._thread.ident == threading.get_ident():
            self._lane.be_copy()

    def adopt_soon(self, work_id: int, made: Detached) -> None:
        """Hand a coroutine, or a stream, over to the loop. On the main thread."""
        self._want_loop()
        assert self._loop is not None
        assert self._lane is not None
        self._loop.call_soon_threadsafe(self._lane.adopt, work_id, made)

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, started if need be. Any thread."""
        self._want_loop()
        assert self._loop is not None
        return self._loop

    def works_running(self) -> int:
        """How many coroutine works have begun and not ended."""
        return 0 if self._lane is None else len(self._lane.running) + is_in_first_step()

    def tasks(self) -> Mapping[int, asyncio.Task[Any]]:
        """Return the tasks of coroutine works, by their ids."""
        return {} if self._lane is None else self._lane.tasks

    async def _leave(self) -> None:
        assert self._lane is not None
        await self._child.lifespan.leave(self._lane.running)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine on the loop to its end. On the main thread."""
        try:
            self._want_loop()
        except BaseException:
            coroutine.close()
            raise
        assert self._loop is not None
        run_on(self._loop, coroutine)

    def stop(self) -> None:
        """Make the loop cancel its tasks and end, if there is one. Any thread."""
        with self._lock:
            self._unwanted.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread's end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _want_loop(self) -> None:
        if not self._made.is_set():
            self.start()
            self._made.wait()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: BaseException) -> None:
        """Note why there is no loop; it is the exception that is being handled."""
        self._failure = error
        self._made.set()
        if self._factory is None:  # out of descriptors or memory: no use as a worker
            _end_by_exception()

    def _run(self) -> None:
        ends = self._child.ends
        try:
            import asyncio

            ends.coroutines_in.set_blocking(False)
            ends.coroutines_out.set_blocking(False)
            self._reader, self._writer = Reader(ends.coroutines_in), Writer(ends.coroutines_out)
            runner = asyncio.Runner(loop_factory=self._factory)
            loop = runner.get_loop()
            self._codec = ProcessCodec(ends, self._child.results)
            self._lane = CoroutineLane(loop, self._codec, self._send, self._child.producers)
            self._stopping = loop.create_future()
            loop.add_reader(ends.coroutines_in.fileno(), self._read)
            self._loop = loop
            if self._unwanted.is_set():
                self._stop()
        except BaseException as error:  # noqa: BLE001 - shown by the parent, or by us
            self._fail(error)
            return
        self._made.set()
        self._run_until_stopped(runner, loop)

    def _run_until_stopped(self, runner: asyncio.Runner, loop: asyncio.AbstractEventLoop) -> None:
        assert self._stopping is not None
        try:
            run_until_stopped(runner, loop, self._stopping, self._leave)
        except BaseException:
            if self._unwanted.is_set():
                raise
            # A work has broken the loop itself. Nothing tells the parent but our end.
            _end_by_exception()

    def _read(self) -> None:
        lane = self._lane
        assert lane is not None
        try:
            frames = self._reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._lost()
            return
        started = self._child.progress.started
        while frames:
            definitions, ids, functions, calls, cancels, recalls, credits_ = frames.popleft()
            if definitions:
                self._codec.define(definitions)
            for work_id, function, call in zip(ids, functions, calls, strict=True):
                self._count += 1
                started[COROUTINE] = self._count
                lane.begin(work_id, function, call)
            for work_id, seq in cancels:
                lane.cancel(work_id, seq, self._child.plain.skip)
            for work_id, seq in recalls:
                lane.recall(work_id, seq, self._child.plain.skip)
            for work_id, count in credits_:
                self._child.producers.credit(work_id, count)
        lane.flush()

    def _stop(self) -> None:
        self._read_no_more()
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)

    def _lost(self) -> None:
        """Note that a channel is broken. If the parent is gone, the watcher knows it too."""
        assert self._loop is not None
        self._read_no_more()
        self._loop.call_later(DOUBT, self._child.cut_off)

    def _read_no_more(self) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self._child.ends.coroutines_in.fileno())

    def _send(self, reports: Reports) -> None:
        assert self._loop is not None
        try:
            if not self._writer.write(reports):
                self._loop.add_writer(self._child.ends.coroutines_out.fileno(), self._flush)
        except OSError:
            self._lost()

    def _flush(self) -> None:
        assert self._loop is not None
        try:
            flushed = self._writer.flush()
        except OSError:
            flushed = True
        if flushed:
            self._loop.remove_writer(self._child.ends.coroutines_out.fileno())


def _end_by_exception() -> NoReturn:
    """Show the exception that is being handled, if stderr still is open, and end the process."""
    try:
        traceback.print_exc()
    finally:
        os._exit(1)
