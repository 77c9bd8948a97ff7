"""The RestartPolicy: when the place of a worker that never served is filled again.

Logic only: time comes in as a number; so does a pause go out.

How failed starts are counted, after the restart intensity of OTP's supervisors
(https://www.erlang.org/doc/system/sup_princ.html): a worker that ends before it has served is
a failed start. The first is made good at once, further ones in a row after pauses that double.
After ``max_restarts`` of them no more are tried, unless some worker serves: then the pool stays
usable, and keeps trying. The row ends when a work has ended on a worker, or when no start has
failed for ``restart_window`` seconds. Unlike in OTP, the time that a start itself takes does not
count towards the window: else starts that fail slowly would be tried for ever.

A failure that comes a second time in a row, the same error at the same place, would come for
ever: then no more starts are tried, however many are left.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

FIRST_PAUSE: Final = 0.1
"""Seconds before the second restart in a row; the first is made at once."""
LONGEST_PAUSE: Final = 30.0
"""Seconds; pauses grow to this."""


class RestartPolicy:
    """Decides when the place of a worker that never served is filled again."""

    __slots__ = (
        "_last_failure",
        "_restarts",
        "_signs",
        "failures",
        "hopeless",
        "max_restarts",
        "window",
    )

    def __init__(self, max_restarts: int = 3, window: float = 5.0) -> None:
        self.max_restarts = max_restarts  # in a row
        self.window = window  # seconds
        self.failures = 0  # failed starts in a row
        self._restarts = 0  # how many of those were made good, or are about to be
        self._last_failure = float("-inf")
        self._signs: set[Hashable] = set()  # of the failures in a row
        self.hopeless = False  # whether one of them came twice

    @property
    def exhausted(self) -> bool:
        """Whether all restarts are used up, or more would be in vain."""
        return self.hopeless or self._restarts >= self.max_restarts

    @property
    def gave_up(self) -> bool:
        """Whether more starts have failed than are made good."""
        return self.hopeless or self.failures > self.max_restarts

    def failed(self, began: float, now: float, sign: Hashable = None) -> None:
        """Count a failed start that began and ended at these times.

        Args:
            began: When it began, in seconds.
            now: When it ended.
            sign: Equal for the same failures; None if the next start may succeed.
        """
        if began - self._last_failure > self.window:
            self.succeeded()
        self._last_failure = now
        self.failures += 1
        if sign is not None:
            self.hopeless = self.hopeless or sign in self._signs
            self._signs.add(sign)

    def succeeded(self) -> None:
        """End the row of failures."""
        self.failures = self._restarts = 0
        self._signs.clear()
        self.hopeless = False

    def restart(self) -> float:
        """Count a restart; return after how many seconds to make it."""
        self._restarts += 1
        if self._restarts == 1:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** min(self._restarts - 2, 32), LONGEST_PAUSE)
