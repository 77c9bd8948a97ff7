"""`concurrent.futures.ProcessPoolExecutor`, also awaited by `run_in_executor`."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from peers.base import AwaitingPeer, BlockingPeer, Peer, Work


def make_pool(peer: Peer) -> ProcessPoolExecutor:
    method = peer.settings.get("mp_context")
    if method == "template":  # what starts afresh here, too
        method = "spawn"
    return ProcessPoolExecutor(peer.workers, mp_context=get_context(method))


def run_coroutine(work: Work, value: Any) -> Any:
    """Run a coroutine function in a worker as its user would: a new loop each time."""
    return asyncio.run(work(value))


def run_chunk(work: Work, values: Sequence[Any]) -> list[Any]:
    """Run many coroutines in a worker on one new loop."""

    async def gather() -> list[Any]:
        return await asyncio.gather(*[work(value) for value in values])

    return asyncio.run(gather())


class Blocking(BlockingPeer):
    def open(self) -> None:
        self.pool = make_pool(self)

    def close(self) -> None:
        self.pool.shutdown()

    def submit(self, work: Work, value: Any) -> Any:
        if inspect.iscoroutinefunction(work):
            return self.pool.submit(run_coroutine, work, value)
        return self.pool.submit(work, value)

    def imap(self, work: Work, items: Sequence[Any], chunksize: int) -> Iterable[Any]:
        return self.pool.map(work, items, chunksize=chunksize)


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        self.pool = make_pool(self)

    async def aclose(self) -> None:
        self.pool.shutdown()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        if inspect.iscoroutinefunction(work):
            work = functools.partial(run_coroutine, work)
        return self.loop.run_in_executor(self.pool, work, value)

    async def amap(self, work: Work, items: Sequence[Any], chunksize: int) -> AsyncIterator[Any]:
        """Map coroutines, a chunk of them on each new loop."""
        chunks = [items[i : i + chunksize] for i in range(0, len(items), chunksize)]
        futures = [self.loop.run_in_executor(self.pool, run_chunk, work, chunk) for chunk in chunks]
        for future in futures:
            for result in await future:
                yield result
