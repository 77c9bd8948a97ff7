"""Ray: tasks for plain functions, async actors (in turn) for coroutines."""

import inspect
import itertools
from collections.abc import Awaitable
from typing import Any

import ray

from peers.base import AwaitingPeer, BlockingPeer, Peer, Work


def start_ray(peer: Peer) -> None:
    ray.init(num_cpus=peer.workers, include_dashboard=False, log_to_driver=False)


class Actor:
    async def run(self, work: Work, value: Any) -> Any:
        return await work(value)


class Blocking(BlockingPeer):
    def open(self) -> None:
        start_ray(self)
        self.remotes: dict[Work, Any] = {}

    def close(self) -> None:
        ray.shutdown()

    def submit(self, work: Work, value: Any) -> Any:
        if work not in self.remotes:
            self.remotes[work] = ray.remote(work)
        return self.remotes[work].remote(value)

    def result(self, handle: Any) -> Any:
        return ray.get(handle)


class Awaited(AwaitingPeer):
    async def aopen(self) -> None:
        start_ray(self)
        actor = ray.remote(max_concurrency=1000, num_cpus=1)(Actor)
        self.actors = itertools.cycle([actor.remote() for _ in range(self.workers)])
        self.remotes: dict[Work, Any] = {}

    async def aclose(self) -> None:
        ray.shutdown()

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        if inspect.iscoroutinefunction(work):
            reference: Awaitable[Any] = next(self.actors).run.remote(work, value)
            return reference
        if work not in self.remotes:
            self.remotes[work] = ray.remote(work)
        task: Awaitable[Any] = self.remotes[work].remote(value)
        return task
