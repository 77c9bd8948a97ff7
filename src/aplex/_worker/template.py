"""The template process: has imported what workers need, and forks one at each request.

A fork takes a millisecond, whatever the main module imports, and the workers share the pages of
what was imported. The template is a fresh interpreter, so it has none of the parent's threads and
locks; and it must have no threads of its own, or a fork could copy a lock that is held for ever.

It does nothing but fork and wait, in one thread. The parent's end of the control channel is its
life: when that is closed, it ends. Its workers do not need it: they live on if it dies.

What uWSGI and gunicorn call preloading, and Android a zygote.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import os
import pickle
import selectors
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module, invalidate_caches
from multiprocessing import parent_process, process, resource_tracker, spawn
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from aplex._wire import descriptors
from aplex._wire.counters import Progress, environment_wants_crashes
from aplex._wire.frames import PipeEnd
from aplex._wire.template import FAILED, FORKED, READY, REFUSED, STATUS, STREAMS
from aplex._worker.signals import SIGNALS

assert sys.platform == "linux"


def main(fd: int, words_fd: int, main_module: Mapping[str, Any], preload: Sequence[str]) -> None:
    """Import, tell the parent, fork workers; in a forked worker: be that.

    Args:
        fd: The control channel.
        words_fd: Where the stack of a crash goes, see `_wire.counters`.
        main_module: What ``multiprocessing.spawn.prepare`` is told of the main module, if the
            workers are to import that.
        preload: Modules to import besides.
    """
    _name_process("aplex-template")
    _fill_streams()
    _hear_nothing()
    os.set_inheritable(words_fd, False)
    words = Progress(PipeEnd(words_fd))
    words.keep_crashes()
    control = socket.socket(fileno=fd)
    # Or a program that the main module starts would hold it, and hide our end from the parent.
    control.set_inheritable(False)
    try:
        with _noticed() as enabled:
            _load(main_module, preload)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: the parent says what it was
        _flush()
        with contextlib.suppress(OSError):
            descriptors.send(control, (FAILED, _told(error)))
            while control.recv(1):  # until it has read that: an earlier end would discard it
                pass
        os._exit(1)
    _hear_nothing()  # whatever the main module has set
    _tell(control, (READY, _threads_left()))
    gc.freeze()  # or the first collection in each worker would copy all pages
    worker = Template(control, words).serve()
    worker.run(keeps_crashes=not enabled)


class Template:
    """Forks workers, and tells how they ended."""

    def __init__(self, control: socket.socket, words: Progress) -> None:
        self._control = control
        self._words = words
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._workers: dict[int, tuple[int, int]] = {}  # pidfd -> pid, where its end is told
        self._begun = False  # whether the first worker was forked

    def serve(self) -> Worker:
        """Serve for ever; return only in a forked worker, which is to be run."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._reap(key.fd)
                elif (worker := self._answer()) is not None:
                    return worker

    def _answer(self) -> Worker | None:
        """Fork a worker for the parent; return it in the worker."""
        try:
            name, fds = descriptors.receive(self._control)
        except EOFError:
            os._exit(0)  # the pool is gone, or the parent is
        status, *rest = fds
        _flush()  # or it would be written twice
        told, tell = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until it has its handlers
        try:
            pid = os.fork()
        except OSError as error:
            os.close(status)
            _tell(self._control, (REFUSED, str(error)))
        else:
            if pid == 0:
                os.close(status)
                os.close(tell)
                self._let_go()
                _wait_until(told)
                return Worker(name, rest)
            self._watch(pid, status)
            with contextlib.suppress(BrokenPipeError):  # it has died already
                os.write(tell, b"\0")
            if not self._begun:
                self._begun = True
                # Every coroutine needs it; but the first worker may have a function to run.
                import_module("aplex._worker.coroutine_pipes")
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


