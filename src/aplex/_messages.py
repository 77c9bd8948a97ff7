"""What parent and worker say to each other. A leaf: it imports nothing of aplex.

Down, on the lane the work belongs to (lists of them make a frame):

* ``(id, seq, function, call)``: run this work. ``seq`` numbers the works of a
  lane from 1; the worker publishes the last one it *started*, so that the
  parent knows after a death what may run elsewhere.
* ``(id, seq)``: cancel this work; ``seq`` is 0 unless it is a plain function.
  Always on the coroutine lane, which no plain function blocks.
* ``None``: close down: finish, clean up, exit. Always on the plain lane.

Up, lists of reports ``(id, kind, data)`` with the seconds the works took:
``(seconds, reports)``. The kinds are the constants below.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

COROUTINE: Final = 0
"""The lane of coroutine works: the thread of the worker's event loop."""
PLAIN: Final = 1
"""The lane of plain functions: the worker's main thread, one at a time."""
LANES: Final = (COROUTINE, PLAIN)

VALUE: Final = 0  # data is the result itself
PICKLED: Final = 1  # data is the pickled result
ERROR: Final = 2  # data is a pickled exception
RAISED: Final = 3  # data is the exception itself
CANCELLED: Final = 4  # the work ended cancelled, or was never started
DELIVERED: Final = 5  # the cancel has reached the coroutine; the outcome will follow
TOO_LATE: Final = 6  # the cancel has found the plain function running; it runs on
DETACHED: Final = 7  # a plain function returned a coroutine, which now runs
READY: Final = 8  # the worker serves; data is its process id
FAILED: Final = 9  # the worker cannot serve; data as for ERROR or RAISED

Report: TypeAlias = tuple[int, int, Any]
Reports: TypeAlias = tuple[float, list[Report]]
