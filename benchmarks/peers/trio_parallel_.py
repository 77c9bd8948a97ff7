"""trio-parallel: plain functions only, awaited from Trio instead of asyncio."""

import time
from collections.abc import Sequence
from typing import Any

import trio
import trio_parallel

from peers.base import Call, Peer, Work


class Awaited(Peer):
    def open(self) -> None:
        self.limiter = trio.CapacityLimiter(self.workers)

    def close(self) -> None:
        pass

    async def call(self, work: Work, value: Any) -> Any:
        return await trio_parallel.run_sync(work, value, limiter=self.limiter)

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        results: list[Any] = [None] * len(calls)

        async def keep(place: int, work: Work, value: Any) -> None:
            results[place] = await self.call(work, value)

        async def submit_all() -> None:
            async with trio.open_nursery() as nursery:
                for place, (work, value) in enumerate(calls):
                    nursery.start_soon(keep, place, work, value)

        trio.run(submit_all)
        return results

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        async def time_each() -> list[float]:
            times = []
            for work, value in calls:
                before = time.perf_counter()
                await self.call(work, value)
                times.append(time.perf_counter() - before)
            return times

        return trio.run(time_each)
