"""The worker's side of the fork: makes a process of the agent's into a worker of the pool."""

from __future__ import annotations

import atexit
import os
import sys
import types
from multiprocessing import process as process_module
from typing import Any

from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd
from aplex._wire.orders import Welcome
from aplex._wire.packed_setup import PackedSetup
from aplex._worker import (
    coroutine_pipes,  # noqa: F401 - forked workers have it at once  # pyright: ignore[reportUnusedImport]
    process,
)
from aplex._worker.log_forwarding import ROOM

Ends = tuple[PipeEnd, PipeEnd, PipeEnd, PipeEnd | None, PipeEnd | None]
"""The lanes of coroutines and of plain functions, the lifeline, the channel of log records, and
that of big payloads."""


def make_progress(welcome: Welcome, number: int) -> Progress:
    """Make the memory in which a worker counts."""
    progress = Progress(room=ROOM if welcome["logs"] else 0)
    progress.page.name(welcome["pool"], number)
    progress.watch_loop(welcome["slow_callback"])
    progress.record(welcome["recording"])
    return progress


def place_modules(data: bytes | None) -> str | None:
    """Return a path for a zip of modules, good as long as this process, the agent, lives.

    On Linux it is anonymous memory, which the worker, and what its works start, can open by this
    path; elsewhere, a file that is removed when this process exits.
    """
    if data is None:
        return None
    if sys.platform == "linux":
        fd = os.memfd_create("aplex-modules", os.MFD_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{fd}"
    else:
        import tempfile

        fd, path = tempfile.mkstemp(suffix=".zip")
        atexit.register(_remove, path, os.getpid())
    with open(fd, "wb", closefd=sys.platform != "linux") as file:
        file.write(data)
    return path


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        os.unlink(path)  # noqa: PTH108


def begin(
    welcome: Welcome,
    number: int,
    ends: Ends,
    memory: list[PipeEnd],
    progress: Progress,
    modules: str | None,
) -> None:
    """Be the worker, until the pool does not want it any more. On the main thread.

    Args:
        welcome: How to begin.
        number: Of the worker.
        ends: Its connections.
        memory: Files for big calls and results, if it is on the pool's machine; else none.
        progress: Where it counts.
        modules: The path of those that the pool has sent.
    """
    coroutines, plain, lifeline, logs, bulk = ends
    data, *buffers = welcome["setup"]
    welcome["setup"].clear()  # nothing is to hold what the initializer lets go of
    this: Any = process_module.current_process()
    this.name = f"{welcome['pool']}-{number}"
    _be_nobodys_program(welcome["path"])
    if modules is not None:
        sys.path.insert(0, modules)
    if logs is not None:
        logs.set_blocking(False)
    setup = PackedSetup([data, *map(bytearray, buffers)], ())
    del data, buffers
    process.main(
        process.ChildEnds(
            coroutines, coroutines, plain, plain, lifeline, *(memory or (None, None)), logs, bulk
        ),
        progress,
        setup,
        number,
        welcome["index"],
    )


def _be_nobodys_program(path: list[str]) -> None:
    """Have an empty main module, and find the modules of the pool's program, where they are here.

    What works have of the pool's main module comes by value. A module that is beside its script is
    found if the path is the same here: on the same machine, or on a shared file system.
    """
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    known = set(sys.path)
    sys.path += [entry for entry in path if entry not in known and os.path.exists(entry)]  # noqa: PTH110
