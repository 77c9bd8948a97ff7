"""The Callers: of each work that is not over, who submitted it, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aplex._pool.state import Work

Take = Callable[..., None]


class Caller(NamedTuple):
    """Who submitted a work.

    Attributes:
        context: His context of OpenTelemetry.
        time: Nanoseconds of the monotonic clock.
        judged: The work, if ``retry_on`` looks at its outcome, so that it may run again.
    """

    context: Any
    time: int
    judged: Work | None


class Callers:
    """Stands before what takes works in. A work has its number only when it was taken in."""

    def __init__(self, current: Callable[[], Any]) -> None:
        """Know of nobody.

        Args:
            current: Returns the caller's context.
        """
        self._current = current
        self._known: dict[int, Caller] = {}
        self._judged: dict[int, Work] = {}
        self.coming: Final[set[object]] = set()  # a token for each call that goes on

    def watch(self, take: Take) -> Take:
        """Return a function that takes works in as this one does, and notes who calls."""

        def taking(work: Work, *more: Any) -> None:
            judged = None if work.judge is None else work
            caller = Caller(self._current(), time.monotonic_ns(), judged)
            token = object()
            self.coming.add(token)
            try:
                take(work, *more)
            finally:
                if work.id:
                    if judged is not None:
                        self._judged[work.id] = work
                    self._known[work.id] = caller
                self.coming.discard(token)

        return taking

    def get(self, work_id: int) -> Caller | None:
        """Return who submitted a work; None if that is not known yet, or no more."""
        return self._known.get(work_id)

    def may_go_on(self, work_id: int) -> bool:
        """Whether a work may be run again after an attempt that has ended."""
        caller = self._known.get(work_id)
        return caller is not None and caller.judged is not None

    def over(self) -> list[int]:
        """Return which works of those that might have been run again are over."""
        return [work_id for work_id, work in self._judged.copy().items() if work.is_done]

    def forget(self, work_id: int) -> None:
        """Hear that a work is over."""
        self._known.pop(work_id, None)
        self._judged.pop(work_id, None)
