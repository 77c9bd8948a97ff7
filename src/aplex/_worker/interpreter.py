"""A worker in a subinterpreter: a `Child` whose process is that of the parent.

So it must never end the process, nor touch what belongs to all of it: signals, ``faulthandler``,
the descriptors of others. What a worker process leaves to the kernel at its end is done here: its
threads are joined, and what was opened is closed.

The descriptors of its channels belong to the parent's thread that runs the interpreter, which
closes them when the interpreter is gone: a number closed here could be another file's by then.

It cannot be killed. A parent that does not want it any more says so in the counters
(`LEFT_BEHIND`), so that nothing is started here again, and closes the lifeline; then the loop's
tasks are cancelled, the plain function that runs is interrupted, and the interpreter ends whenever
that lets it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Sequence

from aplex._common.identity import be_worker_process
from aplex._common.messages import LEFT_BEHIND, Report
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd
from aplex._worker.child_ends import ChildEnds
from aplex._worker.monitored import MonitoredInterrupts
from aplex._worker.plain_lane import LeftBehind
from aplex._worker.process import ORPHAN_GRACE, SWITCH_INTERVAL, Child
from aplex._worker.process_codec import ProcessCodec
from aplex._worker.refused import with_cure
from aplex._worker.watcher import Kick

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, Final

    from aplex._wire.packed_setup import PackedSetup
    from aplex._worker.coroutine_lane import CoroutineLane

LATE: Final = 0.5
"""Seconds that a worker which was left behind waits at its end. The end of the program may have
waited for the same threads: then it takes the interpreter away in this time, and not while that
is being closed, which would crash (CPython 3.14)."""


def main(
    fds: Sequence[int | None], words: int, page: int, setup: bytes, number: int, index: int,
    name: str,
) -> None:  # fmt: skip
    """Serve until the parent asks to stop, or does not want this worker any more.

    Args:
        fds: The descriptors of the channels, in the order of `ChildEnds`.
        words: That of the memory for last words.
        page: That of the page.
        setup: The `PackedSetup`, pickled.
        number: Of the worker.
        index: Of its slot.
        name: Of the worker.
    """
    be_worker_process(number)
    sys.setswitchinterval(SWITCH_INTERVAL)
    ends: list[Any] = [None if fd is None else PipeEnd(fd) for fd in fds]
    channels = ChildEnds(*ends)
    # What is unmapped has descriptors of its own.
    if channels.arena_in is not None and channels.arena_out is not None:
        channels.arena_in = channels.arena_in.duplicate()
        channels.arena_out = channels.arena_out.duplicate()
    progress = Progress(PipeEnd(words).duplicate(), PipeEnd(page).duplicate())
    progress.page.seal()
    child = InterpreterChild(channels, progress, index, name)
    atexit.register(child.forget)  # registered first, it comes last
    child.run(pickle.loads(setup))


class InterpreterCodec(ProcessCodec):
    """Says of modules that were refused what to do."""

    def error(self, work_id: int, error: BaseException) -> Report:
        return super().error(work_id, with_cure(error))


class InterpreterKick(Kick):
    """Can be given after the end, in a finalizer."""

    def give(self) -> None:
        with contextlib.suppress(OSError):  # it is over
            super().give()


class InterpreterChild(Child):
    """One worker in a subinterpreter."""

    codec = InterpreterCodec
    kick = InterpreterKick

    def __init__(self, ends: ChildEnds, progress: Progress, index: int, name: str) -> None:
        self.loop_name = f"{name}-loop"
        super().__init__(ends, progress, index)
        self._own_name = name

    def run(self, setup: PackedSetup) -> None:
        threading.current_thread().name = self._own_name
        try:
            with contextlib.suppress(LeftBehind):
                super().run(setup)
        finally:
            self._end_threads()
            # Those of works, too, as at the end of a process: while the interpreter is being
            # closed they would keep the program from ending.
            threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001
            if self._progress.started[LEFT_BEHIND]:
                time.sleep(LATE)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):  # of a work's own
                    stream.flush()

    def _end_threads(self) -> None:
        """Join what else runs here. On the main thread."""
        self._watcher.stop()
        self._loop_thread.stop()
        self._kick.close()

    def _initialize(self, setup: PackedSetup) -> None:
        try:
            super()._initialize(setup)
        except BaseException as error:
            told = with_cure(error)
            if told is error:
                raise
            raise told from error

    def _name(self) -> str:
        return self._own_name

    def _make_interrupts(self) -> MonitoredInterrupts:
        return MonitoredInterrupts(self.plain, self._progress, self._kick.give)

    def connect(self, loop: asyncio.AbstractEventLoop) -> CoroutineLane:
        """Have coroutine works arrive, until the parent gives this worker up."""
        lane = super().connect(loop)
        beginner, started = lane.beginner, self._progress.started

        def guarded() -> Callable[[int, Any, Any], None]:
            begin = beginner()

            def begin_unless_left(work_id: int, function: Any, call: Any) -> None:
                if not started[LEFT_BEHIND]:  # in this order, see `Progress.leave_behind`
                    begin(work_id, function, call)

            return begin_unless_left

        lane.beginner = guarded  # type: ignore[method-assign]
        return lane

    # -- how it ends ----------------------------------------------------------------

    def _exit(self) -> None:
        """Hang up: then the parent gives this worker up. The numbers stay the parent's.

        What is written there now goes nowhere.
        """
        null = os.open(os.devnull, os.O_RDWR)
        try:
            for end in (self._ends.coroutines_out, self._ends.plain_out):
                os.dup2(null, end.fileno(), inheritable=False)
        finally:
            os.close(null)

    def _end_unserved(self) -> None:
        """End in order: the parent has been told."""

    def _lost_parent(self) -> None:
        """End in order, as a channel broke: the parent has given us up, or a work has closed it."""
        self.cut_off()

    def _end_watch(self) -> None:
        """Let the worker end; have it end, if the parent does not want it. On this thread."""
        if not self._watcher.over.is_set():
            self._lifeline.orphaned.set()
            self._loop_thread.stop(ORPHAN_GRACE)
            running = self._progress.running()[0]
            if running:
                self._interrupts.ask(running)
            while not self._watcher.over.wait(self._interrupts.send()):
                pass
        self._interrupts.stop()

    def forget(self) -> None:
        """Unmap all memory: not all that is left in a subinterpreter is freed with it."""
        self._codecs.forget()
        for end in (self._ends.arena_in, self._ends.arena_out):
            if end is not None:
                end.close()
        with contextlib.suppress(BufferError):  # something has views of it
            self._progress.close()
