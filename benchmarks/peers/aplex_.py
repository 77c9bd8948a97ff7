"""aplex: processes and threads, blocking and awaited."""

import time
from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from typing import Any

import aplex
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from peers.base import AwaitingPeer, BlockingPeer, ChunkSize, Peer, Work


def make_pool(peer: Peer, *, threads: bool, awaitable: bool) -> Any:
    kind: Any = ThreadAsyncPoolExecutor if threads else ProcessAsyncPoolExecutor
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

    def read_stream(self, work: Work, count: int, buffersize: int) -> list[Any]:
        return list(self.pool.options(buffersize=buffersize).stream(work, count))

    def first_of_stream(self, work: Work, count: int, buffersize: int) -> float:
        with self.pool.options(buffersize=buffersize).stream(work, count) as stream:
            next(stream)
            return time.perf_counter()


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

    def read_stream(self, work: Work, count: int, buffersize: int) -> list[Any]:
        async def read() -> list[Any]:
            view = self.pool.options(buffersize=buffersize)
            return [item async for item in view.stream(work, count)]

        items: list[Any] = self.run(read())
        return items

    def first_of_stream(self, work: Work, count: int, buffersize: int) -> float:
        async def read() -> float:
            async with self.pool.options(buffersize=buffersize).stream(work, count) as stream:
                await anext(stream)
                return time.perf_counter()

        when: float = self.run(read())
        return when


class BlockingThreads(Blocking):
    threads = True


class AwaitedThreads(Awaited):
    threads = True


class AwaitedInterpreters(Awaited):
    async def aopen(self) -> None:
        kind: Any = aplex.InterpreterAsyncPoolExecutor
        self.pool = kind(pool_size=self.workers, awaitable=True, **self.settings)
        await self.pool.__aenter__()
