"""Histograms of times: log-linear, of a fixed size, added by adding. Logic only; a leaf.

A bucket is a 64-bit number, 16 of them an octave, from 256 ns to 2.4 hours: what is read back is
right to 3.1 %. (Below 4 µs they are all 256 ns wide.) The shape is that of HdrHistogram
(https://hdrhistogram.org), which shows why: percentiles of any size are as exact, and a bucket is
found by one shift.

Those of several workers are added as two long integers are: a bucket has 64 bits, of which none
ever overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Final, TypeAlias

BUCKETS: Final = 512
"""Of one histogram."""
BYTES: Final = 8 * BUCKETS
_UNIT: Final = 8  # bits of a nanosecond count that are not looked at
_LINEAR: Final = 16  # buckets of one width, before they grow; and as many an octave


Timing: TypeAlias = tuple[bytes, bytes]
"""The name of a function, and two histograms, one behind the other: how long its works waited, and
how long they ran."""
Summary: TypeAlias = tuple[int, float, float, float, float, float]
"""What a histogram tells: how many times; their mean, 50th, 90th and 99th percentile and the
longest, in seconds."""


def bucket(nanoseconds: int) -> int:
    """Return the number of the bucket of a time; one that is negative is 0."""
    units = nanoseconds >> _UNIT
    if units < _LINEAR:
        return max(units, 0)
    octave = units.bit_length() - 5
    return min((octave << 4) + (units >> octave), BUCKETS - 1)


def middle(number: int) -> float:
    """Return the seconds in the middle of a bucket."""
    octave = max(0, (number >> 4) - 1)
    return (number - (octave << 4) + 0.5) * (1 << octave + _UNIT) / 1e9


def added(histograms: Iterable[bytes]) -> bytes:
    """Return the sum of histograms of one length."""
    total, length = 0, BYTES
    for histogram in histograms:
        length = len(histogram)
        total += int.from_bytes(histogram, "little")
    return total.to_bytes(length, "little")


def summary(histogram: bytes) -> Summary | None:
    """Return what a histogram tells; None if it is empty."""
    counts = memoryview(histogram).cast("Q").tolist()
    filled = [(middle(number), count) for number, count in enumerate(counts) if count]
    count = sum(count for _, count in filled)
    if not count:
        return None
    mean = sum(seconds * count for seconds, count in filled) / count
    p50, p90, p99 = (_percentile(filled, count * part) for part in (0.50, 0.90, 0.99))
    return count, mean, p50, p90, p99, filled[-1][0]


def _percentile(filled: list[tuple[float, int]], rank: float) -> float:
    below = 0
    for seconds, count in filled:
        below += count
        if below >= rank:
            return seconds
    return filled[-1][0]


class Timings:
    """How long works waited and ran, as workers have counted it; added when it is asked for."""

    __slots__ = ("_parts", "_sums")

    def __init__(self, parts: Iterable[Callable[[], list[Timing]]] = ()) -> None:
        """Hold what was counted.

        Args:
            parts: Each returns a part of it, when it is asked for. A name may come in several.
        """
        self._parts = tuple(parts)
        self._sums: dict[str, bytes] | None = None

    def __repr__(self) -> str:
        return "<Timings>"

    @property
    def sums(self) -> dict[str, bytes]:
        """Two histograms, one behind the other, for each name."""
        if self._sums is None:
            pairs: dict[str, list[bytes]] = {}
            for name, pair in chain.from_iterable(part() for part in self._parts):
                pairs.setdefault(name.decode(errors="replace"), []).append(pair)
            self._sums = {name: added(of_name) for name, of_name in sorted(pairs.items())}
        return self._sums

    def of(self, name: str) -> tuple[Summary | None, Summary | None]:
        """Return how long the works of a function waited, and how long they ran.

        Raises:
            KeyError: None is known.
        """
        return _both(self.sums[name])

    def all(self) -> tuple[Summary | None, Summary | None]:
        """Return how long all works waited, and how long they ran."""
        return _both(added(self.sums.values()) if self.sums else bytes(2 * BYTES))


def _both(pair: bytes) -> tuple[Summary | None, Summary | None]:
    return summary(pair[:BYTES]), summary(pair[BYTES:])


def octaves(histogram: bytes) -> tuple[list[tuple[float, int]], int, float]:
    """Join the buckets of a histogram to powers of two.

    Returns:
        The upper bounds in seconds, each with how many times are below it; how many times there
        are in all (those beyond the last bound, too); and their sum in seconds.
    """
    counts = memoryview(histogram).cast("Q").tolist()
    bounds: list[tuple[float, int]] = []
    below = 0
    for start in range(0, BUCKETS - _LINEAR, _LINEAR):
        below += sum(counts[start : start + _LINEAR])
        bounds.append(((_LINEAR << _UNIT + start // _LINEAR) / 1e9, below))
    total = sum(middle(number) * count for number, count in enumerate(counts) if count)
    return bounds, sum(counts), total
