"""The Recorder: the `Observer` of one pool, for all its recordings.

It takes what passes in frames: a row for each frame that is sent or received, and nothing for
each work but its number and its times. All is called under the manager's lock.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

from aplex._common import messages
from aplex._common.messages import DELIVERED, LANES, PLAIN, Reports
from aplex._common.names import described
from aplex._observe.book import Book
from aplex._observe.certificates import certificate_of
from aplex._observe.lags import Lags
from aplex._observe.names import LONGEST, Names, writable
from aplex._observe.tape import (
    CANCELLED,
    COUNT_AT,
    DONE,
    ENDED,
    ERROR,
    FAILED,
    FORM_AT,
    LEFT,
    MANY,
    MOST_WORDS,
    NAME_AT,
    RERUN,
    RUNNING,
    SENT,
    SUBMITTED,
    UNTIMED,
    WORKER_AT,
    WORKERS,
    row,
)
from aplex._pool.notes import Ended, Gone, Note, Ready, Rerun, Resized, Retiring, Spawned
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work
from aplex._worker.times import told, type_name

_log = logging.getLogger("aplex")

_SUBMITTED: Final = SUBMITTED | 1 << COUNT_AT
FIELDS: Final = 7
"""Of a frame of reports with a column of times."""


class Recorder:
    """Writes into the books of recordings what a pool does."""

    def __init__(self, pool: Pool) -> None:
        """Have no book yet."""
        self._pool = pool
        self._ends: dict[int, Callable[[], None]] = {}  # end recordings, by the ids of their books
        self.names = Names()
        self._books: tuple[Book, ...] = ()
        self.closers: list[Callable[[], None]] = []  # of files, when the pool has ended
        self._first = 0  # the work that was stamped last
        self._lags = Lags()
        # What was sent last, and the place of its name: mostly it is sent again.
        self._last: tuple[Any, Any, int] = (None, None, 0)

    @property
    def level(self) -> int:
        """What workers are told: 0 if nobody records."""
        return max((1 + book.messages for book in self._books), default=0)

    def open(self, book: Book, end: Callable[[], None]) -> None:
        """Write into a book from now on; ``end`` ends its recording when the pool has ended."""
        now = time.monotonic_ns()
        for worker in self._pool.everyone():
            born = int(worker.born * 1e9)
            book.event((born, "spawned", worker.id, worker.index))
            if worker.pid is not None or worker.served:
                book.event((now, "ready", worker.id, worker.pid))
            for lane in LANES:
                works = [work for work in worker.works.values() if work.lane == lane]
                ids = [work.id for work in works]
                for made, count in self._sent(0, worker, lane, ids, works) if works else ():
                    book.add(made, count)
        self._first = 0
        self._books += (book,)
        self._ends[id(book)] = end

    def shut(self, book: Book) -> None:
        """Write into a book no more; the last thing in it is what still waits."""
        if self._ends.pop(id(book), None) is None:
            return
        self._books = tuple(other for other in self._books if other is not book)
        if not self._books:
            self._last = (None, None, 0)  # it would keep a function of the user's alive
        book.add(self.left())

    def left(self) -> array[int]:
        """Return rows of the works that wait now."""
        now = time.monotonic_ns()
        made = array("q")
        for lane in LANES:
            for work in self._pool.held(lane):
                if work.is_waiting:
                    made += row(now, LEFT, lane, 0, self.names.place(work.name), (work.id,))
        return made

    def mark(self, book: Book, text: str) -> None:
        """Note that something happened, which the user says."""
        if id(book) in self._ends:
            book.event((time.monotonic_ns(), "mark", writable(str(text))[:LONGEST]))

    # -- an `Observer` ----------------------------------------------------------

    def submitted(self, first: int) -> None:
        """Note when works, from that number on, are submitted."""
        if first > self._first and self._books:
            self._first = first
            made = array("q", (time.monotonic_ns(), _SUBMITTED, first))
            for book in self._books:
                book.add(made)

    def sending(self, worker: PoolWorker) -> None:
        """Note what is sent to a worker."""
        if not self._books:
            return
        for lane, works in enumerate(worker.outboxes):
            if works:
                self.sent(worker, lane, [work.id for work in works], works)

    def sent(
        self, worker: PoolWorker, lane: int, ids: Sequence[int], works: Sequence[Work]
    ) -> None:
        """Note what a back end sends that has a column of the numbers."""
        if not self._books:
            return
        now, count = time.monotonic_ns(), len(ids)
        target, options, place = self._last
        if count < MOST_WORDS // 2:
            for work in works:
                if work.target is not target or work.options is not options:
                    break
            else:
                packed = (
                    SENT | lane << FORM_AT | (worker.id % WORKERS) << WORKER_AT
                    | place << NAME_AT | count << COUNT_AT
                )  # fmt: skip
                self._add(array("q", (now, packed, *ids)), count)
                return
        for made, part in self._sent(now, worker, lane, ids, works):
            self._add(made, part)

    def reading(
        self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]
    ) -> deque[Reports]:
        """Take the times off what is read, and note what has ended."""
        frames: deque[Any] = read()
        books = self._books
        now = time.monotonic_ns() if books else 0
        if books and self._lags.is_due(worker.id, now):
            self._note_lag(now, worker)
        for index in range(len(frames)):
            frame = frames[index]
            if len(frame) == FIELDS:
                frames[index] = frame[: FIELDS - 1]
                times, errors = frame[FIELDS - 1]
                count = len(times) >> 3
                if books and count <= MOST_WORDS:
                    packed = DONE | lane << FORM_AT | (worker.id % WORKERS) << WORKER_AT
                    made = array("q", (now, packed | count << COUNT_AT))
                    made.frombytes(times)
                    for book in books:
                        book.add(made)
                if errors or count > MOST_WORDS:
                    self._done_rarely(now, worker, lane, times, errors)
            elif books:
                self._done_untimed(now, worker, frame)
        return frames

    def running(self, worker: PoolWorker, running: tuple[int, float]) -> None:
        """Note what runs in a worker, or ran when it ended."""
        seq, since = running
        if self._books and seq:
            for work in worker.works.values():
                if work.seq == seq and work.lane == PLAIN:
                    words = (work.id, int(since * 1e9))
                    self._put(row(time.monotonic_ns(), RUNNING, 0, worker.id, 0, words))

    def noted(self, pool: Pool) -> None:
        """Take the notes of the pool."""
        notes = pool.notes
        if notes:
            pool.notes = []
            now = time.monotonic_ns()
            for note in notes:
                self._note(now, note)

    def closed(self) -> None:
        """Hear that the pool has ended."""
        for end in [*self._ends.values(), *self.closers]:
            try:
                end()
            except Exception:  # noqa: BLE001 - the end of the pool must not fail for that
                _log.exception("a recording could not be ended")

    # -- rows -------------------------------------------------------------------

    def _put(self, made: array[int], works: int = 0) -> None:
        for book in self._books:
            book.add(made, works)

    def _add(self, made: array[int], works: int) -> None:
        for book in self._books:
            book.add(made, works)
            if book.is_full:
                everyone = self._pool.everyone()
                book.turn({work_id for each in everyone for work_id in each.works})

    def _sent(
        self, now: int, worker: PoolWorker, lane: int, ids: Sequence[int], works: Sequence[Work]
    ) -> Iterable[tuple[array[int], int]]:
        """Return rows, mostly one, each with how many works are in it."""
        count = len(ids)
        if count > MOST_WORDS // 2:
            parts = (slice(at, at + MOST_WORDS // 2) for at in range(0, count, MOST_WORDS // 2))
            rows = (self._sent(now, worker, lane, ids[part], works[part]) for part in parts)
            return chain.from_iterable(rows)
        target, options = works[0].target, works[0].options
        for work in works:
            if work.target is not target or work.options is not options:
                named = [work.options.label or work.target for work in works]
                different = dict(zip(map(id, named), works, strict=True))
                places = {key: self.names.place(work.name) for key, work in different.items()}
                words = [*ids, *(places[id(each)] for each in named)]
                return ((row(now, SENT, lane | MANY, worker.id, 0, words), count),)
        packed = SENT | lane << FORM_AT | (worker.id % WORKERS) << WORKER_AT | count << COUNT_AT
        place = self.names.place(options.label or described(target))
        self._last = target, options, place
        packed |= place << NAME_AT
        return ((array("q", (now, packed, *ids)), count),)

    def _done_rarely(
        self, now: int, worker: PoolWorker, lane: int, times: bytes, errors: list[Any]
    ) -> None:
        """Note errors; and that so many works have ended in one frame, without their times."""
        if len(times) >> 3 > MOST_WORDS:
            column = array("q", times)
            self._untimed(now, worker, column[:-1:2] if lane == PLAIN else column[::3])
        for work_id, kind, message in errors:
            words = (work_id, self.names.place(message))
            self._put(row(now, ERROR, 0, worker.id, self.names.place(kind), words))

    def _done_untimed(self, now: int, worker: PoolWorker, frame: Reports) -> None:
        _, others, ids, _, pickled, _ = frame
        ended = [*ids, *pickled]
        if others:
            ended += [work_id for work_id, kind, _ in others if kind < DELIVERED]
        self._untimed(now, worker, ended)

    def _untimed(self, now: int, worker: PoolWorker, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), MOST_WORDS):
            part = ids[start : start + MOST_WORDS]
            self._put(row(now, DONE, UNTIMED, worker.id, 0, part))

    def _note_lag(self, now: int, worker: PoolWorker) -> None:
        lag = worker.loop_lag
        if self._lags.is_new(worker.id, now, lag):
            self._event((now, "lag", worker.id, round(lag * 1e6)))

    def _note(self, now: int, note: Note) -> None:
        match note:
            case Ended():
                self._note_end(now, note)
            case Rerun(work_id, worker_id, started):
                self._put(row(now, RERUN, int(started), worker_id, 0, (work_id,)))
            case Spawned(worker):
                self._event((now, "spawned", worker.id, worker.index))
            case Ready(worker):
                self._event((now, "ready", worker.id, worker.pid))
            case Retiring(worker):
                self._event((now, "retiring", worker.id))
            case Gone(worker, death, asked):
                self._lags.forget(worker.id)
                for book in self._books:
                    told_of = certificate_of(death, asked=asked, messages=book.messages)
                    book.event((now, "gone", worker.id, told_of))
            case Resized(size):
                self._event((now, "resized", size))

    def _note_end(self, now: int, note: Ended) -> None:
        name = self.names.place(note.name)
        if note.kind == messages.CANCELLED:
            self._put(row(now, ENDED, CANCELLED | note.lane << 1, 0, 0, (note.id, name)))
            return
        error = note.error
        place = 0 if error is None else self.names.place(type_name(error))
        self._put(row(now, ENDED, FAILED | note.lane << 1, 0, place, (note.id, name)))
        if error is not None:
            for book in self._books:
                if book.messages:
                    message = (note.id, self.names.place(told(error)))
                    book.add(row(now, ERROR, 0, 0, place, message))

    def _event(self, event: tuple[Any, ...]) -> None:
        for book in self._books:
            book.event(event)