class Worker:
    """A worker that was forked just now."""

    def __init__(self, name: str, fds: list[int]) -> None:
        self._name = name
        self._fds = fds

    def run(self, *, keeps_crashes: bool) -> NoReturn:
        """Be as the parent is now, then be the worker, to its end.

        Args:
            keeps_crashes: Whether the stack of a crash goes where the parent finds it; not if
                the main module wants it elsewhere.
        """
        # Those of the template are not ours: so `multiprocessing` has it after a fork.
        atexit._clear()  # noqa: SLF001
        _name_process(f"aplex-worker-{self._name.rpartition('-')[2]}")
        request, directory, *fds = self._fds
        state, data = pickle.loads(descriptors.data_of(request))
        os.fchdir(directory)
        os.close(directory)
        _take_streams(fds, state["streams"])
        _take_environment(state["environ"])
        if sys.path != state["path"]:
            sys.path[:] = state["path"]
            invalidate_caches()
        sys.argv[:] = state["argv"]
        if state["tracker"]:
            resource_tracker._resource_tracker._fd = fds.pop(0)  # type: ignore[attr-defined] # noqa: SLF001
        _reseed()
        descriptors.received[:] = fds
        worker = pickle.loads(data)
        for fd in descriptors.received:
            if fd >= 0:
                os.close(fd)
        progress = worker._args[1]  # noqa: SLF001 - those of `_worker.process.main`
        if keeps_crashes:
            if not environment_wants_crashes():
                faulthandler.disable()  # of the template's
            progress.keep_crashes()
        elif environment_wants_crashes():
            progress.mark_for_stderr()
        parent: Any = parent_process()
        code = worker._bootstrap(parent_sentinel=parent.sentinel)  # noqa: SLF001 - as a fork server
        # As the interpreter does; but it would free all that was imported, which takes longer.
        atexit._run_exitfuncs()  # noqa: SLF001 - as `multiprocessing` does
        _flush()
        os._exit(code)


def as_process(state: dict[str, Any]) -> Any:
    """Return the process that a worker is to be, as `multiprocessing` knows it."""
    worker = SpawnProcess.__new__(SpawnProcess)
    vars(worker).update(state)
    return worker


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


def _load(main_module: Mapping[str, Any], preload: Sequence[str]) -> None:
    current: Any = process.current_process()
    current._inheriting = True  # noqa: SLF001 - so that a main module without a guard is refused
    try:
        for module in preload:
            import_module(module)
        spawn.prepare(dict(main_module))
    finally:
        del current._inheriting  # noqa: SLF001


def _threads_left() -> list[str]:
    """Return the names of the threads that a fork would not survive.

    Some libraries end theirs when the process forks, and start them anew when they are needed
    (OpenBLAS, for one, by ``pthread_atfork``). So a process is forked before they are counted.
    """
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - only the number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads: that is what we want to know
            pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    tasks = {int(task.name): task for task in Path("/proc/self/task").iterdir()}
    tasks.pop(os.getpid(), None)
    return [known.get(number) or _comm(task) for number, task in sorted(tasks.items())]


def _comm(task: Path) -> str:
    try:
        return (task / "comm").read_text().strip()
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


def _name_process(name: str) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # of a stream of the main module's
            stream.flush()


def _tell(control: socket.socket, message: tuple[str, Any], fds: Sequence[int] = ()) -> None:
    """Send a message to the parent; end if that is gone."""
    try:
        descriptors.send(control, message, fds)
    except OSError:
        os._exit(1)


def _told(error: BaseException) -> tuple[str, str]:
    """Return an error in one line, and with its traceback."""
    lines = traceback.format_exception(error)
    return traceback.format_exception_only(error)[-1].strip(), "".join(lines)


def _take_streams(fds: list[int], streams: Sequence[int]) -> None:
    """Have the parent's standard streams, as they are now."""
    for number in STREAMS:
        if number in streams:
            fd = fds.pop(0)
            os.dup2(fd, number)
            os.close(fd)
        else:
            os.close(number)


def _fill_streams() -> None:
    """Have something at the numbers of the standard streams, so that nothing else comes there."""
    fd = -1
    while fd < max(STREAMS):
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.close(fd)


def _take_environment(environ: Mapping[str, str]) -> None:
    if os.environ != environ:
        for name in set(os.environ) - set(environ):
            del os.environ[name]
        os.environ.update(environ)


def _reseed() -> None:
    """Have random numbers of our own; ``random`` sees to itself, at each fork."""
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
