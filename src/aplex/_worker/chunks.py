"""Chunks: items of a ``map`` that travel together as one work.

The arguments travel as columns, a list for each parameter: a list of numbers is pickled,
and read again, several times as fast as a list of tuples of one number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aplex._common.errors import SerializationError
from aplex._wire.calls import Several
from aplex._wire.exceptions import decode_exception, encode_exception

Columns = Sequence[Sequence[Any]]


class Chunk(Several):
    """The results of a chunk.

    Attributes:
        values: Those of its items, up to the first failure.
        error: That failure, if there was one.
        seconds: How long it took.
        waited: Seconds of these in which the loop had nothing to do; None if the items
            ran through at once.
    """

    __slots__ = ("error", "seconds", "values", "waited")

    def __init__(
        self,
        values: list[Any],
        error: BaseException | None,
        seconds: float = 0.0,
        waited: float | None = None,
    ) -> None:
        self.values = values
        self.error = error
        self.seconds = seconds
        self.waited = waited

    def checked(self, check: Callable[[Any], object]) -> Chunk:
        """Return another, which ends with the first result that is refused; or the same."""
        for place, value in enumerate(self.values):
            try:
                check(value)
            except SerializationError as error:
                return Chunk(self.values[:place], error, self.seconds, self.waited)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        error = None if self.error is None else encode_exception(self.error)
        return _received_chunk, (self.values, error, self.seconds, self.waited)


def _received_chunk(
    values: list[Any], error: bytes | None, seconds: float, waited: float | None
) -> Chunk:
    decoded = None if error is None else decode_exception(error)
    return Chunk(values, decoded, seconds, waited)
