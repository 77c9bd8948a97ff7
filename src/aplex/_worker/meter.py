"""The Meter: measures in a worker how long works waited and ran, and names what runs.

Finding two buckets and looking at the clock costs 0.5 µs and more, a tenth of what a short work
costs at all. So where works come fast, only every `STRIDE`-th and the last of a frame is measured,
and stands for those before it. Measured are always: the first works of a worker, those that come
when it had nothing to do, or after works of another function, and functions that take longer than
a millisecond. The counts are thus exact, and what is rare or slow is not missed.
"""

from __future__ import annotations

import time
from collections.abc import MutableSequence

from aplex._common.histograms import BUCKETS, bucket
from aplex._common.names import as_in_parent, described, is_runner, run_by
from aplex._wire.page import HISTOGRAMS, PAIR, PLACE, PLACES, RUNS, WorkerPage

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

STRIDE: Final = 16
"""Where works come fast, one of so many is measured. Frames of so many works are not few."""
FIRST: Final = 64
"""So many works of a worker are all measured."""
LONG: Final = 1_000_000
"""Nanoseconds from which on a function is measured in any case."""
_MANY: Final = 4096  # numbers of functions that are kept; by value, there may be ever new ones


class Names:
    """The places of functions in the table of a page. For both lanes of a worker."""

    def __init__(self, page: WorkerPage) -> None:
        self._page = page
        self._places: dict[str, int] = {}
        self.numbers: dict[int, int] = {}  # places, by the numbers under which calls name them

    def of_call(self, number: int, work: Any, args: Any) -> int:
        """Return what `RUNS` is to be while a call runs.

        Args:
            number: Under which the call names its function; 0: it has none.
            work: The function; perhaps one of ours that runs one of the user's.
            args: Its positional arguments.
        """
        if number in self.numbers:
            return number
        if not number or is_runner(work):
            return PLACE + self.place_of(as_in_parent(described(run_by(work, args))))
        if len(self.numbers) >= _MANY:
            self.numbers.clear()
        self.numbers[number] = self.place_of(as_in_parent(described(work)), number)
        return number

    def place_of(self, name: str, number: int = 0) -> int:
        """Return the place of a name."""
        place = self._places.get(name)
        if place is None or number:
            place = self._page.place_of(name, number)
            if place < PLACES - 1:  # else any name: there may be ever new ones
                self._places[name] = place
        return place


class Meter:
    """Measures the works of one lane.

    Args:
        page: Where the histograms are.
        names: The places of functions there.
        counters: Where the codec of the lane notes what runs.
    """

    def __init__(
        self, page: WorkerPage, names: Names, counters: MutableSequence[int] | memoryview
    ) -> None:
        self._words = page.words
        self._numbers = names.numbers
        self._counters = counters
        self._stride = 1
        self._last = 0  # number of the last work of the frame
        self._function = 0  # that of the last frame: its number, or where it was in memory
        self._counted: tuple[int, ...] = ()  # words in which the last one was counted
        self._measured = 0  # how many of the works that began are accounted for
        self.submitted = 0  # when the works of this frame were, in nanoseconds; 0: not known

    def frame(self, number: int, count: int, submitted: int, function: Any, *, idle: bool) -> int:
        """Begin a frame.

        Args:
            number: Of the last work before it.
            count: Of its works.
            submitted: When they were submitted, in nanoseconds; 0: not known.
            function: That of the first one, or its number.
            idle: Whether the worker had nothing to do before.

        Returns:
            The number of the next work to measure.
        """
        self.submitted = submitted
        key = function if type(function) is int else id(function)  # it must not live on here
        other, self._function = key != self._function or not key, key
        many = count >= STRIDE
        if other or idle or number < FIRST:
            self._settle(number)
            self._stride = STRIDE if many else 1
        else:
            self._stride = STRIDE
        self._last = number + count if many else 0
        return self._measured + self._stride

    def _settle(self, number: int) -> None:
        """Have the work that was measured last stand for all that came since."""
        weight, self._measured = number - self._measured, number
        if weight > 0:
            for place in self._counted:
                self._words[place] += weight

    def skip(self) -> None:
        """Leave out a work that does not run."""
        self._measured += 1

    def weigh(self, number: int) -> tuple[int, int]:
        """Return for how many works that one stands, and the number of the next to measure."""
        weight, self._measured = number - self._measured, number
        due = number + self._stride
        return weight, self._last if number < self._last < due else due

    def ended(self, number: int, began: int) -> int:
        """Measure the plain function of that number, which ends now.

        Returns:
            The number of the next one to measure.
        """
        now = time.monotonic_ns()
        weight, due = self.weigh(number)
        self.put(self.what(), weight, self.submitted, began, now)
        return due

    def look(self, began: int) -> None:
        """Measure a plain function that ends now, if it took long; it stands for itself."""
        now = time.monotonic_ns()
        if now - began > LONG:
            self._measured += 1
            self.put(self.what(), 1, self.submitted, began, now)

    def what(self) -> int:
        """Return the place of what runs."""
        runs: int = self._counters[RUNS]
        place = self._numbers.get(runs)
        if place is not None:
            return place
        return runs - PLACE if runs >= PLACE else PLACES - 1

    def put(self, place: int, weight: int, submitted: int, began: int, ended: int) -> None:
        """Count works that were submitted, began and ended at these times."""
        words, at = self._words, HISTOGRAMS // 8 + PAIR // 8 * place
        ran = at + BUCKETS + bucket(ended - began)
        words[ran] += weight
        if submitted:
            waited = at + bucket(began - submitted)
            words[waited] += weight
            self._counted = waited, ran
        else:
            self._counted = (ran,)
