"""A worker that a template has forked: takes over what the parent is like, then is the worker."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import invalidate_caches
from multiprocessing.context import SpawnProcess

from aplex._wire import descriptors
from aplex._wire.counters import environment_wants_crashes
from aplex._wire.template import STREAMS
from aplex._worker.beginning import become

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, NoReturn

assert sys.platform == "linux"


class ForkedWorker:
    """A worker that was forked just now."""

    def __init__(self, name: str, fds: list[int]) -> None:
        self._name = name
        self._fds = fds

    def run(self, parent_sentinel: int, *, keeps_crashes: bool) -> NoReturn:
        """Be as the parent is now, then be the worker, to its end.

        Args:
            parent_sentinel: A descriptor that can be read when the parent is dead.
            keeps_crashes: Whether the stack of a crash goes where the parent finds it; not if
                the main module wants it elsewhere.
        """
        # Those of the template are not ours: so `multiprocessing` has it after a fork.
        atexit._clear()  # noqa: SLF001
        name_process(f"aplex-worker-{self._name.rpartition('-')[2]}")
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
            from multiprocessing import resource_tracker

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
                import faulthandler  # which subinterpreters refuse, and they import this

                faulthandler.disable()  # of the template's
            progress.keep_crashes()
        elif environment_wants_crashes():
            progress.mark_for_stderr()
        if "multiprocessing.util" in sys.modules:  # then tools may have changed this, as coverage
            code = worker._bootstrap(parent_sentinel=parent_sentinel)  # noqa: SLF001
        else:
            become(worker, parent_sentinel)
            code = _outcome_of(worker)
        # As the interpreter does; but it would free all that was imported, which takes longer.
        atexit._run_exitfuncs()  # noqa: SLF001 - as `multiprocessing` does
        flush()
        os._exit(code)


def _outcome_of(worker: Any) -> int:
    """Run the worker as ``_bootstrap`` does, without what that imports; return its exit code."""
    try:
        try:
            worker.run()
        finally:
            util: Any = sys.modules.get("multiprocessing.util")
            if util is not None:  # works have imported it
                util._exit_function()  # noqa: SLF001
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return 1
    except BaseException:  # noqa: BLE001 - a bug
        import traceback

        traceback.print_exc()
        return 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001
    return 0


def as_process(state: dict[str, Any]) -> Any:
    """Return the process that a worker is to be, as `multiprocessing` knows it."""
    worker = SpawnProcess.__new__(SpawnProcess)
    vars(worker).update(state)
    return worker


def name_process(name: str) -> None:
    """Let ``ps`` and ``top`` show a name."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:  # noqa: PTH123
        file.write(name)


def flush() -> None:
    """Write out what is held back of standard output and standard error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # of a stream of the main module's
            stream.flush()


def _take_streams(fds: list[int], streams: Sequence[int]) -> None:
    """Have the parent's standard streams, as they are now."""
    for number in STREAMS:
        if number in streams:
            fd = fds.pop(0)
            os.dup2(fd, number)
            os.close(fd)
        else:
            os.close(number)


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
