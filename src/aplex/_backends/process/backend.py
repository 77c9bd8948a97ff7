"""Workers as processes: four pipes, a lifeline and two counters each.

The `Starter` starts them. A worker's end is told by the kernel to the listener (pidfd, or the
sentinel of ``multiprocessing``): with ``fork``, other children may hold copies of the pipes, so
the end of a pipe alone says nothing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import process as process_module
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final

from aplex._backends.contract import Death, Events, Setup
from aplex._backends.listener import Listener
from aplex._backends.process import forker, starter
from aplex._backends.process.callers_gate import make_gate
from aplex._backends.process.forker import make_forker
from aplex._backends.process.importing import check_process
from aplex._backends.process.link import Link
from aplex._backends.process.logs import Logs
from aplex._backends.process.main_module import MainModule
from aplex._backends.process.piped import PipedBackend
from aplex._backends.process.postmortem import (
    OomKills,
    is_forked,
    postmortem,
    reap,
    show_crash,
)
from aplex._backends.process.setups import Setups
from aplex._backends.process.starter import Starter
from aplex._common.errors import RemoteTraceback, WorkerStartError
from aplex._common.locks import RLock, late_imports
from aplex._common.messages import LANES, PLAIN
from aplex._pool.state import PoolWorker
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd, frame_of
from aplex._worker import process
from aplex._worker.green_threads import check_program

if TYPE_CHECKING:
    from aplex._backends.process.end_waiter import EndWaiter
    from aplex.exceptions import WorkerLostError

FORWARDING: Final = "aplex._worker.log_forwarding"
"""What workers import that forward log records."""
LONGEST_STATUS: Final = 1.0
"""Seconds in which the template tells how a process ended; else its exit code is not known."""


class ProcessBackend(PipedBackend):
    """Starts worker processes by a context of ``multiprocessing``, and notices their end."""

    can_interrupt = True  # where there is no signal for it, the worker is killed after its grace
    shares_early = True

    def __init__(self, context: BaseContext | None, preload: Sequence[str], setup: Setup) -> None:
        """Start nothing yet.

        Args:
            context: Of ``multiprocessing``. None: a template process forks the workers, where
                that can be; elsewhere they are spawned.
            preload: Modules that the template imports.
            setup: What the workers are set up with.
        """
        by_template = context is None and forker.AVAILABLE
        context = context or multiprocessing.get_context("spawn")
        self.patience = setup.slow_callback
        self._forks = context.get_start_method() == "fork"
        self._main = MainModule(forks=self._forks)
        super().__init__(main_by_value=self._main.decide)
        parts = (setup.worker_loop_factory, setup.initializer, setup.initargs, setup.surroundings)
        self._setups = Setups(parts, self._main, by_fork=self._forks)
        packed = self._setups.first
        forks = make_forker(setup.name, self._main, preload) if by_template else None
        self._starter = Starter(context, packed, setup.name, self._main, self._started, forks)
        self._oom_kills: OomKills | None = None
        self._logs = Logs(setup.name, wanted=setup.forward_logs)
        self._name = setup.name
        self._recording = 0  # see `record`
        self._ends: EndWaiter | None = None

    def bind(self, events: Events, listener: Listener) -> None:
        super().bind(events, listener)
        self._logs.bind(listener)
        self._starter.bind(events, listener)

    # -- start ----------------------------------------------------------------

    def check_can_start(self) -> None:
        check_program(forks=self._forks)
        check_process()
        setup = self._setups.decide(self._main)
        if setup is not None:
            self._starter.set_up_with(setup)

    def start(self, worker: PoolWorker) -> None:
        if self._oom_kills is None:
            self._oom_kills = OomKills()  # what was killed before is no worker of ours
        try:
            if self._gate is None:
                self._gate = make_gate(self._take_in_rest)
                if self._gate is not None:
                    self.listener.call_soon(
                        partial(self.listener.watch, self._gate, self._gate.read)
                    )
            if worker not in self._links:  # else Ctrl-C broke into this very method
                self._links[worker] = Link(
                    self._shared(), worker, self._logs, self._name, self.patience
                )
            link = self._links[worker]
            if link.logs is not None:
                self._logs.add(link.logs)
                self._starter.preload(FORWARDING)
            link.freed = self._freed
            link.progress.record(self._recording)
        except OSError as error:  # too many open files
            failure = WorkerStartError(f"no channels for a worker process: {error}")
            self.listener.call_soon(partial(self.events.lost, worker, lambda: _unborn(failure)))
            return
        self._watch_readers(worker, link)
        self._starter.add(worker, link)

    def _started(self, worker: PoolWorker, link: Link, failure: BaseException | None) -> None:
        """Begin to wait for the worker's end. On the listener's thread."""
        if failure is not None:
            error = WorkerStartError(f"a worker process could not be started: {_why(failure)}")
            error.__cause__ = failure
            self.events.lost(worker, partial(self._bury, worker, link, _unborn(error)))
            return
        link.started = True
        if link.unwanted:
            link.process.kill()
        ended = partial(self._ended, worker, link)
        if sys.platform == "win32":
            self._await_end(link, ended)
        else:
            link.pidfd = _pidfd_of(link.process)
            self.listener.watch(self._death_of(link), ended)

    def _await_end(self, link: Link, ended: Callable[[], None]) -> None:
        if self._ends is None:
            with late_imports.importing:  # on Windows only
                from aplex._backends.process.end_waiter import EndWaiter
            self._ends = EndWaiter(self.listener)
        try:
            self._ends.watch(link.process, ended)
        except (OSError, RuntimeError):  # too many threads, or files; or the interpreter exits
            link.process.kill()
            ended()

    def began(self) -> None:
        self._starter.began()

    def served(self) -> None:
        self.listener.call_soon(self._starter.go_on)  # not before the result is handed out

    def _death_of(self, link: Link) -> Any:
        return link.pidfd if link.pidfd is not None else _Sentinel(link.process.sentinel)

    def record(self, level: int) -> None:
        self._recording = level
        for link in self._links.values():
            if not link.closed:
                link.progress.record(level)

    # -- stops functions ------------------------------------------------------

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
                link.lifeline.write([(process.INQUIRY + number).to_bytes(8, sys.byteorder)])
        return None

    def interrupt(self, worker: PoolWorker, seq: int) -> None:
        link = self._links.get(worker)
        if link is not None and not link.closed:
            # Full, or broken: then the worker does not listen, and is killed in the end.
            with contextlib.suppress(OSError):
                link.lifeline.write([seq.to_bytes(8, sys.byteorder)])

    def kill_at(self, worker: PoolWorker, seq: int) -> bool:
        link = self._links.get(worker)
        if link is None or link.closed or not link.progress.doom(seq):
            return False
        self.kill(worker)
        return True

    # -- end ------------------------------------------------------------------

    def stop(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.stopped = True
            self._starter.go_on()
            link.writers[PLAIN].rest += frame_of(None)
            self._flush_now(link, PLAIN)

    def kill(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.unwanted = True
            if link.started:
                with contextlib.suppress(ValueError):  # closed: it has ended just now
                    link.process.kill()
            else:
                self._starter.give_up(link)

    def terminate(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is None or worker.pid is None:  # SIGTERM is blocked while it starts
            self.kill(worker)
            return
        try:
            link.lifeline.write([process.TERMINATE.to_bytes(8, sys.byteorder)])
        except OSError:  # full, or broken: it does not listen, or has ended just now
            self.kill(worker)

    def _ended(self, worker: PoolWorker, link: Link) -> None:
        """Take in that a process has ended. On the listener's thread."""
        if sys.platform != "win32":
            self.listener.unwatch(self._death_of(link))
        if is_forked(link.process) and link.process.exitcode is None:
            self._await_status(worker, link)
        else:
            self._take_end(worker, link)

    def _await_status(self, worker: PoolWorker, link: Link) -> None:
        """Wait until the template has told how a process ended; not for ever: it may be stopped."""
        told = _Sentinel(link.process.sentinel)

        def take() -> None:
            timer.cancel()
            self.listener.unwatch(told)
            if link.process.exitcode is None:
                link.process.popen.give_up()
            self._take_end(worker, link)

        timer = self.listener.call_at(time.monotonic() + LONGEST_STATUS, take)
        self.listener.watch(told, take)

    def _take_end(self, worker: PoolWorker, link: Link) -> None:
        """Take in the last reports, then the end. On the listener's thread."""
        self._starter.go_on()  # the others, if this was the first, do not wait for it
        process = link.process
        link.peak_rss = reap(process)
        if process.exitcode is None:
            # It is about to end, which nothing changes any more; or it has closed its sentinel.
            link.kill()
            process.join()  # with a timeout it would import something, see `postmortem`
        show_crash(link.progress)
        for lane in LANES:
            self.events.receive(worker, lane, partial(self._drain, link, lane))
        self.events.lost(worker, partial(self._examine, worker, link))

    def _examine(self, worker: PoolWorker, link: Link) -> Death:
        process = link.process
        assert self._oom_kills is not None
        error = postmortem(
            worker,
            process,
            born=link.born,
            peak_rss=link.peak_rss,
            progress=link.progress,
            out_of_memory=self._oom_kills.blame,
        )
        reason = _never_served(error, link.progress) if worker.pid is None else None
        death = Death(link.progress.read(), error, reason, error.uptime)
        with contextlib.suppress(ValueError):  # it cannot be killed; the kernel keeps it
            process.close()
        return self._bury(worker, link, death)

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
        self._starter.close()
        if self._gate is not None:
            self.listener.unwatch(self._gate)
            self._gate.close()
        if self._shares is not None:
            self._shares.close()
        if self._ends is not None:
            self._ends.close()
        if self._arena is not None:
            self._arena.close()
        if self._oom_kills is not None:
            self._oom_kills.close()
        self._logs.close()

    def break_down(self) -> None:
        links = list(self._links.items())
        for _, link in links:
            link.unwanted = True
            with contextlib.suppress(Exception):
                link.process.kill()
        for worker, link in links:
            with contextlib.suppress(Exception):
                link.process.join(1)
                link.process.close()
            with contextlib.suppress(Exception):
                self._bury(worker, link, Death((0, 0), None, None))
        self.close()

    # -- fork -----------------------------------------------------------------

    def renew_after_fork(self) -> None:
        starter.renew()
        late_imports.renew()
        self._arena_lock = RLock()
        self._encoder.renew_after_fork()
        if self._arena is not None:  # of a submit that did not come to its end
            self._arena.close()
            self._arena = None

    def abandon_after_fork(self) -> None:
        starter.renew()
        late_imports.renew()
        self._starter.abandon_after_fork()
        for link in self._links.values():
            # Or the exit hook of multiprocessing would wait for the parent's children here.
            vars(process_module).get("_children", set()).discard(link.process)
            for end in link.ends():  # not the counters: they may be those of this very child
                end.close()
        if self._gate is not None:
            self._gate.discard()
        if self._arena is not None:
            self._arena.close()
        if self._oom_kills is not None:
            self._oom_kills.close()
        self._logs.abandon()


