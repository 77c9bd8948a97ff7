"""Which processes coverage measures: those of some tests.

A Python that is started under coverage takes some six times as long until it runs, and the suite
starts thousands. So where coverage runs (see `dev.py check`) only the processes of each so-manieth
test are measured, and of those marked ``measured``; the tests themselves always are.
"""

from __future__ import annotations

import multiprocessing.spawn
import os
import zlib
from typing import Any, Final

import pytest

ONE_IN: Final = 4
STARTED_BY: Final = "COVERAGE_PROCESS_CONFIG"
"""Environment variable by which coverage has new processes measured (``patch = subprocess``)."""
STOWAWAY: Final = "stowaway"
"""What coverage gives to processes that `multiprocessing` spawns (``concurrency``)."""

_config: Final = os.environ.get(STARTED_BY)
_as_measured: Final[Any] = multiprocessing.spawn.get_preparation_data


def choose(item: pytest.Item) -> None:
    """Have the processes that a test starts measured, or not."""
    if _config is None:
        return
    spawn: Any = multiprocessing.spawn
    if item.get_closest_marker("measured") or zlib.crc32(item.nodeid.encode()) % ONE_IN == 0:
        os.environ[STARTED_BY] = _config
        spawn.get_preparation_data = _as_measured
    else:
        os.environ.pop(STARTED_BY, None)
        spawn.get_preparation_data = _unmeasured


def _unmeasured(name: str) -> dict[str, Any]:
    data: dict[str, Any] = _as_measured(name)
    data.pop(STOWAWAY, None)
    return data
