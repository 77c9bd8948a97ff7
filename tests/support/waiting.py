"""Waits for what others do, and nobody tells of."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0


def eventually(happened: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until something is so; fail if it takes more than so many seconds."""
    end = time.monotonic() + within
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)
