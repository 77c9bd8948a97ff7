"""The page of a pool: where in it what is. See `_wire.page` for what pages are.

After the words that say whose it is, there are the counts of the last step, and a row for each
worker. The counts stand between two copies of the number of the step: if they are not the same, a
reader has come in the middle of a step, and looks again.
"""

from __future__ import annotations

import struct
from typing import Final

STARTED: Final = 4
"""Word: when the pool was opened, in nanoseconds of the wall clock."""
ROWS: Final = 5
"""Word: how many rows of workers there are, empty ones included."""

COUNTS: Final = struct.Struct("=12Q")
"""Number of the step, submitted, waiting, in flight, failed, cancelled, retried, restarts, failed
and still in flight, size, state, number of the step."""
COUNTS_AT: Final = 64
"""Byte; words of it that change alone:"""
SUBMITTED: Final = COUNTS_AT // 8 + 1
IN_FLIGHT: Final = COUNTS_AT // 8 + 3
STATE: Final = COUNTS_AT // 8 + 10

STATES: Final = ("new", "open", "closing", "closed", "broken")
WORKER_STATES: Final = ("starting", "serving", "retiring", "stopping", "gone", "standby")

ROW: Final = struct.Struct("=8Q")
"""Slot, number (0: an empty row), process id (0: none of its own, or not known yet), state, when
its start was begun (nanoseconds, monotonic), coroutines sent, functions sent, nothing."""
ROWS_AT: Final = 4096
MOST_ROWS: Final = 1024
SENT: Final = 5
"""Word of a row: how many coroutines were sent; and behind it, how many functions."""
SIZE: Final = ROWS_AT + MOST_ROWS * ROW.size
