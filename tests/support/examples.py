"""Runs what lies in ``examples/``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def ran(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example; a warning is an error there. Return how it ended, and what it printed."""
    return subprocess.run(
        [sys.executable, "-W", "error", f"{name}.py", *arguments],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
