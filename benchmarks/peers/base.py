"""What a workload may ask of a peer; one adapter file beside this one for each."""

import asyncio
import time
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Any

Work = Callable[..., Any]
Call = tuple[Work, Any]  # a work and its one argument
ChunkSize = int | str  # "auto": for pools that find it out by themselves


class Peer:
    """A pool under test. It need not do what no workload asks of it."""

    def __init__(self, workers: int, *, uvloop: bool = False, **settings: Any) -> None:
        self.workers = workers
        self.uvloop = uvloop
        self.settings = settings

    @property
    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        if self.uvloop:
            import uvloop

            return uvloop.new_event_loop
        return asyncio.new_event_loop

    def open(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def hand_in(self, calls: Iterable[Call]) -> list[Any]:
        """Submit one by one, without waiting in between; return what to wait for."""
        raise NotImplementedError

    def collect(self, handles: Iterable[Any]) -> list[Any]:
        """Wait for what was handed in, one after another."""
        raise NotImplementedError

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        """Submit one by one, without waiting in between; then wait for every result."""
        raise NotImplementedError

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        """Run one after another; return the seconds each took."""
        raise NotImplementedError

    def read_stream(self, work: Work, count: int, buffersize: int) -> list[Any]:
        """Read a stream to its end; return its items."""
        raise NotImplementedError

    def first_of_stream(self, work: Work, count: int, buffersize: int) -> float:
        """Read a stream; return when its first item was there, by ``time.perf_counter``."""
        raise NotImplementedError

    def keep_in_flight(self, calls: Sequence[Call], limit: int) -> list[Any]:
        """Run them all, never more than `limit` at a time."""
        raise NotImplementedError

    def map(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> list[Any]:
        """Map in input order. A `chunksize` of 0 means the peer's own choice."""
        raise NotImplementedError

    def rest(self, seconds: float) -> None:
        """Do nothing for a while, as a program of the peer's user would."""
        time.sleep(seconds)


class BlockingPeer(Peer):
    """A pool whose `submit` gives something to wait for with `result`."""

    def submit(self, work: Work, value: Any) -> Any:
        raise NotImplementedError

    def result(self, handle: Any) -> Any:
        return handle.result()

    def hand_in(self, calls: Iterable[Call]) -> list[Any]:
        return [self.submit(work, value) for work, value in calls]

    def collect(self, handles: Iterable[Any]) -> list[Any]:
        return [self.result(handle) for handle in handles]

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        return self.collect(self.hand_in(calls))

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        times = []
        for work, value in calls:
            before = time.perf_counter()
            self.result(self.submit(work, value))
            times.append(time.perf_counter() - before)
        return times

    def imap(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> Iterable[Any]:
        raise NotImplementedError

    def map(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> list[Any]:
        return list(self.imap(work, items, chunksize))


class AwaitingPeer(Peer):
    """A pool used from a running event loop, where `start` gives something to await."""

    async def aopen(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError

    def start(self, work: Work, value: Any) -> Awaitable[Any]:
        raise NotImplementedError

    def amap(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> AsyncIterable[Any]:
        raise NotImplementedError

    async def main(self) -> None:
        """Run what comes, all in one task: a user's program has one main task, too."""
        while (job := await self.jobs.get()) is not None:
            coroutine, done = job
            try:
                done.set_result(await coroutine)
            except Exception as error:  # noqa: BLE001 - `run` raises it
                done.set_exception(error)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        done: asyncio.Future[Any] = self.loop.create_future()
        self.jobs.put_nowait((coroutine, done))
        return self.loop.run_until_complete(done)

    def open(self) -> None:
        self.runner = asyncio.Runner(loop_factory=self.loop_factory)
        self.loop = self.runner.get_loop()
        self.jobs: asyncio.Queue[tuple[Coroutine[Any, Any, Any], asyncio.Future[Any]] | None]
        self.jobs = asyncio.Queue()
        self.main_task = self.loop.create_task(self.main())
        self.run(self.aopen())

    def close(self) -> None:
        self.run(self.aclose())
        self.jobs.put_nowait(None)
        self.loop.run_until_complete(self.main_task)
        self.runner.close()

    def hand_in(self, calls: Iterable[Call]) -> list[Any]:
        async def hand_in() -> list[Any]:
            return [self.start(work, value) for work, value in calls]

        handles: list[Any] = self.run(hand_in())
        return handles

    def collect(self, handles: Iterable[Any]) -> list[Any]:
        async def collect() -> list[Any]:
            return [await handle for handle in handles]

        results: list[Any] = self.run(collect())
        return results

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        async def submit_all() -> list[Any]:
            return await asyncio.gather(*[self.start(work, value) for work, value in calls])

        results: list[Any] = self.run(submit_all())
        return results

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        async def time_each() -> list[float]:
            times = []
            for work, value in calls:
                before = time.perf_counter()
                await self.start(work, value)
                times.append(time.perf_counter() - before)
            return times

        times: list[float] = self.run(time_each())
        return times

    def keep_in_flight(self, calls: Sequence[Call], limit: int) -> list[Any]:
        results: list[Any] = [None] * len(calls)

        async def take(waiting: Iterator[tuple[int, Call]]) -> None:
            for place, (work, value) in waiting:
                results[place] = await self.start(work, value)

        async def keep_in_flight() -> None:
            waiting = enumerate(calls)
            await asyncio.gather(*[take(waiting) for _ in range(limit)])

        self.run(keep_in_flight())
        return results

    def map(self, work: Work, items: Sequence[Any], chunksize: ChunkSize) -> list[Any]:
        async def map_() -> list[Any]:
            return [result async for result in self.amap(work, items, chunksize)]

        results: list[Any] = self.run(map_())
        return results

    def rest(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
