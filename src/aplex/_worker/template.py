"""The template process: has imported what workers need, and forks one at each request.

A fork takes a millisecond, whatever the main module imports, and the workers share the pages of
what was imported. The template is a fresh interpreter, so it has none of the parent's threads and
locks; and it must have no threads of its own, or a fork could copy a lock that is held for ever.

It does nothing but fork and wait, in one thread. The parent's end of the control channel is its
life: when that is closed, it ends. Its workers do not need it: they live on if it dies.

What uWSGI and gunicorn call preloading, and Android a zygote.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import selectors
import signal
import socket
import sys
import threading
import warnings
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module
from multiprocessing import process
from types import FrameType

from aplex._wire import descriptors
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd
from aplex._wire.template import FAILED, FORKED, READY, REFUSED, STATUS, STREAMS
from aplex._worker import forked
from aplex._worker.beginning import begin, import_main
from aplex._worker.signals import SIGNALS

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Final

assert sys.platform == "linux"

IDLE: Final = 0.02
"""Seconds without a request, after which the template imports what only some workers need."""
REST: Final = ("traceback", "inspect", "ssl", "asyncio", "aplex._worker.coroutine_pipes")
"""Those, in parts: coroutines need asyncio, but the first workers may have functions to run."""
FORK_SAFE: Final = frozenset({"jemalloc_bg_thd"})
"""Threads that a fork may leave behind, as their library is prepared for that (`pthread_atfork`).

jemalloc takes its locks before a fork, and does without this thread in the child: see
``background_thread_postfork_child`` in its source. pyarrow brings one, so pandas may do.
"""


def main(beginning: BinaryIO) -> None:
    """Import, tell the parent, fork workers; in a forked worker: be that.

    Args:
        beginning: What the parent writes, see `_backends.process.template`.
    """
    import_module("aplex._worker.process")  # what workers run
    gc.enable()  # it was not, for our own imports: they leave no garbage
    said = begin(beginning)
    forked.name_process("aplex-template")
    _fill_streams()
    _hear_nothing()
    words_fd = said["words"]
    os.set_inheritable(words_fd, False)
    words = Progress(PipeEnd(words_fd))
    words.keep_crashes()
    control = socket.socket(fileno=said["control"])
    # Or a program that the main module starts would hold it, and hide our end from the parent.
    control.set_inheritable(False)
    try:
        with _noticed() as enabled:
            _load(said)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: the parent says what it was
        forked.flush()
        with contextlib.suppress(OSError):
            descriptors.send(control, (FAILED, _told(error)))
            while control.recv(1):  # until it has read that: an earlier end would discard it
                pass
        os._exit(1)
    _hear_nothing()  # whatever the main module has set
    _tell(control, (READY, _threads_left()))
    gc.freeze()  # or the first collection in each worker would copy all pages
    worker = Template(control, words).serve()
    worker.run(beginning.fileno(), keeps_crashes=not enabled)


class Template:
    """Forks workers, and tells how they ended."""

    def __init__(self, control: socket.socket, words: Progress) -> None:
        self._control = control
        self._words = words
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._workers: dict[int, tuple[int, int]] = {}  # pidfd -> pid, where its end is told
        self._rest = deque(REST)

    def serve(self) -> forked.ForkedWorker:
        """Serve for ever; return only in a forked worker, which is to be run."""
        pause: float | None = IDLE
        while True:
            ready = self._selector.select(pause)
            pause = self._import_some(idle=not ready)
            for key, _ in ready:
                if key.fileobj is not self._control:
                    self._reap(key.fd)
                elif (worker := self._answer()) is not None:
                    return worker

    def _import_some(self, *, idle: bool) -> float | None:
        """Import a part of the rest, if there is time; return for how long to wait for a request.

        The import may fail, as it does in the worker then that needs it.
        """
        if not self._rest:
            return None
        if not idle:
            return IDLE
        with contextlib.suppress(ImportError):
            import_module(self._rest.popleft())
        gc.freeze()  # as above
        return 0 if self._rest else None

    def _answer(self) -> forked.ForkedWorker | None:
        """Fork a worker for the parent; return it in the worker."""
        try:
            name, fds = descriptors.receive(self._control)
        except EOFError:
            os._exit(0)  # the pool is gone, or the parent is
        status, *rest = fds
        forked.flush()  # or it would be written twice
        told, tell = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until it has its handlers
        try:
            pid = _fork()
        except OSError as error:
            os.close(status)
            _tell(self._control, (REFUSED, str(error)))
        else:
            if pid == 0:
                os.close(status)
                os.close(tell)
                self._let_go()
                _wait_until(told)
                return forked.ForkedWorker(name, rest)
            self._watch(pid, status)
            with contextlib.suppress(BrokenPipeError):  # it has died already
                os.write(tell, b"\0")
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for fd in (told, tell, *rest):
            os.close(fd)
        return None

    def _watch(self, pid: int, status: int) -> None:
        pidfd = os.pidfd_open(pid)
        self._workers[pidfd] = pid, status
        self._selector.register(pidfd, selectors.EVENT_READ)
        _tell(self._control, (FORKED, pid), [pidfd])

    def _reap(self, pidfd: int) -> None:
        """Tell how a worker has ended, and forget it."""
        import resource

        self._selector.unregister(pidfd)
        pid, status = self._workers.pop(pidfd)
        _, wait_status, usage = os.wait4(pid, 0)
        # A worker begins with the peak of the process that has forked it.
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = usage.ru_maxrss * 1024 if usage.ru_maxrss > own else 0
        with contextlib.suppress(OSError):  # nobody wants to know
            os.write(status, STATUS.pack(os.waitstatus_to_exitcode(wait_status), peak))
        os.close(status)
        os.close(pidfd)

    def _let_go(self) -> None:
        """In a worker: close what is the template's."""
        self._selector.close()
        self._control.close()
        self._words.close()
        for pidfd, (_, status) in self._workers.items():
            os.close(pidfd)
            os.close(status)


