"""Dask: a LocalCluster of one-threaded workers, blocking and awaited."""

from collections.abc import Awaitable
from typing import Any

import distributed

from peers.base import AwaitingPeer, BlockingPeer, Work

OPTIONS: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None}


class Blocking(BlockingPeer):
    def open(self) -> None:
        self.cluster = distributed.LocalCluster(n_workers=self.workers, **OPTIONS)
        self.client = distributed.Client(self.cluster)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()

    def submit(self, work: Work, value: Any) -> Any:
        return self.client.submit(work, value, pure=False)


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        cluster = distributed.LocalCluster(n_workers=self.workers, asynchronous=True, **OPTIONS)
        self.cluster = await cluster
        self.client = await distributed.Client(self.cluster, asynchronous=True)

    async def aclose(self) -> None:
        await self.client.close()
        await self.cluster.close()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        future: Awaitable[Any] = self.client.submit(work, value, pure=False)
        return future
