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
from aplex._backends.linked.backend import LinkedBackend, unborn
from aplex._backends.linked.deaths import never_served
from aplex._backends.listener import Listener
from aplex._backends.process import forker, starter
from aplex._backends.process.forker import make_forker
from aplex._backends.process.importing import check_process
from aplex._backends.process.link import ProcessLink
from aplex._backends.process.main_module import MainModule
from aplex._backends.process.postmortem import (
    is_forked,
    postmortem,
    reap,
    show_crash,
)
from aplex._backends.process.setups import Setups
from aplex._backends.process.starter import Starter
from aplex._common.errors import WorkerStartError
from aplex._common.locks import late_imports
from aplex._common.oom_kills import OomKills
from aplex._pool.state import PoolWorker
from aplex._wire.frames import PipeEnd
from aplex._worker.green_threads import check_program

if TYPE_CHECKING:
    from aplex._backends.process.end_waiter import EndWaiter

FORWARDING: Final = "aplex._worker.log_forwarding"
"""What workers import that forward log records."""
LONGEST_STATUS: Final = 1.0
"""Seconds in which the template tells how a process ended; else its exit code is not known."""


class ProcessBackend(LinkedBackend[ProcessLink]):
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
        self._forks = context.get_start_method() == "fork"
        self._main = MainModule(forks=self._forks)
        super().__init__(setup, main_by_value=self._main.decide, forward_logs=setup.forward_logs)
        parts = (setup.worker_loop_factory, setup.initializer, setup.initargs, setup.surroundings)
        self._setups = Setups(parts, self._main, by_fork=self._forks)
        packed = self._setups.first
        forks = make_forker(setup.name, self._main, preload) if by_template else None
        self._starter = Starter(context, packed, setup.name, self._main, self._started, forks)
        self._oom_kills: OomKills | None = None
        self._name = setup.name
        self._ends: EndWaiter | None = None

    def bind(self, events: Events, listener: Listener) -> None:
        super().bind(events, listener)
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
            self._make_gate()
            if worker not in self._links:  # else Ctrl-C broke into this very method
                self._links[worker] = ProcessLink(
                    self._shared(), worker, self._logs, self._name, self.patience
                )
            link = self._links[worker]
            if link.logs is not None:
                self._starter.preload(FORWARDING)
        except OSError as error:  # too many open files
            self._unborn(worker, WorkerStartError(f"no channels for a worker process: {error}"))
            return
        self._attach(worker, link)
        self._starter.add(worker, link)

    def _started(
        self, worker: PoolWorker, link: ProcessLink, failure: BaseException | None
    ) -> None:
        """Begin to wait for the worker's end. On the listener's thread."""
        if failure is not None:
            error = WorkerStartError(f"a worker process could not be started: {_why(failure)}")
            error.__cause__ = failure
            self.events.lost(worker, partial(self._bury, worker, link, unborn(error)))
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

    def _await_end(self, link: ProcessLink, ended: Callable[[], None]) -> None:
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

    def _death_of(self, link: ProcessLink) -> Any:
        return link.pidfd if link.pidfd is not None else _Sentinel(link.process.sentinel)

    # -- stops functions ------------------------------------------------------

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
            link.stopped = True  # before the starter looks
            self._starter.go_on()
            super().stop(worker)

    def kill(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.unwanted = True
            if link.started:
                with contextlib.suppress(ValueError):  # closed: it has ended just now
                    link.process.kill()
            else:
                self._starter.give_up(link)

    def _ended(self, worker: PoolWorker, link: ProcessLink) -> None:
        """Take in that a process has ended. On the listener's thread."""
        if sys.platform != "win32":
            self.listener.unwatch(self._death_of(link))
        if is_forked(link.process) and link.process.exitcode is None:
            self._await_status(worker, link)
        else:
            self._take_certified(worker, link)

    def _await_status(self, worker: PoolWorker, link: ProcessLink) -> None:
        """Wait until the template has told how a process ended; not for ever: it may be stopped."""
        told = _Sentinel(link.process.sentinel)

        def take() -> None:
            timer.cancel()
            self.listener.unwatch(told)
            if link.process.exitcode is None:
                link.process.popen.give_up()
            self._take_certified(worker, link)

        timer = self.listener.call_at(time.monotonic() + LONGEST_STATUS, take)
        self.listener.watch(told, take)

    def _take_certified(self, worker: PoolWorker, link: ProcessLink) -> None:
        """Take in how a process has ended. On the listener's thread."""
        self._starter.go_on()  # the others, if this was the first, do not wait for it
        process = link.process
        link.peak_rss = reap(process)
        if process.exitcode is None:
            # It is about to end, which nothing changes any more; or it has closed its sentinel.
            link.kill()
            process.join()  # with a timeout it would import something, see `postmortem`
        show_crash(link.progress)
        self._take_end(worker, link, partial(self._examine, worker, link))

    def _examine(self, worker: PoolWorker, link: ProcessLink) -> Death:
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
        reason = never_served(error, link.progress.last_words()) if worker.pid is None else None
        death = Death(link.progress.read(), error, reason, error.uptime)
        with contextlib.suppress(ValueError):  # it cannot be killed; the kernel keeps it
            process.close()
        return death

    def close(self) -> None:
        self._starter.close()
        super().close()
        if self._ends is not None:
            self._ends.close()
        if self._oom_kills is not None:
            self._oom_kills.close()

    def break_down(self) -> None:
        links = list(self._links.values())
        for link in links:
            link.unwanted = True
            with contextlib.suppress(Exception):
                link.process.kill()
        for link in links:
            with contextlib.suppress(Exception):
                link.process.join(1)
                link.process.close()
        self._bury_all()
        self.close()

    # -- fork -----------------------------------------------------------------

    def renew_after_fork(self) -> None:
        starter.renew()
        super().renew_after_fork()

    def abandon_after_fork(self) -> None:
        starter.renew()
        self._starter.abandon_after_fork()
        for link in self._links.values():
            # Or the exit hook of multiprocessing would wait for the parent's children here.
            vars(process_module).get("_children", set()).discard(link.process)
        super().abandon_after_fork()
        if self._oom_kills is not None:
            self._oom_kills.close()


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
