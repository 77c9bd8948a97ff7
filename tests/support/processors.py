"""How long threads wait for a processor: what a busy machine adds to a time that was measured."""

from __future__ import annotations

import contextlib
from pathlib import Path


def waits_for_a_processor() -> dict[str, float]:
    """Return for how long each thread of this process was ready and did not run, in seconds.

    Nothing where the system does not tell.
    """
    waits = {}
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                _, waited, _ = (task / "schedstat").read_text().split()
                waits[task.name] = int(waited) / 1e9
    return waits
