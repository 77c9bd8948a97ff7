"""Works that kill each other's workers."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, WorkerLostError
from reliability.load import journal, works
from reliability.load.capacity import wait_for_workers
from reliability.load.journal import BEGAN
from reliability.report.figures import Report
from reliability.system.processes import workers

PATIENCE: Final = 30.0
"""Seconds after which a work, or a pool that is to serve again, is taken for hung."""
RETRIES: Final = 2


def kills(sizes: tuple[int, ...], rounds: int, rng: random.Random) -> Report:
    """Let all workers serve, and one work in each kill another worker; again and again."""
    report = Report(f"Mutual kills: {rounds} rounds of {', '.join(map(str, sizes))} workers")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "journal")
            _kill_each_other(report, size, rounds, rng, path)
        left = [str(pid) for pid in workers(os.getpid())]
        report.none_of(f"workers left, of {size}", left)
    return report


def _kill_each_other(
    report: Report, size: int, rounds: int, rng: random.Random, path: Path
) -> None:
    pool: Any = ProcessAsyncPoolExecutor(
        pool_size=size,
        initializer=journal.open_journal,
        initargs=(str(path),),
        max_restarts=1_000,  # to be killed again and again while starting is no end here
    )
    futures: list[tuple[int, Future[Any]]] = []  # with the retries they have
    slowest = 0.0
    with pool:
        for _ in range(rounds):
            wait_for_workers(pool.options(retries=RETRIES).submit, size)
            began = time.monotonic()
            retries = rng.choice((0, RETRIES))
            futures += [(retries, one) for one in _round(pool, size, retries, len(futures), rng)]
            wait([future for _, future in futures], PATIENCE)
            answer = pool.options(retries=RETRIES).submit(works.echo, size)
            assert answer.result(PATIENCE) == size
            slowest = max(slowest, time.monotonic() - began)
    _judge(report, size, futures, journal.read(path))
    report.tell(f"seconds of the slowest round, {size}", slowest)


def _round(pool: Any, size: int, retries: int, first: int, rng: random.Random) -> list[Future[Any]]:
    view = pool.options(retries=retries)
    kinds = [works.kill_another, works.akill_another]
    return [view.submit(rng.choice(kinds), first + number) for number in range(size)]


def _judge(
    report: Report,
    size: int,
    futures: list[tuple[int, Future[Any]]],
    notes: dict[int, list[journal.Note]],
) -> None:
    outcomes: Counter[str] = Counter()
    faults = []
    for work, (retries, future) in enumerate(futures):
        begins = sum(note.event == BEGAN for note in notes.get(work, []))
        outcome = _outcome(future)
        outcomes[outcome] += 1
        if outcome not in {"killed another", "lost"} or begins > 1 + retries:
            faults.append(f"{future} began {begins} times, retries {retries}")
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
    report.tell(f"works, {size} workers", told)
    report.none_of(f"unresolved, wrong or run too often, {size} workers", faults)


def _outcome(future: Future[Any]) -> str:
    if not future.done():
        return "unresolved"
    if future.exception() is None:
        return "killed another"
    return "lost" if isinstance(future.exception(), WorkerLostError) else "wrong"
