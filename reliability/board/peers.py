"""The libraries, each used as its own documentation shows, behind one small face.

Where a library lets its user choose how processes start, all start them in the same way.
Versions come from ``benchmarks/requirements``; what is imported here is imported late, since
each library has an environment of its own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

from tests.support.signals import Signals

from reliability.board import works

Work = Callable[..., Any]


class Peer(ABC):
    """A pool under test; a context manager, as all of them are."""

    title: ClassVar[str]
    environment: ClassVar[str]  # in benchmarks/requirements
    distribution: ClassVar[str | None] = None  # None: of the standard library
    Late: ClassVar[type[Exception]] = TimeoutError  # what waiting for a result ends with

    def __init__(
        self,
        workers: int = 2,
        method: str = "spawn",
        initializer: Work | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self.workers = workers
        self.method = method
        self.initializer = initializer
        self.initargs = initargs
        self.pool: Any = None

    @property
    def context(self) -> Any:
        return multiprocessing.get_context(self.method)

    @abstractmethod
    def make(self) -> Any:
        """Make the pool."""

    def __enter__(self) -> Self:
        self.pool = self.make()
        self.pool.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.pool.__exit__(*raised)

    def submit(self, work: Work, *args: Any) -> Any:
        return self.pool.submit(work, *args)

    def result(self, handle: Any, timeout: float) -> Any:
        return handle.result(timeout)

    def wait_for(self, signals: Signals, line: str) -> None:
        """Wait until a work has said this."""
        signals.expect(line)


class Aplex(Peer):
    title = "aplex"
    environment = "aplex"
    distribution = "aplex"

    def make(self) -> Any:
        import aplex

        return aplex.ProcessAsyncPoolExecutor(
            pool_size=self.workers,
            mp_context=self.method,
            initializer=self.initializer,
            initargs=self.initargs,
        )


class Futures(Peer):
    title = "ProcessPoolExecutor"
    environment = "stdlib"

    def make(self) -> Any:
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(self.workers, self.context, self.initializer, self.initargs)


class MultiprocessingPool(Peer):
    title = "multiprocessing.Pool"
    environment = "stdlib"
    Late = multiprocessing.TimeoutError

    def make(self) -> Any:
        return self.context.Pool(self.workers, self.initializer, self.initargs)

    def submit(self, work: Work, *args: Any) -> Any:
        return self.pool.apply_async(work, args)

    def result(self, handle: Any, timeout: float) -> Any:
        return handle.get(timeout)


class Loky(Peer):
    """Its executor is asked for before each use: so a broken one is replaced, as documented."""

    title = "loky"
    environment = "pools"
    distribution = "loky"

    def make(self) -> Any:
        import loky

        return loky.get_reusable_executor(
            max_workers=self.workers, initializer=self.initializer, initargs=self.initargs
        )

    def __enter__(self) -> Self:
        self.pool = self.make()
        return self

    def submit(self, work: Work, *args: Any) -> Any:
        self.pool = self.make()
        return self.pool.submit(work, *args)

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            self.pool.shutdown()


class Pebble(Peer):
    title = "pebble"
    environment = "pools"
    distribution = "pebble"

    def make(self) -> Any:
        import pebble

        return pebble.ProcessPool(
            self.workers,
            initializer=self.initializer,
            initargs=list(self.initargs),
            context=self.context,
        )

    def submit(self, work: Work, *args: Any) -> Any:
        return self.pool.schedule(work, args=args)


class AwaitingPeer(Peer):
    """A pool that is used on an event loop, which runs while the case waits for something."""

    def __enter__(self) -> Self:
        self.runner = asyncio.Runner()
        self.runner.run(self.aenter())
        return self

    async def aenter(self) -> None:
        self.pool = self.make()
        await self.pool.__aenter__()

    def __exit__(self, *raised: object) -> None:
        self.runner.run(self.pool.__aexit__(*raised))
        self.runner.close()

    def submit(self, work: Work, *args: Any) -> Any:
        if work in works.AWAITED:
            return self.runner.run(self.start(works.AWAITED[work], *args))
        return self.runner.run(self.start(works.as_coroutine, work, *args))

    async def start(self, work: Work, *args: Any) -> Any:
        return self.pool.submit(work, *args)

    def result(self, handle: Any, timeout: float) -> Any:
        async def wait() -> Any:
            return await asyncio.wait_for(asyncio.shield(handle), timeout)

        return self.runner.run(wait())

    def wait_for(self, signals: Signals, line: str) -> None:
        self.runner.run(signals.heard(line))


class AplexAwaited(AwaitingPeer):
    title = "aplex, awaited"
    environment = "aplex"
    distribution = "aplex"

    def make(self) -> Any:
        import aplex

        return aplex.ProcessAsyncPoolExecutor(
            pool_size=self.workers,
            awaitable=True,
            mp_context=self.method,
            initializer=self.initializer,
            initargs=self.initargs,
        )


class Aiomultiprocess(AwaitingPeer):
    title = "aiomultiprocess"
    environment = "aiomultiprocess"
    distribution = "aiomultiprocess"

    def make(self) -> Any:
        import aiomultiprocess

        aiomultiprocess.set_start_method(self.method)
        return aiomultiprocess.Pool(
            self.workers, initializer=self.initializer, initargs=self.initargs
        )

    async def start(self, work: Work, *args: Any) -> Any:
        return asyncio.ensure_future(self.pool.apply(work, args))


PEERS: dict[str, type[Peer]] = {
    "aplex": Aplex,
    "aplex-awaited": AplexAwaited,
    "futures": Futures,
    "multiprocessing": MultiprocessingPool,
    "loky": Loky,
    "pebble": Pebble,
    "aiomultiprocess": Aiomultiprocess,
}


def square_in_a_pool(name: str, x: int) -> Any:
    """Square in a pool of the same kind, made inside a work."""
    with PEERS[name](1) as peer:
        return peer.result(peer.submit(works.square, x), works.LONG)


async def asquare_in_a_pool(name: str, x: int) -> Any:
    peer = PEERS[name](1)
    assert isinstance(peer, AwaitingPeer)
    async with peer.make() as peer.pool:
        return await (await peer.start(works.as_coroutine, works.square, x))


works.AWAITED[square_in_a_pool] = asquare_in_a_pool
