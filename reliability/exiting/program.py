"""A short program that ends with pools in some state: ``exits`` runs it.

    python3 -m reliability.exiting.program STATE ENDING SECONDS

The engine is named by the environment variable ENGINE.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor, WorkerLostError
from reliability.load import works
from reliability.system.processes import strike

kept: list[Any] = []  # what lives until the very end

State = Callable[[float], None]
"""Makes pools, and takes so many seconds."""


def make(**options: Any) -> Any:
    options = {"pool_size": 2, "exit_grace": 0.2, **options}
    if os.environ["ENGINE"] == "thread":
        return ThreadAsyncPoolExecutor(**options)
    return ProcessAsyncPoolExecutor(mp_context=os.environ["ENGINE"], **options)


async def endless() -> None:
    await asyncio.Event().wait()


def unused(seconds: float) -> None:
    kept.append(make())
    time.sleep(seconds)


def starting(seconds: float) -> None:
    pool = make()
    kept.append(pool)
    pool.submit(works.echo, 1)
    time.sleep(seconds / 10)


def idle(seconds: float) -> None:
    pool = make()
    kept.append(pool)
    assert pool.submit(works.echo, 1).result() == 1
    assert pool.submit(works.aecho, 1).result() == 1
    time.sleep(seconds)


def functions(seconds: float) -> None:
    pool = make()
    kept.append(pool)
    kept.extend(pool.submit(time.sleep, seconds / 2) for _ in range(6))
    time.sleep(seconds)


def coroutines(seconds: float) -> None:
    pool = make(max_works_per_worker=3)
    kept.append(pool)
    kept.extend(pool.submit(asyncio.sleep, seconds) for _ in range(4))
    kept.extend(pool.submit(endless) for _ in range(4))
    time.sleep(seconds)


def mapping(seconds: float) -> None:
    pool = make()
    results = pool.map(works.echo, range(5_000))
    kept.extend((pool, results))
    end = time.monotonic() + seconds
    for value in results:
        if value and time.monotonic() > end:
            break


def unreferenced(seconds: float) -> None:
    pool = make()
    for _ in range(3):
        pool.submit(time.sleep, seconds / 2)
        pool.submit(asyncio.sleep, seconds / 2)
    del pool
    time.sleep(seconds)


def futures_only(seconds: float) -> None:
    kept.extend(make().submit(works.echo, n) for n in range(5))
    time.sleep(seconds)


def going(seconds: float) -> None:
    pool = make()
    kept.append(pool)
    for _ in range(3):
        pool.submit(time.sleep, seconds / 2)
    pool.shutdown(wait=False)
    time.sleep(seconds / 2)


def cancelled(seconds: float) -> None:
    pool = make()
    kept.append(pool)
    futures = [pool.submit(endless) for _ in range(20)]
    futures += [pool.submit(works.echo, n) for n in range(20)]
    time.sleep(seconds)
    for future in futures:
        future.cancel()


def awaited(seconds: float) -> None:
    async def main() -> None:
        pool = make(awaitable=True)
        kept.append(pool)
        futures = [pool.submit(works.aecho, n) for n in range(20)]
        pool.submit(endless)
        assert await futures[0] == 0
        await asyncio.sleep(seconds)

    asyncio.run(main())


def submitting(seconds: float) -> None:
    pool = make()
    kept.append(pool)

    def submit() -> None:
        while True:
            try:
                pool.submit(works.aecho, 1).result()
                pool.submit(works.echo, 1).result()
            except (RuntimeError, CancelledError):
                return  # the interpreter exits

    threading.Thread(target=submit, daemon=True).start()
    time.sleep(seconds)


def chained(seconds: float) -> None:
    """Make each work's end submit the next."""
    pool = make()
    kept.append(pool)

    def submit(_: Any) -> None:
        try:
            pool.submit(works.echo, 1).add_done_callback(submit)
        except RuntimeError:
            return  # the interpreter exits

    submit(None)
    time.sleep(seconds)


def bereft(seconds: float) -> None:
    pool = make()
    kept.append(pool)
    worker = pool.submit(works.pid).result()
    time.sleep(seconds)
    future = pool.submit(endless)
    if worker != os.getpid():
        strike(worker, signal.SIGKILL, os.getpid())
        try:
            pool.submit(works.echo, 1).result()
        except WorkerLostError:
            pass
    kept.append(future)


def several(seconds: float) -> None:
    idle(seconds / 2)
    functions(seconds / 2)


def block(seconds: float) -> None:
    """Leave a block, by whatever ends the program."""
    with make() as pool:
        pool.submit(asyncio.sleep, seconds)
        pool.submit(time.sleep, seconds)
        time.sleep(seconds / 2)
        ENDINGS[sys.argv[2]]()


def awaited_block(seconds: float) -> None:
    """Leave a block in a coroutine."""

    async def main() -> None:
        async with make(awaitable=True) as pool:
            pool.submit(asyncio.sleep, seconds)
            pool.submit(time.sleep, seconds)
            await asyncio.sleep(seconds / 2)
            ENDINGS[sys.argv[2]]()

    asyncio.run(main())


STATES: dict[str, State] = {
    state.__name__: state
    for state in (
        unused, starting, idle, functions, coroutines, mapping, unreferenced, futures_only,
        going, cancelled, awaited, submitting, chained, bereft, several, block, awaited_block,
    )
}  # fmt: skip


def come_to_the_end() -> None:
    pass


def leave() -> None:
    sys.exit(3)


def fail() -> None:
    raise LookupError("the end")


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


ENDINGS: dict[str, Callable[[], None]] = {
    ending.__name__: ending for ending in (come_to_the_end, leave, fail, interrupt)
}

if __name__ == "__main__":
    STATES[sys.argv[1]](float(sys.argv[3]))
    ENDINGS[sys.argv[2]]()
