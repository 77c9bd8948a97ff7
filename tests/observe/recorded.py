"""Recordings that tests look at: of pools of processes, in which much has happened."""

from __future__ import annotations

import functools
from pathlib import Path

import aplex
from aplex import ProcessAsyncPoolExecutor, Recording
from tests.support import works
from tests.support.callers import DEADLINE

WORKS = 47


@functools.cache
def eventful(path: Path) -> Recording:
    """Record functions, coroutines, failures, a retry and two deaths, in two slots."""
    with ProcessAsyncPoolExecutor(2) as pool:
        pool.start()
        with pool.record(messages=True) as run:
            futures = [pool.submit(works.add, number) for number in range(20)]
            futures += [pool.submit(works.aspan, 0.001 * number) for number in range(20)]
            futures += [pool.submit(works.fail, ValueError(f"bad {i}")) for i in range(3)]
            futures += [pool.submit(works.aadd, number) for number in range(3)]
            for future in futures:
                future.exception(DEADLINE)
            run.mark("deaths")
            dying = pool.options(retries=1).submit(works.die, "SIGKILL")
            assert isinstance(dying.exception(DEADLINE), aplex.WorkerLostError)
    run.save(path)
    return aplex.read(path)
