"""Workers elsewhere that hold too much memory are replaced: their agents know, and are asked."""

from __future__ import annotations

import os
import time
from typing import Any

from aplex import RemoteAsyncPoolExecutor
from tests.support.leaks import nothing_left_alive
from tests.support.remote_workers import COMMAND

PATIENCE = 15.0  # seconds
MB = 2**20
held: list[Any] = []


def hold(count: int) -> int:
    """Keep so many bytes, which are touched."""
    held.append(b"1" * count)
    return os.getpid()


def test_a_worker_that_holds_too_much_is_replaced() -> None:
    with (
        nothing_left_alive(),
        RemoteAsyncPoolExecutor(COMMAND, 1, max_memory_per_worker=200 * MB) as pool,
    ):
        first = pool.submit(hold, MB).result(PATIENCE)
        time.sleep(0.1)  # longer than two looks are apart
        assert pool.submit(hold, MB).result(PATIENCE) == first
        pool.submit(hold, 300 * MB).result(PATIENCE)
        end = time.monotonic() + PATIENCE
        while pool.submit(os.getpid).result(PATIENCE) == first:
            assert time.monotonic() < end
            time.sleep(0.02)  # looks come with reports
