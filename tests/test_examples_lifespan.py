"""Documents: the examples of a lifespan run, and what is made once is quicker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["session_per_worker", "model_per_worker"])
def test_the_example_runs(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", f"{name}.py", "--count", "50"],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "times as many" in ran.stdout
