"""Works on a Dask cluster: aplex beside Dask's own tasks, on the same cluster in the same run.

    python3 benchmarks/dask_engine.py --rounds 3

A scheduler and two Dask workers with a thread each are started on this machine. Rounds in turns,
medians. Run it with a Python that has aplex and distributed installed; nothing else should run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Client

from aplex import DaskAsyncPoolExecutor

MEBIBYTE = 2**20
Figures = dict[str, float]


def plain(x: Any) -> Any:
    return x


async def echo(x: Any) -> Any:
    return x


async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def own(address: str) -> Figures:
    async with DaskAsyncPoolExecutor(address, 2, awaitable=True) as pool:
        began = time.perf_counter()
        await pool.submit(echo, 0)
        first = time.perf_counter() - began
        await pool.start()
        await asyncio.gather(*[pool.submit(echo, x) for x in range(2000)])
        began = time.perf_counter()
        for _ in range(30):
            await asyncio.gather(*[pool.submit(echo, x) for x in range(1000)])
        rate = 30_000 / (time.perf_counter() - began)
        began = time.perf_counter()
        async for _ in pool.map(plain, range(30_000), chunksize=1):
            pass
        mapped = 30_000 / (time.perf_counter() - began)
        took = []
        for x in range(1000):
            began = time.perf_counter()
            await pool.submit(echo, x)
            took.append(time.perf_counter() - began)
        return {
            "submit, awaited works/s": rate,
            "map, works/s": mapped,
            "one at a time, p50 (us)": 1e6 * statistics.median(took),
            "10,000 sleeps of 50 ms (s)": await naps(pool),
            "64 MiB there and back (ms)": 1e3 * await big(pool),
            "first result (ms)": 1e3 * first,
        }


async def naps(pool: Any) -> float:
    """Seconds for 10,000 sleeps, 500 in flight."""
    gate = asyncio.Semaphore(500)

    async def one() -> None:
        async with gate:
            await pool.submit(nap, 0.05)

    began = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(10_000)])
    return time.perf_counter() - began


async def big(pool: Any) -> float:
    data, took = bytes(64 * MEBIBYTE), []
    for _ in range(3):
        began = time.perf_counter()
        await pool.submit(echo, data)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def native(address: str) -> Figures:
    with Client(address, set_as_default=False) as client:
        client.submit(plain, 0, pure=False).result()
        began = time.perf_counter()
        futures = [client.submit(plain, x, pure=False) for x in range(1000)]
        client.gather(futures)
        rate = 1000 / (time.perf_counter() - began)
        began = time.perf_counter()
        client.gather(client.map(plain, range(5000), pure=False))
        mapped = 5000 / (time.perf_counter() - began)
        took = []
        for x in range(100):
            began = time.perf_counter()
            client.submit(plain, x, pure=False).result()
            took.append(time.perf_counter() - began)
        data, carried = bytes(64 * MEBIBYTE), []
        for _ in range(3):
            began = time.perf_counter()
            scattered = client.scatter(data, direct=True, hash=False)
            client.submit(plain, scattered, pure=False).result()
            carried.append(time.perf_counter() - began)
        return {
            "submit, awaited works/s": rate,
            "map, works/s": mapped,
            "one at a time, p50 (us)": 1e6 * statistics.median(took),
            "64 MiB there and back (ms)": 1e3 * statistics.median(carried),
        }


def measured(address: str, rounds: int) -> tuple[list[Figures], list[Figures]]:
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(native(address))
        ours.append(asyncio.run(own(address)))
    return ours, theirs


def on_a_cluster(use: Callable[[str], Any]) -> Any:
    """Start a cluster, use it, end it."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "scheduler.json")
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        cli = [sys.executable, "-m"]
        common = ["--scheduler-file", file, "--no-dashboard"]
        scheduler = [*cli, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        worker = [*cli, "distributed.cli.dask_worker", "--nthreads", "1", "--memory-limit", "0"]
        programs = [
            subprocess.Popen([*command, *common], **quiet)  # type: ignore[call-overload]
            for command in (scheduler, worker, worker)
        ]
        try:
            while not os.path.exists(file):  # noqa: PTH110
                time.sleep(0.05)
            with Client(scheduler_file=file, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
                address = client.scheduler.address
            return use(address)
        finally:
            for program in reversed(programs):
                program.terminate()
                program.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ours, theirs = on_a_cluster(lambda address: measured(address, options.rounds))
    print("| | aplex | Dask | aplex / Dask |\n|---|---|---|---|")
    for name in ours[0]:
        one = statistics.median(row[name] for row in ours)
        if name not in theirs[0]:
            print(f"| {name} | {one:,.4g} | | |")
            continue
        other = statistics.median(row[name] for row in theirs)
        print(f"| {name} | {one:,.4g} | {other:,.4g} | {one / other:.3g} |")


if __name__ == "__main__":
    main()
