"""Documents: the example of a shared model runs, and the model takes its memory about once."""

from __future__ import annotations

import re

from tests.support.examples import ran


def test_the_example_runs() -> None:
    outcome = ran("shared_model", "--count", "50")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    taken = re.search(r"took (\d+) MiB in 4 workers", outcome.stdout)
    assert taken is not None, outcome.stdout
    # Once in the program, once shared. Each would have one of its own: 64 more than the program's.
    assert int(taken[1]) < 3.5 * 16
