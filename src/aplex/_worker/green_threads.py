"""Green threads: gevent and eventlet put greenlets into the place of threads.

A worker process stands on threads: while one blocks, or computes, the others go on. Greenlets
take turns in one thread, so there the coroutine lane, and the watcher, would wait for ever. In
the program itself threads may be green, if all that aplex uses is so: it must have been patched
before aplex was imported, or some of it would block the greenlets.
"""

from __future__ import annotations

import sys
from typing import Final

from aplex._common.errors import WorkerStartError


def patched_by() -> tuple[str, bool] | None:
    """Return who has patched this process, and whether threads and ``select`` both are."""
    for name, patcher, asks, threads in (
        ("gevent", "gevent.monkey", "is_module_patched", "threading"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
    ):
        is_patched = getattr(sys.modules.get(patcher), asks, None)
        if is_patched is not None:
            patched = [bool(is_patched(module)) for module in (threads, "select")]
            if any(patched):
                return name, all(patched)
    return None


AT_IMPORT: Final = patched_by()


def check_program(*, forks: bool) -> None:
    """Check whether an executor can be used in this program.

    Raises:
        RuntimeError: It cannot; says why.
    """
    found = patched_by()
    if found is None:
        return
    name, wholly = found
    if found != AT_IMPORT or not wholly:
        raise RuntimeError(
            f"{name} has patched this program after aplex was imported, or not its threads and "
            "`select` alike. Patch all, first of all, before aplex is imported"
        )
    if forks:
        raise RuntimeError(
            f"{name} has patched this program, and a forked worker process would have no threads "
            "either. Use mp_context='spawn', and patch under `if __name__ == '__main__':`"
        )


def check_worker() -> None:
    """Check whether this process can be a worker.

    Raises:
        WorkerStartError: It cannot; says why.
    """
    found = patched_by()
    if found is not None:
        raise WorkerStartError(
            f"{found[0]} has patched this worker process: it has no threads, without which "
            "coroutines could not run beside functions. Workers import the main module: patch in "
            "there under `if __name__ == '__main__':`"
        )
