"""The chunks of a ``map`` that returns outcomes: every item is measured where it runs.

Only works of such maps do this. They are chunks always, of one item if need be. Each item
is called by a function which never raises, so the others of its chunk run whatever it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aplex._common.errors import SerializationError
from aplex._common.identity import this_worker
from aplex._wire.exceptions import decode_exception, encode_exception
from aplex._worker.chunks import Chunk

Measured = tuple[Any, BaseException | None, float, float]
"""What became of an item: value, exception, seconds waiting, seconds running."""


class MeasuredChunk(Chunk):
    """The results of a chunk: a `Measured` for each item.

    Attributes:
        worker: The number of the worker in its pool.
    """

    __slots__ = ("worker",)

    def __init__(
        self, values: list[Any], seconds: float, waited: float | None, worker: int | None
    ) -> None:
        super().__init__(values, None, seconds, waited)
        self.worker = worker

    def checked(self, check: Callable[[Any], object]) -> MeasuredChunk:
        """Return another, with a failure for each result that is refused; or the same."""
        values: list[Measured] = list(self.values)
        refusals = 0
        for place, (value, _error, wait, run) in enumerate(self.values):
            try:
                check(value)
            except SerializationError as refusal:
                values[place] = None, refusal, wait, run
                refusals += 1
        if not refusals:
            return self
        return MeasuredChunk(values, self.seconds, self.waited, self.worker)

    def __reduce__(self) -> tuple[Any, ...]:
        values, errors, waits, runs = map(list, zip(*self.values, strict=True))
        encoded = {n: encode_exception(error) for n, error in enumerate(errors) if error}
        rest = (self.seconds, self.waited, self.worker)
        return _received, (values, encoded, waits, runs, *rest)


def _received(
    values: list[Any], errors: dict[int, bytes], waits: list[float], runs: list[float], *rest: Any
) -> MeasuredChunk:
    column: list[BaseException | None] = [None] * len(values)
    for n, data in errors.items():
        column[n] = decode_exception(data)
    return MeasuredChunk(list(zip(values, column, waits, runs, strict=True)), *rest)


def measured_chunk(chunk: Chunk) -> MeasuredChunk:
    """Return a chunk whose values are measured, with the worker that has run it."""
    return MeasuredChunk(chunk.values, chunk.seconds, chunk.waited, this_worker())


def measured(began: float, sent: float, value: Any, error: BaseException | None) -> Measured:
    """Return what became of an item that ends now.

    Args:
        began: When it began, on the clock of ``time.monotonic``, which all processes share.
        sent: When it was submitted.
        value: What it returned.
        error: What it raised.
    """
    return value, error, max(0.0, began - sent), time.monotonic() - began
