"""The timeline of a report: what ran, packed in columns that a browser reads as typed arrays.

A *track* is a line of the timeline: functions of a slot, or one of the lanes in which its
coroutines lie side by side. If there are more spans than a page should hold, those that would
be shorter than a pixel are merged with their neighbours, and counted.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aplex._observe.figures import Figures
from aplex._observe.history import RUNNING, UNKNOWN
from aplex._observe.lanes import lanes_of

MOST_SPANS: Final = 100_000
PIXELS: Final = 8192
"""Widths of a screen, at which merging begins."""
MOST_LANES: Final = 400
"""Lanes of coroutines that a slot shows; what is beyond lies in the last one."""
SEVERAL: Final = 0xFFFF
"""Stands for the names of spans that were merged."""
_TICKS: Final = 2**32 - 1


class Span(NamedTuple):
    """Something that ran."""

    begin: int
    end: int
    name: int
    outcome: int
    number: int
    waited: int
    works: int


def timeline(figures: Figures) -> dict[str, Any]:
    """Return what the page's program draws."""
    tracks = _tracks(figures)
    merged = 0
    pixel = (figures.end - figures.start) // PIXELS + 1
    while sum(map(len, (spans for _, _, spans in tracks))) > MOST_SPANS:
        tracks = [(slot, lane, list(_merged(spans, pixel))) for slot, lane, spans in tracks]
        merged, pixel = pixel, pixel * 2
    return {
        **_packed(figures, tracks),
        "tracks": [[slot, lane, len(spans)] for slot, lane, spans in tracks],
        "merged": merged / 1e9,
    }


def _tracks(figures: Figures) -> list[tuple[int, int, list[Span]]]:
    history, slots = figures.history, figures.crew.slots()
    found: dict[tuple[int, int], list[Span]] = defaultdict(list)
    for at, began in enumerate(history.began):
        end, begin = figures.end_of(at), began
        if begin == UNKNOWN:
            begin = UNKNOWN if history.outcomes[at] == RUNNING else history.sent[at]
        if UNKNOWN in (begin, end):
            continue
        submitted = history.submitted[at]
        waited = max(0, begin - submitted) if submitted != UNKNOWN else 0
        span = Span(
            *(max(begin, figures.start), max(begin, end), history.names[at]),
            *(history.outcomes[at], history.ids[at], waited, 1),
        )
        found[slots.get(history.workers[at], 0), history.lanes[at]].append(span)
    tracks: list[tuple[int, int, list[Span]]] = []
    for slot in sorted({*figures.slots, *(slot for slot, _ in found)}):
        for lane in (1, 0):
            tracks += _laid(slot, lane, sorted(found.get((slot, lane), [])))
    return tracks


def _laid(slot: int, lane: int, spans: list[Span]) -> list[tuple[int, int, list[Span]]]:
    """Lay spans in lanes; functions of a slot have one even if there are none."""
    places = lanes_of((span.begin, span.end) for span in spans)
    height = min(MOST_LANES, max(places, default=lane - 1) + 1)
    laid: list[list[Span]] = [[] for _ in range(height)]
    for span, place in zip(spans, places, strict=True):
        laid[min(place, height - 1)].append(span)
    return [(slot, lane, each) for each in laid]


def _merged(spans: list[Span], pixel: int) -> Iterator[Span]:
    """Merge what is shorter than a pixel with what is next to it."""
    last: Span | None = None
    for span in spans:
        if last is None:
            last = span
        elif span.end - last.begin < pixel:
            name = last.name if last.name == span.name else SEVERAL
            worse = max(last.outcome, span.outcome)
            end, waited = max(last.end, span.end), max(last.waited, span.waited)
            works = last.works + span.works
            last = Span(last.begin, end, name, worse, last.number, waited, works)
        else:
            yield last
            last = span
    if last is not None:
        yield last


def _packed(figures: Figures, tracks: list[tuple[int, int, list[Span]]]) -> dict[str, Any]:
    length = figures.end - figures.start
    tick = max(1.0, length / _TICKS)
    begins, lengths, waits, numbers, counts = (array("I") for _ in range(5))
    names, outcomes = array("H"), array("B")
    for _, _, spans in tracks:
        for span in spans:
            begins.append(min(_TICKS, round((span.begin - figures.start) / tick)))
            lengths.append(min(_TICKS, round((span.end - span.begin) / tick)))
            waits.append(min(_TICKS, round(span.waited / tick)))
            numbers.append(min(_TICKS, span.number))
            counts.append(span.works)
            names.append(span.name)
            outcomes.append(span.outcome)
    columns = {"begins": begins, "lengths": lengths, "waits": waits, "numbers": numbers}
    packed: dict[str, Any] = {name: _text(column) for name, column in columns.items()}
    packed["counts"] = _text(counts) if max(counts, default=1) > 1 else ""
    packed["names"], packed["outcomes"] = _text(names), _text(outcomes)
    packed["tick"] = tick / 1e9
    return packed


def _text(column: array[int]) -> str:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return base64.b64encode(column.tobytes()).decode()
