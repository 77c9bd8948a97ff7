"""aplex: processes and threads, blocking and awaited."""

from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from typing import Any

import aplex
from peers.base import AwaitingPeer, BlockingPeer, ChunkSize, Peer, Work


def make_pool(peer: Peer, *, threads: bool, awaitable: bool) -> Any:
    kind = aplex.ThreadAsyncPoolExecutor if threads else aplex.ProcessAsyncPoolExecutor
    options: dict[str, Any] = dict(peer.settings)
    if peer.uvloop:
        options["worker_loop_factory"] = peer.loop_factory
    return kind(pool_size=peer.workers, awaitable=awaitable, **options)


class Blocking(BlockingPeer):
    threads = False

    def open(self) -> None:
        self.pool = make_pool(self, threads=self.threads, awaitable=False)

    def close(self) -> None:
        self.pool.shutdown()

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.submit(work, value)

    def imap(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(work, items, chunksize=chunksize)
        return results


class Awaited(AwaitingPeer):
    threads = False

    async def aopen(self) -> None:
        self.pool = make_pool(self, threads=self.threads, awaitable=True)
        await self.pool.__aenter__()

    async def aclose(self) -> None:
        await self.pool.__aexit__(None, None, None)

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        future: Awaitable[Any] = self.pool.submit(work, value)
        return future

    def amap(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> AsyncIterable[Any]:
        results: AsyncIterable[Any] = self.pool.map(work, items, chunksize=chunksize)
        return results


class BlockingThreads(Blocking):
    threads = True


class AwaitedThreads(Awaited):
    threads = True
