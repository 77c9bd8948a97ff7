"""The short form of ``reliability/ladder.py``: works stopped at random moments."""

from __future__ import annotations

import pytest

from reliability import ladder


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_the_moment_nothing_is_lost(seed: int) -> None:
    seen = ladder.run(2000, seed)
    assert seen.wrong == []
    assert min(seen.outcomes.values()) > 100, seen.outcomes
