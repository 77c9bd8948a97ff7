#!/usr/bin/env python3
"""One aiohttp session per worker against one per request, measured.

    python examples/session_per_worker.py --count 2000

A session keeps connections open: with one per worker a request needs no new connection. It needs
`pip install "aplex[examples]"`, and fetches from a server of its own, on this machine only.
"""

import argparse
import asyncio
import contextlib
import sysconfig
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from aplex import ProcessAsyncPoolExecutor, current_worker
from local_server import local_server


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session when the worker starts, close it when the worker ends."""
    async with aiohttp.ClientSession() as session:
        yield session


async def fetch_with_workers_session(url: str) -> int:
    async with current_worker().state.get(url) as response:
        return len(await response.read())


async def fetch_with_own_session(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return len(await response.read())


async def measure(
    fetch: Callable[[str], Any], lifespan: Callable[[], Any] | None, workers: int, urls: list[str]
) -> float:
    """Return the requests per second."""
    make = partial(ProcessAsyncPoolExecutor, workers, awaitable=True, max_works_per_worker=50)
    async with make(lifespan=lifespan) as pool:
        await pool.start()
        before = time.perf_counter()
        sizes = [size async for size in pool.map(fetch, urls)]
        seconds = time.perf_counter() - before
    assert all(sizes)
    return len(urls) / seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description="One session per worker, or one per request.")
    parser.add_argument("--count", type=int, default=2000, help="requests (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    arguments = parser.parse_args()
    folder = Path(sysconfig.get_path("stdlib"))
    with local_server(folder, probe="this.py") as address:
        urls = [f"{address}/this.py"] * arguments.count
        own = await measure(fetch_with_own_session, None, arguments.workers, urls)
        print(f"a session per request: {own:8,.0f} requests/s")
        kept = await measure(fetch_with_workers_session, session, arguments.workers, urls)
        print(f"a session per worker:  {kept:8,.0f} requests/s, {kept / own:.1f} times as many")


if __name__ == "__main__":
    asyncio.run(main())
