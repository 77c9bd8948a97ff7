"""A recording in a few lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from aplex._observe.crew import Crew
from aplex._observe.history import OUTCOMES, UNKNOWN, History


def caveats(head: dict[str, Any]) -> Iterator[str]:
    """Say what is not in a recording. Every output of one says so."""
    if head.get("dropped"):
        yield (
            f"{head['dropped']:,} works were dropped, the oldest ones: more than "
            f"{head['limit']:,} were sent (limit)"
        )
    if head.get("dropped_workers"):
        yield f"{head['dropped_workers']:,} workers that had ended were dropped with them"
    if head.get("left_out"):
        yield f"{head['left_out']:,} works, or attempts of works, were left out by choice"
    if head.get("cut"):
        yield "the recording was cut off: its program ended before it was closed"


def seconds(value: float) -> str:
    """Return a duration as people read it."""
    if value >= 99.95:  # noqa: PLR2004
        return f"{value:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * 0.9995:  # which is rounded up to it
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def summary(history: History, crew: Crew) -> str:
    """Tell the most important of a recording."""
    head = history.tape.head
    counts = Counter(OUTCOMES[outcome] for outcome in history.outcomes)
    told = [f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    wall = (head.get("ended", last_time(history)) - head["started"]) / 1e9
    lines = [f"{head['pool']}: {', '.join(told) or 'no works'} in {seconds(wall)}"]
    spans = zip(history.began, history.ended, strict=True)
    busy = sum(end - begin for begin, end in spans if UNKNOWN not in (begin, end)) / 1e9
    if busy:
        lines[0] += f"; {seconds(busy)} of running"
    lines += [f"death: {member.certificate.get('summary', '?')}" for member in crew.deaths()]
    lines += [f"note: {line}" for line in caveats(head)]
    return "\n".join(lines)


def last_time(history: History) -> int:
    """Return the last time in a recording that was cut off."""
    head: int = history.tape.head["started"]
    events = max((event[0] for event in history.tape.events()), default=head)
    return max(head, events, *(max(column, default=head) for column in _times(history)))


def _times(history: History) -> Iterator[Any]:
    yield from (history.sent, history.ended, history.received)
