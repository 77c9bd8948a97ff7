"""Remote workers on this machine beside those of processes.

    python3 benchmarks/remote.py --rounds 5

Rounds in turns, medians. Run it with a Python that has aplex installed; nothing else should run.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from aplex import ProcessAsyncPoolExecutor, RemoteAsyncPoolExecutor
from aplex._wire import orders

COMMAND = [sys.executable, "-m", "aplex.worker"]
MEBIBYTE = 2**20
Pool = ProcessAsyncPoolExecutor[Literal[True]] | RemoteAsyncPoolExecutor[Literal[True]]


async def echo(x: Any) -> Any:
    return x


async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


def plain(x: int) -> int:
    return x


def process() -> Pool:
    return ProcessAsyncPoolExecutor(2, awaitable=True)


def remote() -> Pool:
    return RemoteAsyncPoolExecutor(COMMAND, 2, awaitable=True)


def elsewhere() -> Pool:
    """A pool that does not know that its workers are on its own machine."""
    known, orders.boot_of_this_machine = orders.boot_of_this_machine, lambda: "another one"
    try:
        return remote()
    finally:
        orders.boot_of_this_machine = known


async def rate(pool: Pool, work: Callable[..., Any], count: int) -> float:
    """Awaited works per second, in gathers of 1000."""
    began = time.perf_counter()
    for _ in range(count // 1000):
        await asyncio.gather(*[pool.submit(work, x) for x in range(1000)])
    return count / (time.perf_counter() - began)


async def latency(pool: Pool, count: int) -> float:
    """The median of one work after another, in microseconds."""
    took = []
    for x in range(count):
        began = time.perf_counter()
        await pool.submit(echo, x)
        took.append(time.perf_counter() - began)
    return 1e6 * statistics.median(took)


async def naps(pool: Pool) -> float:
    """Seconds for 10,000 sleeps of 50 ms, 500 in flight."""
    gate = asyncio.Semaphore(500)

    async def one() -> None:
        async with gate:
            await pool.submit(nap, 0.05)

    began = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(10_000)])
    return time.perf_counter() - began


async def big(pool: Pool, data: Any) -> float:
    """Milliseconds for 64 MiB there and back: the median of five, of which the first is cold."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await pool.submit(echo, data)
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)


async def run(make: Callable[[], Pool]) -> dict[str, float]:
    began = time.perf_counter()
    async with make() as pool:
        await pool.submit(echo, 0)
        first = 1e3 * (time.perf_counter() - began)
        await pool.start()
        await rate(pool, echo, 2000)
        return {
            "first result (ms)": first,
            "awaited coroutines/s": await rate(pool, echo, 30_000),
            "awaited functions/s": await rate(pool, plain, 30_000),
            "one at a time (us)": await latency(pool, 2000),
            "10,000 sleeps of 50 ms (s)": await naps(pool),
            "64 MiB of bytes there and back (ms)": await big(pool, bytes(64 * MEBIBYTE)),
            "64 MiB array there and back (ms)": await big(pool, np.zeros(8 * MEBIBYTE)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[Callable[[], Pool], list[dict[str, float]]]
    found = {process: [], remote: [], elsewhere: []}
    for _ in range(options.rounds):
        for make, rows in found.items():
            rows.append(asyncio.run(run(make)))
    print("| | process | remote | remote / process | as if elsewhere |\n|---|---|---|---|---|")
    for name in found[process][0]:
        one, other, far = (statistics.median(row[name] for row in rows) for rows in found.values())
        print(f"| {name} | {one:,.4g} | {other:,.4g} | {other / one:.2f} | {far:,.4g} |")


if __name__ == "__main__":
    main()
