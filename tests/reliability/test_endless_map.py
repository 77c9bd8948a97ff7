"""The short form of ``reliability/endless_map.py``: a slow consumer stops an endless input."""

from __future__ import annotations

from typing import Any

import pytest

from reliability import endless_map


@pytest.mark.parametrize("engine", ["thread", "spawn"])
@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_memory_stays_flat(engine: str, chunksize: Any) -> None:
    seen = endless_map.watch(2.0, engine, chunksize)
    assert seen.handed > 100
    assert seen.ok, seen
