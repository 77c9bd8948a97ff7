"""Judges a case from the outside: the journal of its works, and the ledger of its caller."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reliability.load import journal
from reliability.load.journal import BEGAN, ENDED, Note
from reliability.load.submitter import CANCELLED, LOST, QUARANTINED, RETRIES, RIGHT, Fate
from reliability.load.verdict import fault_of
from reliability.meeting import ledger
from reliability.meeting.bounds import broken_bounds
from reliability.meeting.cases import OFF, Case
from reliability.meeting.jobs import DOOMED, HELD, LATE, LIMITS, Call, Job, calls_of
from reliability.meeting.ledger import TIMEOUT, Line
from reliability.meeting.works import SPOILED

EARLY: Final = 0.1
"""Seconds that a busy machine may let pass between the start of a work and its first note."""
SLACK: Final = 4.0
"""Seconds after its time by which a work must have ended: a grace of two, and a busy machine."""
SHUT: Final = ("RuntimeError", "CancelledError")
"""What ends a map whose pool was shut down."""


@dataclass
class Story:
    """All that is known of a case."""

    case: Case
    notes: dict[int, list[Note]]
    lines: dict[str, list[Line]]

    @classmethod
    def read(cls, case: Case, folder: Path) -> Story:
        """Read what the program of a case has left."""
        lines: dict[str, list[Line]] = defaultdict(list)
        for line in ledger.read(folder / "ledger"):
            lines[line["kind"]].append(line)
        notes = folder / "journal"
        return cls(case, journal.read(notes) if notes.exists() else {}, lines)

    def of(self, kind: str, work: int) -> list[Line]:
        """Return the lines of a kind about a work."""
        return [line for line in self.lines[kind] if line.get("work") == work]


def judged(story: Story) -> list[str]:
    """Say all that is wrong."""
    complaints = [line["what"] for line in story.lines["wrong"]]
    if not story.lines["over"]:
        complaints.append("the program did not come to its end")
    for call in calls_of(story.case):
        complaints += _wrong_end(story, call)
        for job in call.jobs:
            complaints += [f"work {job.number}: {why}" for why in _judged(story, call, job)]
    return complaints + list(broken_bounds(story.case, story.notes, story.lines))


def _judged(story: Story, call: Call, job: Job) -> Iterator[str]:
    """Say what is wrong with one work."""
    notes, lines = story.notes.get(job.number, []), story.of("fate", job.number)
    if any(note.event == SPOILED for note in notes):
        yield "its arguments were not as they had been sent"
    if not lines:
        yield from _unresolved(story, call, job, notes)
        return
    fate = _fate(story, call, job, lines)
    allowed = _allowed(story.case, call, job)
    if fate.outcome not in allowed:
        yield f"{fate.outcome}, not {' or '.join(sorted(allowed))}: {fate.trouble}"
    # A stream that has yielded items does not run again, whatever its retries.
    lost_for_good = call.way == "stream" and fate.outcome in (LOST, QUARANTINED)
    if not lost_for_good and (fault := fault_of(fate, notes)):
        yield f"{fault}: {fate} {notes}"
    if fate.outcome == TIMEOUT:
        yield from _wrong_time(story, call, job, lines[-1])
    yield from _false_cancel(story, fate, job)


def _fate(story: Story, call: Call, job: Job, lines: list[Line]) -> Fate:
    last, case = lines[-1], story.case
    asked = [line for line in story.of("asked", job.number) if line["seen"]]
    return Fate(
        work=job.number,
        plain=case.plain,
        retries=RETRIES if OFF not in (case.retries, case.death) else 0,
        size=job.size,
        outcome=last["outcome"],
        deliveries=len(lines),
        cancel_asked=CANCELLED in _allowed(case, call, job),
        never_after=asked[0]["when"] if asked else None,
        dead=last.get("dead", []),
        trouble=last.get("trouble", ""),
    )


def _allowed(case: Case, call: Call, job: Job) -> set[str]:
    """Return the outcomes that a work may have."""
    must = _must(case, call, job)
    allowed = set(must)
    if call.limited and case.deadline != OFF:
        allowed.add(TIMEOUT)
    if call.cancel != OFF or _may_be_cancelled(case, call):
        allowed.add(CANCELLED)
    if case.death != OFF:
        allowed.add(QUARANTINED if case.retries != OFF else LOST)
        if call.way == "stream":
            allowed.add(LOST)
    return allowed


def _must(case: Case, call: Call, job: Job) -> set[str]:
    """Return the outcome that a work has if nothing else comes between."""
    if job.role == LATE:
        return {TIMEOUT}
    if job.role == HELD and not case.stubborn:
        return {CANCELLED}
    if job.role == DOOMED and call.way != "stream" and case.retries == OFF:
        return {LOST}
    return {RIGHT}


def _may_be_cancelled(case: Case, call: Call) -> bool:
    """Whether the end of the pool, or of the event loop, cancels works."""
    if case.end == "cancel":
        return True
    if call.way == "submit":
        return False
    return case.end == "exit" or (case.end == "wait" and case.awaitable and call.way == "stream")


def _unresolved(story: Story, call: Call, job: Job, notes: list[Note]) -> Iterator[str]:
    """A work without an outcome: its map was left, or the program has ended."""
    case = story.case
    if case.end == "exit":
        # Nobody is there to be told; but functions are finished, and coroutines had their time.
        excused = call.cancel != OFF or job.role in (LATE, DOOMED) or case.death != OFF
        excused = excused or (call.limited and case.deadline != OFF)
        if call.way == "submit" and not excused and not any(n.event == ENDED for n in notes):
            yield f"it never ran to its end: {notes}"
        return
    ends = [line for line in story.lines["end"] if line["call"] == call.number]
    if call.way in ("submit", "stream") or not ends or ends[0]["how"] == "complete":
        yield f"it has no outcome: {notes}"


def _wrong_end(story: Story, call: Call) -> Iterator[str]:
    """Say what is wrong with the end of a map; the outcome of a stream tells of its own."""
    case = story.case
    if call.way in ("submit", "stream") or case.end == "exit":
        return
    ends = [line for line in story.lines["end"] if line["call"] == call.number]
    if len(ends) != 1:
        yield f"map {call.number} has ended {len(ends)} times"
        return
    (end,) = ends
    allowed = {"complete"} if call.cancel == OFF else {"closed"}
    if case.end not in ("with", "exit"):
        allowed.update(SHUT, ["complete"])
    if end["how"] not in allowed:
        yield f"map {call.number} has ended with {end['how']} {end['trouble']}"
    if end["how"] == "complete" and end["got"] != len(call.jobs):
        yield f"map {call.number} has yielded {end['got']} of {len(call.jobs)} results"


def _wrong_time(story: Story, call: Call, job: Job, line: Line) -> Iterator[str]:
    """A work whose time is over must end then: not earlier, and not much later."""
    case = story.case
    limit = LIMITS[case.deadline]
    if case.deadline == "deadline":
        starts = [sent["when"] for sent in story.of("sent", job.number)]
    else:  # in a chunk, that of the first of its items
        near = call.jobs if case.in_chunks else [job]
        starts = [
            n.when for one in near for n in story.notes.get(one.number, []) if n.event == BEGAN
        ]
    if not starts:
        yield "its time is over, and it has not begun"
        return
    if (line["when"] - min(starts)) / 1e9 < limit - EARLY:
        yield f"its time was over {(line['when'] - min(starts)) / 1e9:.3f} s after its start"
    late = (line["when"] - max(starts)) / 1e9 - limit
    if call.way == "submit" and late > SLACK and not _blocks_its_loop(case):
        yield f"its time was over {late:.3f} s too late"


def _blocks_its_loop(case: Case) -> bool:
    """Whether the case waits on the thread of its event loop, which is told of nothing then."""
    return case.awaitable and (case.end in ("wait", "cancel") or case.fork != OFF)


def _false_cancel(story: Story, fate: Fate, job: Job) -> Iterator[str]:
    """As ``concurrent.futures`` has it, a future that says it will be cancelled has no result."""
    if story.case.awaitable or not story.case.stubborn or fate.outcome != RIGHT:
        return
    if any(line["answer"] for line in story.of("asked", job.number)):
        yield "cancel() has returned True, and it has a result"
