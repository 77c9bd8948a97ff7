"""Many works through one pool, and whether memory grows by them."""

from __future__ import annotations

import os
import sys
import time
from array import array
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor
from reliability.load import works
from reliability.report.figures import Report
from reliability.system.belongings import belongings, names, new_names
from reliability.system.memory import resident, slope
from reliability.system.processes import workers

BATCH: Final = 1_000
WARM_UP: Final = 0.2
"""Works that are run before, as a part of those that are measured."""
OBJECTS: Final = 20.0
"""Objects of which there may be more after each thousand works: less than one in 50 works."""
BIG: Final = 300_000  # bytes, enough to travel through shared memory


def run(works: int, growth: float) -> Report:
    """Run so many works; memory may grow by that many bytes for each thousand."""
    report = Report(f"{works:,} works through one pool of 2 workers")
    named = names()
    with ProcessAsyncPoolExecutor(pool_size=2) as pool:
        # Until memory has grown to what such works need, that which is shared, too.
        _have_all_answer(pool, 2)
        for _ in range(int(WARM_UP * works) // BATCH):
            _run_batch(pool)
        before = belongings()
        samples = Samples(works // BATCH)
        began = time.monotonic()
        for batch in range(works // BATCH):
            _run_batch(pool)
            samples.take(batch)
        seconds = time.monotonic() - began
        after = belongings()
    for what, count in before.items():
        report.exactly(what, after[what], count)
    report.none_of("new names in /dev/shm", new_names(named))
    report.at_most("bytes for each 1,000 works, parent", slope(samples.parent), growth)
    report.at_most("bytes for each 1,000 works, both workers", slope(samples.workers), growth)
    report.at_most("objects for each 1,000 works, parent", slope(samples.objects), OBJECTS)
    report.tell("KiB from begin to end, parent", (samples.parent[-1] - samples.parent[0]) / 1024)
    report.tell("works per second", works / seconds)
    return report


class Samples:
    """Sizes, one after each batch. Their memory is there from the start: they do not grow."""

    def __init__(self, count: int) -> None:
        self.parent, self.workers, self.objects = (
            array("d", bytes(8 * count)) for _ in range(3)
        )  # fmt: skip

    def take(self, batch: int) -> None:
        """Look how much is in use now."""
        self.parent[batch] = resident(["self"])
        self.workers[batch] = resident(workers(os.getpid()))
        self.objects[batch] = sys.getallocatedblocks()


def _have_all_answer(pool: Any, size: int) -> None:
    """Have a big result of each worker; one that never answers is shown by the time limit."""
    seen: set[int] = set()
    while len(seen) < size:
        bigs = [pool.submit(works.pid_and, bytes(BIG)) for _ in range(size)]
        seen |= {big.result()[0] for big in bigs}


def _run_batch(pool: Any) -> None:
    """Run functions and coroutines; some fail, some are cancelled, one has a big result."""
    futures = [
        pool.submit(works.aecho if number % 2 else works.echo, (number, "text"))
        for number in range(BATCH - 21)
    ]
    for future in [pool.submit(works.aecho, number) for number in range(10)]:
        future.cancel()
    failing = [pool.submit(works.fail, number) for number in range(10)]
    big = pool.submit(works.echo, bytes(BIG))
    for number, future in enumerate(futures):
        assert future.result() == (number, "text")
    for future in failing:
        assert isinstance(future.exception(), LookupError)
    assert big.result() == bytes(BIG)
