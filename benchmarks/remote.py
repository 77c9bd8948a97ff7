"""Remote workers on this machine beside those of processes, or those with TLS beside those without.

    python3 benchmarks/remote.py --rounds 5
    python3 benchmarks/remote.py --rounds 5 --tls

Rounds in turns, medians. Run it with a Python that has aplex installed; nothing else should run.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aplex import ProcessAsyncPoolExecutor, RemoteAsyncPoolExecutor
from aplex._wire import orders
from aplex.remote import TLS

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


def encrypted(tls: TLS) -> Pool:
    return RemoteAsyncPoolExecutor(COMMAND, 2, awaitable=True, tls=tls)


def certified(folder: Path) -> TLS:
    """Make a certificate that vouches for itself, by the program ``openssl``."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=aplex"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return TLS(certificate, key, certificate)


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
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.tls:
            tls = certified(Path(folder))
            ways = {"remote": remote, "TLS": lambda: encrypted(tls)}
        else:
            ways = {"process": process, "remote": remote, "as if elsewhere": elsewhere}
        compare(ways, options.rounds)


def compare(ways: dict[str, Callable[[], Pool]], rounds: int) -> None:
    """Run all in turns, and print a table; the second one is compared with the first."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, make in ways.items():
            found[name].append(asyncio.run(run(make)))
    one, other, *_ = ways
    names = " | ".join(ways)
    print(f"| | {names} | {other} / {one} |\n|---{'|---' * (len(ways) + 1)}|")
    for row in found[one][0]:
        figures = [statistics.median(rows[row] for rows in found[name]) for name in ways]
        cells = " | ".join(f"{figure:,.4g}" for figure in figures)
        print(f"| {row} | {cells} | {figures[1] / figures[0]:.2f} |")


if __name__ == "__main__":
    main()
