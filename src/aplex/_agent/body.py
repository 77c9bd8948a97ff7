"""The worker's side of the fork: makes a process of the agent's into a worker of the pool."""

from __future__ import annotations

import os
import sys
import types
from multiprocessing import process as process_module
from typing import Any

from aplex._agent.belongings import Belongings
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd
from aplex._wire.orders import Welcome
from aplex._wire.packed_setup import PackedSetup
from aplex._worker import (
    coroutine_pipes,  # noqa: F401 - forked workers have it at once  # pyright: ignore[reportUnusedImport]
    process,
)
from aplex._worker.child_ends import ChildEnds
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


def begin(
    welcome: Welcome,
    number: int,
    ends: Ends,
    belongings: Belongings,
    progress: Progress,
) -> None:
    """Be the worker, until the pool does not want it any more. On the main thread.

    Args:
        welcome: How to begin.
        number: Of the worker.
        ends: Its connections.
        belongings: What it has besides.
        progress: Where it counts.
    """
    coroutines, plain, lifeline, logs, bulk = ends
    data, *buffers = welcome["setup"]
    welcome["setup"].clear()  # nothing is to hold what the initializer lets go of
    this: Any = process_module.current_process()
    this.name = f"{welcome['pool']}-{number}"
    _be_nobodys_program(welcome["path"])
    if belongings.modules is not None:
        sys.path.insert(0, belongings.modules)
    if logs is not None:
        logs.set_blocking(False)
    arena_in, arena_out = belongings.memory or (None, None)
    setup = PackedSetup([data, *map(bytearray, buffers)], ())
    del data, buffers
    process.main(
        ChildEnds(
            coroutines,
            coroutines,
            plain,
            plain,
            lifeline,
            arena_in,
            arena_out,
            logs,
            bulk,
            belongings.common,
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
