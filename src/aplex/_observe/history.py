"""The History: a tape played back, a row for each time that a work was given to a worker.

Logic only. What holds of every row, where the times are known:
``submitted <= sent <= began <= ended <= received``. A work has one row for each *attempt*: each
time it was begun, or may have been. Given to a worker and taken back, or lost with it before it
began, it has none for that. One that never left the pool has one row, too.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from aplex._observe import tape as rows
from aplex._observe.tape import Row, Tape

DONE: Final = 0
FAILED: Final = 1
CANCELLED: Final = 2
LOST: Final = 3
RUNNING: Final = 4
WAITING: Final = 5
OUTCOMES: Final = ("done", "failed", "cancelled", "lost", "running", "waiting")
"""What became of an attempt; ``lost`` with its worker, and run again; ``running``, or sent ahead,
when the recording ended; ``waiting`` then."""
UNKNOWN: Final = -1
"""Stands for a time that is not known."""
_TIMES: Final = ("submitted", "sent", "began", "ended", "received")


class History:
    """Columns, and what is known of workers.

    Attributes:
        ids: Numbers of works.
        names: Places of their names, in the tape's.
        lanes: 1: a function, 0: a coroutine.
        workers: Numbers of the workers; 0: it never had one.
        attempts: From 1.
        submitted: Nanoseconds, on the monotonic clock, as all times here.
        sent: When it was sent to its worker.
        began: When it began there.
        ended: When it ended there.
        received: When that was heard of.
        outcomes: Places in `OUTCOMES`.
        errors: Places of the types of errors, in the tape's names.
        texts: Places of the messages of errors, likewise.
    """

    def __init__(self, tape: Tape) -> None:
        """Play a tape back."""
        self.tape = tape
        self.ids = array("q")
        self.names = array("q")
        self.lanes = array("b")
        self.workers = array("q")
        self.attempts = array("q")
        self.submitted = array("q")
        self.sent = array("q")
        self.began = array("q")
        self.ended = array("q")
        self.received = array("q")
        self.outcomes = array("b")
        self.errors = array("q")
        self.texts = array("q")
        self._void: set[int] = set()  # rows that were no attempt
        self._open: dict[int, int] = {}  # the row of a work that is in flight
        self._ends: dict[int, Row] = {}
        self._errors: dict[int, list[Row]] = defaultdict(list)
        self._runs: dict[int, int] = {}
        self._tries: Counter[int] = Counter()  # attempts of works that are run again
        self._judged: set[int] = set()  # works that have ended, and are run again
        self._stamps: dict[int, int] = {}
        self._gone = {event[2] for event in tape.events() if event[1] == "gone"}
        take = (
            *(self._stamp, self._send, self._end, self._note_end),
            *(self._note_error, self._rerun, self._left, self._run),
        )
        for row in tape.rows():
            take[row.kind](row)
        for work_id, began in self._runs.items():
            at = self._open.get(work_id, UNKNOWN)
            if at != UNKNOWN:
                self.began[at] = began
        self._settle()
        self._set_submitted()
        if self._void:
            self._drop_void()

    def __len__(self) -> int:
        return len(self.ids)

    # -- rows of the tape -------------------------------------------------------

    def _stamp(self, row: Row) -> None:
        self._stamps[row.words[0]] = row.time

    def _send(self, row: Row) -> None:
        ids, names = row.words, array("q", (row.name,)) * len(row.words)
        if row.form & rows.MANY:
            half = len(ids) // 2
            ids, names = ids[:half], ids[half:]
        start, open_ = len(self.ids), self._open
        if not open_.keys().isdisjoint(ids):  # they were given back, and are sent again
            self._void.update(open_[work_id] for work_id in ids if work_id in open_)
        open_.update(zip(ids, range(start, start + len(ids)), strict=True))
        self._add(ids, names, row.form & ~rows.MANY, row.worker, row.time or UNKNOWN, RUNNING)
        if self._tries:
            for at, work_id in enumerate(ids, start):
                self.attempts[at] += self._tries[work_id]

    def _add(
        self, ids: array[int], names: array[int], lane: int, worker: int, sent: int, outcome: int
    ) -> None:
        count = len(ids)
        nothing = array("q", (UNKNOWN,)) * count
        self.ids += ids
        self.names += names
        self.lanes += array("b", (lane,)) * count
        self.workers += array("q", (worker,)) * count
        self.attempts += array("q", (1,)) * count
        self.sent += array("q", (sent,)) * count
        for column in (self.began, self.ended, self.received):
            column.extend(nothing)
        self.outcomes += array("b", (outcome,)) * count
        self.errors += array("q", (0,)) * count
        self.texts += array("q", (0,)) * count

    def _end(self, row: Row) -> None:
        self._close(row, rows.spans_in(row))

    def _close(self, row: Row, spans: Iterable[tuple[int, int, int]]) -> None:
        """Note that works have ended: their numbers, begins and ends."""
        open_, workers, worker, time = self._open, self.workers, row.worker, row.time
        began, ended, received, outcomes = self.began, self.ended, self.received, self.outcomes
        for work_id, begin, end in spans:
            at = open_.pop(work_id, UNKNOWN)
            if at == UNKNOWN:  # it was dropped, or this has come twice; 0 is no work
                continue
            if workers[at] != worker:  # a late word of a worker that it was taken from
                open_[work_id] = at
                continue
            began[at] = begin
            ended[at] = end
            received[at] = time
            outcomes[at] = DONE

    def _note_end(self, row: Row) -> None:
        self._ends.setdefault(row.words[0], row)

    def _note_error(self, row: Row) -> None:
        self._errors[row.words[0]].append(row)

    def _rerun(self, row: Row) -> None:
        work_id = row.words[0]
        at = self._open.pop(work_id, UNKNOWN)
        if not row.form:
            if at != UNKNOWN:
                self._void.add(at)
            return
        self._tries[work_id] += 1
        if at == UNKNOWN:
            self._judged.add(work_id)
            return
        self.outcomes[at] = LOST
        self.ended[at] = self.received[at] = row.time
        self.began[at] = self._runs.pop(work_id, UNKNOWN)

    def _left(self, row: Row) -> None:
        self._add_waiting(row.words[0], row.name, row.form)

    def _run(self, row: Row) -> None:
        self._runs[row.words[0]] = row.words[1]

    # -- when all rows are there ------------------------------------------------

    def _settle(self) -> None:
        """Say what became of works that have not ended well, and of attempts."""
        if self._judged:
            self._settle_judged()
        last: dict[int, int] = {}
        if self._ends:
            last = {work_id: at for at, work_id in enumerate(self.ids) if work_id in self._ends}
        for work_id, end in self._ends.items():
            at = last.get(work_id, UNKNOWN)
            if (
                at == UNKNOWN
                or at in self._void
                or self._tries.get(work_id, 0) >= self.attempts[at]
            ):  # it has never left the pool, or has waited again
                at = len(self.ids)
                self._add_waiting(work_id, end.words[1], end.form >> 1)
            self._say(at, work_id, end)

    def _settle_judged(self) -> None:
        """Say which attempts have failed of works that were run again for their outcomes."""
        for at, work_id in enumerate(self.ids):
            if work_id in self._judged:
                for error in self._errors.get(work_id, ()):
                    if error.time == self.received[at]:  # they came with one frame
                        self.outcomes[at] = FAILED
                        self.errors[at], self.texts[at] = error.name, error.words[1]

    def _add_waiting(self, work_id: int, name: int, lane: int) -> None:
        one, named = array("q", (work_id,)), array("q", (name,))
        self._add(one, named, lane, 0, UNKNOWN, WAITING)
        self.attempts[-1] += self._tries[work_id]

    def _say(self, at: int, work_id: int, end: Row) -> None:
        if self.ended[at] == UNKNOWN:
            self.received[at] = end.time
            if work_id in self._open and self.workers[at] in self._gone:
                self.ended[at] = end.time
        self.outcomes[at] = CANCELLED if end.form & 1 == rows.CANCELLED else FAILED
        if end.form & 1 != rows.CANCELLED:
            errors = self._errors.get(work_id)
            error = errors[-1 if work_id in self._judged else 0] if errors else None
            self.errors[at] = end.name or (error.name if error else 0)
            self.texts[at] = error.words[1] if error else 0

    def _set_submitted(self) -> None:
        """Say when works were submitted: those of one gathering, when its first one was."""
        firsts = sorted(self._stamps)
        times = array("q", [UNKNOWN, *(self._stamps[first] for first in firsts)])
        self.submitted = array("q", (times[bisect_right(firsts, each)] for each in self.ids))

    def _drop_void(self) -> None:
        self.keep([at for at in range(len(self.ids)) if at not in self._void])

    def keep(self, kept: list[int]) -> None:
        """Keep only the rows of these places."""
        for name in ("ids", "names", "lanes", "workers", "attempts", "outcomes", "errors", "texts"):
            self._pick(name, kept)
        for name in _TIMES:
            self._pick(name, kept)

    def _pick(self, name: str, kept: list[int]) -> None:
        column: array[int] = getattr(self, name)
        picked = column[:0]
        picked.extend(column[at] for at in kept)
        setattr(self, name, picked)
