"""Chaos: mixed works in workers that are killed at random. Nothing lost, nothing done twice.

Functions and coroutines, with and without retries, some with big results, some cancelled, while
each worker lives two seconds on average: then it gets SIGKILL or SIGSEGV, or is stopped for up
to a second. A journal that the works write says what really ran. Before it, the same without
blows, to compare with.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aplex import ProcessAsyncPoolExecutor
from reliability.load import journal, works
from reliability.load.killer import Killer
from reliability.load.submitter import Complaints, Load
from reliability.load.verdict import judge
from reliability.report import command
from reliability.report.figures import Report
from reliability.system.processes import workers


@dataclass(frozen=True)
class Form:
    """How large a run is."""

    works: int
    seconds: float  # for which works are submitted, at most
    workers: int
    window: int  # works under way at a time
    calm_works: int
    limit: float  # seconds
    life: float = 2.0  # mean, of a worker, in seconds


FORMS = {
    "long": Form(100_000, float("inf"), workers=8, window=2_000, calm_works=100_000, limit=1_800),
    "minute": Form(100_000, 60.0, workers=8, window=2_000, calm_works=10_000, limit=240),
    "short": Form(100_000, 5.0, workers=4, window=300, calm_works=1_000, limit=60),
}


def chaos(form: Form, rng: random.Random) -> Report:
    """Run the works calmly, then in chaos."""
    report = Report(f"Chaos: {form.workers} workers with a mean life of {form.life:g} s")
    calm = _run(report, form, rng, None)
    struck = _run(report, form, rng, Killer(form.life, rng))
    report.tell("works per second, calm", calm)
    report.tell("works per second, in chaos", struck)
    report.tell("… of the calm ones", f"{struck / calm:.0%}")
    return report


def _run(report: Report, form: Form, rng: random.Random, killer: Killer | None) -> float:
    """Run the works; return how many a second ended."""
    name = "in chaos" if killer else "calm"
    complaints = Complaints()
    with tempfile.TemporaryDirectory() as folder, complaints:
        path = Path(folder, "journal")
        with _pool(form, path) as pool:
            _wait_for_all(pool, form.workers)
            load = Load(pool, rng, form.window)
            began = time.monotonic()
            with killer or contextlib.nullcontext():
                load.submit(form.works if killer else form.calm_works, form.seconds)
            load.drain()
            seconds = time.monotonic() - began
            _wait_for_all(pool, form.workers)
        if killer is not None:
            report.tell("blows", ", ".join(f"{n} {k}" for k, n in killer.struck.items()))
        judge(report, load.fates, journal.read(path), name)
    report.none_of(f"complaints in the log, {name}", complaints.messages)
    report.none_of(f"workers left, {name}", [str(pid) for pid in workers(os.getpid())])
    return len(load.fates) / seconds


def _pool(form: Form, path: Path) -> ProcessAsyncPoolExecutor[Any]:
    return ProcessAsyncPoolExecutor(
        pool_size=form.workers,
        initializer=journal.open_journal,
        initargs=(str(path),),
        max_restarts=1_000,  # being killed again and again before serving is no end here
    )


def _wait_for_all(pool: ProcessAsyncPoolExecutor[Any], size: int) -> None:
    """Wait until every worker serves; one that never does is shown by the time limit."""
    seen: set[int] = set()
    while len(seen) < size:
        seen |= {future.result() for future in [pool.submit(works.pid) for _ in range(size)]}


if __name__ == "__main__":
    command.run(__doc__ or "", FORMS, {"chaos": chaos})