def _wait_until(told: int) -> None:
    """In a worker: wait until the parent knows of it; end if it never will.

    A template that dies at the wrong moment would leave a worker behind of which the parent knows
    nothing, and to which it sends works, by the channels that it gives to another one.
    """
    if not os.read(told, 1):
        os._exit(1)
    os.close(told)


@contextlib.contextmanager
def _noticed() -> Generator[list[bool]]:
    """Notice whether ``faulthandler`` is enabled in this block, by whom it is imported."""
    calls: list[bool] = []
    real = faulthandler.enable

    def enable(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        calls.append(True)

    faulthandler.enable = enable
    try:
        yield calls
    finally:
        faulthandler.enable = real


def _load(said: Mapping[str, Any]) -> None:
    current: Any = process.current_process()
    current._inheriting = True  # noqa: SLF001 - so that a main module without a guard is refused
    try:
        for module in said["preload"]:
            import_module(module)
        import_main(said["main_name"], said["main_path"])
    finally:
        del current._inheriting  # noqa: SLF001


def _threads_left() -> list[str]:
    """Return the names of the threads that a fork would not survive.

    Some libraries end theirs when the process forks, and start them anew when they are needed
    (OpenBLAS, for one, by ``pthread_atfork``). So a process is forked before they are counted.
    """
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - only the number
        pid = _fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    tasks = sorted(int(task) for task in os.listdir("/proc/self/task"))  # noqa: PTH208
    names = [known.get(task) or _comm(task) for task in tasks if task != os.getpid()]
    return [name for name in names if name not in FORK_SAFE]


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: those are known, or about to be
        return os.fork()


def _comm(task: int) -> str:
    try:
        with open(f"/proc/self/task/{task}/comm") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return "a thread that has ended"


def _hear_nothing() -> None:
    """Leave signals of the terminal and of the process group to the parent."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing.

    ``SIG_IGN`` would be inherited by programs that works start.
    """


def _tell(control: socket.socket, message: tuple[str, Any], fds: Sequence[int] = ()) -> None:
    """Send a message to the parent; end if that is gone."""
    try:
        descriptors.send(control, message, fds)
    except OSError:
        os._exit(1)


def _told(error: BaseException) -> tuple[str, str]:
    """Return an error in one line, and with its traceback."""
    import traceback

    lines = traceback.format_exception(error)
    return traceback.format_exception_only(error)[-1].strip(), "".join(lines)


def _fill_streams() -> None:
    """Have something at the numbers of the standard streams, so that nothing else comes there."""
    fd = -1
    while fd < max(STREAMS):
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.close(fd)
