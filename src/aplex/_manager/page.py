"""The PoolPage: what of a pool others may see. The Manager writes it, under its lock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from aplex._common.messages import COROUTINE, PLAIN
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker
from aplex._wire.frames import PipeEnd
from aplex._wire.page import (
    KIND,
    LAYOUT,
    PARENT,
    POOL,
    POOL_NAME,
    POOL_NAME_SIZE,
    VERSION,
    Memory,
    is_shown,
    make_page_file,
    put_text,
    seal,
)
from aplex._wire.pool_page import (
    COUNTS,
    COUNTS_AT,
    IN_FLIGHT,
    MOST_ROWS,
    ROW,
    ROWS,
    ROWS_AT,
    SENT,
    SIZE,
    STARTED,
    STATE,
    STATES,
    SUBMITTED,
    WORKER_STATES,
)


class PoolPage:
    """The page of one pool."""

    def __init__(self, end: PipeEnd, name: str) -> None:
        """Map the page and seal it.

        Args:
            end: Its file.
            name: Of the pool.

        Raises:
            OSError: It cannot be mapped.
        """
        self._memory = Memory(SIZE, end.fileno())
        seal(end.fileno())
        end.close()
        self._words, self._bytes = self._memory.words, self._memory.bytes
        self._rows: dict[PoolWorker, int] = {}  # the first word of each
        self._steps = 0
        put_text(self._bytes, POOL_NAME, POOL_NAME_SIZE, name)
        words = self._words
        words[LAYOUT], words[PARENT], words[STARTED] = VERSION, os.getpid(), time.time_ns()
        words[KIND] = POOL

    def count(self, pool: Pool) -> None:
        """Write the counts, at the end of a step."""
        self._steps = steps = self._steps + 1
        state = 4 if pool.broken else 2 if pool.closing else 1
        early = pool.tally.early
        COUNTS.pack_into(
            self._bytes, COUNTS_AT, steps, *pool.counts(), early, pool.size, state, steps
        )

    def went(self, work_id: int) -> None:
        """Note that a work went to a worker which is the only one of the pool."""
        self._words[SUBMITTED] = work_id
        self._words[IN_FLIGHT] = 1

    def came(self) -> None:
        """Note that it is done."""
        self._words[IN_FLIGHT] = 0

    def sent(self, worker: PoolWorker) -> None:
        """Note how many works a worker was sent."""
        row = self._rows.get(worker)
        if row is not None:
            words, seqs = self._words, worker.seqs
            words[row + SENT] = seqs[COROUTINE]
            words[row + SENT + 1] = seqs[PLAIN]

    def show(self, workers: Iterable[PoolWorker]) -> None:
        """Write the rows of all workers there are."""
        there = dict.fromkeys(workers)
        for worker in [worker for worker in self._rows if worker not in there]:
            self._words[self._rows.pop(worker) + 1] = 0
        taken = set(self._rows.values())
        for worker in there:
            row = self._rows.get(worker) or self._free_row(taken)
            if row:
                self._write(worker, row)

    def _free_row(self, taken: set[int]) -> int:
        """Return the first word of a row that is empty; 0 if there is none."""
        for number in range(MOST_ROWS):
            row = (ROWS_AT + ROW.size * number) // 8
            if row not in taken:
                taken.add(row)
                return row
        return 0

    def _write(self, worker: PoolWorker, row: int) -> None:
        self._rows[worker] = row
        state = WORKER_STATES.index(worker.state.value)
        values = worker.index, worker.id, worker.pid or 0, state, int(worker.born * 1e9)
        ROW.pack_into(self._bytes, 8 * row, *values, *worker.seqs, 0)
        number = (8 * row - ROWS_AT) // ROW.size + 1
        self._words[ROWS] = max(self._words[ROWS], number)

    def close(self) -> None:
        """Say that the pool is closed, and free the page."""
        if self._words[STATE] != STATES.index("broken"):
            self._words[STATE] = STATES.index("closed")
        for row in self._rows.values():
            self._words[row + 1] = 0
        self.abandon()

    def abandon(self) -> None:
        """Free the page of this process; say nothing."""
        self._memory.close()


def make_page(name: str) -> PoolPage | None:
    """Return the page of a pool; None if nobody is to see one, or there can be none."""
    if not is_shown():
        return None
    try:
        end = make_page_file(SIZE)
    except OSError:  # too many open files: it is nothing that works need
        return None
    try:
        return PoolPage(end, name)
    except OSError:
        end.close()
        return None
