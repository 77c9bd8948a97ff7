#!/usr/bin/env python3
"""Fetch many URLs with aiohttp coroutines in a pool of processes.

    python examples/fetch_urls.py urls.txt      # a file with one URL a line
    python examples/fetch_urls.py               # no file: from a server of its own

It needs `pip install "aplex[examples]"`. The server of its own listens on this
machine only and serves the sources of Python's standard library.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
from tqdm import tqdm

from aplex import ProcessAsyncPoolExecutor
from local_server import local_server


class Reply(NamedTuple):
    status: str
    size: int  # bytes
    worker: int  # process id


# --- in the workers ----------------------------------------------------------------------


async def keep_session() -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Hold a session open. A worker that ends closes its async generators, so the session too."""
    connector = aiohttp.TCPConnector(limit=0)  # the pool limits what is in flight
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


class Worker:
    """What each worker keeps for itself."""

    keeper: AsyncGenerator[aiohttp.ClientSession, None] | None = None
    session: aiohttp.ClientSession


async def get_session() -> aiohttp.ClientSession:
    """Return the session of this worker; its first work makes it."""
    if Worker.keeper is None:
        Worker.keeper = keep_session()
        Worker.session = await anext(Worker.keeper)  # goes through without waiting
    return Worker.session


async def fetch(url: str) -> Reply:
    try:
        session = await get_session()
        async with session.get(url) as response:
            body = await response.read()
            return Reply(str(response.status), len(body), os.getpid())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Reply(type(error).__name__, 0, os.getpid())


# --- the program -------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fetch many URLs in a pool of processes.")
    parser.add_argument("file", nargs="?", type=Path, help="URLs, one a line")
    parser.add_argument("--count", type=int, default=3000, help="URLs without a file (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes (one for each CPU)")
    parser.add_argument("--in-flight", type=int, default=100, help="per worker (%(default)s)")
    parser.add_argument("--uvloop", action="store_true", help="faster event loops in the workers")
    return parser.parse_args()


@contextlib.contextmanager
def find_urls(arguments: argparse.Namespace) -> Iterator[list[str]]:
    if arguments.file:
        lines = (line.strip() for line in arguments.file.read_text().splitlines())
        yield [line for line in lines if line and not line.startswith("#")]
        return
    folder = Path(sysconfig.get_path("stdlib"))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.py"))
    with local_server(folder, probe=names[0]) as address:
        chosen = itertools.islice(itertools.cycle(names), arguments.count)
        yield [f"{address}/{name}" for name in chosen]


def loop_factory(*, use_uvloop: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not use_uvloop:
        return None
    import uvloop

    return uvloop.new_event_loop


def summary(replies: list[Reply], seconds: float) -> Iterable[str]:
    megabytes = sum(reply.size for reply in replies) / 1e6
    rate = len(replies) / seconds
    yield (
        f"{len(replies):,} requests in {seconds:.2f} s: {rate:,.0f} requests/s, {megabytes:.1f} MB"
    )
    for status, count in Counter(reply.status for reply in replies).most_common():
        yield f"  status {status}: {count:,}"
    for worker, count in sorted(Counter(reply.worker for reply in replies).items()):
        yield f"  worker {worker}: {count:,} ({count / len(replies):.0%})"


def main() -> None:
    arguments = parse()
    replies: list[Reply] = []
    with find_urls(arguments) as urls:
        print(f"Fetching {len(urls):,} URLs …", flush=True)
        before = time.perf_counter()
        try:
            with ProcessAsyncPoolExecutor(
                pool_size=arguments.workers,
                max_works_per_worker=arguments.in_flight,
                worker_loop_factory=loop_factory(use_uvloop=arguments.uvloop),
            ) as pool:
                # Without a terminal tqdm shows no progress bar.
                found = tqdm(pool.map(fetch, urls), total=len(urls), unit=" URLs", disable=None)
                replies.extend(found)
        finally:
            if replies:
                print(*summary(replies, time.perf_counter() - before), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
