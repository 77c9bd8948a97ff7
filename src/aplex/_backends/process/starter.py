"""The Starter: starts worker processes, one at a time, in a thread of its own.

Starting a process takes milliseconds, in which nobody else may have to wait. The thread is
there while there is anything to start. It begins when the step that wanted workers is over:
so all channels of that step are made, and known to `abandon_after_fork`, before its first
process is forked. (Channels that are made later, while processes are being forked, are not
known to these. A process with a copy of another one's lifeline keeps that one alive after a
parent that dies, for as long as itself: the second that works have to clean up.)

Where there is a template process (`_backends.process.template`), that forks them.

With ``fork`` and ``spawn``, the first process of a pool is started alone, and the others when it
has ended a work. A fork stops the whole program for a moment, and so does the copying of pages
after it; and a spawned process imports: the first result would wait until there is a processor
for it among all the others.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from multiprocessing import resource_tracker
from typing import Any, Final

from aplex._backends.contract import Events
from aplex._backends.listener import Listener
from aplex._backends.process.forker import Forker
from aplex._backends.process.forker_errors import TemplateFailed, TemplateLost, TemplateThreads
from aplex._backends.process.last_words import kept
from aplex._backends.process.link import ProcessLink
from aplex._backends.process.main_module import MainModule, importable_main, signals_blocked
from aplex._common.locks import RLock, late_imports
from aplex._pool.state import PoolWorker
from aplex._wire.counters import Progress
from aplex._wire.packed_setup import PackedSetup
from aplex._worker import process
from aplex._worker.signals import SIGNALS

NEEDED: Final = 10
"""Descriptors that ``multiprocessing`` opens, at most, while it starts a process."""
LONGEST_HOLD: Final = 0.02
"""Seconds for which the others wait at most. (A first result is there after 5 to 10 ms.)"""

LONGEST_SPAWN: Final = 1.0
"""Seconds for which they wait at most for the first one of ``spawn``, which imports."""
NOT_WANTED: Final = RuntimeError("it is not wanted any more")
THREADS: Final = (
    "the main module, or what it imports, starts threads (%s), so workers are not forked from a "
    "template process, but spawned: each of them imports everything. Start the threads under "
    "`if __name__ == '__main__':`, or when they are first used; mp_context='spawn' says that "
    "this is meant"
)
_log = logging.getLogger("aplex")

Started = Callable[[PoolWorker, ProcessLink, BaseException | None], None]

_lock = RLock()
"""Held while a process starts: the main module is changed for a moment, see `importable_main`."""


class Starter:
    """Starts the processes of one pool."""

    def __init__(
        self,
        context: Any,
        setup: PackedSetup,
        name: str,
        main: MainModule,
        started: Started,
        template: Forker | None = None,
    ) -> None:
        """Have nothing to start yet.

        Args:
            context: Of ``multiprocessing``; where there is a template, for the case that it
                cannot be used.
            setup: What a worker gets, besides its channels.
            name: Of the pool.
            main: What becomes of the main module in workers.
            started: Is called on the listener's thread when a process was started, or could
                not be, with the reason.
            template: What forks the workers, if it can be used.
        """
        self._context = context
        self._setup = setup
        self._name = name
        self._main = main
        self._report = started
        self._template = template
        self._pending: ProcessLink | None = None  # whose process is being forked by the template
        # Whether the first one is to be started alone.
        self._alone = template is None and context.get_start_method() != "forkserver"
        self._holds = False  # the others wait for it
        self._waiting: deque[tuple[PoolWorker, ProcessLink]] = deque()
        self._thread: threading.Thread | None = None  # changed with the lock of the pool

    def set_up_with(self, setup: PackedSetup) -> None:
        """Start processes with another setup; none was started yet."""
        if setup is not self._setup:
            self._setup.close()
            self._setup = setup

    def preload(self, module: str) -> None:
        """Have workers find a module imported, if a template process forks them."""
        if self._template is not None:
            self._template.preload(module)

    def bind(self, events: Events, listener: Listener) -> None:
        """Tell whose lock that is, and which listener is told."""
        self._events = events
        self._listener = listener

    def add(self, worker: PoolWorker, link: ProcessLink) -> None:
        """Have a process started, soon."""
        self._waiting.append((worker, link))
        self._listener.call_soon(partial(self._events.locked, self._begin))

    def go_on(self) -> None:
        """Start the others, if they wait for the first one. Any thread."""
        if self._holds:
            self._holds = False
            self._events.locked(self._begin)

    def _begin(self) -> None:
        if self._waiting and self._thread is None and not self._holds:
            self._thread = threading.Thread(
                target=self._run, name=f"{self._name}-starter", daemon=True
            )
            # Not here, with the lock: ``start`` waits until the new thread has begun, and a
            # finalizer that runs there first may want the lock.
            self._listener.call_soon(partial(self._launch, self._thread))

    def _launch(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError:  # the interpreter exits: no new threads
            self._start_all()
            self._events.locked(self._end)

    def _run(self) -> None:
        try:
            while self._thread is threading.current_thread():
                self._start_all()
                self._events.locked(self._end)
        except BaseException as error:  # noqa: BLE001 - a bug: nobody would start the others
            self._events.failed(error)

    def give_up(self, link: ProcessLink) -> None:
        """Do not wait for a process that is not wanted any more, if its template still imports."""
        template = self._template
        if template is not None and self._pending is link and not template.is_ready:
            template.kill()

    def close(self) -> None:
        """Free what all workers share: no more will start."""
        self._setup.close()
        if self._template is not None:
            self._template.close()

    def abandon_after_fork(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""
        self._setup.abandon()
        if self._template is not None:
            self._template.abandon()

    def _end(self) -> None:
        if self._holds or not self._waiting:
            self._thread = None

    def _start_all(self) -> None:
        while self._waiting and not self._holds:
            worker, link = self._waiting.popleft()
            if link.process is None:  # else it waited twice, as Ctrl-C broke into its `start`
                failure = self._start(worker, link)
                link.child_ends.close()
                link.progress.page.close_file()
                if self._alone and failure is None:
                    self._hold()
                self._listener.call_soon(partial(self._report, worker, link, failure))

    def _hold(self) -> None:
        self._alone, self._holds = False, True
        seconds = LONGEST_HOLD if self._context.get_start_method() == "fork" else LONGEST_SPAWN
        self._go_on_in(seconds)

    def _go_on_in(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._listener.call_soon(partial(self._listener.call_at, end, self.go_on))

    def began(self) -> None:
        """Start the others soon, if they wait for the first one, which is ready. Any thread."""
        if self._holds:
            self._go_on_in(LONGEST_HOLD)

    def _start(self, worker: PoolWorker, link: ProcessLink) -> BaseException | None:
        """Start a process; return why it could not be started, if so."""
        if self._template is not None:
            try:
                return self._fork(self._template, worker, link)
            except TemplateThreads as error:
                _log.warning(THREADS, error)
                self._template = None
        return self._start_anew(worker, link)

    def _fork(
        self, template: Forker, worker: PoolWorker, link: ProcessLink
    ) -> BaseException | None:
        """Have the template fork a process; return why it could not, if so.

        Raises:
            TemplateThreads: It must not fork.
        """
        link.process = template.process(
            target=process.main,
            args=(link.child_ends, link.progress, self._setup, worker.id, worker.index),
            name=f"{self._name}-{worker.id}",
            daemon=False,
        )
        self._pending = link
        try:
            with _lock:
                check_descriptors()
                self._setup.share()
                template.start()
            if link.unwanted or link.stopped:
                return NOT_WANTED
            was_ready = template.is_ready
            try:
                link.process.start()
            except TemplateLost:
                if not was_ready:
                    raise
                with _lock:  # it has died since; another one does as well
                    template.start()
                link.process.start()
        except TemplateThreads:
            raise
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for a worker
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, TemplateFailed):  # where it was raised tells users nothing
                error.with_traceback(None)
            return NOT_WANTED if link.unwanted else error
        finally:
            self._pending = None
        return None

    def _start_anew(self, worker: PoolWorker, link: ProcessLink) -> BaseException | None:
        """Start a process by ``multiprocessing``; return why it could not be started, if so."""
        with _lock:
            link.process = self._context.Process(
                target=process.main,
                args=(link.child_ends, link.progress, self._setup, worker.id, worker.index),
                name=f"{self._name}-{worker.id}",
                daemon=False,  # works may start processes of their own
            )
            if link.unwanted or link.stopped:
                return NOT_WANTED
            try:
                check_descriptors()
                if self._context.get_start_method() != "fork":
                    self._setup.share()
                with self._conditions(link.process, link.progress):
                    link.process.start()
            except BaseException as error:  # noqa: BLE001 - told to whoever waits for a worker
                # Its frames hold what was opened; it may be the reason of all that fails later.
                traceback.clear_frames(error.__traceback__)
                return error
        return None

    @contextlib.contextmanager
    def _conditions(self, process: Any, progress: Progress) -> Generator[None]:
        method = self._context.get_start_method()
        if method == "fork":
            # It gives a lock back after each fork which it takes before: if another thread imported
            # it in between (asyncio does so when somebody uses an executor), it would have none.
            with contextlib.suppress(RuntimeError):  # the program ends: nobody imports it any more
                importlib.import_module("concurrent.futures.thread")
            with late_imports.importing, signals_blocked(SIGNALS):
                yield
            return
        if sys.platform != "win32":
            # Started on demand, it would unblock the signals that are about to be blocked.
            resource_tracker.ensure_running()
        # A fork server may be started now, too, whose children keep its mask: others' children,
        # which `Process.terminate` is to end. (It loses no works: they begin after the start.)
        numbers = {signal.SIGINT} if method == "forkserver" else SIGNALS
        with signals_blocked(numbers), importable_main(self._main.path), kept(process, progress):
            yield


def check_descriptors() -> None:
    """Check whether as many descriptors are left as a start needs.

    If they end in the middle of one, ``multiprocessing`` never closes those it has opened
    (``popen_fork``, between its two pipes). Others may take them before it does.

    Raises:
        OSError: They are not.
    """
    if sys.platform == "win32":
        return
    taken: list[int] = []
    try:
        while len(taken) < NEEDED:
            taken += os.pipe()
    finally:
        for fd in taken:
            os.close(fd)


def renew() -> None:
    """In a forked child: the thread that held the lock is not in this process."""
    global _lock  # noqa: PLW0603
    _lock = RLock()
