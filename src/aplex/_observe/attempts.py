"""Attempts: rows of a tape played as they come, each attempt of a work told once, when it ended.

Logic only. A `History` plays a whole tape, and has columns; this keeps nothing but what has not
ended. What an attempt is, and what becomes of it, is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aplex._observe import tape as rows
from aplex._observe.history import CANCELLED, DONE, FAILED, LOST, UNKNOWN
from aplex._observe.tape import Block, Row, rows_of, sent_in, spans_in


@dataclass(slots=True)
class Attempt:
    """One time that a work was begun, or may have been. Times are those of `History`.

    Attributes:
        id: Number of the work.
        name: Place of its name.
        lane: 1: a function, 0: a coroutine.
        worker: Number of its worker; 0: it never had one.
        number: From 1.
        since: When it began to wait again: the end of the attempt before. `UNKNOWN`: the first.
        sent: When it was sent to the worker.
        began: When it began there.
        ended: When it ended there, or that was heard of.
        outcome: Place in `OUTCOMES`.
        error: Place of the type of its error.
        is_settled: Whether the pool has said what became of it.
    """

    id: int
    name: int
    lane: int
    worker: int
    number: int
    since: int
    sent: int = UNKNOWN
    began: int = UNKNOWN
    ended: int = UNKNOWN
    outcome: int = DONE
    error: int = 0
    is_settled: bool = False


class Attempts:
    """Plays rows."""

    def __init__(self, may_go_on: Callable[[int], bool]) -> None:
        """Have seen none.

        Args:
            may_go_on: Says of a work that has ended well whether it may be run again all the
                same: ``retry_on`` looks at outcomes.
        """
        self._may_go_on = may_go_on
        self._open: dict[int, Attempt] = {}
        self._over: dict[int, Attempt] = {}  # it has ended; what became of it may come yet
        self._past: dict[int, tuple[int, int]] = {}  # attempts so far, and the end of the last
        self._runs: dict[int, int] = {}
        self._told: list[Attempt] = []
        self._take: dict[int, Callable[[Row], None]] = {
            rows.SENT: self._send,
            rows.DONE: self._end,
            rows.ENDED: self._note_end,
            rows.ERROR: self._note_error,
            rows.RERUN: self._rerun,
            rows.RUNNING: self._run,
        }

    def play(self, block: Block) -> list[Attempt]:
        """Play what is new, whole steps of the pool, and return the attempts that have ended."""
        for row in rows_of(block.log):
            take = self._take.get(row.kind)
            if take is not None:
                take(row)
        for attempt in list(self._over.values()):
            # What failed and is not settled is looked at by ``retry_on`` just now.
            if attempt.is_settled or attempt.outcome == DONE:
                self._tell(attempt)
        return self._taken()

    def rest(self) -> list[Attempt]:
        """Return what had ended when the recording ended."""
        for attempt in list(self._over.values()):
            self._tell(attempt)
        return self._taken()

    def forget(self, work_id: int) -> None:
        """Hear that a work that might have gone on is over."""
        self._past.pop(work_id, None)

    def _taken(self) -> list[Attempt]:
        told, self._told = self._told, []
        return told

    def _tell(self, attempt: Attempt) -> None:
        work_id = attempt.id
        self._over.pop(work_id, None)
        self._told.append(attempt)
        if attempt.outcome == LOST or self._may_go_on(work_id):
            self._past[work_id] = attempt.number, attempt.ended
        else:
            self._past.pop(work_id, None)

    def _new(self, work_id: int, name: int, lane: int, worker: int) -> Attempt:
        number, since = self._past.get(work_id, (0, UNKNOWN))
        return Attempt(work_id, name, lane, worker, number + 1, since)

    def _send(self, row: Row) -> None:
        for work_id, name in sent_in(row):
            before = self._over.get(work_id)
            if before is not None:
                self._tell(before)  # it has failed, and is run again
            attempt = self._new(work_id, name, row.form & ~rows.MANY, row.worker)
            attempt.sent = row.time or UNKNOWN
            self._open[work_id] = attempt

    def _end(self, row: Row) -> None:
        for work_id, began, ended in spans_in(row):
            attempt = self._open.get(work_id)
            # Not one that has come twice, nor a late word of a worker that it was taken from.
            if attempt is not None and attempt.worker == row.worker:
                del self._open[work_id]
                attempt.began = began
                attempt.ended = row.time if ended == UNKNOWN else ended
                self._over[work_id] = attempt

    def _note_error(self, row: Row) -> None:
        attempt = self._over.get(row.words[0])
        if attempt is not None and not attempt.is_settled:
            attempt.outcome, attempt.error = FAILED, row.name

    def _note_end(self, row: Row) -> None:
        work_id, name = row.words
        attempt = self._over.get(work_id)
        if attempt is None:
            attempt = self._open.pop(work_id, None) or self._new(work_id, name, row.form >> 1, 0)
            attempt.began = self._runs.pop(work_id, UNKNOWN)
            attempt.ended = row.time
            self._over[work_id] = attempt
        if not attempt.is_settled:
            attempt.is_settled = True
            attempt.outcome = CANCELLED if row.form & 1 == rows.CANCELLED else FAILED
            attempt.error = 0 if attempt.outcome == CANCELLED else row.name or attempt.error

    def _rerun(self, row: Row) -> None:
        attempt = self._open.pop(row.words[0], None)
        if attempt is None or not row.form:  # it had not begun: that was no attempt
            return
        attempt.began = self._runs.pop(attempt.id, UNKNOWN)
        attempt.ended, attempt.outcome, attempt.is_settled = row.time, LOST, True
        self._tell(attempt)

    def _run(self, row: Row) -> None:
        self._runs[row.words[0]] = row.words[1]
