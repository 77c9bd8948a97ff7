"""Judges limits and priorities by the journal: how many ran at once, how fast, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reliability.load.journal import BEGAN, CANCELLED, ENDED, Note
from reliability.meeting.cases import OFF, Case
from reliability.meeting.jobs import BESIDE, CHUNK, RATE, calls_of, concurrency
from reliability.meeting.ledger import Line
from reliability.meeting.scene import LARGE
from reliability.meeting.works import NOBODY

MOMENT: Final = 5e6
"""Nanoseconds by which a note may come late."""
ABOARD: Final = 3
"""``max_works_per_worker``."""
Notes = dict[int, list[Note]]
Interval = tuple[int, int]


def broken_bounds(case: Case, notes: Notes, lines: dict[str, list[Line]]) -> Iterator[str]:
    """Say which bounds were not kept."""
    ready = min((note.when for note in notes.get(NOBODY, [])), default=0)
    notes = {work: some for work, some in notes.items() if work < BESIDE}
    if case.limits == "concurrency":
        yield from _crowd(case, notes, lines["struck"])
    if case.limits == "rate" and case.way != "auto":
        yield from _haste(case, notes, max(ready, _first(lines["sent"])))
    if case.priority != OFF and case.way == "submit":
        yield from _passed_over(case, notes, lines["sent"])


def most_at_once(intervals: list[Interval]) -> int:
    """Return how many intervals overlap, at most; ends come before begins."""
    events = [(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals]
    most = now = 0
    for _, step in sorted(events):
        now += step
        most = max(most, now)
    return most


def _crowd(case: Case, notes: Notes, struck: list[Line]) -> Iterator[str]:
    if case.way == "auto" and not case.plain:
        return  # how many items a chunk has is not known
    runs = _runs(notes, {line["pid"]: line["when"] for line in struck})
    if case.way == "chunks" and not case.plain:
        runs = _by_chunk(runs)
    most = most_at_once([interval for intervals in runs.values() for interval in intervals])
    if most > concurrency(case):
        yield f"{most} works ran at once, not {concurrency(case)}"


def _runs(notes: Notes, struck: dict[int, int]) -> dict[int, list[Interval]]:
    """Return when each work ran. One that never ended was ended by the death of its worker."""
    runs: dict[int, list[Interval]] = {}
    for work, all_notes in notes.items():
        intervals = runs.setdefault(work, [])
        for place, begin in enumerate(all_notes):
            if begin.event == BEGAN:
                ends = [
                    note.when
                    for note in all_notes[place:]
                    if note.event in (ENDED, CANCELLED) and note.pid == begin.pid
                ]
                until = ends[0] if ends else struck.get(begin.pid, begin.when)
                intervals.append((begin.when, max(begin.when, until)))
    return runs


def _by_chunk(runs: dict[int, list[Interval]]) -> dict[int, list[Interval]]:
    """Return from when to when each chunk ran: those of its items that overlap are one run."""
    chunks: dict[int, list[Interval]] = {}
    for work, intervals in runs.items():
        chunks.setdefault(work // 100 * 100 + work % 100 // CHUNK, []).extend(intervals)
    return {chunk: _merged(intervals) for chunk, intervals in chunks.items()}


def _merged(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _first(lines: list[Line]) -> int:
    return min((line["when"] for line in lines), default=0)


def _haste(case: Case, notes: Notes, began: int) -> Iterator[str]:
    """From the first submit, or worker, to the n-th start there are n spacings, less a half."""
    firsts: dict[int, int] = {}
    for work, all_notes in notes.items():
        key = work // 100 * 100 + work % 100 // CHUNK if case.way == "chunks" else work
        for note in all_notes:
            if note.event == BEGAN:
                firsts[key] = min(note.when, firsts.get(key, note.when))
    for place, when in enumerate(sorted(firsts.values())):
        if (when - began + MOMENT) / 1e9 < (place - 0.5) / RATE:
            yield f"{place + 1} works began within {(when - began) / 1e9:.3f} s"
            return


def _passed_over(case: Case, notes: Notes, sent: list[Line]) -> Iterator[str]:
    """Only what was in flight already may begin before an urgent work that waits."""
    at = {line["work"]: line["when"] for line in sent}
    begun = {
        work: min(note.when for note in all_notes if note.event == BEGAN)
        for work, all_notes in notes.items()
        if any(note.event == BEGAN for note in all_notes)
    }
    urgent = {call.number for call in calls_of(case) if call.urgent}
    bound = (LARGE + 1) * ABOARD  # one worker more while it is renewed
    for work in urgent & begun.keys():
        before = [
            w for w, when in begun.items() if w not in urgent and at[work] < when < begun[work]
        ]
        if len(before) > bound:
            yield f"work {work} is urgent, and {len(before)} works began before it"
