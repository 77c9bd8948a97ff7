"""`concurrent.futures.ThreadPoolExecutor`, also awaited by `run_in_executor`."""

from collections.abc import Awaitable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from peers.base import AwaitingPeer, BlockingPeer, Work


class Blocking(BlockingPeer):
    def open(self) -> None:
        self.pool = ThreadPoolExecutor(self.workers)

    def close(self) -> None:
        self.pool.shutdown()

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.submit(work, value)

    def imap(self, work: Work, items: Sequence[Any], chunksize: int) -> Iterable[Any]:
        return self.pool.map(work, items, chunksize=chunksize)


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        self.pool = ThreadPoolExecutor(self.workers)

    async def aclose(self) -> None:
        self.pool.shutdown()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        return self.loop.run_in_executor(self.pool, work, value)
