"""One plain asyncio program: no pool at all, the yardstick for coroutines."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

from peers.base import AwaitingPeer, Work


class Alone(AwaitingPeer):
    """Tasks of the caller's own loop."""

    async def aopen(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        return self.loop.create_task(work(value))


class OtherThread(AwaitingPeer):
    """`run_coroutine_threadsafe` on the loop of one other thread."""

    async def aopen(self) -> None:
        self.other = self.loop_factory()
        self.thread = threading.Thread(target=self.other.run_forever)
        self.thread.start()

    async def aclose(self) -> None:
        self.other.call_soon_threadsafe(self.other.stop)
        self.thread.join()
        self.other.close()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        future = asyncio.run_coroutine_threadsafe(work(value), self.other)
        return asyncio.wrap_future(future)
