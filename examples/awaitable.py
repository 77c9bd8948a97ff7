"""Await works from an event loop: TaskGroup, asyncio.timeout, and what a cancel does."""

import asyncio
import os

from aplex import ProcessAsyncPoolExecutor


async def weigh(text: str) -> tuple[int, int]:
    """A coroutine function runs on the event loop of a worker process."""
    await asyncio.sleep(0.1)
    return len(text), os.getpid()


async def sleep_long(seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        print(f"worker {os.getpid()}: cancelled, cleaning up", flush=True)


async def main() -> None:
    async with ProcessAsyncPoolExecutor(pool_size=2, awaitable=True) as pool:
        # `submit` gives an asyncio.Future.
        size, worker = await pool.submit(weigh, "hello")
        print(f"a future: {size} letters, weighed in process {worker}")

        # Many at once. If one fails, the group cancels the others, in their workers too.
        async def show(text: str) -> None:
            size, _ = await pool.submit(weigh, text)
            print(f"  {text}: {size}")

        print("a group:")
        async with asyncio.TaskGroup() as group:
            for text in ("one", "three", "seven"):
                group.create_task(show(text))

        # `map` gives the results in order, as an async iterator.
        sizes = [size async for size, _ in pool.map(weigh, ["a", "bb", "ccc"])]
        print(f"a map: {sizes}")

        # When the time is over, the coroutine in the worker is cancelled.
        try:
            async with asyncio.timeout(0.2):
                await pool.submit(sleep_long, 60)
        except TimeoutError:
            print("a timeout: gave up after 0.2 s")


if __name__ == "__main__":
    asyncio.run(main())
