"""The figures of a report: what a recording says in numbers. Logic only.

Durations are in seconds. Percentiles are by the nearest rank.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aplex._observe.counts import Counts
from aplex._observe.crew import Crew
from aplex._observe.history import (
    CANCELLED,
    DONE,
    FAILED,
    LOST,
    RUNNING,
    UNKNOWN,
    WAITING,
    History,
)
from aplex._observe.summary import last_time

SLOWEST: Final = 10
NUMBERS: Final = 10
"""Numbers of works that a group of failures names."""
MOMENTS: Final = 400
PER_DECADE: Final = 8
"""Buckets of a histogram for each power of ten."""


LEAST_BUCKETS: Final = 16
"""Buckets that a histogram has at least: a few alone say nothing."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which that share lies; 0 if there is none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(slots=True)
class FunctionFigures:
    """Those of the works of one name."""

    name: str
    count: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    waits: list[float] = field(default_factory=list[float])
    runs: list[float] = field(default_factory=list[float])

    @property
    def total(self) -> float:
        """Seconds that they ran, in all."""
        return sum(self.runs)


@dataclass(slots=True)
class Failures:
    """Works of one name that have failed by one type of error."""

    name: str
    error: str
    count: int = 0
    first: int = 0
    message: str = ""
    numbers: list[int] = field(default_factory=list[int])


class Figures:
    """All figures of a recording.

    Attributes:
        start: Nanoseconds; when the recording began.
        end: When it ended.
        outcomes: How many rows had which.
        functions: By the seconds they ran, the most first.
        failures: By their numbers, the most first.
        waits: Seconds of waiting of all works, sorted.
        runs: Seconds of running of all works, sorted.
        slowest: Places of the works that ran longest.
        counts: How many works waited and were in flight at each moment.
        busy: For each interval of the counts, how many slots were busy on the average.
        busy_of: Seconds for which each slot was busy.
    """

    def __init__(self, history: History, crew: Crew) -> None:
        """Compute them."""
        self.history, self.crew = history, crew
        head = history.tape.head
        self.start: int = head["started"]
        self.end: int = max(head.get("ended") or last_time(history), self.start + 1)
        self.wall = (self.end - self.start) / 1e9
        self.outcomes = Counter(history.outcomes)
        self.functions = self._functions()
        self.failures = self._failures()
        self.waits = sorted(wait for each in self.functions for wait in each.waits)
        self.runs = sorted(run for each in self.functions for run in each.runs)
        self.slowest = self._slowest()
        self.counts = Counts(history, self.start, self.end, MOMENTS)
        self.slots = sorted({member.slot for member in crew.members.values()})
        self.busy_of: dict[int, float] = dict.fromkeys(self.slots, 0.0)
        self.busy = [0.0] * len(self.counts.times)
        for slot, spans in self.spans().items():
            self._add_busy(slot, spans)

    @property
    def works(self) -> int:
        """How many works there were."""
        return len(self.history) - self.outcomes[LOST]

    @property
    def finished(self) -> int:
        """How many of them have ended."""
        return self.outcomes[DONE] + self.outcomes[FAILED] + self.outcomes[CANCELLED]

    @property
    def unfinished(self) -> int:
        """How many have not."""
        return self.outcomes[RUNNING] + self.outcomes[WAITING]

    @property
    def share_busy(self) -> float:
        """The share of the time of all slots in which something ran there."""
        whole: float = self.wall * max(1, len(self.slots))
        return sum(self.busy_of.values()) / whole

    def _functions(self) -> list[FunctionFigures]:
        history, texts = self.history, self.history.tape.names
        found: dict[int, FunctionFigures] = {}
        columns = (history.names, history.outcomes, history.submitted, history.began, history.ended)
        for name, outcome, submitted, began, ended in zip(*columns, strict=True):
            figures = found.get(name)
            if figures is None:
                figures = found[name] = FunctionFigures(texts[name])
            figures.count += outcome != LOST
            figures.failed += outcome == FAILED
            figures.cancelled += outcome == CANCELLED
            figures.lost += outcome == LOST
            if began != UNKNOWN:
                if submitted != UNKNOWN:
                    figures.waits.append((began - submitted) / 1e9)
                if ended != UNKNOWN:
                    figures.runs.append((ended - began) / 1e9)
        for figures in found.values():
            figures.waits.sort()
            figures.runs.sort()
        return sorted(found.values(), key=lambda each: (-each.total, -each.count, each.name))

    def _failures(self) -> list[Failures]:
        history, texts = self.history, self.history.tape.names
        groups: dict[tuple[int, int], Failures] = {}
        for at, outcome in enumerate(history.outcomes):
            if outcome == FAILED:
                key = history.names[at], history.errors[at]
                group = groups.get(key)
                if group is None:
                    error = texts[key[1]] or "(type not known)"
                    message = texts[history.texts[at]]
                    group = groups[key] = Failures(texts[key[0]], error, message=message)
                group.count += 1
                if len(group.numbers) < NUMBERS:
                    group.numbers.append(history.ids[at])
        return sorted(groups.values(), key=lambda each: -each.count)

    def _slowest(self) -> list[int]:
        history = self.history
        known = [
            at
            for at in range(len(history))
            if history.began[at] != UNKNOWN and self.end_of(at) != UNKNOWN
        ]
        known.sort(key=lambda at: history.began[at] - self.end_of(at))
        return known[:SLOWEST]

    def end_of(self, at: int) -> int:
        """Return when a row ended; the end of the recording, if it runs still."""
        if self.history.outcomes[at] == RUNNING:
            return self.end
        return self.history.ended[at]

    def spans(self) -> dict[int, list[tuple[int, int]]]:
        """Return begins and ends of what ran in each slot, in the order of the begins."""
        history, slots = self.history, self.crew.slots()
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for at, began in enumerate(history.began):
            end = self.end_of(at)
            if UNKNOWN not in (began, end):
                found[slots.get(history.workers[at], 0)].append((max(began, self.start), end))
        for spans in found.values():
            spans.sort()
        return found

    def _add_busy(self, slot: int, spans: Iterable[tuple[int, int]]) -> None:
        """Add the time in which anything ran, which is the union of the spans."""
        total, reached, step = 0, self.start, self.counts.step
        for begin, end in spans:
            first = max(begin, reached)
            if end > first:
                total += end - first
                reached = end
                self._spread(first - self.start, end - self.start, step)
        self.busy_of[slot] = total / 1e9

    def _spread(self, begin: int, end: int, step: int) -> None:
        busy, last = self.busy, len(self.busy) - 1
        first, final = min(begin // step, last), min((end - 1) // step, last)
        if first == final:
            busy[first] += (end - begin) / step
            return
        busy[first] += ((first + 1) * step - begin) / step
        for at in range(first + 1, final):
            busy[at] += 1.0
        busy[final] += (end - final * step) / step


def histogram(values: Sequence[float]) -> tuple[list[float], list[int]]:
    """Return the lower bounds of buckets, which grow by the power of ten, and their counts."""
    if not values:
        return [], []
    counts = Counter(bucket_of(value) for value in values)
    first, last = min(counts), max(counts)
    more = max(0, LEAST_BUCKETS - (last - first + 1))
    buckets = range(first - more // 2, last + 1 + more - more // 2)
    return [10 ** (at / PER_DECADE) for at in buckets], [counts[at] for at in buckets]


def bucket_of(value: float) -> int:
    """Return the bucket of a duration; all below 100 ns are one."""
    import math

    return math.floor(math.log10(max(value, 1e-7)) * PER_DECADE + 1e-9)
