"""The trace of a recording, for Perfetto.

A track for the caller, with an instant for each gathering of works that were submitted; a track
for each slot, which its workers share, and below it their lives, functions and coroutines, and the
lag of their event loops; and counters. Arrows (flows) lead from where a work was submitted to each
of its attempts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

from aplex._observe.counts import Counts
from aplex._observe.crew import Crew, Member
from aplex._observe.history import FAILED, LOST, OUTCOMES, RUNNING, UNKNOWN, History
from aplex._observe.lags import lag_points
from aplex._observe.lanes import lanes_of
from aplex._observe.perfetto import BEGIN, END, INSTANT, TraceFile, data, flow, number
from aplex._observe.summary import caveats, last_time

FLOWS: Final = 64
"""Works, at most, that one instant of submission names."""
COUNTER_POINTS: Final = 2000
_CATEGORIES: Final = {FAILED: "failed", LOST: "failed"}


def write_trace(history: History, crew: Crew, file: BinaryIO) -> None:
    """Write a trace."""
    _Trace(history, crew, TraceFile(file)).write()


class _Trace:
    """One trace that is being written."""

    def __init__(self, history: History, crew: Crew, file: TraceFile) -> None:
        self._history = history
        self._crew = crew
        self._file = file
        self._texts = history.tape.names
        self._head = history.tape.head
        self._end: int = self._head.get("ended") or last_time(history)
        self._pool = file.track(self._head["pool"], rank=0)
        self._outcomes = [file.note("outcome", outcome) for outcome in OUTCOMES]
        # How slices begin, by what they share: track, name, outcome, attempt.
        self._heads: dict[tuple[int, int, int, int], bytes] = {}
        self._id = number(1, file.intern(3, "id"))
        self._waited = number(1, file.intern(3, "waited (µs)"))

    def write(self) -> None:
        self._tell_pool()
        drawn = self._draw_slots()
        self._draw_submissions(drawn)
        self._draw_counters()
        self._file.flush()

    def _tell_pool(self) -> None:
        file, start = self._file, self._head["started"]
        told = {key: value for key, value in self._head.items() if key not in ("started", "ended")}
        told |= {f"note {place}": line for place, line in enumerate(caveats(self._head), 1)}
        begun = file.head(INSTANT, self._pool, "recording begins") + file.notes(told)
        file.event(start, begun)
        file.event(self._end, file.head(INSTANT, self._pool, "recording ends"))
        for time, word, *more in self._history.tape.events():
            if word == "mark":
                file.event(time, file.head(INSTANT, self._pool, str(more[0]), "mark"))
            elif word == "resized":
                name = f"resized to {more[0]} workers"
                file.event(time, file.head(INSTANT, self._pool, name))

    # -- slots ------------------------------------------------------------------

    def _draw_slots(self) -> set[int]:
        """Draw what ran; return the numbers of the works of which something is drawn."""
        members: dict[int, list[Member]] = defaultdict(list)
        for member in self._crew.members.values():
            members[member.slot].append(member)
        rows = self._rows()
        for slot in sorted({*members, *(slot for slot, _ in rows)}):
            track = self._file.track(f"slot {slot}", rank=10 + slot)
            self._draw_lives(track, members[slot])
            for rank, (lane, name) in enumerate(((1, "functions"), (0, "coroutines")), 1):
                self._draw_works(track, name, rank, rows.get((slot, lane), []))
            self._draw_lag(track, {member.worker for member in members[slot]})
        ids = self._history.ids
        return {ids[at] for found in rows.values() for _, _, at in found}

    def _rows(self) -> dict[tuple[int, int], list[tuple[int, int, int]]]:
        """Return begin, end and place of what is drawn, by slot and lane."""
        history, slots = self._history, self._crew.slots()
        found: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
        for at, begin in enumerate(history.began):
            end = history.ended[at]
            if history.outcomes[at] == RUNNING:
                end = self._end
            if end != UNKNOWN:
                if begin == UNKNOWN:
                    begin = history.sent[at]  # noqa: PLW2901
                    if begin == UNKNOWN or history.outcomes[at] == RUNNING:
                        continue  # it may not have begun
                slot = slots.get(history.workers[at], 0)
                found[slot, history.lanes[at]].append((begin, max(begin, end), at))
        for spans in found.values():
            spans.sort()
        return found

    def _draw_works(
        self, parent: int, name: str, rank: int, spans: list[tuple[int, int, int]]
    ) -> None:
        lanes = lanes_of((begin, end) for begin, end, _ in spans)
        tracks = [
            self._file.track(name, parent, rank=rank) for _ in range(max(lanes, default=-1) + 1)
        ]
        self._heads.clear()
        ends = [number(9, END) + number(11, track) for track in tracks]
        event = self._file.event
        for (begin, end, at), lane in zip(spans, lanes, strict=True):
            event(begin, self._begin(tracks[lane], at))
            event(end, ends[lane])

    def _begin(self, track: int, at: int) -> bytes:
        history, file = self._history, self._file
        outcome, work_id, attempt = history.outcomes[at], history.ids[at], history.attempts[at]
        key = track, history.names[at], outcome, attempt
        head = self._heads.get(key)
        if head is None:
            name = self._texts[history.names[at]]
            head = file.head(BEGIN, track, name, _CATEGORIES.get(outcome, ""))
            head += self._outcomes[outcome] + file.note("attempt", attempt)
            self._heads[key] = head
        parts = [head, flow(work_id), data(4, self._id + number(3, work_id))]
        submitted, began = history.submitted[at], history.began[at]
        if began == UNKNOWN:
            parts.append(file.note("began", "not known; it was sent then"))
        elif submitted != UNKNOWN:
            parts.append(data(4, self._waited + number(3, (began - submitted) // 1000)))
        if history.errors[at]:
            parts.append(file.note("error", self._texts[history.errors[at]]))
        if history.texts[at]:
            parts.append(file.note("message", self._texts[history.texts[at]]))
        return b"".join(parts)

    def _draw_lives(self, slot: int, members: list[Member]) -> None:
        """Draw workers: how they started, served and ended."""
        file, start = self._file, self._head["started"]
        spans = sorted((max(start, m.spawned), m.gone or self._end, m.worker) for m in members)
        lanes = lanes_of((begin, end) for begin, end, _ in spans)
        tracks = [file.track("workers", slot, rank=0) for _ in range(max(lanes, default=-1) + 1)]
        for (begin, end, worker), lane in zip(spans, lanes, strict=True):
            member, track = self._crew.members[worker], tracks[lane]
            process = "" if member.pid is None else f" (process {member.pid})"
            file.event(begin, file.head(BEGIN, track, f"worker {worker}{process}"))
            if member.spawned >= start:
                file.event(begin, file.head(BEGIN, track, "starting"))
                file.event(member.ready or end, number(9, END) + number(11, track))
            file.event(end, number(9, END) + number(11, track))
            if member.died:
                self._draw_death(slot, member, end)

    def _draw_lag(self, slot: int, workers: set[int]) -> None:
        """Draw how long coroutines waited for their turn, if that was ever worth a note."""
        events = self._history.tape.events()
        points = lag_points(events, workers, self._head["started"], self._end)
        if any(lag for _, lag in points):
            track = self._file.track("loop lag", slot, rank=3, unit="ms")
            self._file.counter(track, points)

    def _draw_death(self, slot: int, member: Member, time: int) -> None:
        told = dict(member.certificate)
        told["works"] = ", ".join(map(str, told.get("works") or ()))
        cause = told.get("cause") or told.get("start_failed") or "ended"
        name = f"worker {member.worker} {cause}"
        self._file.event(
            time, self._file.head(INSTANT, slot, name, "death") + self._file.notes(told)
        )

    # -- the caller, and counters -----------------------------------------------

    def _draw_submissions(self, drawn: set[int]) -> None:
        history, file = self._history, self._file
        track = file.track("submitted", self._pool, rank=0)
        gathered: dict[int, dict[int, None]] = defaultdict(dict)
        for work_id, submitted in zip(history.ids, history.submitted, strict=True):
            if submitted != UNKNOWN:
                gathered[submitted][work_id] = None
        for time, ids in gathered.items():
            name = "1 work" if len(ids) == 1 else f"{len(ids)} works"
            every = list(ids)
            for at in range(0, len(every), FLOWS):
                some = every[at : at + FLOWS]
                flows = b"".join(map(flow, filter(drawn.__contains__, some)))
                file.event(time, file.head(INSTANT, track, name) + flows)

    def _draw_counters(self) -> None:
        counts = Counts(self._history, self._head["started"], self._end, COUNTER_POINTS)
        per_second = 1e9 / counts.step
        columns: tuple[tuple[str, str, Any], ...] = (
            ("waiting", "works", counts.waiting),
            ("in flight", "works", counts.in_flight),
            ("done per second", "works/s", [ended * per_second for ended in counts.ended]),
        )
        for rank, (name, unit, values) in enumerate(columns, 1):
            track = self._file.track(name, self._pool, rank=rank, unit=unit)
            self._file.counter(track, _changes(counts.times, values))


def _changes(times: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    """Return the points at which a value changes."""
    points: list[tuple[int, float]] = []
    before: float | None = None
    for time, value in zip(times, values, strict=True):
        if value != before:
            points.append((time, value))
        before = value
    return points
