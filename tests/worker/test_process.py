"""A worker process whose parent is gone, or has closed a channel, when it has something to say."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEADLINE = 60.0  # seconds

PROGRAM = """
import sys
from aplex._wire.counters import Progress
from aplex._wire.frames import one_way
from aplex._wire.setup_packer import pack_setup
from aplex._worker.child_ends import ChildEnds
from aplex._worker.process import Child

def prepare():
    print("prepared", flush=True)
    if {fails}:
        raise LookupError("no model")

ways = [one_way() for _ in range(4)]
for way in ways[:2]:
    way[0].close()  # nobody reads what it says
ends = ChildEnds(
    coroutines_in=ways[2][0],
    coroutines_out=ways[0][1],
    plain_in=ways[3][0],
    plain_out=ways[1][1],
    lifeline=(lifeline := one_way())[0],
    arena_in=None,
    arena_out=None,
)
setup = pack_setup((None, prepare, (), None), main_by_value=False, by_fork=True)
Child(ends, Progress(), 0).run(setup)
print("it went on")
"""


@pytest.mark.parametrize("fails", [False, True], ids=["ready", "failed"])
def test_a_worker_that_cannot_tell_how_its_start_went_ends_without_a_word(fails: bool) -> None:
    """Its program was killed, or interrupted, while it was starting."""
    text = PROGRAM.format(fails=fails)
    run = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (1, "prepared\n", "")
