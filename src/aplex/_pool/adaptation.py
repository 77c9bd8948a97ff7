"""The Adaptation: the bound of one key that follows what a server bears. Logic only.

Additive increase, multiplicative decrease, with a memory. The bound grows by half per round of
works (later by a quarter) until a work is told to slow down. That bound was too much: it becomes
the *ceiling*, and the bound falls. Below the ceiling it grows by a third of what is missing per
round, and by two at least. Just below it the bound rests, so that few works are refused; now and
then the ceiling is tried again, the more seldom the more often in a row that was in vain. If a
whole round goes well there, the ceiling is forgotten.

A round is as many works as the bound allows. Works that were under way when the bound fell say
nothing about the new one: each carries the number of the *epoch* in which it began. A trial of
the ceiling begins one as well.
"""

from __future__ import annotations

import math
from typing import Final

from aplex._common.adaptive_limit import AdaptiveLimit

DECREASE: Final = 0.8
"""What is left of a bound that is too much, where it was not expected to be."""
HARD: Final = 0.5
"""What is left of it if it has fallen less than a round ago, and so is much too much."""
FAST: Final = 2.0
"""Works that go well for each one more, while no ceiling is known: half as many more per round."""
TRIAL: Final = 50
"""Works that go well before the ceiling is tried again: at most one in so many is refused."""
RARELY: Final = 40
"""Rounds between two trials, at most, when they are in vain again and again."""


class Adaptation:
    """The bound of one key.

    Attributes:
        limit: The bound, in works.
        epoch: How often it has fallen, or its ceiling was tried.
        refused: How many works were told to slow down.
    """

    __slots__ = ("_calm", "_ceiling", "_credit", "_range", "_vain", "epoch", "limit", "refused")

    def __init__(self, bounds: AdaptiveLimit) -> None:
        self._range = bounds
        self.limit = bounds.start
        self.epoch = 0
        self.refused = 0
        self._ceiling = math.inf  # the lowest bound that was too much, as far as is known
        self._credit = 0.0  # works that went well since the bound was changed
        self._calm = 0.0  # works that went well since the last one was refused
        self._vain = 0  # how often in a row the ceiling was tried in vain

    def went_well(self, epoch: int, *, bound_matters: bool) -> None:
        """Note a work that was not told to slow down.

        Args:
            epoch: In which it began.
            bound_matters: Whether others wait for the bound; else it is not known to be too low.
        """
        if epoch < self.epoch:
            return
        self._credit += 1
        self._calm += 1
        if self.limit >= self._ceiling:  # it is being tried
            if self._credit > self.limit:
                self._ceiling, self._vain = math.inf, 0
            return
        if bound_matters and self.limit < self._range.most and self._credit >= self._needed():
            self.limit += 1
            self._credit = 0.0
            if self.limit >= self._ceiling:
                self.epoch += 1  # the trial is for those that begin in it

    def was_refused(self, epoch: int) -> None:
        """Note a work that was told to slow down, and that began in that epoch."""
        self.refused += 1
        if epoch < self.epoch:
            return
        self.epoch += 1
        if self.limit >= self._ceiling:
            self._vain += 1
            self.limit = max(self._range.least, self.limit - 1)
        else:
            self._vain = 0
            self._ceiling = self.limit
            left = HARD if self._calm < self.limit else DECREASE
            self.limit = max(self._range.least, int(self.limit * left))
        self._credit = self._calm = 0.0

    def _needed(self) -> float:
        """Return how many works must go well before the bound grows by one."""
        if self.limit + 1 >= self._ceiling:
            return max(TRIAL, min(TRIAL * 2.0**self._vain, RARELY * self.limit))
        if self._ceiling == math.inf:
            return FAST if not self.refused else FAST * 2
        return self.limit / max(2.0, (self._ceiling - self.limit) / 3)  # a third of the gap a round
