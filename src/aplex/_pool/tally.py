"""The tally: how many works did not end well, and what was done about deaths. Data.

Works that end well are not counted, which would cost each of them: they are what is left of
those submitted. See ``Pool.counts``.
"""

from __future__ import annotations

from typing import NamedTuple


class Tally:
    """Counts what is rare."""

    __slots__ = ("cancelled", "early", "failed", "restarts", "retried")

    def __init__(self) -> None:
        self.failed = 0
        self.cancelled = 0
        self.retried = 0
        self.restarts = 0  # workers started in the place of one that was lost
        self.early = 0  # works that have failed and were in flight still


class Counts(NamedTuple):
    """How many works there are in each state, and what was done about deaths."""

    waiting: int
    in_flight: int
    done: int
    failed: int
    cancelled: int
    retried: int
    restarts: int
