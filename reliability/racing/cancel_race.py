"""The race of cancels against works that start and end."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor
from reliability.load import journal
from reliability.load.cancels import Trial, run_awaited, run_blocking
from reliability.load.capacity import idles, places, wait_for_workers
from reliability.load.journal import BEGAN, CANCELLED, ENDED, Note
from reliability.report.figures import Report

WORKERS: Final = 2
EACH: Final = 100
"""Works that a worker may have in flight."""


def race(works: int, rng: random.Random) -> Report:
    """Cancel each work at a random moment, from none to twice its duration."""
    report = Report(f"Cancels: {works:,} works, half of them awaited, half of them functions")
    for awaited in False, True:
        trials = [Trial(n, rng.random() < 0.5, awaited) for n in range(works // 2)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "journal")
            running = _awaited if awaited else _blocking
            idle, capacity = running(trials, rng, path)
            _judge(report, trials, journal.read(path), "awaited" if awaited else "blocking")
        report.exactly("idle at the end", idle, wanted=True)
        report.exactly("works that run at a time then", capacity, WORKERS * EACH)
    return report


def _pool(path: Path, **options: Any) -> Any:
    return ProcessAsyncPoolExecutor(
        pool_size=WORKERS,
        max_works_per_worker=EACH,
        initializer=journal.open_journal,
        initargs=(str(path),),
        **options,
    )


def _blocking(trials: list[Trial], rng: random.Random, path: Path) -> tuple[bool, int]:
    with _pool(path) as pool:
        wait_for_workers(pool.submit, WORKERS)
        run_blocking(pool, trials, rng)
        return idles(pool), places(pool.submit, WORKERS, EACH)


def _awaited(trials: list[Trial], rng: random.Random, path: Path) -> tuple[bool, int]:
    async def main() -> tuple[bool, int]:
        async with _pool(path, awaitable=True) as pool:
            loop = asyncio.get_running_loop()

            def submit(*call: Any) -> None:
                loop.call_soon_threadsafe(lambda: pool.submit(*call))

            await asyncio.to_thread(wait_for_workers, submit, WORKERS)
            await run_awaited(pool, trials, rng)
            idle = await asyncio.to_thread(idles, pool)
            return idle, await asyncio.to_thread(places, submit, WORKERS, EACH)

    return asyncio.run(main())


def _judge(report: Report, trials: list[Trial], notes: dict[int, list[Note]], face: str) -> None:
    kinds = Counter((trial.outcome, _moment(trial, notes.get(trial.work, []))) for trial in trials)
    told = ", ".join(f"{n:,} {outcome}{moment}" for (outcome, moment), n in kinds.most_common())
    report.tell(f"works, {face}", told)
    faults = [(_fault(trial, notes.get(trial.work, [])), trial) for trial in trials]
    wrong = [f"{fault}: {trial} {notes.get(trial.work)}" for fault, trial in faults if fault]
    report.none_of("wrong final states", wrong)


def _moment(trial: Trial, notes: list[Note]) -> str:
    if trial.outcome != "cancelled":
        return ""
    return " while it ran" if notes else " before it began"


def _fault(trial: Trial, notes: list[Note]) -> str:
    events = [note.event for note in notes]
    if trial.deliveries != 1:
        return f"delivered {trial.deliveries} times"
    if trial.never_after is not None and any(note.when > trial.never_after for note in notes):
        return "ran after it was seen cancelled"
    if trial.outcome == "cancelled":
        return _fault_of_cancelled(trial, events)
    if trial.outcome != "right":
        return "no right result"
    if events != [BEGAN, ENDED]:
        return "a result, but it did not run once"
    if trial.awaited and trial.returned:
        return "cancel() returned True, yet it has a result"
    return ""


def _fault_of_cancelled(trial: Trial, events: list[int]) -> str:
    if not trial.returned:
        return "cancelled by nobody"
    if trial.plain:  # interrupted while it ran, just before it returned at the latest
        allowed = [[], [BEGAN], [BEGAN, ENDED]]
    elif trial.awaited:  # it may have ended before the cancel came
        allowed = [[], [BEGAN, ENDED], [BEGAN, CANCELLED]]
    else:
        allowed = [[], [BEGAN, CANCELLED]]
    return "" if events in allowed else "cancelled, but it did something else"
