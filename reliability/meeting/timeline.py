"""Shows a case as it went: the notes of the works and the lines of the caller, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reliability.load.journal import BEGAN, CANCELLED, ENDED
from reliability.meeting.verdict import Story
from reliability.meeting.works import READY, SPOILED

EVENTS: Final = {
    BEGAN: "begins",
    ENDED: "ends",
    CANCELLED: "is stopped",
    SPOILED: "is spoiled",
    READY: "is ready",
}


def timeline(story: Story) -> list[str]:
    """Return a line for each moment, in seconds since the first."""
    moments = sorted(_moments(story), key=lambda moment: moment[0])
    return [f"{(when - moments[0][0]) / 1e9:8.3f}  {what}" for when, what in moments]


def _moments(story: Story) -> Iterator[tuple[int, str]]:
    for work, notes in story.notes.items():
        for note in notes:
            yield note.when, f"    work {work} {EVENTS[note.event]} in {note.pid}"
    for lines in story.lines.values():
        for line in lines:
            fields = ", ".join(f"{k} {v}" for k, v in line.items() if k not in ("kind", "when"))
            yield line["when"], f"{line['kind']}: {fields}"
