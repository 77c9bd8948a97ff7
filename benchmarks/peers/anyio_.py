"""anyio: `to_process.run_sync`, plain functions only."""

from collections.abc import Awaitable
from typing import Any

import anyio
import anyio.to_process

from peers.base import AwaitingPeer, Work


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        self.limiter = anyio.CapacityLimiter(self.workers)
        # Its workers end with the task that first asks for one: let it be the main task.
        await anyio.to_process.run_sync(int, limiter=self.limiter)

    async def aclose(self) -> None:
        pass

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        return anyio.to_process.run_sync(work, value, limiter=self.limiter)
