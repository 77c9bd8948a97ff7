"""Documents: the example of a shared model runs, and the model takes its memory about once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_example_runs() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "shared_model.py", "--count", "50"],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    taken = re.search(r"took (\d+) MiB in 4 workers", ran.stdout)
    assert taken is not None, ran.stdout
    # Once in the program, once shared. Each would have one of its own: 64 more than the program's.
    assert int(taken[1]) < 3.5 * 16
