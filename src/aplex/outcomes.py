"""What became of an item of a ``map`` that does not stop at failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

__all__ = ["Outcome"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one item; yielded by ``map(…, return_outcomes=True)``.

    Attributes:
        input: The item; with several iterables, the tuple of the items.
        value: What the work returned; None if it failed.
        exception: What it raised, or why it could not be run; None if it succeeded.
        worker: The number of the worker that ran it (`Worker.id` of load balancers); None
            if none could report it, as one that died, or if outcomes are judged
            (``retry_on``, ``slow_down``, ``max_concurrency="auto"``): the last of them is told.
        seconds_waiting: From when the item was submitted until the work began in the
            worker; None with ``worker``.
        seconds_running: From there until its end, as the worker has measured it; None with
            ``worker``.
    """

    input: Any
    value: T | None = None
    exception: BaseException | None = None
    worker: int | None = None
    seconds_waiting: float | None = None
    seconds_running: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the work succeeded."""
        return self.exception is None

    def result(self) -> T:
        """Return what the work returned.

        Raises:
            BaseException: What it raised.
        """
        if self.exception is not None:
            raise self.exception
        return cast("T", self.value)
