"""distex: asyncio-native; a worker awaits its coroutines one after another."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Sequence
from typing import Any

import distex
from distex.serializer import PickleType

from peers.base import AwaitingPeer, Work


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        asyncio.set_event_loop(asyncio.get_running_loop())  # it asks the policy for it
        self.pool = distex.Pool(
            self.workers,
            qsize=self.settings.get("qsize", 2),
            worker_loop=distex.LoopType.uvloop if self.uvloop else distex.LoopType.asyncio,
            func_pickle=PickleType.pickle,
        )
        await self.pool.create()

    async def aclose(self) -> None:
        await self.pool.shutdown_async()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        awaitable: Awaitable[Any] = self.pool.run_async(work, value)
        return awaitable

    def amap(self, work: Work, items: Sequence[Any], chunksize: int) -> AsyncIterable[Any]:
        results: AsyncIterable[Any] = self.pool.map_async(work, items, chunksize=chunksize)
        return results
