"""Which worker this thread belongs to. A leaf."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator


class _Identity(threading.local):
    """A number for each thread; that of the class is for all threads which have none."""

    worker: int | None = None
    pool: object = None
    here: tuple[Callable[[], object], ...] = ()  # one; the class would bind it as a method


_identity = _Identity()


def be_worker(number: int, pool: object) -> None:
    """Let this thread belong to a worker of a pool."""
    _identity.worker = number
    _identity.pool = pool


def be_worker_process(number: int) -> None:
    """Let this process be a worker: all its threads belong to it."""
    _Identity.worker = number


def be_here(worker: Callable[[], object], *, whole_process: bool) -> None:
    """Let this thread, or all threads of this process, know what returns their worker."""
    (_Identity if whole_process else _identity).here = (worker,)


@contextlib.contextmanager
def acting_as(number: int, pool: object, worker: Callable[[], object]) -> Generator[None]:
    """Let this thread belong to a worker for a while."""
    before = _identity.worker, _identity.pool, _identity.here
    be_worker(number, pool)
    be_here(worker, whole_process=False)
    try:
        yield
    finally:
        _identity.worker, _identity.pool, _identity.here = before


def here() -> object:
    """Return what works call their worker; None if no worker runs this thread."""
    for worker in _identity.here:
        return worker()
    return None


def this_worker() -> int | None:
    """Return the number of this worker in its pool; None if this is no worker."""
    return _identity.worker


def this_pool() -> object:
    """Return the pool whose works this thread runs; None if it runs none, or is in a process."""
    return _identity.pool
