"""Documents: the examples of a lifespan run, and what is made once is quicker."""

from __future__ import annotations

import pytest

from tests.support.examples import ran


@pytest.mark.parametrize("name", ["session_per_worker", "model_per_worker"])
def test_the_example_runs(name: str) -> None:
    outcome = ran(name, "--count", "50")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "times as many" in outcome.stdout
