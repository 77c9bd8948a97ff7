"""The RestartPolicy: when the place of a worker that never served is filled again.

Logic only: time comes in as a number; so does a pause go out.

How failed starts are counted, after the restart intensity of OTP's supervisors
(https://www.erlang.org/doc/system/sup_princ.html): a worker that ends before it has served is
a failed start. The first is made good at once, further ones in a row after pauses that double.
After ``max_restarts`` of them no more are tried, unless some worker serves: then the pool stays
usable, and keeps trying. The row ends when a work has ended on a worker, or when no start has
failed for ``restart_window`` seconds. Unlike in OTP, the time that a start itself takes does not
count towards the window: else starts that fail slowly would be tried for ever.
"""

from __future__ import annotations

from typing import Final

FIRST_PAUSE: Final = 0.1
"""Seconds before the second restart in a row; the first is made at once."""
LONGEST_PAUSE: Final = 30.0
"""Seconds; pauses grow to this."""


class RestartPolicy:
    """Decides when the place of a worker that never served is filled again."""

    __slots__ = ("_last_failure", "_restarts", "failures", "max_restarts", "window")

    def __init__(self, max_restarts: int = 3, window: float = 5.0) -> None:
        self.max_restarts = max_restarts  # in a row
        self.window = window  # seconds
        self.failures = 0  # failed starts in a row
        self._restarts = 0  # how many of those were made good, or are about to be
        self._last_failure = float("-inf")

    @property
    def exhausted(self) -> bool:
        """Whether all restarts are used up."""
        return self._restarts >= self.max_restarts

    def failed(self, began: float, now: float) -> None:
        """Count a failed start that began and ended at these times."""
        if began - self._last_failure > self.window:
            self.succeeded()
        self._last_failure = now
        self.failures += 1

    def succeeded(self) -> None:
        """End the row of failures."""
        self.failures = self._restarts = 0

    def restart(self) -> float:
        """Count a restart; return after how many seconds to make it."""
        self._restarts += 1
        if self._restarts == 1:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** min(self._restarts - 2, 32), LONGEST_PAUSE)
