"""The Absence of a cluster: that it is away, and when it is looked for again. Logic only."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.5
"""Seconds until the first look: what a supervisor restarts is there again then."""
LONGEST: Final = 30.0
"""Seconds; pauses double up to this."""


class Absence:
    """Whether a cluster is away that was there.

    Attributes:
        reason: Why it is, for a message; None: it is there.
    """

    def __init__(self) -> None:
        """Note that it is there, or was never looked for."""
        self.reason: str | None = None
        self._pause = FIRST

    def begin(self, reason: str) -> None:
        """Note that it is away, or still is."""
        self.reason = reason

    def end(self) -> None:
        """Note that it is back."""
        self.reason = None
        self._pause = FIRST

    def pause(self) -> float:
        """Return for how many seconds not to look for it now; longer each time."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST)
        return pause
