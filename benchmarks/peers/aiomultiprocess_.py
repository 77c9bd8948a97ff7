"""aiomultiprocess: the one known peer made for coroutines in worker processes."""

from collections.abc import Awaitable, Sequence
from typing import Any

import aiomultiprocess

from peers.base import AwaitingPeer, Work


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        options = {name: value for name, value in self.settings.items() if name != "mp_context"}
        aiomultiprocess.set_start_method(self.settings.get("mp_context", "spawn"))
        loop_factory = self.loop_factory if self.uvloop else None
        self.pool = aiomultiprocess.Pool(self.workers, loop_initializer=loop_factory, **options)

    async def aclose(self) -> None:
        self.pool.close()
        await self.pool.join()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        awaitable: Awaitable[Any] = self.pool.apply(work, (value,))
        return awaitable

    def map(self, work: Work, items: Sequence[Any], chunksize: int) -> list[Any]:  # noqa: ARG002
        """It has no chunks."""

        async def map_all() -> list[Any]:
            # Awaited as a whole it is much faster than with `async for`.
            return list(await self.pool.map(work, items))

        results: list[Any] = self.run(map_all())
        return results
