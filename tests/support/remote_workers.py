"""Workers that a command starts, which is here the interpreter of the tests."""

from __future__ import annotations

import sys
from typing import Any

from tests.support.processes import parent_of

from aplex import RemoteAsyncPoolExecutor
from aplex._backends.remote.backend import RemoteBackend

COMMAND = [sys.executable, "-m", "aplex.worker"]


def agent_of(pid: int) -> int:
    """Return the process that has started a worker."""
    return parent_of(pid)


def backend_of(pool: RemoteAsyncPoolExecutor[Any]) -> RemoteBackend:
    backend = pool._gateway._backend
    assert isinstance(backend, RemoteBackend)
    return backend


def address_of(pool: RemoteAsyncPoolExecutor[Any]) -> tuple[str, int]:
    """Return where workers dial."""
    at = backend_of(pool)._door
    assert at is not None
    return at.address
