"""The Tape: what is kept of a recording, in rows of 8-byte integers. Data.

A *block* is a log and the events that go with it. In the log, each row is a header of two words,
when it was written and what it is, and so many words as the header says:

========== ======================= ==========================================================
kind       form                    words
========== ======================= ==========================================================
SUBMITTED                          the number of the first of the works submitted from then on
SENT       lane, and `MANY`        numbers of works; if there are `MANY` names, those of each
DONE       lane, or `UNTIMED`      the column of times of a worker, see ``_worker.times``;
                                   untimed, numbers of works
ENDED      0 failed, 1 cancelled,  a work that has not ended well, and its name
           and 2 times its lane
ERROR                              a work, and the message of its error
RERUN      whether it had started  a work that waits again: its worker was lost, or gave it back;
                                   or it has ended, and is retried for its outcome
LEFT                               a work that still waits at the end of the recording
RUNNING                            a function that ran when its worker was lost, and since when
========== ======================= ==========================================================

A row is appended by one call, so that an exception that a signal handler raises leaves no half
of one. *Events* are what is rare: tuples of a time, a word, and what belongs to it.

What comes with each frame is packed where it is written, in `Recorder`, which saves calls.

Names are kept once, and named by their places in a list. Nothing here has arguments or results.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aplex._common.messages import PLAIN

SUBMITTED: Final = 0
SENT: Final = 1
DONE: Final = 2
ENDED: Final = 3
ERROR: Final = 4
RERUN: Final = 5
LEFT: Final = 6
RUNNING: Final = 7

MANY: Final = 2
"""Form of `SENT`, beside the lane: the works have not all one name."""
UNTIMED: Final = 2
"""Form of `DONE`: the worker has not noted times."""
FAILED: Final = 0
CANCELLED: Final = 1

_KIND: Final = 3  # bits
_FORM: Final = 2
_WORKER: Final = 22
_NAME: Final = 16
_COUNT: Final = 20
FORM_AT: Final = _KIND
WORKER_AT: Final = FORM_AT + _FORM
NAME_AT: Final = WORKER_AT + _WORKER
COUNT_AT: Final = NAME_AT + _NAME
KIND_MASK: Final = (1 << _KIND) - 1
MOST_NAMES: Final = 1 << _NAME
MOST_WORDS: Final = (1 << _COUNT) - 4  # of a row; it is a multiple of 2 and of 3
WORKERS: Final = 1 << _WORKER

Event = tuple[Any, ...]


class Row(NamedTuple):
    """A row of a log."""

    time: int
    kind: int
    form: int
    worker: int
    name: int
    words: array[int]


def row(
    time: int, kind: int, form: int, worker: int, name: int, words: Sequence[int]
) -> array[int]:
    """Return a row as it is appended to a log."""
    packed = (
        kind
        | form << FORM_AT
        | (worker % WORKERS) << WORKER_AT
        | name << NAME_AT
        | len(words) << COUNT_AT
    )
    return array("q", (time, packed, *words))


def rows_of(log: array[int]) -> Iterator[Row]:
    """Read a log."""
    at, end = 0, len(log)
    while at < end:
        time, packed = log[at], log[at + 1]
        at += 2
        count = packed >> COUNT_AT
        yield Row(
            time,
            packed & KIND_MASK,
            packed >> FORM_AT & (1 << _FORM) - 1,
            packed >> WORKER_AT & (1 << _WORKER) - 1,
            packed >> NAME_AT & (1 << _NAME) - 1,
            log[at : at + count],
        )
        at += count


def sent_in(row: Row) -> Iterable[tuple[int, int]]:
    """Return the numbers of the works of a row of `SENT`, and the places of their names."""
    words = row.words
    if row.form & MANY:
        half = len(words) // 2
        return zip(words[:half], words[half:], strict=True)
    return ((work_id, row.name) for work_id in words)


def spans_in(row: Row) -> Iterable[tuple[int, int, int]]:
    """Return which works have ended by a row of `DONE`, when they began and ended; -1: unknown.

    The number 0 is no work.
    """
    words = row.words
    if row.form == UNTIMED:
        return ((work_id, -1, -1) for work_id in words)
    if row.form == PLAIN:
        began = words[1::2]
        ended = began[1:]
        ended.append(words[-1])
        return zip(words[:-1:2], began, ended, strict=True)
    began = words[1::3]
    if 0 in began:  # they began before the recording
        began = array("q", (begin or -1 for begin in began))
    return zip(words[::3], began, words[2::3], strict=True)


@dataclass(slots=True, eq=False)
class Block:
    """Some rows, and the events of the same time."""

    log: array[int] = field(default_factory=lambda: array("q"))
    events: list[Event] = field(default_factory=list)
    works: int = 0  # that were sent in it


@dataclass(slots=True)
class Tape:
    """A whole recording.

    Attributes:
        head: Whose it is and when it was made, see `Book.head`.
        names: Names of works and of types of errors, and messages; the first is empty.
        blocks: In their order.
    """

    head: dict[str, Any]
    names: list[str]
    blocks: list[Block]

    def rows(self) -> Iterator[Row]:
        """Read all logs."""
        for block in self.blocks:
            yield from rows_of(block.log)

    def events(self) -> Iterator[Event]:
        """Read all events."""
        for block in self.blocks:
            yield from block.events