def _never_served(error: WorkerLostError, progress: Progress) -> WorkerStartError:
    """Return what to tell of a worker that ended before it was ready."""
    words = error.stack or progress.last_words()
    said = f"; its last words: {words.splitlines()[-1]}" if words else ""
    failure = WorkerStartError(
        f"worker process {error.pid} {error.cause} before it was ready, "
        f"after {error.uptime:.1f} s{said}"
    )
    failure.__cause__ = error
    if words and not error.stack and error.exitcode == 1:  # an exception: its traceback comes first
        error.__cause__ = RemoteTraceback(words)
    elif words:
        failure.add_note(f"the worker's last words:\n{words}")
    return failure


def _unborn(error: WorkerStartError) -> Death:
    return Death((0, 0), None, error)


class _Sentinel:
    """Something with a ``fileno``, around the sentinel of ``multiprocessing``."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def _pidfd_of(process: Any) -> PipeEnd | None:
    if is_forked(process):
        return PipeEnd(process.popen.pidfd)
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None
    try:
        return PipeEnd(os.pidfd_open(process.pid))
    except OSError:  # an old kernel, or ended already
        return None


def _why(failure: BaseException) -> str:
    """Return why a process could not be started."""
    if isinstance(failure, (ConnectionError, EOFError)):
        return (
            f"its fork server has ended ({failure}); why is to be read on stderr. From CPython "
            "3.14 on it imports the main module, which must not use an executor meanwhile: put "
            "the code that does so under `if __name__ == '__main__':`"
        )
    if isinstance(failure, FileNotFoundError) and not _has_directory():
        return (
            f"the working directory of this program was deleted ({failure}), and a new interpreter "
            "begins in it: change to one that exists, os.chdir(…), before the first work"
        )
    return str(failure)


def _has_directory() -> bool:
    """Whether the working directory of this process exists."""
    try:
        os.getcwd()  # noqa: PTH109 - nothing is done with it
    except FileNotFoundError:
        return False
    return True
